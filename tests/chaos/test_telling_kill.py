"""kill -9 at random moments between an event and its message: no event is lost, no incident or alert is made twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from sqlalchemy import func, select
from telling_child import telling

from stoker.store import tables as t
from stoker.workspace import Workspace

NUM_KILLS = 8


@pytest.mark.slow
def test_killed_at_any_moment_each_event_is_told_once(tmp_path: Path) -> None:
    lab, received = Workspace(tmp_path / "lab"), tmp_path / "received"
    lab.create()
    draw = random.Random(4)
    for _ in range(NUM_KILLS):
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("telling_child.py")), str(lab.root), str(received)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(draw.uniform(0.0, 1.0))
        child.kill()
        child.wait()
        child.stdout.close()
    store, part = telling(lab, received)
    deadline = time.monotonic() + 300
    while True:
        part.tick()
        with store.transaction() as tx:
            if not tx.rows(select(t.alerts).where(t.alerts.c.state == "waiting")):
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with store.transaction() as tx:
        num_failed = tx.scalar(select(func.count()).where(t.events.c.code == "run.failed"))
        made = tx.rows(select(t.incidents.c.num_events, t.incidents.c.subject))
        told = tx.rows(select(t.alerts.c.incident, t.alerts.c.kind, t.alerts.c.state))
    store.close()
    assert num_failed
    assert len({row.subject for row in made}) == len(made) == num_failed
    assert max(row.num_events for row in made) == 2
    assert max(Counter((row.incident, row.kind) for row in told).values()) == 1
    assert {row.state for row in told} == {"sent"}
    lines = [orjson.loads(line) for line in received.read_bytes().splitlines()]
    assert len({line["key"] for line in lines}) == len(told), "each alert left"
    doubles = len(lines) - len(told)
    assert doubles <= NUM_KILLS, "at most what was in hand at a kill left twice, with the same key"
