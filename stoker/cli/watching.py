"""The screen of `stoker run watch`: numbers of one run, redrawn twice a second; plain lines where it is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.console import note, stdout_console
from stoker.cli.lab import is_up
from stoker.cli.narration import event_line
from stoker.cli.pace import pace, step_line
from stoker.errors import WorkerFailed

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stoker.store.reader import Reader

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 5.0
_OVER = ("done", "failed", "stopped", "parked")
_NUM_EVENTS = 6


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
    from rich.live import Live

    metrics: list[dict[str, Any]] = []
    with Live(console=stdout_console(), auto_refresh=False) as live:
        while True:
            _extend(metrics, reader, run_id)
            detail = reader.run_detail(run_id)
            events = reader.events(run=run_id, limit=_NUM_EVENTS)
            live.update(_screen(detail, metrics, events), refresh=True)
            if _is_over(reader, detail):
                return
            time.sleep(_REDRAW_SECONDS)


def _watch_lines(reader: Reader, run_id: str) -> None:
    metrics: list[dict[str, Any]] = []
    last_event, last_line = 0, 0.0
    while True:
        _extend(metrics, reader, run_id)
        detail = reader.run_detail(run_id)
        for event in reader.events(run=run_id, after=last_event):
            last_event = event["id"]
            print(_event_line(event), flush=True)
        if metrics and time.monotonic() - last_line >= _LINE_SECONDS:
            last_line = time.monotonic()
            print(step_line(metrics[-1], detail["total_steps"], pace(metrics, detail["total_steps"])), flush=True)
        if _is_over(reader, detail):
            return
        time.sleep(_REDRAW_SECONDS)


def _extend(metrics: list[dict[str, Any]], reader: Reader, run_id: str) -> None:
    """Add the steps that are new; a resumed run may go back a few, which then come again."""
    metrics.extend(reader.metrics(run_id, after_step=metrics[-1]["step"] if metrics else 0))


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


def _screen(
    detail: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    total = detail["total_steps"]
    measured = pace(metrics, total)
    last = metrics[-1] if metrics else {}
    losses = [step["loss"] for step in metrics if step["loss"] is not None]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    share = f"  {100 * detail['step'] / total:.0f} %" if total else ""
    version = f"{detail['model']}/v{detail['version']}" if detail["version"] else ""
    facts.add_row("run", Text.assemble((detail["id"], "bold"), f"  {version}  {detail['state']}"))
    facts.add_row("phase", str(detail["phase"] or "-"))
    facts.add_row("step", f"{detail['step']} of {total or '?'}{share}")
    facts.add_row("loss", Text.assemble((units.loss(last.get("loss")), "bold"), f"  {units.sparkline(losses, 60)}"))
    facts.add_row("rate", f"{last['learning_rate']:.2e}" if last.get("learning_rate") is not None else "-")
    facts.add_row("gradient norm", f"{last['grad_norm']:.3f}" if last.get("grad_norm") is not None else "-")
    facts.add_row("speed", f"{units.count(measured.tokens_per_second)} tokens/s")
    facts.add_row("ETA", units.eta(measured.eta) if detail["state"] == "running" else "-")
    lines = [
        Text(
            _event_line(event),
            style="red" if event["severity"] == "critical" else "",
            overflow="ellipsis",
            no_wrap=True,
        )
        for event in events
    ]
    return Group(facts, Text(""), *lines)


def _event_line(event: Mapping[str, Any]) -> str:
    return event_line(event["time"], event["severity"], event["text"])
