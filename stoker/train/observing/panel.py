"""Everything that a run measures beside training, put together as its settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stoker.mailbox.messages import Outbox
from stoker.model.load import Loaded
from stoker.spec.jobs import TrainJob
from stoker.train.conductor import Observer
from stoker.train.observing.budget import Budget
from stoker.train.observing.heldout import HeldoutLoss
from stoker.train.observing.layer_norms import LayerNorms
from stoker.train.observing.samples import Samples, choose_probes
from stoker.train.observing.sealed import SealedRow, gather_sealed
from stoker.train.optimizer import trainable
from stoker.train.plan import Plan
from stoker.train.progress import Progress
from stoker.train.resolve import Settings

_BATCH_TOKENS = 8192


@dataclass(frozen=True)
class Panel:
    """The observers of a run, in the order in which they look."""

    layer_norms: LayerNorms
    heldout: HeldoutLoss
    samples: Samples
    budget: Budget

    @property
    def observers(self) -> Sequence[Observer]:
        return (self.budget, self.layer_norms, self.heldout, self.samples)


def make_panel(
    job: TrainJob, plan: Plan, loaded: Loaded, outbox: Outbox, settings: Callable[[], Settings],
    progress: Callable[[], Progress],
) -> Panel:  # fmt: skip
    """Make the observers; `settings` and `progress` are asked at every step, since a run may change both."""
    spec, first = (lambda: settings().train), settings()
    budget = Budget()
    rows = _sealed_rows(job, loaded, first, outbox)
    batch_tokens = min(_BATCH_TOKENS, first.batch_tokens)
    probes = choose_probes(rows, first.train, loaded.tokenizer) if first.train.sample_every else []
    return Panel(
        LayerNorms(trainable(loaded.model), spec, outbox),
        HeldoutLoss(rows, spec, plan, progress, loaded, batch_tokens, outbox, budget),
        Samples(probes, spec, plan.total_steps, loaded, batch_tokens, outbox, budget),
        budget,
    )


def _sealed_rows(job: TrainJob, loaded: Loaded, settings: Settings, outbox: Outbox) -> list[SealedRow]:
    """Return what there is to evaluate on; a run whose early stopping has nothing to go by says so."""
    rows = gather_sealed(job, loaded.tokenizer, settings.max_length)
    if not rows and settings.train.early_stopping:
        text = "no row of the run's data is held out: there is nothing to stop early by, and every step will be done"
        outbox.event("warn", "early-stopping.off", text)
    return rows
