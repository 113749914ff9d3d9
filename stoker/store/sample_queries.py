"""A run's samples as plain dictionaries: each probe with its answers over the steps. The field names are an interface."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from stoker.store import tables as t

_SAMPLE = ("step", "answer", "is_match", "nll", "time")


def samples(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """Every probe of a run, `{probe, prompt, expected, samples: [{step, answer, is_match, nll, time}]}`, steps ascending."""
    rows = connection.execute(select(t.samples).where(t.samples.c.run == run_id).order_by(t.samples.c.step))
    probes: dict[int, dict[str, Any]] = {}
    for row in rows:
        first = {"probe": row.probe, "prompt": row.prompt, "expected": row.expected, "samples": []}
        probe = probes.setdefault(row.probe, first)
        probe["samples"].append({name: row._mapping[name] for name in _SAMPLE})
    return [probes[number] for number in sorted(probes)]
