"""What a report recommends: each rule alone, the order of rules, and the line on top."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stoker.analysis.eta import Eta
from stoker.report.advice import advise, find_needs
from stoker.report.daily import (
    Champion,
    DailyFacts,
    IncidentPart,
    QueuedJob,
    RejectedFile,
    Score,
    TrainedFile,
    VerdictPart,
    run_part,
)

NEEDED_BYTES = 700_000_000
NOTHING: dict[str, list[dict[str, Any]]] = {
    "parked": [], "failed": [], "paused": [], "short_of_space": [], "waiting": [], "evaluations": [], "alerts": [],
}  # fmt: skip
RUN = {"id": "r4", "job": "j4", "step": 57, "name": "orders.jsonl", "code": "crash"}
PARKED = RUN | {"state": "parked", "reason": "r4 is parked: it crashed 3 times without coming past step 57; killed"}
FAILED = RUN | {"state": "failed", "reason": "three steps in a row were not finite"}
INCIDENT = IncidentPart("i2", "divergence", "r4", "critical", "open", "the loss rises", 3, 1.0, None, None)
REFUSED = RejectedFile("bad.jsonl", "d0b", "no line is JSON. Line 1 begins with <", 1.0)


def verdict(**changes: Any) -> VerdictPart:
    score = Score("main/v5", "main/v4", "heldout", "nll", 16, 0.9, 0.92, -0.02, -0.3, 0.26, "no-difference", 0.31, True)
    known = {"evaluation": "e5", "asked_by": "r5", "run": "r5", "candidate": "main/v5", "promote": False,
             "outcome": "no-difference", "reason": "Kept main/v4.", "at": 1.0, "scores": (score,)}  # fmt: skip
    return VerdictPart(**{**known, **changes})


def needs(*, free: int = 10**12, incidents: Any = (), rejected: Any = (), verdicts: Any = (), **matters: Any) -> Any:
    return list(find_needs({**NOTHING, **matters}, incidents, rejected, verdicts, free, NEEDED_BYTES))


RULES: list[tuple[str, dict[str, Any], str]] = [
    ("parked-run", {"parked": [PARKED]}, "stoker queue retry j4"),
    ("failed-run", {"failed": [FAILED]}, "stoker queue retry j4"),
    (
        "failed-evaluation",
        {"evaluations": [{"id": "e5", "model": "main", "version": 5, "reason": "it failed 3 times"}]},
        "stoker eval run main/v5",
    ),
    ("incident", {"incidents": [replace(INCIDENT, subject="r3")]}, "stoker run show r3"),
    ("waiting-file", {"waiting": [{"id": "d0a", "name": "poor.csv"}]}, "stoker data show d0a"),
    ("disk", {"free": NEEDED_BYTES - 1}, "stoker model list"),
    ("disk", {"short_of_space": [RUN | {"state": "paused", "reason": "no room"}]}, "stoker model list"),
    ("refused-file", {"rejected": [REFUSED]}, "stoker data show d0b"),
    (
        "notifier",
        {"alerts": [{"channel": "phone", "error": "timeout", "title": "x"}] * 3},
        "stoker alert test phone",
    ),
    ("few-items", {"verdicts": [verdict()]}, "stoker config set split.min_clusters 64"),
]


@pytest.mark.parametrize(("rule", "matters", "command"), RULES, ids=[f"{r[0]}-{n}" for n, r in enumerate(RULES)])
def test_each_rule_finds_its_matter_and_names_the_command(
    idle: DailyFacts, rule: str, matters: dict[str, Any], command: str
) -> None:
    found = needs(**matters)
    assert [(need.rule, need.command) for need in found] == [(rule, command)]
    advised = advise(replace(idle, needs=tuple(found)))
    assert advised.next_command == command
    assert advised.next_action.endswith(command)


def test_the_rules_go_by_urgency() -> None:
    every: dict[str, Any] = {}
    for _, matters, _ in RULES:
        every |= matters
    found = [need.rule for need in needs(**every)]
    assert found == [
        "parked-run", "failed-run", "failed-evaluation", "incident", "waiting-file", "disk", "refused-file", "notifier",
        "few-items",
    ]  # fmt: skip


def test_an_incident_of_a_run_that_is_told_already_is_not_told_twice() -> None:
    assert [need.rule for need in needs(parked=[PARKED], incidents=[INCIDENT])] == ["parked-run"]


@pytest.mark.parametrize(
    "quiet",
    [
        {"incidents": [replace(INCIDENT, state="recovered")]},
        {"incidents": [replace(INCIDENT, severity="warn")]},
        {"incidents": [replace(INCIDENT, id=None)]},
        {"verdicts": [verdict(promote=True, outcome="better")]},
        {"verdicts": [verdict(outcome="worse")]},
        {"verdicts": [verdict(run=None, asked_by="hand")]},
        {"verdicts": [verdict(scores=(replace(verdict().scores[0], n=400),))]},
        {"free": NEEDED_BYTES},
    ],
)
def test_what_needs_nobody_is_no_need(quiet: dict[str, Any]) -> None:
    assert needs(**quiet) == []


JOB = QueuedJob("j6", "r6", "more.jsonl", "queued", None, Eta(90.0, 80.0, 100.0))


@pytest.mark.parametrize(
    ("state", "job", "is_queue_paused", "command"),
    [
        ("off", JOB, False, "stoker up"),
        ("training", replace(JOB, state="running"), False, "stoker run watch r6"),
        ("paused", replace(JOB, state="paused"), False, "stoker run resume r6"),
        ("paused", JOB, True, "stoker queue resume"),
        ("evaluating", JOB, False, "stoker queue list"),
        ("idle", None, False, "stoker add FILE"),
    ],
)
def test_a_lab_in_which_nothing_is_wrong_has_a_next_action_too(
    idle: DailyFacts, state: str, job: QueuedJob | None, is_queue_paused: bool, command: str
) -> None:
    facts = replace(idle, state=state, queue=(job,) if job else (), is_queue_paused=is_queue_paused)
    assert advise(facts).next_command == command


def test_work_that_waits_without_a_supervisor_comes_before_what_needs_one(idle: DailyFacts) -> None:
    facts = replace(idle, state="off", queue=(JOB,), needs=tuple(needs(parked=[PARKED])))
    assert advise(facts).next_command == "stoker up" and [n.rule for n in advise(facts).needs][:2] == [
        "off",
        "parked-run",
    ]


def test_what_is_training_is_told_with_its_interval(idle: DailyFacts) -> None:
    action = advise(replace(idle, state="training", queue=(replace(JOB, state="running"),))).next_action
    assert "r6 is training, judged in 1 min 30 s (1 min 20 s to 1 min 40 s)" in action


def test_a_full_disk_is_told_with_what_is_needed() -> None:
    (need,) = needs(free=NEEDED_BYTES - 1)
    assert need.text == "the disk has 700.0 MB left, and a run needs 700.0 MB"


def test_a_lab_that_judges_is_not_called_idle(idle: DailyFacts) -> None:
    facts = replace(idle, state="evaluating", evaluations_to_go=("e2 of main/v2",))
    assert advise(facts).next_action == "nothing to do, e2 of main/v2 is next to be judged: stoker eval list"


def test_the_headline_of_a_good_day_names_files_and_champion(idle: DailyFacts) -> None:
    score = Score("main/v5", "main/v4", "heldout", "nll", 400, 0.8, 0.92, -0.12, -0.2, -0.04, "better", 0.1, True)
    facts = replace(
        idle,
        files_trained=tuple(
            TrainedFile(f"d{n}", f"{n}.jsonl", 9, 8, 1, 0, 0, f"r{n}", f"main/v{n}", 1.0) for n in (4, 5, 5)
        ),
        verdicts=(verdict(promote=True, outcome="better", scores=(score,)),),
        champions=(Champion("main", 5, "r5", idle.window.begins + 5, "better", ()),),
    )
    assert advise(facts).headline == (
        "All well: 2 files trained, main/v5 is the champion (0.12 nats better than main/v4 on heldout), "
        "nothing needs you."
    )


def test_the_headline_of_an_idle_day_says_so(idle: DailyFacts) -> None:
    assert advise(idle).headline.startswith("Idle day: nothing came in and nothing was trained")
    champion = Champion("main", 5, "r5", idle.window.begins - 5, "better", ())
    assert "main/v5 stays the champion" in advise(replace(idle, champions=(champion,))).headline


def test_the_headline_of_a_bad_day_says_what_needs_a_person_and_how_much_more(idle: DailyFacts) -> None:
    found = tuple(needs(parked=[PARKED], rejected=[REFUSED]))
    headline = advise(replace(idle, needs=found, files_rejected=(REFUSED,))).headline
    assert headline == (
        "Needs you: r4 (orders.jsonl) is parked at step 57: it crashed 3 times without coming past step 57; killed "
        "(and 1 more). No file trained, 1 refused."
    )


def test_trouble_that_was_handled_leaves_the_day_well(idle: DailyFacts) -> None:
    handled = replace(INCIDENT, state="recovered", done="rolled back to step 40")
    facts = replace(idle, incidents=(handled,), files_accepted=("a.jsonl",))
    assert advise(facts).headline == "All well: no file trained, 1 incident handled, nothing needs you."


def test_rows_that_training_put_aside_are_the_next_thing_to_look_at(idle: DailyFacts) -> None:
    run = {"id": "r4", "name": "orders.jsonl", "dataset": "d4", "state": "done", "model": "main", "version": 1,
           "trial": None, "step": 1, "total_steps": 1}  # fmt: skip
    columns = {name: [1.0] for name in ("step", "rows", "tokens", "seconds", "loss")}
    spike = replace(INCIDENT, kind="loss-spike", state="recovered", done="2 rows are put aside for review: a spike")
    facts = replace(idle, incidents=(spike,), runs=(run_part(run, columns, None),))
    assert advise(facts).next_action == "look at the rows that r4 put aside: stoker data review d4"
    assert advise(facts).headline.endswith("nothing needs you.")
    assert advise(replace(facts, incidents=(replace(spike, done="rate halved"),))).next_command == "stoker add FILE"
