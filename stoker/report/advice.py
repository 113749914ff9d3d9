"""What needs a person, in the order of urgency; the line on top of a report; the one next action with its command.

Rules, first to last: work that waits without a supervisor (most remedies need one), a parked or failed run, an evaluation
that failed, a critical incident that is still open, a file that waits for approval, a disk with little room, a refused file, a
notifier that fails, a version kept back for want of sealed rows, rows that training put aside, a paused run or queue, and
last the quiet ones: watch what runs, or add data. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from stoker import units
from stoker.report.daily import DailyFacts, IncidentPart, Need, RejectedFile, VerdictPart

FEW_ITEMS = 100
"""Below this many held-out items a verdict without a difference asks for more of them (docs/verdict.md)."""


def find_needs(
    matters: dict[str, list[dict[str, Any]]],
    incidents: Sequence[IncidentPart],
    rejected: Sequence[RejectedFile],
    verdicts: Sequence[VerdictPart],
    free_bytes: int,
    needed_bytes: int,
) -> Iterator[Need]:
    """Yield everything that waits for a person, the most urgent first. `matters` as in report_queries.open_matters."""
    yield from _ended_badly(matters)
    told = {row["id"] for name in ("parked", "failed", "evaluations", "short_of_space") for row in matters[name]}
    for incident in incidents:
        is_open = incident.id is not None and incident.severity == "critical" and incident.state == "open"
        if is_open and incident.subject not in told:
            where = incident.subject if incident.subject.startswith("r") else "@latest"
            text = f"incident {incident.id} is open: {incident.title}"
            yield Need("incident", text, f"look at {incident.id}", f"stoker run show {where}", True)
    for dataset in matters["waiting"]:
        text = f"{dataset['name']} waits for approval: its score is low"
        action = f"look at {dataset['name']}, then approve it with: stoker data approve {dataset['id']}"
        yield Need("waiting-file", text, action, f"stoker data show {dataset['id']}", True)
    yield from _disk(matters, free_bytes, needed_bytes)
    for file in rejected:
        text = f"{file.name} was refused ({_first_sentence(file.reason.removeprefix(f'{file.name}: '))})"
        command = f"stoker data show {file.dataset}" if file.dataset else "stoker data list"
        yield Need("refused-file", text, f"see why, mend {file.name} and add it again", command, True)
    channels = dict.fromkeys(alert["channel"] for alert in matters["alerts"])
    for channel in channels:
        text = f"alerts to {channel} fail"
        yield Need("notifier", text, f"mend the channel {channel}", f"stoker alert test {channel}", True)
    yield from _too_few_items(verdicts)


def advise(facts: DailyFacts) -> DailyFacts:
    """Return the facts with the line on top and the one next action."""
    needs = tuple(sorted((*facts.needs, *_quiet(facts)), key=lambda need: (not need.is_urgent, need.rule != "off")))
    first = needs[0]
    return replace(
        facts,
        needs=needs,
        headline=_headline(facts, [need for need in needs if need.is_urgent]),
        next_action=f"{first.action}: {first.command}",
        next_command=first.command,
    )


def _ended_badly(matters: dict[str, list[dict[str, Any]]]) -> Iterator[Need]:
    for run in matters["parked"]:
        text = f"{run['id']} ({run['name']}) is parked at step {run['step']}: {_why_parked(run)}"
        yield Need("parked-run", text, "try it again", f"stoker queue retry {run['job']}", True)
    for run in matters["failed"]:
        text = f"{run['id']} ({run['name']}) failed at step {run['step']}: {_first_sentence(run['reason'] or '?')}"
        yield Need("failed-run", text, "see why, then try it again", f"stoker queue retry {run['job']}", True)
    for one in matters["evaluations"]:
        version = f"{one['model']}/v{one['version']}"
        text = f"{version} has no verdict: {one['id']} failed, {_first_sentence(one['reason'] or '?')}"
        yield Need("failed-evaluation", text, f"evaluate {version} again", f"stoker eval run {version}", True)


def _disk(matters: dict[str, list[dict[str, Any]]], free_bytes: int, needed_bytes: int) -> Iterator[Need]:
    action = "free some space, or delete versions that you do not need"
    for run in matters["short_of_space"]:
        text = f"{run['id']} waits for disk space, {units.size(free_bytes)} are free"
        yield Need("disk", text, action, "stoker model list", True)
        return
    if free_bytes < needed_bytes:
        text = f"the disk has {units.size(free_bytes)} left, and a run needs {units.size(needed_bytes)}"
        yield Need("disk", text, action, "stoker model list", True)


def _too_few_items(verdicts: Sequence[VerdictPart]) -> Iterator[Need]:
    for verdict in verdicts:
        target = next((score for score in verdict.deciding if score.benchmark == "heldout"), None)
        if verdict.run is None or verdict.promote or verdict.outcome != "no-difference" or target is None:
            continue
        if target.n >= FEW_ITEMS:
            continue
        text = f"{verdict.candidate} was kept back: {target.n} sealed rows show no difference below "
        text += _amount(target.minimum_detectable_effect, target.metric)
        action = "add more data, or seal more of each file that comes from now on"
        yield Need("few-items", text, action, "stoker config set split.min_clusters 64", False)


def _put_aside(facts: DailyFacts) -> Iterator[Need]:
    """Yield a look at rows that training put aside after a spike: only a person can say whether they are wrong."""
    data = {run.run: run for run in facts.runs}
    for incident in facts.incidents:
        run = data.get(incident.subject)
        if incident.kind == "loss-spike" and run is not None and "put aside" in (incident.done or ""):
            text = f"rows of {run.name} were put aside by {run.run}"
            yield Need(
                "put-aside",
                text,
                f"look at the rows that {run.run} put aside",
                f"stoker data review {run.dataset}",
                False,
            )
            return


def _quiet(facts: DailyFacts) -> Iterator[Need]:
    """Yield what is worth doing when nothing is wrong; the last one always is."""
    going = [job for job in facts.queue if job.state in ("running", "queued")]
    num_to_go = len(going) + len(facts.evaluations_to_go)
    if facts.state == "off" and num_to_go:
        text = f"{_waiting(num_to_go)}, and no supervisor is running"
        yield Need("off", text, "start the supervisor", "stoker up", True)
    yield from _put_aside(facts)
    paused = [job for job in facts.queue if job.state == "paused"]
    for job in paused:
        yield Need("paused", f"{job.run} is paused", "let it go on", f"stoker run resume {job.run}", False)
    if facts.is_queue_paused:
        yield Need("paused", "the queue is paused", "let it go on", "stoker queue resume", False)
    running = [job for job in going if job.state == "running"]
    if running and facts.state != "off":
        eta = running[0].eta
        left = f", judged in {units.estimate(eta.seconds, eta.low, eta.high)}" if eta is not None else ""
        text = f"{running[0].run} is training{left}"
        yield Need("running", text, f"nothing to do, {text}; watch it", f"stoker run watch {running[0].run}", False)
    elif facts.evaluations_to_go and facts.state != "off":
        text = f"{facts.evaluations_to_go[0]} is next to be judged"
        yield Need("judging", text, f"nothing to do, {text}", "stoker eval list", False)
    elif going and facts.state != "off":
        text = _waiting(len(going))
        yield Need("queued", text, f"nothing to do, {text}", "stoker queue list", False)
    else:
        yield Need("idle", "the lab is idle", "add the next data", "stoker add FILE", False)


def _headline(facts: DailyFacts, urgent: Sequence[Need]) -> str:
    happened = _happened(facts)
    if urgent:
        more = f" (and {len(urgent) - 1} more)" if len(urgent) > 1 else ""
        rest = f"{happened[:1].upper()}{happened[1:]}"
        return f"Needs you: {urgent[0].text}{more}. {'Idle day: ' + happened if facts.is_idle else rest}."
    if facts.is_idle:
        return f"Idle day: {happened}, nothing needs you."
    return f"All well: {happened}, nothing needs you."


def _happened(facts: DailyFacts) -> str:
    """Return the window in a few words: files, then champions."""
    num = len({file.dataset for file in facts.files_trained})
    if facts.is_idle:
        parts = ["nothing came in and nothing was trained"]
    elif num:
        parts = [f"{num} {_plural(num, 'file')} trained"]
    elif facts.steps:
        parts = [f"{facts.steps:,} {_plural(facts.steps, 'step')} trained, no file finished"]
    else:
        parts = ["no file trained"]
    if facts.files_rejected:
        parts.append(f"{len(facts.files_rejected)} refused")
    recovered = [one for one in facts.incidents if one.done is not None]
    if recovered:
        parts.append(f"{len(recovered)} {_plural(len(recovered), 'incident')} handled")
    return ", ".join([*parts, *(_champion_words(facts, place) for place in range(len(facts.champions)))])


def _champion_words(facts: DailyFacts, place: int) -> str:
    champion = facts.champions[place]
    if not facts.window.has(champion.since):
        return f"{champion.label} stays the champion"
    gain = next((_gain(verdict) for verdict in facts.verdicts if verdict.candidate == champion.label), "")
    return f"{champion.label} is the champion{gain}"


def _gain(verdict: VerdictPart) -> str:
    """Return " (0.12 nats better than main/v4)" from the verdict's first primary comparison."""
    target = next((score for score in verdict.deciding if score.outcome == "better"), None)
    if target is None or target.difference is None:
        return ""
    return f" ({_amount(target.difference, target.metric)} better than {target.against} on {target.benchmark})"


def _amount(value: float | None, metric: str) -> str:
    if value is None:
        return "an unknown size"
    return f"{abs(value):.2f} nats" if metric == "nll" else f"{100 * abs(value):.1f} points"


def _why_parked(run: dict[str, Any]) -> str:
    reason = str(run["reason"] or "?")
    return _first_sentence(reason.removeprefix(f"{run['id']} is parked: "))


def _first_sentence(text: str) -> str:
    """Return the first sentence or line, short enough for one line."""
    first = text.splitlines()[0].split(". ")[0].rstrip(".") if text.strip() else "?"
    return first if len(first) <= 160 else f"{first[:157]}..."


def _waiting(number: int) -> str:
    return "1 job waits" if number == 1 else f"{number} jobs wait"


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"
