"""The folder of a job becomes its run, or its diagnosis: the process that the worker starts for each attempt.

It ends by itself when the worker does, however that ends: standard input is a pipe that only the worker holds open.
"""

import json
import os
import shlex
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tl.errors import ServiceError, TLError
from tl.progress import Progress
from tl.service.progress import JobProgress

ORDER, OUTCOME, EVENTS, LOG = "order.json", "outcome.json", "events.jsonl", "log.txt"
FINDINGS, PAGE = "findings.json", "page.html"
_PATIENCE = 30.0  # seconds for the process of an earlier attempt to be gone


class Account(Progress):
    """Says everything in plain lines, for the log."""

    def log(self, topic: str, text: str) -> None:
        """One line."""
        print(f"{topic:<12}{text}", flush=True)

    def warn(self, text: str) -> None:
        """One line."""
        self.log("note", text)


def main() -> None:
    """Do what the folder's order says; exit code 0, or 1 with the error in the folder's outcome."""
    from filelock import FileLock, Timeout

    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with_worker, daemon=True).start()
    _step_back()
    order = json.loads((folder / ORDER).read_text(encoding="utf-8"))
    progress = JobProgress(folder / EVENTS, Account())
    try:
        with FileLock(folder / "child.lock", timeout=_PATIENCE):
            _work(folder, order, progress)
    except TLError as error:
        progress.warn(str(error))
        write(folder / OUTCOME, {"error": str(error)})
        sys.exit(1)
    except Timeout as error:
        raise ServiceError(f"{folder} is in use by another process") from error


def write(path: Path, content: dict[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8", errors="replace")
    os.replace(part, path)


def _work(folder: Path, order: dict[str, Any], progress: JobProgress) -> None:
    if order["kind"] == "check":
        progress.attempt(order["attempt"], resumed=False)
        _check(folder, order, progress)
    else:
        _finetune(order, progress)


def _finetune(order: dict[str, Any], progress: JobProgress) -> None:
    from tl.api import finetune
    from tl.runs.folder import CHECKPOINT, partial_folder

    run = Path(order["run"])
    if (run / "manifest.json").is_file():
        return  # the attempt before came to its end, and the worker did not hear of it
    resume = (partial_folder(run) / CHECKPOINT).is_file()
    progress.attempt(order["attempt"], resumed=resume)
    typed = [word for name, value in order["options"].items() for word in (f"--{name.replace('_', '-')}", str(value))]
    sys.argv = ["tl", "finetune", order["data"], *typed]  # what the run says that it was made by
    if resume:
        finetune(order["data"], out=run, resume=True, budget=order["options"].get("budget"), progress=progress)
    else:
        finetune(order["data"], out=run, progress=progress, **order["options"])


def _check(folder: Path, order: dict[str, Any], progress: Progress) -> None:
    from tl.workflows.data_check import check

    command = shlex.join(["tl", "data", "check", order["data"]])
    diagnosis = check(order["data"], out=folder / PAGE, command=command, progress=progress, **order["options"])
    write(folder / FINDINGS, diagnosis.as_dict())


def _end_with_worker() -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.killpg(0, signal.SIGKILL)


def _step_back() -> None:
    """Predictions go before training, and where memory runs out the training has to go."""
    with suppress(OSError):
        os.nice(5)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


if __name__ == "__main__":
    main()
