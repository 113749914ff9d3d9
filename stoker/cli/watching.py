"""`stoker run watch`: one run followed to its verdict. A screen redrawn twice a second; plain lines where it is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stoker.analysis.forecast import recent_metrics
from stoker.cli.console import note, stdout_console
from stoker.cli.lab import is_up
from stoker.cli.narration import event_line
from stoker.cli.pace import pace, step_line
from stoker.cli.watch_screen import CURVES, Seen, screen
from stoker.errors import WorkerFailed
from stoker.store import series_queries, watch_queries

if TYPE_CHECKING:
    from stoker.store.reader import Reader

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 5.0
_OVER = ("done", "failed", "stopped", "parked")
_NUM_EVENTS = 8
_NUM_SAMPLES = 8
_NUM_CHANGES = 3
_LAST_HEIGHT = 30


def watch_run(reader: Reader, run_id: str) -> None:
    """Follow a run until it and its evaluation are over; WorkerFailed when it ends in failure."""
    if sys.stdout.isatty():
        _watch_screen(reader, run_id)
    else:
        _watch_lines(reader, run_id)
    detail = reader.run_detail(run_id)
    if detail["state"] in ("failed", "parked"):
        raise WorkerFailed(f"{run_id} {detail['state']}: {detail['reason'] or 'no reason recorded'}")


def _watch_screen(reader: Reader, run_id: str) -> None:
    """Draw on the terminal's other screen, and leave the last picture on the first."""
    from rich.live import Live

    console = stdout_console()
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            seen = look(reader, run_id)
            live.update(screen(seen, *console.size), refresh=True)
            if _is_over(reader, seen.detail):
                break
            time.sleep(_REDRAW_SECONDS)
    console.print(screen(seen, console.width, min(console.height, _LAST_HEIGHT)))


def look(reader: Reader, run_id: str) -> Seen:
    """Return what is known of a run now."""
    detail = reader.run_detail(run_id)
    recent = recent_metrics(reader, detail)
    measured = reader.ask(series_queries.series_names, run_id)
    names = [name for name in CURVES if name in measured]
    return Seen(
        detail=detail,
        last=recent[-1] if recent else {},
        pace=pace(recent, detail["total_steps"]),
        curves=reader.series(run_id, names) if names else {},
        machine=reader.machine(),
        samples=reader.ask(watch_queries.last_samples, run_id, _NUM_SAMPLES),
        changes=reader.ask(watch_queries.last_changes, run_id, _NUM_CHANGES),
        events=reader.events(run=run_id, limit=_NUM_EVENTS),
    )


def _watch_lines(reader: Reader, run_id: str) -> None:
    last_event, last_line, last_step = 0, 0.0, -1
    while True:
        detail = reader.run_detail(run_id)
        recent = recent_metrics(reader, detail)
        for event in reader.events(run=run_id, after=last_event):
            last_event = event["id"]
            print(event_line(event["time"], event["severity"], event["text"]), flush=True)
        if recent and recent[-1]["step"] != last_step and time.monotonic() - last_line >= _LINE_SECONDS:
            last_line, last_step = time.monotonic(), recent[-1]["step"]
            print(step_line(recent[-1], detail["total_steps"], pace(recent, detail["total_steps"])), flush=True)
        if _is_over(reader, detail):
            return
        time.sleep(_REDRAW_SECONDS)


def _is_over(reader: Reader, detail: Mapping[str, Any]) -> bool:
    if detail["state"] not in _OVER:
        if not is_up(reader.workspace) and detail["state"] != "running":
            note("no supervisor is running; run: stoker up")
            return True
        return False
    open_evaluations = [
        found
        for found in reader.evaluations()
        if found["run"] == detail["id"] and found["state"] in ("queued", "running")
    ]
    return not open_evaluations or not is_up(reader.workspace)
