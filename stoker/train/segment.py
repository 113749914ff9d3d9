"""Segments: stretches of a run under one Trainer. Each begins where the last one ended, in this process or another.

Weights, moments and random states are put back by us, and the rate is a function of our own step, so a fresh Trainer
goes on exactly. Running out of memory in the middle ends a segment; the next one computes the same steps in less.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stoker.analysis.detectors.watch import Watch
from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox
from stoker.mailbox.row_losses import RowLossWriter
from stoker.model.device import Hardware
from stoker.model.load import Loaded, pad_token_id
from stoker.model.loss import Loss, choose_loss
from stoker.spec.jobs import TrainJob
from stoker.spec.live import SHAPE, with_changes
from stoker.train.buckets import StepSize
from stoker.train.checkpoint import Checkpoints, Saved, Snapshot
from stoker.train.conductor import Conductor, Ending, early_end
from stoker.train.course import Course, next_turn_step
from stoker.train.fit import apply_memory, at_least, first_memory, fit_memory, free_memory, is_out_of_memory, tighter
from stoker.train.healing import Healer
from stoker.train.line import LineKey
from stoker.train.observing.budget import Budget
from stoker.train.observing.panel import Panel, make_panel
from stoker.train.optimizer import GuardedAdamW
from stoker.train.plan import Plan
from stoker.train.progress import Memory, Progress
from stoker.train.randomness import put_back, seed_all, take_device_states, take_host_states
from stoker.train.replan import Laid, Row, relaid, without
from stoker.train.resolve import Settings, resolve_settings
from stoker.train.rows import TrainingRows
from stoker.train.schedule import rate_factor
from stoker.train.steering import RolledBack, heal, steer, tell
from stoker.train.steps import PlannedSteps, StepLoader
from stoker.train.trainer import SegmentTrainer, training_arguments


@dataclass
class Run:
    """A run in progress: what its segments share. `settings` and `laid` are those in force."""

    job: TrainJob
    folder: Path
    base_folder: Path
    settings: Settings
    hardware: Hardware
    first_plan: Plan
    rows: TrainingRows
    loaded: Loaded
    optimizer: GuardedAdamW
    outbox: Outbox
    control: ControlInbox
    checkpoints: Checkpoints
    course: Course
    key: LineKey
    loss: Loss | None = None
    progress: Progress = field(default_factory=Progress)
    memory: Memory | None = None
    snapshot: Snapshot | None = None
    row_losses: RowLossWriter | None = None
    panel: Panel | None = None

    def __post_init__(self) -> None:
        self.watch = Watch(self.job.watch)
        self.laid = Laid(self.first_plan, self.first_plan.total_steps)

    @property
    def plan(self) -> Plan:
        return self.laid.plan

    def restore(self, snapshot: Snapshot) -> None:
        """Put a checkpoint's weights and moments back; its random states follow right before the first step."""
        with torch.no_grad():
            for name, parameter in self.optimizer.named.items():
                parameter.copy_(snapshot.weights[name])
        self.optimizer.load_moments(snapshot.moments)
        self.progress, self.memory, self.snapshot = snapshot.progress, snapshot.memory, snapshot
        self.watch = Watch(self.job.watch, snapshot.progress.watch)

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
        return self.settings.learning_rate * self.rate_factor_at(step)

    def rate_factor_at(self, step: int) -> float:
        """Return what the peak rate is multiplied by at a step: the first plan's schedule, stretched over the present one."""
        train, laid = self.settings.train, self.laid
        return rate_factor(laid.place(step), laid.total_places, train.warmup_fraction, train.decay_fraction)

    def settings_with(self, live: Mapping[str, Any]) -> Settings:
        """Return the job's settings with live ones in their place."""
        job = self.job.model_copy(update={"train": with_changes(self.job.train, live)})
        return resolve_settings(job, self.base_folder, self.hardware)

    def take_turns(self) -> bool:
        """Make the course's turns up to the present step hold; return whether one at this very step changes what a step is."""
        self.settings, self.laid = self.settings_with({}), Laid(self.first_plan, self.first_plan.total_steps)
        is_reshaped, left_out = False, frozenset[Row]()
        for turn in self.course.turns():
            if turn.step > self.progress.step:
                break
            settings = self.settings_with(turn.live)
            if turn.is_rollback and turn.step == self.progress.step:
                self.watch.restart()
            is_reshaped = turn.step == self.progress.step and _shape(settings) != _shape(self.settings)
            self.laid = self.laid_with(settings, turn.step, turn.left_out - left_out)
            self.settings, left_out = settings, turn.left_out
        return is_reshaped

    def laid_with(self, settings: Settings, step: int, left_out: Collection[Row] = ()) -> Laid:
        """Return the plan in force as it goes on from `step` under other settings, without these rows."""
        data, num_new, size = self.rows.lengths, len(self.rows.new), self.step_size(settings)
        laid = self.laid
        if size != self.step_size(self.settings):
            laid = laid.turned(relaid(laid.plan, step, data, num_new, size), step)
        if left_out:
            laid = laid.turned(without(laid.plan, step, data, num_new, size, left_out), step)
        return laid

    def step_size(self, settings: Settings) -> StepSize:
        return StepSize(settings.batch_tokens, settings.batch_size, self.hardware.packing)

    def steps(self, plan: Plan) -> PlannedSteps:
        return PlannedSteps(plan, self.rows.encoded, pad_token_id(self.loaded.tokenizer), self.hardware.device)

    def fit(self, settings: Settings, plan: Plan) -> Memory:
        """Return how the steps of a plan can be computed; InvalidInput when they can't."""
        assert self.loss is not None
        steps, key = self.steps(plan), (self.key, settings.batch_tokens, settings.batch_size)
        memory = self.in_parts(first_memory(settings), plan)
        return fit_memory(key, self.loaded.model, self.loss, steps, memory, settings.train, self.outbox)

    def in_parts(self, memory: Memory, plan: Plan) -> Memory:
        """Return `memory` with a step split into at least as many parts as the job asks for."""
        return at_least(memory, self.job.least_accumulation, int((plan.offsets[1:] - plan.offsets[:-1]).max()))


