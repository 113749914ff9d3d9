"""`stoker status`: what the lab does now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stoker.analysis.forecast import queue_etas, recent_metrics, run_eta
from stoker.cli import units
from stoker.cli.console import AsJson, note, print_facts, print_json
from stoker.cli.lab import open_reader
from stoker.cli.machine import gpu_line, host_line
from stoker.cli.pace import pace

if TYPE_CHECKING:
    from stoker.store.reader import Reader

_MOST_INCIDENTS = 3
_INCIDENT = ("id", "kind", "subject", "severity", "title", "num_events", "opened_at")


def status(as_json: AsJson = False) -> None:
    """Show what the lab does now: run, queue, open incidents."""
    reader = open_reader()
    now = reader.status()
    run = now["run"]
    detail = reader.run_detail(run) if run else None
    recent = recent_metrics(reader, detail) if detail else []
    eta = run_eta(reader, detail, recent) if detail else None
    _, queue_eta = queue_etas(reader, now["queue"])
    machine = reader.machine()
    incidents = _open_incidents(reader)
    if as_json:
        etas = {"eta": eta and eta.to_json(), "queue_eta": queue_eta and queue_eta.to_json()}
        print_json({**now, **etas, "open_incidents": incidents, "machine": machine})
        return
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
            ("ETA", units.eta(eta) if run else None),
            ("reading", ", ".join(now["reading"]) or None),
            ("worker", f"process {now['worker_pid']}" if now["worker_pid"] else None),
            ("queue", f"{len(waiting)} waiting" + (", paused" if now["queue_paused"] else "")),
            ("all done", f"in {units.eta(queue_eta)}" if queue_eta else None),
            ("champion", ", ".join(champions) or "none yet"),
            ("GPU", gpu_line(machine["now"], machine["facts"])),
            ("machine", host_line(machine["now"], machine["facts"])),
            ("disk", f"{units.size(now['free_bytes'])} free"),
            *_incident_facts(incidents),
        ]
    )
    if now["state"] == "off":
        note("no supervisor is running; run: stoker up")


def _open_incidents(reader: Reader) -> list[dict[str, Any]]:
    """Return the incidents that are open, the worst first, of the same severity the newest."""
    from stoker.spec.alerting import SEVERITIES
    from stoker.store import alert_queries

    found = reader.ask(alert_queries.incidents, limit=0)
    told = [{name: one[name] for name in _INCIDENT} for one in found]
    return sorted(told, key=lambda one: -SEVERITIES.index(one["severity"]))


def _incident_facts(incidents: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return how many are open and a line for each of the worst; nothing where there are none."""
    if not incidents:
        return []
    shown = incidents[:_MOST_INCIDENTS]
    rest = f", the worst {len(shown)} are" if len(shown) < len(incidents) else ""
    lines = [
        f"{one['severity']} {one['id']} ({one['subject']}), {units.ago(one['opened_at'])}: {one['title']}"
        for one in shown
    ]
    return [("incidents", f"{len(incidents)} open{rest}"), *(("", line) for line in lines)]


def _loss(runs: list[dict[str, object]], run_id: str) -> float | None:
    value = next((run["loss"] for run in runs if run["id"] == run_id), None)
    return float(value) if isinstance(value, int | float) else None
