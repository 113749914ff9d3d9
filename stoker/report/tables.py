"""The tables of a daily report in words: made once, so that the page and the text say the same.

A cell is text as people read it; what a number is from (run, steps, evaluation) stands in its row. Nothing is computed
here but its wording.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stoker import units
from stoker.report.daily import DailyFacts, RunPart, Score, VerdictPart

MAX_ROWS = 50
"""A longer table is cut, and says so: the JSON has everything."""


@dataclass(frozen=True)
class Table:
    """`numbers` are the columns that are aligned to the right, `prose` those that may wrap; `num_hidden` rows are left out."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    prose: frozenset[int] = frozenset()
    num_hidden: int = 0


def at_a_glance(facts: DailyFacts) -> list[tuple[str, str]]:
    """Return the figures of the window, each with its name."""
    bill = facts.bill
    energy = "not known" if bill.energy_kwh is None else units.energy(bill.energy_kwh * 3.6e6)
    cost = "not known" if bill.cost is None else f"{bill.cost:,.4g} {bill.currency}"
    refused = f", {len(facts.files_rejected)} refused" if facts.files_rejected else ""
    trained = len({file.dataset for file in facts.files_trained})
    num_runs = len(facts.runs)
    training = f"{units.duration(facts.training_seconds)} of steps on {facts.devices}, {facts.gpu_hours:,.3g} GPU hours"
    return [
        ("files", f"{trained} trained{refused}, {len(facts.files_accepted)} came in"),
        ("steps", f"{facts.steps:,} in {num_runs} {'run' if num_runs == 1 else 'runs'}, {facts.rows:,} rows with replay, {facts.tokens:,} tokens"),
        ("training", training if facts.runs else "none"),
        ("energy", f"{energy} ({bill.energy_note})"),
        ("cost", f"{cost} ({bill.cost_note})"),
        ("champion", ", ".join(champion.label for champion in facts.champions) or "none yet"),
        ("disk", f"{units.size(facts.free_bytes)} free, the lab takes {units.size(sum(size for _, size in facts.used_bytes))}"),
        ("queue", _queue_words(facts)),
    ]  # fmt: skip


def needs(facts: DailyFacts) -> Table:
    rows = [(need.text, need.action, need.command) for need in facts.needs if need.is_urgent]
    return _table(("what", "what to do", "command"), rows, prose=(0, 1))


def runs(facts: DailyFacts, *, is_trial: bool = False) -> Table:
    headers = ("run", "file", "made", "state", "steps", "rows", "loss", "trend", "time")
    chosen = [run for run in facts.runs if (run.trial is not None) is is_trial]
    return _table(headers, [_run_row(run) for run in chosen], numbers=(5,), prose=(1,))


def scores(verdict: VerdictPart) -> Table:
    """Return the scores that decided; how many there are beside them is `num_hidden`."""
    headers: tuple[str, ...]
    headers = ("benchmark", "against", "items", "before", "after", "change", "interval", "outcome")
    if verdict.run is None:
        headers = ("candidate", *headers)
    rows = [_score_row(score, is_named=verdict.run is None) for score in verdict.deciding]
    table = _table(headers, rows, numbers=range(len(headers) - 6, len(headers) - 2))
    return replace(table, num_hidden=len(verdict.scores) - len(table.rows))


def standings(facts: DailyFacts) -> Table:
    rows = [
        (
            champion.label,
            f"{one.benchmark} {one.metric}",
            units.score(one.score, one.metric),
            f"{one.n:,}",
            one.evaluation,
        )
        for champion in facts.champions
        for one in champion.standings
        if one.is_primary
    ]
    return _table(("champion", "benchmark", "score", "items", "evaluation"), rows, numbers=(2, 3))


def changes_by_hand(facts: DailyFacts) -> list[str]:
    """Return the changes of a champion that no verdict above them tells already."""
    told = [verdict.reason for verdict in facts.verdicts]
    return [change for change in facts.champion_changes if not any(change.endswith(reason) for reason in told)]


