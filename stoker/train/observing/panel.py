"""Everything that a run measures beside training, put together as its settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.watch import Watch
from stoker.mailbox.messages import Outbox
from stoker.model.load import Loaded
from stoker.spec.jobs import TrainJob
from stoker.train.conductor import Observer
from stoker.train.observing.benchmark_score import BenchmarkScore
from stoker.train.observing.budget import Budget
from stoker.train.observing.heldout import HeldoutLoss
from stoker.train.observing.layer_norms import LayerNorms
from stoker.train.observing.left_out import LeftOut
from stoker.train.observing.samples import Samples, choose_probes
from stoker.train.observing.sealed import gather_sealed
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
    left_out: LeftOut
    budget: Budget

    @property
    def observers(self) -> Sequence[Observer]:
        return (self.budget, self.layer_norms, self.heldout, self.samples, self.left_out)

    def look(self, watch: Watch, step: int) -> list[Finding]:
        """Return what the watch finds in what was measured at this very step."""
        found: list[Finding] = []
        norms, heldout, samples = self.layer_norms.latest, self.heldout.latest, self.samples.latest
        if norms is not None and norms[0] == step:
            found += watch.after_layer_norms(step, norms[1])
        if heldout is not None and heldout[0] == step:
            found += watch.after_evaluation(step, heldout[1], None)
        if samples is not None and samples[0] == step:
            marks = samples[1]
            found += watch.after_samples(step, sum(right for right, _ in marks) / len(marks), marks)
        return found


def make_panel(
    job: TrainJob, loaded: Loaded, outbox: Outbox, *, plan: Callable[[], Plan], settings: Callable[[], Settings],
    progress: Callable[[], Progress],
) -> Panel:  # fmt: skip
    """Make the observers; plan, settings and progress are asked for at every step, since a run may change them."""
    spec, first = (lambda: settings().train), settings()
    budget = Budget()
    benchmark = _benchmark(job, loaded, first)
    rows = gather_sealed(job, loaded.tokenizer, first.max_length)
    if first.train.early_stopping and not rows and benchmark is None:
        text = "no row of the run's data is held out: there is nothing to stop early by, and every step will be done"
        outbox.event("warn", "early-stopping.off", text)
    batch_tokens = min(_BATCH_TOKENS, first.batch_tokens)
    probes = choose_probes(rows, first.train, loaded.tokenizer) if first.train.sample_every else []
    heldout = HeldoutLoss(rows, spec, plan, progress, loaded, batch_tokens, outbox, budget, benchmark)
    samples = Samples(probes, spec, lambda: plan().total_steps, loaded, batch_tokens, outbox, budget)
    layer_norms = LayerNorms(trainable(loaded.model), spec, outbox, budget)
    left_out = LeftOut(heldout, samples, spec, lambda: plan().total_steps, outbox)
    return Panel(layer_norms, heldout, samples, left_out, budget)


def _benchmark(job: TrainJob, loaded: Loaded, settings: Settings) -> BenchmarkScore | None:
    """Return the benchmark that the run stops early by, if it is not the held-out loss."""
    train = settings.train
    if not train.early_stopping or train.early_stopping_on == "heldout":
        return None
    assert job.benchmarks is not None
    trained = [ref.folder for ref in (*job.new, *job.replay)]
    return BenchmarkScore(job.benchmarks / f"{train.early_stopping_on}.jsonl", trained, loaded, train.eval_rows)
