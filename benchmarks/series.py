"""Series of a million points: how fast they are written, how much room they take, how soon they are drawn with 2,000.

The points go through the store as a run's do, thousands of steps a transaction; reading opens the store anew each time, as a
command does. Beside it: the same points as a row each, read with one SELECT.

    python benchmarks/series.py [--points 1000000] [--rounds 20]
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np

from stoker.store.reader import Reader
from stoker.store.series import put_points
from stoker.store.store import Store
from stoker.workspace import Workspace

DRAWN = 2000
BATCH = 5000
LIMIT_MILLISECONDS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    losses = (5 * np.exp(-np.arange(args.points) / 2e5) + np.random.default_rng(0).gamma(2, 0.1, args.points)).tolist()
    losses[args.points // 3] = math.nan
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        written = _write(workspace, losses)
        rows = _write_rows(Path(folder) / "rows.db", losses)
        reader = Reader(workspace)
        reader.series("r1", ["loss"])  # loads the libraries
        drawn, busy, selected, part = [], [], [], []
        for _ in range(args.rounds):
            began = time.process_time()
            drawn.append(_milliseconds(lambda: Reader(workspace).series("r1", ["loss"], points=DRAWN)))
            busy.append(1000 * (time.process_time() - began))
            part.append(_milliseconds(lambda: Reader(workspace).series("r1", ["loss"], first=args.points // 2)))
        for _ in range(3):
            selected.append(
                _milliseconds(lambda: rows.execute("SELECT step, loss FROM metrics ORDER BY step").fetchall())
            )
        size = workspace.store.stat().st_size
        rows.close()
    body = (
        f"{args.points:,} points drawn with {DRAWN:,}: {harness.spread(drawn, 1)} ms (limit {LIMIT_MILLISECONDS}; median and range of "
        f"{args.rounds} rounds), of which {harness.spread(busy, 1)} ms of the processor; the second half of them {harness.spread(part, 1)} ms. The same points as a row each, one SELECT: "
        f"{harness.spread(selected)} ms.\n\nWritten {BATCH} a transaction: {1e6 * written / args.points:.1f} us of the processor a point, "
        f"{size / args.points:.1f} bytes a point on the disk."
    )
    harness.write_section("Series", " ".join(["python benchmarks/series.py", *sys.argv[1:]]), body)


def _write(workspace: Workspace, losses: list[float]) -> float:
    """Write the losses as a run's; return the seconds of the processor that it took."""
    store = Store(workspace.store)
    store.claim()
    started = time.process_time()
    for first in range(0, len(losses), BATCH):
        with store.transaction() as transaction:
            batch = losses[first : first + BATCH]
            put_points(transaction, "r1", (("loss", first + index, loss) for index, loss in enumerate(batch)))
    took = time.process_time() - started
    store.close()
    return took


def _write_rows(path: Path, losses: list[float]) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE metrics (step INTEGER PRIMARY KEY, loss REAL)")
    connection.executemany("INSERT INTO metrics VALUES (?, ?)", enumerate(losses))
    connection.commit()
    return connection


def _milliseconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
