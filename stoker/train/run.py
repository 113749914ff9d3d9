"""One run: continue a version (or the base) on new rows, and publish what comes out.

A loop over segments. Whatever ends one (pause, signal, full disk, a kill) the run goes on from its newest checkpoint
that verifies, bit for bit on a CPU; published twice it is published once. The steps themselves are in `segment`.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from stoker.durable import sweep, write_atomic
from stoker.errors import Damaged, DiskFull, WorkerExit
from stoker.locks import FileLock
from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox
from stoker.model.base import base_sha256, ensure_base
from stoker.model.device import Hardware, resolve_hardware
from stoker.model.load import load_for_training, load_tokenizer
from stoker.model.resident import Resident
from stoker.spec.jobs import TrainJob
from stoker.train.checkpoint import Checkpoints, Identity, Snapshot
from stoker.train.conductor import Ending
from stoker.train.course import Course
from stoker.train.finish import go_back_to_best
from stoker.train.line import LineKey, LiveLine, copy_to_ask, keep_live, take_live
from stoker.train.observing.sealed import gather_sealed
from stoker.train.optimizer import GuardedAdamW, moment_shapes, trainable
from stoker.train.plan import PLAN, Plan, load_plan, make_plan, plan_inputs, save_plan
from stoker.train.publish import parent_moments, publish_version, published
from stoker.train.resolve import Settings, resolve_settings
from stoker.train.rows import PROOF, TrainingRows, gather_rows, tiny_rows
from stoker.train.segment import Run, train_segments
from stoker.train.steering import RolledBack

LOCK = "lock"


def run_training(job: TrainJob, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Train the job in its run folder, publish the version and say `finished`.

    Raises InvalidInput for what a person must mend and DiskFull for a full disk outside of training; the caller tells
    those, and anything else, as the task's end.
    """
    with FileLock(folder / LOCK).held():
        control = ControlInbox(folder)
        sweep(folder)
        sweep(job.output.parent)
        facts = published(job, outbox)
        if facts is None:
            outcome = _Outcome(job, folder, outbox, control, resident).reach()
            if isinstance(outcome, Ending):
                extra = {"needed_bytes": outcome.needed_bytes} if outcome.needed_bytes else {}
                outbox.finished(outcome.exit, outcome.reason, **extra)
                return outcome.exit
            facts = outcome
        outbox.send(
            "result", weights_sha256=facts["weights_sha256"], base_sha256=facts["base"]["sha256"],
            steps=facts["steps"], rows=facts["rows"], replay_rows=facts["replay_rows"], tokens=facts["tokens"],
        )  # fmt: skip
        early = facts.get("finished_early")
        outbox.finished(WorkerExit.DONE, early["reason"] if early else "", step=facts["steps"], output=str(job.output))
        return WorkerExit.DONE


def prepare_run(job: TrainJob, outbox: Outbox) -> None:
    """Tokenise and prove a later run's rows, so that its first step comes at once."""
    hardware = resolve_hardware(job.train)
    base_folder = ensure_base(job.base, job.base_folder, tiny_rows(job.new), job.train.seed)
    settings = resolve_settings(job, base_folder, hardware)
    tokenizer = load_tokenizer(base_folder)
    gather_rows(job, tokenizer, settings.max_length, outbox)
    gather_sealed(job, tokenizer, settings.max_length)


