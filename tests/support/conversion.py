"""Conversions of networks in forks of processes that have imported Keras, which takes most of their time."""

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
    """Stands in for the module `subprocess` where networks are converted. There is a process for each backend of Keras,
    started when it is first needed.
    """

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._lock = threading.Lock()

    def run(self, command: list[str], *, input: str, env: dict[str, str], **options: Any) -> Any:
        with self._lock, tempfile.TemporaryDirectory() as folder:
            process = self._process(env)
            request = {"input": input, "environment": env, "folder": folder}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            printed = [Path(folder, name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(command, code, *printed)

    def stop(self) -> None:
        for process in self._processes.values():
            process.communicate()

    def _process(self, environment: dict[str, str]) -> "subprocess.Popen[str]":
        keras = environment["KERAS_BACKEND"]
        if keras not in self._processes:
            command, pipes = [sys.executable, "-c", _PROGRAM], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._processes[keras] = subprocess.Popen(command, text=True, env=environment, **pipes)
        return self._processes[keras]
