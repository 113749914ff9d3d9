"""Segments: stretches of a run under one Trainer. Each begins where the last one ended, in this process or another.

Weights, moments and random states are put back by us, and the rate is a function of our own step, so a fresh Trainer
goes on exactly. Running out of memory in the middle ends a segment; the next one computes the same steps in less.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox
from stoker.mailbox.row_losses import RowLossWriter
from stoker.model.device import Hardware
from stoker.model.load import Loaded, pad_token_id
from stoker.model.loss import Loss, choose_loss
from stoker.spec.jobs import TrainJob
from stoker.train.checkpoint import Checkpoints, Saved, Snapshot
from stoker.train.conductor import Conductor, Ending, early_end
from stoker.train.fit import apply_memory, first_memory, fit_memory, free_memory, is_out_of_memory, tighter
from stoker.train.line import LineKey
from stoker.train.observing.panel import Panel, make_panel
from stoker.train.optimizer import GuardedAdamW
from stoker.train.plan import Plan
from stoker.train.progress import Memory, Progress
from stoker.train.randomness import put_back, seed_all
from stoker.train.resolve import Settings
from stoker.train.rows import TrainingRows
from stoker.train.schedule import rate_factor
from stoker.train.steps import PlannedSteps, StepLoader
from stoker.train.trainer import SegmentTrainer, training_arguments


@dataclass
class Run:
    """A run in progress: what its segments share."""

    job: TrainJob
    folder: Path
    settings: Settings
    hardware: Hardware
    plan: Plan
    rows: TrainingRows
    loaded: Loaded
    optimizer: GuardedAdamW
    outbox: Outbox
    control: ControlInbox
    checkpoints: Checkpoints
    key: LineKey
    loss: Loss | None = None
    progress: Progress = field(default_factory=Progress)
    memory: Memory | None = None
    snapshot: Snapshot | None = None
    row_losses: RowLossWriter | None = None
    panel: Panel | None = None

    def restore(self, snapshot: Snapshot) -> None:
        """Put a checkpoint's weights and moments back; its random states follow right before the first step."""
        with torch.no_grad():
            for name, parameter in self.optimizer.named.items():
                parameter.copy_(snapshot.weights[name])
        self.optimizer.load_moments(snapshot.moments)
        self.progress, self.memory, self.snapshot = snapshot.progress, snapshot.memory, snapshot

    def save(self) -> Saved:
        """Publish a checkpoint of this very moment, then delete what is no longer kept."""
        assert self.memory is not None
        if self.row_losses is not None:
            self.row_losses.sync()
        weights = {name: parameter.detach() for name, parameter in self.optimizer.named.items()}
        saved = self.checkpoints.save(weights, self.optimizer.moments(), self.progress, self.memory)
        self.checkpoints.retain(self.progress.best_step)
        return saved

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        train = self.settings.train
        factor = rate_factor(step, self.plan.total_steps, train.warmup_fraction, train.decay_fraction)
        return self.settings.learning_rate * factor


def train_segments(run: Run) -> Ending | None:
    """Train what is left of the plan; return why it ended early, or None when every step is done."""
    steps = PlannedSteps(run.plan, run.rows.encoded, pad_token_id(run.loaded.tokenizer), run.hardware.device)
    _get_ready(run, steps)
    run.panel = make_panel(
        run.job, run.plan, run.loaded, run.outbox, settings=lambda: run.settings, progress=lambda: run.progress
    )
    run.row_losses = RowLossWriter(run.folder, run.progress.step, run.plan.datasets)
    try:
        return _train(run, steps)
    finally:
        run.row_losses.close()
        run.row_losses = None


