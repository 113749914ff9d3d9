"""Reading accepted files: one intake process at a time, in the order of acceptance.

A file ends as a ready dataset with its job queued (one transaction), or rejected with a report. A crash of the process
is tried again; a supervisor that starts ends the leftover of the last one and reads the file anew, which gives the same
dataset, since reading is deterministic and publishing replaces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from stoker.data.formats.mapping import load_mappings
from stoker.durable import free_bytes, read_manifest, retire
from stoker.errors import Damaged, NotAllowed, WorkerExit
from stoker.launchers import local
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.registry.families import refuse_rolled_back
from stoker.registry.lineage import earlier_refs
from stoker.registry.lines import tokenizer_ref
from stoker.registry.trials import is_in_open_trial
from stoker.spec.jobs import JOB, DatasetRef, IntakeJob
from stoker.store import tables as t
from stoker.store.records import DatasetRecord
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import hangs, queue, rejection
from stoker.supervisor.context import Context
from stoker.supervisor.pulse import Pulse, read_process
from stoker.supervisor.standing import is_rolled_back

MODULE = "stoker.data"
SILENCE_SECONDS = 900.0
DISK_RETRY_SECONDS = 15.0
_COUNTS = ("rows_in", "train", "held_out", "duplicate", "quarantined")


class Intake:
    """Runs the intake process of the next accepted file and records what came of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._process: local.Process | None = None
        self._dataset: DatasetRecord | None = None
        self._journal: JournalReader | None = None
        self._finished: dict[str, Any] | None = None
        self._pulse = Pulse(0.0)
        self._looked_at = 0.0
        self._not_before = 0.0
        self._is_yielding = False
        self.is_idle_known = False

    @property
    def process(self) -> local.Process | None:
        return self._process

    @property
    def is_reading(self) -> bool:
        return self._process is not None

    def tick(self, beside_training: bool = False) -> bool:
        """Follow the process, or start the next; return whether something ended or began.

        While nothing trains a file is read at full speed, since training waits for it; then it yields.
        """
        if self._process is None:
            return self._start_next()
        if beside_training and not self._is_yielding:
            local.lower_priority(self._process.pid, self._context.spec.worker.other_nice)
            self._is_yielding = True
        self._listen()
        if self._finished is None and self._process.is_alive():
            if not self._hangs(self._process):
                return False
            local.kill(self._process)
        self._listen()
        self._conclude()
        return True

    def end(self) -> None:
        """End the process; its file is read anew at the next start."""
        if self._process is not None:
            local.kill(self._process)
            self._process = None

    def folder(self, dataset_id: str) -> Path:
        return self._context.workspace.tasks / f"intake-{dataset_id}"

    def _start_next(self) -> bool:
        if self.is_idle_known or self._context.now() < self._not_before:
            return False
        with self._context.store.transaction() as transaction:
            dataset = next_dataset(transaction)
            self.is_idle_known = dataset is None
            if dataset is None:
                return False
            set_fields(transaction, t.datasets, dataset.id, state="reading")
            job = self._job(transaction, dataset)
        folder = self.folder(dataset.id)
        for leftover in local.find(MODULE, folder):
            local.kill(leftover)
        retire(folder)
        folder.mkdir(parents=True)
        (folder / JOB).write_text(job.model_dump_json(), "utf-8")
        self._process = local.start(MODULE, folder, log=folder / "log.txt", threads=1, is_training=False)
        self._dataset, self._finished, self._is_yielding = dataset, None, False
        self._journal = JournalReader(folder / MESSAGES)
        self._pulse = Pulse(self._context.awake.seconds)
        return True

    def _hangs(self, process: local.Process) -> bool:
        """Tell whether the process stands still, or computes without a word for SILENCE_SECONDS."""
        now, spec = self._context.awake.seconds, self._context.spec.guard
        if 0.0 <= now - self._looked_at < spec.check_seconds:
            return False
        self._looked_at = now
        self._pulse.look(read_process(process.pid), now)
        if (
            not hangs.is_hung(self._pulse, now, spec.hang_seconds)
            and self._pulse.silence_seconds(now) < SILENCE_SECONDS
        ):
            return False
        assert self._dataset is not None
        silence = self._pulse.silence_seconds(now)
        with self._context.store.transaction() as transaction:
            text = (
                f"reading {self._dataset.name} hangs: process {process.pid} was silent for {silence:.0f} s and is ended"
            )
            transaction.event(
                "warn",
                "hang",
                text,
                dataset=self._dataset.id,
                silence_seconds=round(silence, 1),
                phase=self._pulse.phase,
            )
        return True

    def _job(self, transaction: Transaction, dataset: DatasetRecord) -> IntakeJob:
        workspace, spec = self._context.workspace, self._context.spec
        d = t.datasets
        others = transaction.rows(select(d.c.id).where(d.c.id != dataset.id).order_by(d.c.number))
        earlier = [row.id for row in others if (workspace.dataset(row.id) / "dataset.json").is_file()]
        return IntakeJob(
            dataset=DatasetRef(id=dataset.id, folder=workspace.dataset(dataset.id), name=dataset.name),
            file=copy_of(self._context, dataset),
            file_sha256=dataset.file_sha256,
            earlier=earlier_refs(transaction, workspace, earlier),
            benchmarks=tuple(sorted(workspace.benchmarks.glob("*.jsonl"))),
            intake=spec.intake,
            mappings=load_mappings(workspace.mappings),
            check=spec.check,
            split=spec.split,
            tokenizer=tokenizer_ref(workspace, spec),
        )

    def _listen(self) -> None:
        assert self._journal is not None
        messages = self._journal.read()
        self._pulse.hear(messages, self._context.awake.seconds)
        for message in messages:
            if message["kind"] == "finished":
                self._finished = message

    def _conclude(self) -> None:
        dataset, process, finished = self._dataset, self._process, self._finished
        assert dataset is not None and process is not None
        self._process = None
        if finished is not None and process.is_alive():
            local.stop(process, grace_seconds=5.0)
        exit = finished["exit"] if finished is not None else WorkerExit.CRASH
        if exit == WorkerExit.DONE:
            self._record_ready(dataset)
        elif exit == WorkerExit.BAD_CONFIG:
            assert finished is not None
            self._record_rejected(dataset, finished)
        elif exit == WorkerExit.DISK_FULL:
            self._wait_for_space(dataset)
        else:
            reason = finished["reason"] if finished is not None else _how_it_ended(process)
            self._record_crash(dataset, reason)
        retire(self.folder(dataset.id))

    def _record_ready(self, dataset: DatasetRecord) -> None:
        folder = self._context.workspace.dataset(dataset.id)
        try:
            read_manifest(folder)
            summary = orjson.loads((folder / "dataset.json").read_bytes())
        except (OSError, Damaged) as error:
            self._record_crash(dataset, f"it said it was done, but {error}")
            return
        with self._context.store.transaction() as transaction:
            record_summary(transaction, dataset, summary)

    def _record_rejected(self, dataset: DatasetRecord, refusal: dict[str, Any]) -> None:
        report_file = self.folder(dataset.id) / "report.txt"
        report = report_file.read_text("utf-8") if report_file.is_file() else ""
        reject(self._context, dataset, refusal, report or rejection.report_text(dataset.name, refusal))

    def _record_crash(self, dataset: DatasetRecord, reason: str) -> None:
        attempts = dataset.attempts + 1
        if attempts >= self._context.spec.worker.max_attempts:
            words = {
                "what": f"reading it failed {attempts} times: {reason}",
                "why": "a file that ends the process that reads it is not tried for ever",
                "remedy": "look at the file, raise intake.memory_megabytes if it is large, and drop it again",
            }
            reject(self._context, dataset, words, rejection.report_text(dataset.name, words))
            return
        with self._context.store.transaction() as transaction:
            set_fields(transaction, t.datasets, dataset.id, state="accepted", attempts=attempts)
            text = f"reading {dataset.name} failed ({reason}); it is tried again"
            transaction.event("warn", "intake.crashed", text, dataset=dataset.id)
        self._not_before = self._context.now() + self._context.spec.worker.backoff_seconds * (attempts - 1)

    def _wait_for_space(self, dataset: DatasetRecord) -> None:
        free = free_bytes(self._context.workspace.state)
        with self._context.store.transaction() as transaction:
            set_fields(transaction, t.datasets, dataset.id, state="accepted")
            text = f"no space to read {dataset.name} ({free:,} bytes free); it waits until there is"
            transaction.event("critical", "disk-full", text, dataset=dataset.id)
        self._not_before = self._context.now() + DISK_RETRY_SECONDS


