"""The machine in a line: what was read, and what was not."""

from __future__ import annotations

import time
from typing import Any

from stoker.cli.machine import gpu_line, host_line
from stoker.store.series import put_points
from stoker.store.store import Store

FACTS = {"cores": 8, "ram_total": 16 * 10**9, "gpus": [{"name": "H200", "memory": 150 * 10**9}], "reason": None}


def test_a_card_shows_what_it_tells_and_leaves_out_the_rest() -> None:
    now = {"time": 5, "gpu0.utilisation": 87.0, "gpu0.memory": 31.2e9, "gpu0.power": 512.4}
    assert gpu_line(now, FACTS) == "H200: 87 %, 31.2 GB of 150.0 GB, 512 W"
    assert gpu_line({"time": 5}, FACTS) == "H200: no answer"


def test_no_card_says_why_and_nothing_is_said_before_the_first_reading() -> None:
    assert gpu_line({"time": 5}, FACTS | {"gpus": [], "reason": "Driver Not Loaded"}) == "none (Driver Not Loaded)"
    assert (gpu_line({"time": None}, {}), host_line({"time": None}, {})) == (None, None)


def test_status_has_the_machines_line_and_its_values(stoker: Any, lab: Any) -> None:
    store = Store(lab.store)
    store.claim()
    with store.transaction() as tx:
        values = [("cpu", 43.0), ("ram", 5.1e9), ("worker.memory", 1.2e9)]
        put_points(tx, "machine", [(name, int(time.time()), value) for name, value in values])
        tx.put("machine", FACTS)
    store.close()
    out = stoker("status").out
    assert "CPU 43 % of 8 cores, memory 5.1 GB of 16.0 GB, worker 1.2 GB" in out and "H200" in out
    assert stoker("status", "--json").json()["machine"]["now"]["cpu"] == 43.0
