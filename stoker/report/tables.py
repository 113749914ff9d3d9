"""The tables of a daily report in words: made once, so that the page and the text say the same.

A cell is text as people read it; what a number is from (run, steps, evaluation) stands in its row. Nothing is computed
here but its wording.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stoker import units
from stoker.analysis.eta import Eta
from stoker.report.daily import Champion, DailyFacts, RunBill, RunPart, Score, VerdictPart, named

MAX_ROWS = 50
"""A longer table is cut, and says so: the JSON has everything."""
_MAX_VERDICTS = 4
_RUN_HEADERS = ("run", "file", "made", "state", "steps", "rows", "time", "loss")


@dataclass(frozen=True)
class Table:
    """`numbers` are the columns that are aligned to the right, `prose` those that may wrap; `num_hidden` rows are left out."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    prose: frozenset[int] = frozenset()
    num_hidden: int = 0


def at_a_glance(facts: DailyFacts) -> list[tuple[str, str]]:
    """Return the figures of the window, each with its name and the runs it is of."""
    trained = len({file.dataset for file in facts.files_trained})
    refused = f"{len(facts.files_rejected)} refused"
    of = f" ({named([run.run for run in facts.runs])})"
    steps = f"{facts.steps:,}{of}, {facts.rows:,} rows, replayed ones too, {facts.tokens:,} tokens"
    used = units.size(sum(size for _, size in facts.used_bytes))
    return [
        ("files", f"{trained} trained, {refused}, {len(facts.files_accepted)} came in"),
        ("steps", steps if facts.runs else "none"),
        ("training", f"{units.duration(facts.training_seconds)} of steps on {facts.devices}" if facts.runs else "none"),
        (
            "GPU hours",
            f"{facts.gpu_hours:,.3g} ({named([run.run for run in facts.gpu_runs])})" if facts.gpu_runs else "none",
        ),
        ("energy", _energy_words(facts)),
        ("cost", _cost_words(facts)),
        ("verdicts", _verdict_words(facts)),
        ("champion", ", ".join(_champion_words(facts, one) for one in facts.champions) or "none yet"),
        ("incidents", _incident_words(facts)),
        ("queue", _queue_words(facts)),
        (
            "disk",
            f"{units.size(facts.free_bytes)} free, a run needs {units.size(facts.needed_bytes)}; the lab takes {used}",
        ),
    ]


def needs(facts: DailyFacts) -> Table:
    rows = [(need.text, need.action, need.command) for need in facts.needs if need.is_urgent]
    return _table(("what", "what to do", "command"), rows, prose=(0, 1))


def runs(facts: DailyFacts, *, is_trial: bool = False, has_trend: bool = True) -> Table:
    """Return what each run did; energy and cost where they are known of any, the trend as a sparkline."""
    chosen = [run for run in facts.runs if (run.trial is not None) is is_trial]
    bills = {one.run: one for one in facts.bill.by_run}
    columns = {header: [_run_cells(run)[header] for run in chosen] for header in _RUN_HEADERS}
    if has_trend:
        columns["trend"] = [units.sparkline([loss for _, loss in run.curve], 24) for run in chosen]
    found = [bills.get(run.run, RunBill(run.run, None, None)) for run in chosen]
    if any(one.energy_kwh is not None for one in found):
        columns["energy"] = [_energy(one.energy_kwh) for one in found]
    if any(one.cost is not None for one in found):
        columns["cost"] = [_cost(one.cost, facts.bill.currency) for one in found]
    headers = tuple(columns)
    numbers = [headers.index(name) for name in ("rows", "time", "energy", "cost") if name in headers]
    return _table(headers, zip(*columns.values(), strict=True), numbers=numbers, prose=(1,))


