// Open a report in a new tab through a link that works once, because a browser sends no key with a link.
import { complain, tell } from "./notices.js";
import { post } from "./service.js";
import { say } from "./texts.js";

export async function openReport(path) {
  const page = window.open("about:blank", "_blank"); // at once, or the browser takes it for something unasked
  try {
    const { url } = await post(path, {});
    if (page) {
      page.opener = null;
      page.location.replace(url);
    } else {
      tell(say("report.blocked"));
    }
  } catch (problem) {
    page?.close();
    complain(problem);
  }
}
