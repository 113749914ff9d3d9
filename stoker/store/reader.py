"""The store as the command line sees it: read only, short transactions, with or without a supervisor.

A lab whose store was never made reads as empty. The shapes are in `queries`, the words for things in `names`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, create_engine

from stoker.durable import free_bytes
from stoker.errors import NotAllowed
from stoker.locks import is_locked, is_same_process
from stoker.store import cost_queries, families, names, queries, sample_queries, series_queries, trial_queries
from stoker.store.engine import reader_engine
from stoker.store.migrate import current_schema, refuse_newer
from stoker.store.records import WAITING_CODES
from stoker.store.tables import SCHEMA, metadata
from stoker.workspace import Workspace

MACHINE_AGE_SECONDS = 60.0
_Answer = TypeVar("_Answer")


class Reader:
    """Answers questions about the lab at `workspace`; each is one short transaction."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        if not workspace.store.is_file() or workspace.store.stat().st_size == 0:
            self._engine = create_engine("sqlite://")
            metadata.create_all(self._engine)
            return
        self._engine = reader_engine(workspace.store)
        current = current_schema(self._engine, workspace.store)
        refuse_newer(current, workspace.store)
        if current != SCHEMA:
            raise NotAllowed(
                f"the store {workspace.store} has schema {current}", f"this Stoker reads {SCHEMA}", "run: stoker up"
            )

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection

    def ask(self, question: Callable[..., _Answer], *arguments: Any, **options: Any) -> _Answer:
        """Answer one of `queries`' or `names`' functions."""
        with self.connect() as connection:
            return question(connection, *arguments, **options)

    def datasets(self) -> list[dict[str, Any]]:
        return self.ask(queries.datasets)

    def dataset_detail(self, dataset_id: str, *, num_rows: int = 20) -> dict[str, Any]:
        """One dataset; `ledger` holds the first rows that are not trained, with line and reason."""
        detail = self.ask(queries.dataset_detail, dataset_id)
        folder = self.workspace.dataset(dataset_id)
        ledger = _excerpt(folder / "ledger.jsonl", num_rows)
        return detail | {"files": _members(folder / "dataset.json", detail["files"]), "ledger": ledger}

    def families(self) -> list[dict[str, Any]]:
        return self.ask(families.families)

    def rollback_plan(self, dataset_id: str) -> dict[str, Any]:
        return self.ask(families.rollback_plan, dataset_id)

    def trial(self, trial_id: str) -> dict[str, Any]:
        return self.ask(trial_queries.trial, trial_id)

    def trials(self) -> list[dict[str, Any]]:
        return self.ask(trial_queries.trials)

    def runs(self) -> list[dict[str, Any]]:
        return self.ask(queries.runs)

    def run_detail(self, run_id: str) -> dict[str, Any]:
        return self.ask(queries.run_detail, run_id)

    def metrics(self, run_id: str, *, after_step: int = 0) -> list[dict[str, Any]]:
        return self.ask(series_queries.metrics, run_id, after_step=after_step)

    def series(
        self,
        of: str,
        names: Sequence[str] = (),
        *,
        points: int = series_queries.POINTS,
        first: int | None = None,
        last: int | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Series of a run (by step) or of "machine" (by second), each at no more than `points` points."""
        return self.ask(series_queries.series, of, names, points=points, first=first, last=last)

    def costs(self, run_id: str | None = None) -> list[dict[str, Any]]:
        return self.ask(cost_queries.costs, run_id)

    def machine(self) -> dict[str, Any]:
        """The machine: `now` (its newest values, `time` None when none is recent) and `facts` (cards, cores, memory)."""
        now = self.ask(series_queries.machine, time.time() - MACHINE_AGE_SECONDS)
        return {"now": now, "facts": self.ask(queries.lab_value, "machine", {})}

    def samples(self, run_id: str) -> list[dict[str, Any]]:
        return self.ask(sample_queries.samples, run_id)

    def versions(self) -> list[dict[str, Any]]:
        return self.ask(queries.versions)

    def version_detail(self, model: str, version: int) -> dict[str, Any]:
        return self.ask(queries.version_detail, model, version)

    def comparisons(self, evaluation_id: str | None = None) -> list[dict[str, Any]]:
        return self.ask(queries.comparisons, evaluation_id)

    def evaluations(self) -> list[dict[str, Any]]:
        return self.ask(queries.evaluations)

    def queue(self) -> list[dict[str, Any]]:
        return self.ask(queries.queue)

    def events(self, **options: Any) -> list[dict[str, Any]]:
        return self.ask(queries.events, **options)

    def resolve(self, noun: str, reference: str) -> str:
        return self.ask(names.resolve, noun, reference)

    def resolve_version(self, reference: str) -> tuple[str, int]:
        return self.ask(names.resolve_version, reference)

    def status(self) -> dict[str, Any]:
        """What the lab does now. `state`: off, idle, paused, reading, training, evaluating or waiting."""
        with self.connect() as connection:
            work = queries.work(connection)
            queue = queries.queue(connection)
            is_paused = bool(queries.lab_value(connection, "queue_paused", False))
        supervisor_pid = _supervisor_pid(self.workspace.supervisor)
        # The holder itself must not probe: closing the lock's file would drop its lock.
        is_up = supervisor_pid == os.getpid() or is_locked(self.workspace.lock)
        run, worker, evaluation = work["run"], work["worker"], work["evaluation"]
        is_alive = worker is not None and worker.pid is not None and is_same_process(worker.pid, worker.started_at)
        return {
            "state": _state(work, is_up=is_up, is_alive=is_alive, is_paused=is_paused),
            "run": run.id if run is not None else None,
            "worker_pid": worker.pid if is_alive else None,
            "queue": queue,
            "supervisor_pid": supervisor_pid if is_up else None,
            "step": run.step if run is not None else None,
            "total_steps": run.total_steps if run is not None else None,
            "phase": (evaluation.phase if evaluation is not None else run.phase if run is not None else None),
            "reason": run.reason if run is not None else None,
            "evaluation": evaluation.id if evaluation is not None else None,
            "reading": work["reading"],
            "queue_paused": is_paused,
            "free_bytes": free_bytes(self.workspace.root),
        }


def _state(work: dict[str, Any], *, is_up: bool, is_alive: bool, is_paused: bool) -> str:
    run = work["run"]
    if run is not None and run.state == "running" and (is_up or is_alive):
        return "training"
    if work["evaluation"] is not None and (is_up or is_alive):
        return "evaluating"
    if not is_up:
        return "off"
    if run is not None and run.state == "paused" and run.code in WAITING_CODES:
        return "waiting"
    if work["reading"]:
        return "reading"
    if is_paused or run is not None:
        return "paused"
    return "idle"


def _supervisor_pid(path: Path) -> int | None:
    try:
        return int(orjson.loads(path.read_bytes())["pid"])
    except (OSError, orjson.JSONDecodeError, KeyError):
        return None


def _members(path: Path, accepted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the files that were taken together, or the accepted file itself."""
    try:
        members = orjson.loads(path.read_bytes()).get("files") or []
    except (OSError, orjson.JSONDecodeError):
        members = []
    return [{**member, "accepted_at": accepted[0]["accepted_at"]} for member in members] or accepted


def _excerpt(path: Path, num_rows: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if not path.is_file():
        return found
    with path.open("rb") as file:
        for line in file:
            record = orjson.loads(line)
            if record.get("state") in ("quarantined", "duplicate"):
                found.append(record)
            if len(found) >= num_rows:
                break
    return found
