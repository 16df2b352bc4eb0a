// A report becomes a page of its own: by a link for one visit, since a browser sends no key with a link.
import { complain, tell } from "./notices.js";
import { post } from "./service.js";
import { say } from "./words.js";

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