def scores(verdict: VerdictPart) -> Table:
    """Return the scores that decided; how many there are beside them is `num_hidden`."""
    headers: tuple[str, ...]
    headers = ("benchmark", "against", "items", "before", "after", "change", "95 % interval", "outcome")
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
            one.title + (f" ({one.num_events} events)" if one.num_events > 1 else ""),
            one.done or ("it is still open" if one.state == "open" else "told, and over"),
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
    rows = [(job.job, job.name, job.state, job.run, _eta(job.eta), job.reason or "") for job in facts.queue]
    headers: tuple[str, ...] = ("job", "file", "state", "run", "judged in", "why")
    if any(job.reason for job in facts.queue):
        return _table(headers, rows, prose=(1, 5))
    return _table(headers[:-1], [row[:-1] for row in rows], prose=(1,))


def verdict_title(verdict: VerdictPart) -> str:
    decision = "promoted" if verdict.promote else "kept back"
    if verdict.run is None:
        decision = (verdict.outcome or "no outcome").replace("-", " ")
    return f"{verdict.candidate}: {decision}"


def _run_cells(run: RunPart) -> dict[str, str]:
    first, last = run.steps
    of = f" of {run.total_steps:,}" if run.total_steps else ""
    steps = f"{first:,}–{last:,}{of}"
    if run.num_steps != last - first + 1:
        steps = f"{run.num_steps:,}: {steps}"
    return {
        "run": run.run,
        "file": run.name,
        "made": run.version or "-",
        "state": run.state,
        "steps": steps,
        "rows": f"{run.rows:,}",
        "time": units.duration(run.seconds),
        "loss": "-" if run.first_loss is None else f"{run.first_loss:.3f} → {run.last_loss:.3f}",
    }


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


def _energy_words(facts: DailyFacts) -> str:
    if not facts.runs and not facts.bill.by_run:
        return "none"
    return f"{_energy(facts.bill.energy_kwh, 'not known')} ({facts.bill.energy_note})"


def _cost_words(facts: DailyFacts) -> str:
    if not facts.runs and not facts.bill.by_run:
        return "none"
    return f"{_cost(facts.bill.cost, facts.bill.currency, 'not known')} ({facts.bill.cost_note})"


def _energy(kwh: float | None, unknown: str = "-") -> str:
    return unknown if kwh is None else units.energy(kwh * 3.6e6)


def _cost(amount: float | None, currency: str | None, unknown: str = "-") -> str:
    return unknown if amount is None else f"{amount:,.3g} {currency}"


def _verdict_words(facts: DailyFacts) -> str:
    shown = [f"{verdict_title(one)} ({one.evaluation})" for one in facts.verdicts[:_MAX_VERDICTS]]
    more = [f"{len(facts.verdicts) - len(shown)} more"] if len(shown) < len(facts.verdicts) else []
    return ", ".join([*shown, *more]) or "none"


def _champion_words(facts: DailyFacts, champion: Champion) -> str:
    if champion.version is None:
        return champion.label
    run = f" from {champion.run}" if champion.run else ""
    return f"{champion.label}{run}, since {facts.window.words(champion.since)}"


def _incident_words(facts: DailyFacts) -> str:
    if not facts.incidents:
        return "none"
    num_open = sum(one.state == "open" for one in facts.incidents)
    return f"{len(facts.incidents)}, {num_open or 'none'} still open"


def _queue_words(facts: DailyFacts) -> str:
    judged = f", {', '.join(facts.evaluations_to_go)} to be judged" if facts.evaluations_to_go else ""
    if not facts.queue:
        return f"empty{judged}"
    num = len(facts.queue)
    others = sum(job.state not in ("running", "queued") for job in facts.queue)
    eta = f", ETA {_eta(facts.queue_eta)}" if facts.queue_eta else ", ETA not known" if others < num else ""
    stuck = f", {others} that {'does' if others == 1 else 'do'} not go on by itself" if others else ""
    return f"{num} {'file' if num == 1 else 'files'}{eta}{stuck}{judged}{', paused' if facts.is_queue_paused else ''}"


def _eta(eta: Eta | None) -> str:
    return "-" if eta is None else units.estimate(eta.seconds, eta.low, eta.high)


def _table(
    headers: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers: Iterable[int] = (), prose: Iterable[int] = ()
) -> Table:
    every = tuple(rows)
    return Table(headers, every[:MAX_ROWS], frozenset(numbers), frozenset(prose), max(0, len(every) - MAX_ROWS))