def train_segments(run: Run) -> Ending | RolledBack | None:
    """Train what is left of the plan; return why it ended early, or None when every step is done."""
    run.progress.leg = run.course.leg
    for entry in run.course.entries:
        tell(run, entry)
    run.loaded.model.train()
    _take_turns(run)
    back = steer(run, run.job.asked)
    if back is not None:
        return back
    run.panel = make_panel(
        run.job,
        run.loaded,
        run.outbox,
        plan=lambda: run.plan,
        settings=lambda: run.settings,
        progress=lambda: run.progress,
    )
    run.row_losses = RowLossWriter(run.folder, run.progress.step, run.plan.datasets)
    try:
        return _train(run)
    finally:
        run.row_losses.close()
        run.row_losses = None


def _train(run: Run) -> Ending | RolledBack | None:
    put_generators: Callable[[], None] = functools.partial(_put_generators, run)
    conductor = _conductor(run)
    _take_turns(run)
    _tell_plan(run)
    while run.progress.step < run.plan.total_steps:
        ending = early_end(run.progress, run.settings.train)
        if ending is not None:
            return ending
        conductor.begin(run.plan, run.settings.train)
        try:
            _train_segment(run, conductor, put_generators)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            put_generators = _go_on_drawing()
            free_memory(run.loaded.model)
            assert run.memory is not None
            most_rows = int((run.plan.offsets[1:] - run.plan.offsets[:-1]).max())
            run.memory = tighter(run.memory, run.settings.train, most_rows, run.outbox)
            continue
        if conductor.ending is not None:
            return conductor.ending
        put_generators = _go_on_drawing()
        back = conductor.back or steer(run, conductor.asked)
        if back is not None:
            return back
        if run.progress.step < run.plan.total_steps:
            _take_turns(run)
            _tell_plan(run)
    if run.snapshot is None or run.snapshot.step < run.plan.total_steps:
        run.outbox.phase("save")
        conductor.save()
        return conductor.ending
    return None