def next_dataset(transaction: Transaction) -> DatasetRecord | None:
    """Return the accepted file to read next: by priority, then in the order of acceptance."""
    d = t.datasets
    waiting = select(d).where(d.c.state.in_(("accepted", "reading"))).order_by(d.c.priority.desc(), d.c.number)
    row = transaction.first(waiting.limit(1))
    return None if row is None else DatasetRecord.of(row)


def copy_of(context: Context, dataset: DatasetRecord) -> Path:
    """Return the immutable copy of a dataset's file: the one file of its folder."""
    folder = context.workspace.file(dataset.file_sha256)
    found = sorted(path for path in folder.iterdir() if path.name != "manifest.json") if folder.is_dir() else []
    return found[0] if found else folder / dataset.name


def record_summary(transaction: Transaction, dataset: DatasetRecord, summary: dict[str, Any]) -> None:
    """Make a dataset ready and queue its job; a file whose every row is known already has nothing to train."""
    counts = {name: int(summary[name]) for name in _COUNTS}
    sides = ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in _COUNTS[1:])
    is_empty = counts["train"] == 0
    is_kept = not is_empty and counts["train"] == int(summary.get("preference_rows", 0))
    is_stopped = not is_empty and not is_kept and summary.get("gate") == "stop"
    set_fields(
        transaction,
        t.datasets,
        dataset.id,
        state="empty" if is_empty else "kept" if is_kept else "waiting" if is_stopped else "ready",
        format=summary.get("format"),
        reasons=summary.get("reasons") or {},
        notes=summary.get("notes") or [],
        refusal=None,
        **counts,
    )
    text = f"{dataset.name}: {counts['rows_in']:,} rows in = {sides}"
    if is_empty:
        transaction.event("warn", "dataset.empty", f"{text}; no row of it is left to train", dataset=dataset.id)
        return
    if is_kept:
        transaction.event("info", "dataset.kept", f"{text}; kept for preference training", dataset=dataset.id)
        return
    if is_stopped:
        cost = ", ".join(f"{one['title']} ({one['rows']:,})" for one in summary["deductions"][:3])
        words = f"{text}; score {summary['score']}: {cost}; it waits for: stoker data approve {dataset.id}"
        transaction.event("warn", "dataset.waiting", words, dataset=dataset.id)
        return
    if summary.get("gate") == "warn":
        words = f"{dataset.name} has a score of {summary['score']}; see: stoker data check {dataset.id}"
        transaction.event("warn", "dataset.poor", words, dataset=dataset.id)
    if is_rolled_back(transaction, dataset.id):
        transaction.event("info", "dataset.ready", f"{text}; rolled back, so it does not train", dataset=dataset.id)
        return
    if is_in_open_trial(transaction, dataset.id):
        transaction.event("info", "dataset.ready", f"{text}; it trains as a branch", dataset=dataset.id)
        return
    job_id = queue.add_job(transaction, dataset.id, dataset.priority)
    transaction.event("info", "dataset.ready", text, dataset=dataset.id, job=job_id, **counts)


