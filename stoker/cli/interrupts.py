"""Ctrl-C and SIGTERM for commands that train: finish the step, save, end; a second Ctrl-C ends this process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """`event` is set once the command should end; `is_interrupted` tells Ctrl-C from `stoker down`."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.is_interrupted = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.event.is_set() and number == signal.SIGINT:
            os._exit(130)  # as safe as a kill: the lock goes, the worker saves by itself or is found again
        self.is_interrupted = number == signal.SIGINT
        self.event.set()
        text = "\nending: the step is finished and a checkpoint saved; Ctrl-C again leaves at once\n"
        os.write(sys.stderr.fileno(), text.encode())


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn signals into a flag while the block runs."""
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
