"""The facts of a daily report: one structure from which page, text and JSON are made, each number beside its source.

What happened (files, runs, verdicts, incidents) is of the window; what stands open (the queue, the disk, what waits for a
person) is of the moment `made_at`. Pure: `stoker.report.gathering` reads the store, `stoker.report.advice` judges.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import compress, pairwise
from typing import Any

from stoker.analysis.eta import Eta
from stoker.report.window import Window

MAX_POINTS = 120
"""Points of a run's curve: as many as a plot of a report has room for."""
_MAX_NAMED = 6
MAX_MEAN_STEPS = 20
"""The first and the last loss of a run are means over a tenth of its steps, at most so many."""


@dataclass(frozen=True)
class TrainedFile:
    """A file whose run was done in the window; its rows in = train + held out + duplicate + quarantined."""

    dataset: str
    name: str
    rows_in: int
    train: int
    held_out: int
    duplicate: int
    quarantined: int
    run: str
    version: str | None
    at: float


@dataclass(frozen=True)
class RejectedFile:
    """A file that was refused in the window, with the reason."""

    name: str
    dataset: str | None
    reason: str
    at: float


@dataclass(frozen=True)
class RunPart:
    """What one run did within the window. A step that was repeated counts once, when it was last made.

    `seconds` is the sum of its steps' times. `first_loss` and `last_loss` are means over the steps named in `first_steps` and
    `last_steps`; `curve` has (step, mean loss) of equal stretches. `trial` is the trial that it is a branch of.
    """

    run: str
    name: str
    dataset: str
    state: str
    version: str | None
    trial: str | None
    device: str | None
    num_steps: int
    steps: tuple[int, int]
    total_steps: int | None
    rows: int
    tokens: int
    seconds: float
    first_loss: float | None
    first_steps: tuple[int, int]
    last_loss: float | None
    last_steps: tuple[int, int]
    curve: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Score:
    """One line of a verdict: the candidate against another model on a benchmark, with the interval of the difference."""

    candidate: str
    against: str
    benchmark: str
    metric: str
    n: int
    candidate_score: float | None
    against_score: float | None
    difference: float | None
    low: float | None
    high: float | None
    outcome: str
    minimum_detectable_effect: float | None
    is_primary: bool


@dataclass(frozen=True)
class VerdictPart:
    """What an evaluation concluded. `asked_by`: a run, a trial, or a person ("hand")."""

    evaluation: str
    asked_by: str
    run: str | None
    candidate: str
    promote: bool
    outcome: str | None
    reason: str
    at: float
    scores: tuple[Score, ...]

    @property
    def deciding(self) -> tuple[Score, ...]:
        """The scores that a verdict on a run rests on: primary ones against its parent, or the base where it has none.

        Of an evaluation that was asked for: the primary ones of every pair.
        """
        primary = tuple(score for score in self.scores if score.is_primary)
        if self.run is None:
            return primary
        return tuple(score for score in primary if score.against == primary[0].against)


@dataclass(frozen=True)
class IncidentPart:
    """Trouble of one cause. `id` is null where it is told by events alone. `done`: what was done about it, or null."""

    id: str | None
    kind: str
    subject: str
    severity: str
    state: str
    title: str
    num_events: int
    opened_at: float
    closed_at: float | None
    done: str | None


@dataclass(frozen=True)
class Standing:
    """What a champion last scored on a benchmark, and in which evaluation."""

    benchmark: str
    metric: str
    score: float | None
    n: int
    evaluation: str
    is_primary: bool


@dataclass(frozen=True)
class Champion:
    """A line's version in use at the end of the window."""

    model: str
    version: int | None
    run: str | None
    since: float
    reason: str
    standings: tuple[Standing, ...]

    @property
    def label(self) -> str:
        return f"{self.model}/v{self.version}" if self.version is not None else f"{self.model} (its base)"


@dataclass(frozen=True)
class VersionPart:
    """A version that was published in the window."""

    version: str
    parent: str | None
    run: str
    outcome: str | None


@dataclass(frozen=True)
class QueuedJob:
    """A job that is not over. `eta`: until its run is judged, those before it first; null where nothing is known."""

    job: str
    run: str
    name: str
    state: str
    reason: str | None
    eta: Eta | None


@dataclass(frozen=True)
class Need:
    """Something for a person: what it is, what to do and the command. `is_urgent`: it does not go on by itself."""

    rule: str
    text: str
    action: str
    command: str
    is_urgent: bool


@dataclass(frozen=True)
class RunBill:
    """What a run took within the window; null where it is not known."""

    run: str
    energy_kwh: float | None
    cost: float | None


@dataclass(frozen=True)
class Bill:
    """Energy and money of the window's training; null where it is not known, the note says of which runs it is, or why not."""

    energy_kwh: float | None = None
    energy_note: str = "no run was measured"
    cost: float | None = None
    cost_note: str = "no run was measured"
    currency: str | None = None
    by_run: tuple[RunBill, ...] = ()


