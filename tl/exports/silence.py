"""Chatter of converters becomes silence: what they print and log goes nowhere while a block runs."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence() -> Iterator[None]:
    """Standard output and standard error closed, those of C++ as well, and the loggers of the converters."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx", "nncf")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with open(os.devnull, "wb") as nowhere, warnings.catch_warnings(action="ignore"):
            for number, _ in kept:
                os.dup2(nowhere.fileno(), number)
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
