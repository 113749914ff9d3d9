"""Tells on stderr what a supervisor in this process does: each event a line, and how far the run has come.

A thread of its own reads the store; the supervisor's loop is not slowed and knows nothing of it. On a terminal the
progress is one line that is redrawn; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from stoker.cli.pace import pace, step_line
from stoker.cli.watching import event_line
from stoker.errors import StokerError
from stoker.store.reader import Reader
from stoker.workspace import Workspace

_LOOK_SECONDS = 0.4
_LINE_SECONDS = 10.0


class Narrator:
    """Use as a context: `with Narrator(workspace): supervisor.run()`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._is_terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="narrator", daemon=True)
        self._reader: Reader | None = None
        self._last_event = 0
        self._run: str | None = None
        self._metrics: list[dict[str, Any]] = []
        self._line = ""
        self._told_at = 0.0
        self._last_event = self._newest_event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()
        self._look()
        self._show("")

    def _look(self) -> None:
        """Tell what is new. A store that is being made or migrated just now is looked at again later."""
        try:
            if self._reader is None:
                if not self._workspace.store.is_file():
                    return
                self._reader = Reader(self._workspace)
            for event in self._reader.events(after=self._last_event, limit=200):
                self._last_event = event["id"]
                self._say(event_line(event))
            self._tell_progress(self._reader)
        except (StokerError, OSError):
            self._reader = None

    def _tell_progress(self, reader: Reader) -> None:
        running = [run for run in reader.runs() if run["state"] == "running"]
        if not running:
            self._show(self._waiting_line(reader))
            return
        run = running[0]
        if run["id"] != self._run:
            self._run, self._metrics = run["id"], []
        self._metrics.extend(reader.metrics(run["id"], after_step=self._metrics[-1]["step"] if self._metrics else 0))
        if self._metrics:
            line = step_line(self._metrics[-1], run["total_steps"], pace(self._metrics, run["total_steps"]))
            self._show(f"{run['id']}  {line}")
        elif phase := reader.run_detail(run["id"])["phase"]:
            self._show(f"{run['id']}  {phase}")

    def _waiting_line(self, reader: Reader) -> str:
        running = [found for found in reader.evaluations() if found["state"] == "running"]
        return f"{running[0]['id']}  {running[0]['candidate']}  {running[0]['phase'] or 'answering'}" if running else ""

    def _newest_event(self) -> int:
        try:
            events = Reader(self._workspace).events(limit=1)
        except StokerError:
            return 0
        return int(events[-1]["id"]) if events else 0

    def _show(self, line: str) -> None:
        """Redraw the line of progress; where there is no terminal, print it when it is due."""
        if self._is_terminal:
            if line != self._line:
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
                self._line = line
        elif line and line != self._line and time.monotonic() - self._told_at >= _LINE_SECONDS:
            self._told_at = time.monotonic()
            self._line = line
            print(line, file=sys.stderr, flush=True)

    def _say(self, text: str) -> None:
        if self._is_terminal:
            print(f"\r\x1b[K{text}\n{self._line}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