def _take_turns(run: Run) -> None:
    """Make what the course says of the present step hold, and see that steps fit in memory."""
    is_reshaped = run.take_turns()
    model = run.loaded.model
    if run.loss is None:
        run.loss = choose_loss(model, run.steps(run.plan)[0].parts[0], run.hardware)
    if run.memory is None:
        run.outbox.phase("fit")
    if run.memory is None or is_reshaped:
        run.memory = run.fit(run.settings, run.plan)
    run.memory = run.in_parts(run.memory, run.plan)


def _tell_plan(run: Run) -> None:
    spec, plan, memory = run.settings.train, run.plan, run.memory
    assert memory is not None
    run.outbox.send(
        "plan", total_steps=plan.total_steps, start_step=run.progress.step, rows=int(plan.rows.sum()),
        replay_rows=int(plan.replay_rows.sum()), tokens=int(plan.tokens.sum()), max_length=run.settings.max_length,
        batch_tokens=run.settings.batch_tokens, accumulation=memory.accumulation,
        gradient_checkpointing=memory.is_checkpointing, learning_rate=run.settings.learning_rate,
        betas=list(run.settings.betas), method=run.settings.method, epochs=spec.epochs, fill=round(plan.fill, 4),
    )  # fmt: skip
    run.outbox.phase("train", run.progress.step, plan.total_steps)


def _conductor(run: Run) -> Conductor:
    assert run.panel is not None
    healer = Healer(run.job.recover, run.watch, run.progress, run.course, run.outbox, run.panel.look)
    return Conductor(
        run.plan, run.progress, run.settings.train, run.outbox, run.control,
        rate_at=run.rate_at, save=run.save, make_room=run.checkpoints.drop_spares,
        guard=run.optimizer, healer=healer, heal=functools.partial(heal, run),
        observers=run.panel.observers,
    )  # fmt: skip


def _train_segment(run: Run, conductor: Conductor, put_generators: Callable[[], None]) -> None:
    """Train up to the course's next turn, the plan's end, or whatever the conductor ends it for."""
    start, train = run.progress.step, run.settings.train
    stop = next_turn_step(run.course.turns(), start) or run.plan.total_steps
    assert run.loss is not None and run.row_losses is not None and run.memory is not None and run.panel is not None
    run.optimizer.set_decay(train.weight_decay)
    for group in run.optimizer.param_groups:
        group["lr"] = group["initial_lr"] = run.settings.learning_rate
    scheduler = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda step: run.rate_factor_at(start + step))
    steps = run.steps(run.plan)
    apply_memory(run.loaded.model, steps, run.memory)
    config = getattr(run.loaded.model, "config", None)
    arguments = training_arguments(
        run.folder, run.hardware, num_steps=min(stop, run.plan.total_steps) - start, max_grad_norm=train.max_grad_norm,
        seed=train.seed, use_cache=bool(getattr(config, "use_cache", True)),
    )  # fmt: skip
    trainer = SegmentTrainer(
        run.loaded.model, StepLoader(steps, start), run.optimizer, scheduler, run.loss, args=arguments,
        conductor=conductor, before_first=put_generators,
    )  # fmt: skip
    conductor.read_loss_and_norm = trainer.read_loss_and_norm
    trainer.before_clipping = run.panel.layer_norms.measure
    conductor.record_rows = functools.partial(_record_rows, run.row_losses, trainer, run.panel.budget)
    trainer.train()


def _shape(settings: Settings) -> tuple[Any, ...]:
    return tuple(getattr(settings, name) for name in SHAPE)


def _record_rows(writer: RowLossWriter, trainer: SegmentTrainer, budget: Budget, step: int) -> None:
    """Write what the step's rows lost, after its message: a worker that dies here does the step again."""
    with budget.spending():
        rows = trainer.read_row_losses()
        if rows:
            writer.append(step, rows)


def _put_generators(run: Run) -> None:
    """Set the random states to the checkpoint's, or to the seed's at a run's first step."""
    if run.snapshot is None:
        seed_all(run.settings.train.seed)
    else:
        put_back(run.snapshot.rng, run.snapshot.host_rng)


def _go_on_drawing() -> Callable[[], None]:
    """Return what puts the present random states back: whatever is done between two segments draws nothing from them."""
    return functools.partial(put_back, take_device_states(), take_host_states())
