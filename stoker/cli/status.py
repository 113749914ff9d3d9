"""`stoker status`: what the lab does now."""

from __future__ import annotations

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_facts, print_json
from stoker.cli.lab import open_reader
from stoker.cli.machine import gpu_line, host_line
from stoker.cli.pace import RECENT_STEPS, pace


def status(as_json: AsJson = False) -> None:
    """Show what the lab does now: state, run, worker, queue."""
    reader = open_reader()
    now = reader.status()
    machine = reader.machine()
    if as_json:
        print_json(now | {"machine": machine})
        return
    run = now["run"]
    recent = reader.metrics(run, after_step=now["step"] - RECENT_STEPS) if run else []
    measured = pace(recent, now["total_steps"]) if run else None
    waiting = [job for job in now["queue"] if job["run"] != run]
    champions = [f"{row['model']}/v{row['version']}" for row in reader.versions() if row["champion"]]
    print_facts(
        [
            ("lab", reader.workspace.root),
            ("state", now["state"] + (f": {now['reason']}" if now["reason"] else "")),
            ("run", f"{run}, step {now['step']} of {now['total_steps'] or '?'}" if run else None),
            ("phase", now["phase"]),
            ("loss", units.loss(_loss(reader.runs(), run)) if run else None),
            ("speed", f"{units.count(measured.tokens_per_second)} tokens/s" if measured else None),
            ("ETA", units.duration(measured.remaining_seconds) if measured else None),
            ("reading", ", ".join(now["reading"]) or None),
            ("worker", f"process {now['worker_pid']}" if now["worker_pid"] else None),
            ("queue", f"{len(waiting)} waiting" + (", paused" if now["queue_paused"] else "")),
            ("champion", ", ".join(champions) or "none yet"),
            ("GPU", gpu_line(machine["now"], machine["facts"])),
            ("machine", host_line(machine["now"], machine["facts"])),
            ("disk", f"{units.size(now['free_bytes'])} free"),
        ]
    )
    if now["state"] == "off":
        note("no supervisor is running; run: stoker up")


def _loss(runs: list[dict[str, object]], run_id: str) -> float | None:
    value = next((run["loss"] for run in runs if run["id"] == run_id), None)
    return float(value) if isinstance(value, int | float) else None