@dataclass(frozen=True)
class DailyFacts:
    """Everything a report says."""

    window: Window
    made_at: float
    lab: str
    state: str
    files_accepted: tuple[str, ...]
    files_trained: tuple[TrainedFile, ...]
    files_rejected: tuple[RejectedFile, ...]
    runs: tuple[RunPart, ...]
    versions: tuple[VersionPart, ...]
    verdicts: tuple[VerdictPart, ...]
    champions: tuple[Champion, ...]
    champion_changes: tuple[str, ...]
    incidents: tuple[IncidentPart, ...]
    bill: Bill
    free_bytes: int
    needed_bytes: int
    used_bytes: tuple[tuple[str, int], ...]
    queue: tuple[QueuedJob, ...]
    queue_eta: Eta | None
    evaluations_to_go: tuple[str, ...]
    is_queue_paused: bool
    needs: tuple[Need, ...]
    headline: str = ""
    next_action: str = ""
    next_command: str = ""

    @property
    def steps(self) -> int:
        return sum(run.num_steps for run in self.runs)

    @property
    def rows(self) -> int:
        return sum(run.rows for run in self.runs)

    @property
    def tokens(self) -> int:
        return sum(run.tokens for run in self.runs)

    @property
    def training_seconds(self) -> float:
        return sum(run.seconds for run in self.runs)

    @property
    def gpu_runs(self) -> tuple[RunPart, ...]:
        """The runs that were on a GPU; one whose device is not known is not among them."""
        return tuple(run for run in self.runs if (run.device or "").startswith("cuda"))

    @property
    def gpu_hours(self) -> float:
        """The part of the training that was on a GPU."""
        return sum(run.seconds for run in self.gpu_runs) / 3600

    @property
    def devices(self) -> str:
        """What the window's training ran on, in words."""
        return ", ".join(sorted({run.device for run in self.runs if run.device})) or "an unknown device"

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing came in, was trained, refused or judged."""
        return not (self.runs or self.files_accepted or self.files_trained or self.files_rejected or self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return plain values with stable fields, the most asked for first."""
        first = {
            "headline": self.headline,
            "next_action": self.next_action,
            "next_command": self.next_command,
            "begins": self.window.begins,
            "ends": self.window.ends,
            "hours": self.window.hours,
            "timezone": self.window.timezone,
            "is_idle": self.is_idle,
            "steps": self.steps,
            "rows": self.rows,
            "tokens": self.tokens,
            "training_seconds": self.training_seconds,
            "gpu_hours": self.gpu_hours,
            "cost": self.bill.cost,
            "currency": self.bill.currency,
            "energy_kwh": self.bill.energy_kwh,
            "queue_eta": self.queue_eta and self.queue_eta.to_json(),
        }
        rest = {name: value for name, value in asdict(self).items() if name not in ("window", *first)}
        queue = [asdict(job) | {"eta": job.eta and job.eta.to_json()} for job in self.queue]
        return first | rest | {"queue": queue, "used_bytes": dict(self.used_bytes)}


def named(runs: Sequence[str]) -> str:
    """Return runs by their names; of many, how many they are and which are the first and the last."""
    if len(runs) > _MAX_NAMED:
        return f"{len(runs)} runs, {runs[0]} to {runs[-1]}"
    return ", ".join(runs)


def run_part(
    run: dict[str, Any],
    columns: Mapping[str, Sequence[float]],
    device: str | None,
    refused: Collection[int] = frozenset(),
) -> RunPart:
    """Return what a run did, from its row and the columns of its steps (step, loss, rows, tokens, seconds; NaN: not finite).

    The losses of `refused` steps, which changed no weight, are left out of curve and means: one spike would hide all else.
    """
    counted = columns["step"]
    counts = [math.isfinite(loss) and step not in refused for step, loss in zip(counted, columns["loss"], strict=True)]
    steps, losses = (array("d", compress(columns[name], counts)) for name in ("step", "loss"))
    num_mean = max(1, min(MAX_MEAN_STEPS, len(losses) // 10))
    return RunPart(
        run=run["id"],
        name=run["name"],
        dataset=run["dataset"],
        state=run["state"],
        version=None if run["version"] is None or run["state"] != "done" else f"{run['model']}/v{run['version']}",
        trial=run["trial"],
        device=device,
        num_steps=len(counted),
        steps=_ends(counted),
        total_steps=run["total_steps"],
        rows=int(_sum(columns["rows"])),
        tokens=int(_sum(columns["tokens"])),
        seconds=_sum(columns["seconds"]),
        first_loss=_mean(losses[:num_mean]),
        first_steps=_ends(steps[:num_mean]),
        last_loss=_mean(losses[-num_mean:]),
        last_steps=_ends(steps[-num_mean:]),
        curve=_curve(steps, losses),
    )


def _curve(steps: Sequence[float], losses: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """Return at most MAX_POINTS means of equal stretches, each at its stretch's last step, the first at its first."""
    num = min(MAX_POINTS, len(losses))
    edges = [round(place * len(losses) / num) for place in range(num + 1)] if num else []
    means = [math.fsum(losses[a:b]) / (b - a) for a, b in pairwise(edges)]
    places = [int(steps[b - 1] if a else steps[0]) for a, b in pairwise(edges)]
    return tuple(zip(places, means, strict=True))


def _sum(values: Sequence[float]) -> float:
    return math.fsum(value for value in values if math.isfinite(value))


def _mean(losses: Sequence[float]) -> float | None:
    return math.fsum(losses) / len(losses) if losses else None


def _ends(steps: Sequence[float]) -> tuple[int, int]:
    return (int(steps[0]), int(steps[-1])) if steps else (0, 0)