def incidents(facts: DailyFacts) -> Table:
    rows = [
        (
            facts.window.words(one.opened_at, "%m-%d %H:%M"),
            one.severity,
            " ".join(part for part in (one.id, one.kind, f"({one.subject})") if part),
            one.title + (f" ({one.num_events} times)" if one.num_events > 1 else ""),
            one.done or ("it is still open" if one.state == "open" else "nothing"),
        )
        for one in facts.incidents
    ]
    return _table(("at", "severity", "kind", "what happened", "what was done"), rows, prose=(3, 4))


def trained(facts: DailyFacts) -> Table:
    headers = ("file", "rows", "train", "held out", "duplicate", "quarantined", "run", "version", "dataset")
    rows = [
        (
            file.name, *(f"{n:,}" for n in (file.rows_in, file.train, file.held_out, file.duplicate, file.quarantined)),
            file.run, file.version or "-", file.dataset,
        )
        for file in facts.files_trained
    ]  # fmt: skip
    return _table(headers, rows, numbers=(1, 2, 3, 4, 5), prose=(0,))


def rejected(facts: DailyFacts) -> Table:
    rows = [
        (facts.window.words(file.at, "%m-%d %H:%M"), file.name, file.reason, file.dataset or "-")
        for file in facts.files_rejected
    ]
    return _table(("at", "file", "reason", "dataset"), rows, prose=(1, 2))


def queue(facts: DailyFacts) -> Table:
    rows = [
        (job.job, job.name, job.state, job.run, units.duration(job.eta_seconds), job.reason or "")
        for job in facts.queue
    ]
    return _table(("job", "file", "state", "run", "training left", "why"), rows, numbers=(4,), prose=(1, 5))


def verdict_title(verdict: VerdictPart) -> str:
    decision = "promoted" if verdict.promote else "kept back"
    if verdict.run is None:
        decision = (verdict.outcome or "no outcome").replace("-", " ")
    return f"{verdict.candidate}: {decision}"


def _run_row(run: RunPart) -> tuple[str, ...]:
    first, last = run.steps
    of = f" of {run.total_steps:,}" if run.total_steps else ""
    trend = units.sparkline([loss for _, loss in run.curve], 24)
    loss = "-" if run.first_loss is None else f"{run.first_loss:.3f} → {run.last_loss:.3f}"
    steps = f"{first:,}–{last:,}{of}"
    if run.num_steps != last - first + 1:
        steps = f"{run.num_steps:,}: {steps}"
    return (
        run.run, run.name, run.version or "-", run.state, steps, f"{run.rows:,}", loss, trend,
        units.duration(run.seconds),
    )  # fmt: skip


def _score_row(score: Score, *, is_named: bool) -> tuple[str, ...]:
    row = (
        f"{score.benchmark} {score.metric}",
        score.against,
        f"{score.n:,}",
        units.score(score.against_score, score.metric),
        units.score(score.candidate_score, score.metric),
        units.signed(score.difference, score.metric),
        units.interval(score.low, score.high, score.metric),
        score.outcome.replace("-", " "),
    )
    return (score.candidate, *row) if is_named else row


def _queue_words(facts: DailyFacts) -> str:
    going = [job for job in facts.queue if job.state in ("running", "queued")]
    judged = f", {', '.join(facts.evaluations_to_go)} to be judged" if facts.evaluations_to_go else ""
    if not facts.queue:
        return f"empty{judged}"
    eta = facts.queue_eta_seconds
    left = f", about {units.duration(eta)} of training" if going and eta is not None else ""
    others = len(facts.queue) - len(going)
    stuck = f", {others} that {'does' if others == 1 else 'do'} not go on by itself" if others else ""
    return f"{len(going)} to go{left}{stuck}{judged}{', paused' if facts.is_queue_paused else ''}"


def _table(
    headers: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers: Iterable[int] = (), prose: Iterable[int] = ()
) -> Table:
    every = tuple(rows)
    return Table(headers, every[:MAX_ROWS], frozenset(numbers), frozenset(prose), max(0, len(every) - MAX_ROWS))