class _Outcome:
    """The way from a job to its version, in order."""

    def __init__(self, job: TrainJob, folder: Path, outbox: Outbox, control: ControlInbox, resident: Resident) -> None:
        self.job, self.folder, self.outbox, self.control, self.resident = job, folder, outbox, control, resident

    def reach(self) -> dict[str, Any] | Ending:
        """Return the published version's facts, or why there is none yet. A rollback is a resume from further back."""
        while isinstance(outcome := self._go(), RolledBack):
            gc.collect()
        return outcome

    def _go(self) -> dict[str, Any] | Ending | RolledBack:
        job, outbox = self.job, self.outbox
        outbox.phase("load")
        hardware = resolve_hardware(job.train)
        base_folder = ensure_base(job.base, job.base_folder, tiny_rows(job.new), job.train.seed)
        base_hash = base_sha256(base_folder)
        settings = resolve_settings(job, base_folder, hardware)
        key = LineKey(base_hash, settings.model, hardware)
        line = take_live(job.parent, key)
        tokenizer = line.loaded.tokenizer if line else load_tokenizer(base_folder)
        rows = gather_rows(job, tokenizer, settings.max_length, outbox)
        write_atomic(self.folder / PROOF, rows.proof.encode())
        plan = self._plan(rows, settings, hardware)
        identity = Identity(
            run=job.run, plan_sha256=plan.sha256(), method=settings.method, base_sha256=base_hash,
            seed=job.train.seed, batch_tokens=settings.batch_tokens, fence=job.fence, threads=hardware.threads,
            precision=hardware.precision, settings_sha256=settings.sha256(),
        )  # fmt: skip
        outbox.phase("load")
        loaded = line.loaded if line else load_for_training(
            base_folder, job.parent, settings.model, hardware, job.train.seed
        )  # fmt: skip
        optimizer = GuardedAdamW(
            trainable(loaded.model).items(), lr=settings.learning_rate, betas=settings.betas,
            weight_decay=job.train.weight_decay,
        )  # fmt: skip
        run = Run(
            job, self.folder, base_folder, settings, hardware, plan, rows, loaded, optimizer, outbox, self.control,
            Checkpoints(self.folder, identity, job.retention.checkpoints), Course(self.folder), key,
            line.loss if line else None,
        )  # fmt: skip
        self._start(run, line)
        ending = self._train(run)
        if isinstance(ending, RolledBack) or (ending is not None and ending.exit is not WorkerExit.DONE):
            return ending
        finished_early = go_back_to_best(run, ending, self._tell_damaged)
        return self._publish(run, base_hash, finished_early)

    def _plan(self, rows: TrainingRows, settings: Settings, hardware: Hardware) -> Plan:
        """Return the stored order if it was made from the same rows and settings, else make and store it."""
        train = self.job.train
        asked: dict[str, Any] = {
            "epochs": train.epochs, "replay": train.replay, "batch_tokens": settings.batch_tokens,
            "packing": hardware.packing, "seed": train.seed,
        }  # fmt: skip
        if settings.batch_size is not None:
            asked["batch_size"] = settings.batch_size
        path = self.folder / PLAN
        stored = load_plan(path)
        inputs = plan_inputs([*rows.new, *rows.earlier], len(rows.new))
        if stored is not None and {**stored.facts, **asked, "inputs": inputs} == stored.facts:
            return stored
        if stored is not None:
            text = "the rows or settings are not those the run was planned with: it begins anew"
            self.outbox.event("warn", "plan.changed", text)
        plan = make_plan(rows.new, rows.earlier, **asked)
        save_plan(plan, path)
        return plan

    def _start(self, run: Run, line: LiveLine | None) -> None:
        """Take up the newest checkpoint, else the parent's moments; tell where the run begins."""
        if run.course.leg:
            run.checkpoints.retire_abandoned(run.course.is_abandoned)
        snapshot = run.checkpoints.newest(
            {name: tuple(p.shape) for name, p in run.optimizer.named.items()},
            moment_shapes(run.optimizer.named.items()),
            self._tell_damaged,
        )
        if snapshot is not None:
            run.restore(snapshot)
            self._tell_differences(snapshot)
        else:
            moments = line.moments if line else parent_moments(self.job.parent, run.loaded, self.outbox)
            if line:
                self.outbox.event("info", "moments.kept", "the line goes on in memory: nothing is loaded")
            if moments is not None:
                run.optimizer.load_moments(moments)
        self.outbox.send(
            "started", pid=os.getpid(), device=str(run.hardware.device), threads=run.hardware.threads,
            precision=run.hardware.precision, resumed_from=snapshot.step if snapshot else None, started_at=_started_at(),
        )  # fmt: skip

    def _train(self, run: Run) -> Ending | RolledBack | None:
        try:
            return train_segments(run)
        except DiskFull as error:
            return Ending(WorkerExit.DISK_FULL, str(error), error.needed_bytes)

    def _publish(self, run: Run, base_hash: str, finished_early: dict[str, Any] | None) -> dict[str, Any]:
        """Publish the version, and leave its model for the evaluation and the next run of the line."""
        self.outbox.phase("save")
        facts = publish_version(
            self.job, run.loaded, run.optimizer, settings=run.settings, hardware=run.hardware, plan=run.plan,
            progress=run.progress, base_sha256=base_hash, finished_early=finished_early,
        )  # fmt: skip
        weights_hash = facts["weights_sha256"]
        assert run.loss is not None
        line = LiveLine(run.key, weights_hash, run.loaded, run.optimizer.moments(), run.loss)
        is_kept = keep_live(line)
        if run.settings.method != "qlora":  # evaluated on the base's full weights
            self.resident.put(copy_to_ask(run.loaded) if is_kept else run.loaded, weights_hash)
        return facts

    def _tell_damaged(self, damage: Damaged) -> None:
        self.outbox.send("damaged", folder=str(damage.folder), file=damage.file, reason=damage.reason)

    def _tell_differences(self, snapshot: Snapshot) -> None:
        if snapshot.differences:
            text = f"resumed under other conditions ({'; '.join(snapshot.differences)}): the last digits may differ"
            self.outbox.event("warn", "resume.inexact", text)


def _started_at() -> float:
    import psutil

    return psutil.Process().create_time()