def approve(transaction: Transaction, dataset_id: str) -> None:
    """Let a dataset that waits because of its score train as it is."""
    d = t.datasets
    row = transaction.first(select(d).where(d.c.id == dataset_id))
    if row is None or row.state != "waiting":
        state = "not there" if row is None else row.state
        raise NotAllowed(f"{dataset_id} is {state}", "only a waiting dataset is approved", "run: stoker data list")
    refuse_rolled_back(transaction, dataset_id)
    set_fields(transaction, d, dataset_id, state="ready")
    job_id = None if is_in_open_trial(transaction, dataset_id) else queue.add_job(transaction, dataset_id, row.priority)
    transaction.event("info", "dataset.approved", f"{row.name} trains as it is", dataset=dataset_id, job=job_id)


def reject(context: Context, dataset: DatasetRecord, refusal: dict[str, Any], report: str) -> None:
    """Put a file and its report into `rejected/`, record it, and let the copy go."""
    copy = copy_of(context, dataset)
    rejection.put_file(context.workspace, copy, dataset.name, dataset.file_sha256, report)
    with context.store.transaction() as transaction:
        set_fields(transaction, t.datasets, dataset.id, state="rejected", refusal=report)
        what = refusal.get("what") or refusal.get("reason") or "no reason given"
        transaction.event("warn", "file.rejected", f"{dataset.name} was rejected: {what}", dataset=dataset.id)
    retire(context.workspace.file(dataset.file_sha256))


def _how_it_ended(process: local.Process) -> str:
    status = process.exit_status()
    if status is None:
        return "it ended without a word"
    return f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