def _train(run: Run, steps: PlannedSteps) -> Ending | None:
    put_generators: Callable[[], None] = functools.partial(_put_generators, run)
    while run.progress.step < run.plan.total_steps:
        ending = early_end(run.progress, run.settings.train)
        if ending is not None:
            return ending
        conductor = _conductor(run)
        try:
            _train_segment(run, steps, conductor, put_generators)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            free_memory(run.loaded.model)
            assert run.memory is not None
            most_rows = int((run.plan.offsets[1:] - run.plan.offsets[:-1]).max())
            run.memory = tighter(run.memory, run.settings.train, most_rows, run.outbox)
            apply_memory(run.loaded.model, steps, run.memory)
        if conductor.ending is not None:
            return conductor.ending
        put_generators = _go_on_drawing
    if run.snapshot is None or run.snapshot.step < run.plan.total_steps:
        conductor = _conductor(run)
        run.outbox.phase("save")
        conductor.save()
        return conductor.ending
    return None


def _get_ready(run: Run, steps: PlannedSteps) -> None:
    """Choose the loss, fit the memory, tell the plan."""
    spec, plan, model = run.settings.train, run.plan, run.loaded.model
    model.train()
    if run.loss is None:
        run.loss = choose_loss(model, steps[0].parts[0], run.hardware)
    if run.memory is None:
        run.outbox.phase("fit")
        key = (run.key, run.settings.batch_tokens)
        run.memory = fit_memory(key, model, run.loss, steps, first_memory(run.settings), spec, run.outbox)
    apply_memory(model, steps, run.memory)
    run.outbox.send(
        "plan", total_steps=plan.total_steps, start_step=run.progress.step, rows=int(plan.rows.sum()),
        replay_rows=int(plan.replay_rows.sum()), tokens=int(plan.tokens.sum()), max_length=run.settings.max_length,
        batch_tokens=run.settings.batch_tokens, accumulation=run.memory.accumulation,
        gradient_checkpointing=run.memory.is_checkpointing, learning_rate=run.settings.learning_rate,
        betas=list(run.settings.betas), method=run.settings.method, epochs=spec.epochs, fill=round(plan.fill, 4),
    )  # fmt: skip
    run.outbox.phase("train", run.progress.step, plan.total_steps)


def _conductor(run: Run) -> Conductor:
    return Conductor(
        run.plan, run.progress, run.settings.train, run.outbox, run.control,
        rate_at=run.rate_at, save=run.save, make_room=run.checkpoints.drop_spares,
        observers=run.panel.observers if run.panel else (),
    )  # fmt: skip


def _train_segment(run: Run, steps: PlannedSteps, conductor: Conductor, put_generators: Callable[[], None]) -> None:
    start, train = run.progress.step, run.settings.train
    assert run.loss is not None and run.row_losses is not None and run.panel is not None
    for group in run.optimizer.param_groups:
        group["lr"] = group["initial_lr"] = run.settings.learning_rate
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        run.optimizer,
        lambda step: rate_factor(start + step, run.plan.total_steps, train.warmup_fraction, train.decay_fraction),
    )
    config = getattr(run.loaded.model, "config", None)
    arguments = training_arguments(
        run.folder, run.hardware, num_steps=run.plan.total_steps - start, max_grad_norm=train.max_grad_norm,
        seed=train.seed, use_cache=bool(getattr(config, "use_cache", True)),
    )  # fmt: skip
    trainer = SegmentTrainer(
        run.loaded.model, StepLoader(steps, start), run.optimizer, scheduler, run.loss, args=arguments,
        conductor=conductor, before_first=put_generators,
    )  # fmt: skip
    conductor.read_loss_and_norm = trainer.read_loss_and_norm
    trainer.before_clipping = run.panel.layer_norms.measure
    conductor.record_rows = functools.partial(_record_rows, run.row_losses, trainer)
    trainer.train()


def _record_rows(writer: RowLossWriter, trainer: SegmentTrainer, step: int) -> None:
    """Write what the step's rows lost, after its message: a worker that dies here does the step again."""
    rows = trainer.read_row_losses()
    if rows:
        writer.append(step, rows)


def _put_generators(run: Run) -> None:
    """Set the random states to the checkpoint's, or to the seed's at a run's first step."""
    if run.snapshot is None:
        seed_all(run.settings.train.seed)
    else:
        put_back(run.snapshot.rng, run.snapshot.host_rng)


def _go_on_drawing() -> None:
    """Leave the generators as they are: a segment that follows another in the same process."""
