"""Tells on stderr what a supervisor in this process does: each event a line, and how far the run has come.

It hears what the supervisor tells (`on_event`, `on_message`) and asks nothing. On a terminal the progress is one line
that is redrawn; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stoker.cli import units
from stoker.cli.pace import pace, step_line

if TYPE_CHECKING:
    from stoker.store.records import Event

_REDRAW_SECONDS = 0.25
_LINE_SECONDS = 10.0
_PHASES = {
    "load": "loading the model", "tokenize": "tokenising", "proof": "proving the masks", "fit": "fitting memory",
    "train": "training", "save": "saving", "answer": "answering", "verdict": "reaching the verdict",
}  # fmt: skip


class Narrator:
    """Hand `on_event` and `on_message` to the supervisor; use it as a context, so that the last line is ended."""

    def __init__(self) -> None:
        self.num_failed_runs = 0
        self._is_terminal = sys.stderr.isatty()
        self._steps: dict[str, list[Mapping[str, Any]]] = {}
        self._line = ""
        self._told_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def on_event(self, event: Event) -> None:
        """Print an event; only what needs a person is marked."""
        self.num_failed_runs += event.code in ("run.failed", "run.parked")
        self.say(event_line(event.time, event.severity, event.text))

    def on_message(self, subject: str, message: Mapping[str, Any]) -> None:
        """Show how far a run or an evaluation has come."""
        if message["kind"] == "step":
            steps = self._steps.setdefault(subject, [])
            steps.append(message)
            self._show(f"{subject}  {step_line(message, message['total_steps'], pace(steps, message['total_steps']))}")
        elif message["kind"] == "phase":
            words = _PHASES.get(message["name"], message["name"])
            count = f" {message['done']}/{message['total']}" if message["total"] else ""
            self._show(f"{subject}  {words}{count}")
        elif message["kind"] == "finished":
            self._steps.pop(subject, None)

    def say(self, text: str) -> None:
        """Print a line above the line of progress."""
        if self._is_terminal:
            print(f"\r\x1b[K{text}\n{self._line}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def pause(self) -> None:
        """Take the line of progress away before something else is printed."""
        self._clear()

    def _show(self, line: str) -> None:
        now = time.monotonic()
        if now - self._told_at < (_REDRAW_SECONDS if self._is_terminal else _LINE_SECONDS):
            return
        self._told_at = now
        if self._is_terminal:
            self._line = line
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._is_terminal and self._line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._line = ""


def event_line(moment: float, severity: str, text: str) -> str:
    """Return an event as one line."""
    mark = "" if severity == "info" else f"{severity}: "
    return f"{units.clock(moment)}  {mark}{text}"
