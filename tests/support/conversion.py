"""Conversions of networks in forks of one process that has imported TensorFlow, which takes most of their time."""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

_PROGRAM = """
import io, json, os, sys, traceback
import keras, openvino, tensorflow
import tl.networks.trainable
from tl.engines import trunk

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{request['folder']}/{name}", os.O_WRONLY | os.O_CREAT), number)
        os.environ.update(request["environment"])
        sys.stdin, code = io.StringIO(request["input"]), 0
        try:
            trunk._main()
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Converter:
    """Stands in for the module `subprocess` where networks are converted; started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def run(self, command: list[str], *, input: str, env: dict[str, str], **options: Any) -> Any:
        if env["KERAS_BACKEND"] != "tensorflow":
            return subprocess.run(command, input=input, env=env, **options)
        with self._lock, tempfile.TemporaryDirectory() as folder:
            process = self._process = self._process or subprocess.Popen(
                [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
            )
            request = {"input": input, "environment": env, "folder": folder}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            printed = [Path(folder, name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(command, code, *printed)

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate()
