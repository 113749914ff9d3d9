"""Changes while a run goes on: applied at a step boundary, durable, replayed exactly."""

import itertools
import random

import pytest
from train_lab import assert_same_version, final_losses, losses, make_job, messages, train

from stoker import faults
from stoker.durable import read_manifest
from stoker.errors import WorkerExit
from stoker.mailbox.control import send_control
from stoker.spec.jobs import Request
from stoker.train import conductor
from stoker.train.course import COURSE, Course, Turn, next_turn_step, turn_at

LORA = {"method": "lora", "model": {"lora_dropout": 0.1}}


class Crash(BaseException):
    """A worker that is gone from one moment to the next: nothing catches it."""


def ask(folder, number, **changes):
    send_control(folder, "set", request=Request(id=f"q{number}", kind="set", changes=changes).model_dump(mode="json"))


def go_back(folder, name, to):
    send_control(folder, "rollback", request=Request(id=name, kind="rollback", to=to).model_dump(mode="json"))


def at_steps(monkeypatch, what):
    """Do something after each step, as a supervisor would while the step is computed: `what(folder, step)`."""
    report = conductor.Conductor._report

    def then(self, loss, norm):
        facts = report(self, loss, norm)
        what(self._outbox.folder, self.progress.step)
        return facts

    monkeypatch.setattr(conductor.Conductor, "_report", then)


def run_through(monkeypatch, lab, run, new, what, *, crashes=(), **settings):
    """Train with `what` at each step, ending without a word at each of `crashes`, and go on until it is done."""
    left = sorted(crashes)
    for fence in range(1, len(left) + 2):
        job, folder = make_job(lab, run, new, fence=fence, **settings)

        def then(folder, step):
            what(folder, step)
            if left and step == left[0]:
                del left[0]
                raise Crash

        with monkeypatch.context() as patch:
            at_steps(patch, then)
            try:
                assert train(job, folder) is WorkerExit.DONE
            except Crash:
                continue
        assert not left
        return job, folder
    raise AssertionError("it crashed more often than it should")


def test_a_new_rate_holds_from_the_next_step_to_the_end_and_is_acknowledged(lab, first, monkeypatch):
    _job, folder = run_through(
        monkeypatch, lab, "rate", [first], lambda folder, step: step == 5 and ask(folder, 1, learning_rate=1e-3)
    )
    rates = {m["step"]: m["learning_rate"] for m in messages(folder, "step")}
    plain, plain_folder = make_job(lab, "rate-plain", [first])
    train(plain, plain_folder)
    usual = {m["step"]: m["learning_rate"] for m in messages(plain_folder, "step")}
    assert rates.keys() == usual.keys()
    assert all(rates[step] == pytest.approx(usual[step] / (5 if step > 5 else 1)) for step in rates)
    told = messages(folder, "change")
    assert [(m["request"], m["name"], m["old"], m["new"], m["state"], m["step"]) for m in told] == [
        ("q1", "learning_rate", 5e-3, 1e-3, "applied", 5)
    ]
    before, after = losses(plain_folder), losses(folder)
    assert next(step for step in before if before[step] != after[step]) == 7, "the sixth loss is of the weights before"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("weight-decay", {"weight_decay": 0.9}),
        ("norm", {"max_grad_norm": 1e-3}),
        ("tokens", {"batch_tokens": 64}),
        ("rows", {"batch_size": 2}),
        ("parts", {"accumulation": 4}),
    ],
)
def test_each_parameter_changes_what_follows_and_nothing_before(lab, first, monkeypatch, name, changes):
    plain, plain_folder = make_job(lab, f"{name}-plain", [first])
    train(plain, plain_folder)
    what = lambda folder, step: step == 5 and ask(folder, 1, **changes)  # noqa: E731
    job, folder = run_through(monkeypatch, lab, name, [first], what)
    before, after = losses(plain_folder), losses(folder)
    assert [before[step] for step in range(1, 6)] == [after[step] for step in range(1, 6)]
    assert list(before.values())[5:] != list(after.values())[5:]
    assert read_manifest(job.output)["rows"] == 48


def test_a_new_batch_size_goes_on_at_the_same_place_in_the_data(lab, first, monkeypatch):
    what = lambda folder, step: step == 5 and ask(folder, 1, batch_size=2)  # noqa: E731
    _job, folder = run_through(monkeypatch, lab, "batch", [first], what, epochs=2)
    steps = messages(folder, "step")
    assert sum(step["rows"] for step in steps) == 96 and steps[-1]["epoch"] == 2.0
    assert {step["rows"] for step in steps[6:-1]} <= {1, 2}
    assert [step["epoch"] for step in steps] == sorted(step["epoch"] for step in steps)
    plans = messages(folder, "plan")
    assert len(plans) == 2 and plans[1]["total_steps"] == len(steps) > plans[0]["total_steps"]
    rates = [step["learning_rate"] for step in steps]
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 1e-3, "the rate goes on without a jump"
    assert rates[-1] < 1e-3, "and still falls to zero at the new end"
    assert {m["name"]: m["new"] for m in messages(folder, "change")} == {"batch_size": 2}


@pytest.mark.parametrize(("name", "settings"), [("full", {}), ("lora", LORA)])
def test_twenty_random_changes_with_crashes_between_replay_to_the_same_losses(lab, first, monkeypatch, name, settings):
    draw = random.Random(7)
    kinds = {
        "learning_rate": lambda: draw.choice([1e-3, 2e-3, 5e-3]),
        "batch_tokens": lambda: draw.choice([96, 128, 192, 256]),
        "batch_size": lambda: draw.choice([2, 3, "auto"]),
        "accumulation": lambda: draw.choice([1, 2, 3]),
        "max_grad_norm": lambda: draw.choice([0.3, 1.0]),
        "weight_decay": lambda: draw.choice([0.0, 0.1]),
    }
    changes = {}
    for step in draw.sample(range(1, 45), 20):
        kind = draw.choice(sorted(kinds))
        changes[step] = {kind: kinds[kind]()}
    what = lambda folder, step: step in changes and ask(folder, step, **changes[step])  # noqa: E731
    common = {"epochs": 3, "checkpoint_steps": 4, **settings}
    whole, whole_folder = run_through(monkeypatch, lab, f"calm-{name}", [first], what, **common)
    cut, cut_folder = run_through(monkeypatch, lab, f"cut-{name}", [first], what, crashes=(13, 30), **common)
    assert [m["resumed_from"] for m in messages(cut_folder, "started")][1:] != [None, None]
    assert losses(cut_folder) == losses(whole_folder)
    assert_same_version(whole.output, cut.output)
    told = {(m["request"], m["name"], m["step"], str(m["new"])) for m in messages(cut_folder, "change")}
    assert told == {(m["request"], m["name"], m["step"], str(m["new"])) for m in messages(whole_folder, "change")}


def test_a_crash_between_the_entry_and_its_effect_loses_nothing(lab, first, monkeypatch):
    what = lambda folder, step: step == 6 and ask(folder, 1, learning_rate=1e-3, batch_size=3)  # noqa: E731
    whole, whole_folder = run_through(monkeypatch, lab, "entry-whole", [first], what, checkpoint_steps=4)
    job, folder = make_job(lab, "entry-cut", [first], checkpoint_steps=4)
    with monkeypatch.context() as patch:
        at_steps(patch, what)
        faults._reached.clear()
        patch.setenv("STOKER_FAULT", "course.entry:enospc")
        with pytest.raises(OSError):
            train(job, folder)
    assert messages(folder, "change") == [] and len(Course(folder).entries) == 1
    job, folder = make_job(lab, "entry-cut", [first], checkpoint_steps=4, fence=2)
    assert train(job, folder) is WorkerExit.DONE
    assert {m["name"] for m in messages(folder, "change")} == {"learning_rate", "batch_size"}
    assert losses(folder) == losses(whole_folder)
    assert_same_version(whole.output, job.output)


def test_what_was_asked_while_no_worker_had_the_run_holds_from_its_first_step(lab, first):
    job, folder = make_job(lab, "asked", [first])
    asked = (Request(id="q1", kind="set", changes={"learning_rate": 1e-3, "batch_size": 3}),)
    assert train(job.model_copy(update={"asked": asked}), folder) is WorkerExit.DONE
    steps = messages(folder, "step")
    assert max(step["learning_rate"] for step in steps) == 1e-3 and {step["rows"] for step in steps} == {3}
    assert {m["step"] for m in messages(folder, "change")} == {0}


def test_a_change_that_breaks_a_rule_changes_nothing_and_is_told(lab, first, monkeypatch):
    plain, plain_folder = make_job(lab, "rule-plain", [first])
    train(plain, plain_folder)
    what = lambda folder, step: step == 3 and ask(folder, 1, max_grad_norm=0.01, learning_rate=3.0)  # noqa: E731
    _job, folder = run_through(monkeypatch, lab, "rule", [first], what)
    told = messages(folder, "change")
    assert {m["name"]: m["state"] for m in told} == {"max_grad_norm": "rejected", "learning_rate": "rejected"}
    assert "above 1.0" in told[0]["reason"]
    assert losses(folder) == losses(plain_folder)


def test_a_request_that_is_repeated_is_carried_out_once(lab, first, monkeypatch):
    _job, folder = run_through(
        monkeypatch, lab, "again", [first], lambda folder, step: step < 9 and ask(folder, 1, learning_rate=1e-3)
    )
    assert len(Course(folder).entries) == 1
    assert {m["step"] for m in messages(folder, "change")} == {1}


def test_a_run_goes_back_to_a_checkpoint_with_everything_it_held(lab, first, monkeypatch):
    plain, plain_folder = make_job(lab, "back-plain", [first], **LORA)
    train(plain, plain_folder)
    what = lambda folder, step: step == 10 and go_back(folder, "b1", 4)  # noqa: E731
    job, folder = run_through(monkeypatch, lab, "back", [first], what, checkpoint_steps=4, **LORA)
    steps = [m["step"] for m in messages(folder, "step")]
    assert steps == [*range(1, 11), *range(5, max(steps) + 1)]
    assert losses(folder) == losses(plain_folder), "the same steps again give the same losses"
    assert_same_version(plain.output, job.output)
    told = messages(folder, "rollback")[0]
    assert (told["from_step"], told["to_step"], told["leg"]) == (10, 4, 1)


@pytest.mark.parametrize("to", [0, "best", 3])
def test_a_run_goes_back_to_its_start_to_the_best_step_and_not_where_nothing_is(lab, first, monkeypatch, to):
    what = lambda folder, step: step == 7 and go_back(folder, "b1", to)  # noqa: E731
    job, folder = run_through(monkeypatch, lab, f"back-to-{to}", [first], what, checkpoint_steps=4)
    plain, plain_folder = make_job(lab, f"back-to-{to}-plain", [first])
    train(plain, plain_folder)
    assert losses(folder) == losses(plain_folder)
    assert_same_version(plain.output, job.output)
    told = [m for m in messages(folder, "change") if m["name"] == "rollback"]
    if to == 3:
        assert told[0]["state"] == "rejected" and "there are those of 0, 4" in told[0]["reason"]
    else:
        assert told[0]["new"] == (0 if to == 0 else 4)


def test_changes_and_rollbacks_replay_through_crashes(lab, first, monkeypatch):
    def what(folder, step):
        if step == 6:
            ask(folder, 1, learning_rate=1e-3)
        if step == 11:
            go_back(folder, "b1", 4)
        if step == 13 and Course(folder).leg:
            ask(folder, 2, batch_size=3)

    common = {"epochs": 2, "checkpoint_steps": 4, **LORA}
    whole, whole_folder = run_through(monkeypatch, lab, "mixed-whole", [first], what, **common)
    cut, cut_folder = run_through(monkeypatch, lab, "mixed-cut", [first], what, crashes=(7, 14), **common)
    assert final_losses(cut_folder) == final_losses(whole_folder)
    assert_same_version(whole.output, cut.output)


def test_a_checkpoint_of_an_abandoned_leg_is_never_resumed(lab, first, monkeypatch):
    what = lambda folder, step: step == 10 and go_back(folder, "b1", 4)  # noqa: E731
    job, folder = make_job(lab, "stale", [first], checkpoint_steps=4)
    with monkeypatch.context() as patch:
        at_steps(patch, what)
        faults._reached.clear()
        patch.setenv("STOKER_FAULT", "course.entry:enospc")
        with pytest.raises(OSError):
            train(job, folder)
    assert (folder / "checkpoints" / "step-00000008").exists()
    job, folder = make_job(lab, "stale", [first], checkpoint_steps=4, fence=2)
    assert train(job, folder) is WorkerExit.DONE
    assert messages(folder, "started")[1]["resumed_from"] == 4


def test_what_holds_at_a_step_is_a_fold_of_the_entries(tmp_path):
    course = Course(tmp_path)
    course.record({"kind": "set", "request": "a", "step": 5, "changes": {"learning_rate": [1, 2]}, "reason": ""})
    course.record({"kind": "leave-out", "request": "b", "step": 9, "rows": [[0, 3]], "reason": ""})
    course.record({"kind": "refused", "request": "c", "step": 9, "changes": {"epochs": [1, 2]}, "reason": ""})
    course.record(
        {
            "kind": "rollback",
            "request": "d",
            "leg": 1,
            "from": 12,
            "to": 7,
            "changes": {"learning_rate": [2, 1]},
            "reason": "",
        }
    )
    course.record({"kind": "set", "request": "e", "step": 8, "changes": {"accumulation": [1, 2]}, "reason": ""})
    again = Course(tmp_path)
    turns = again.turns()
    rows = frozenset({(0, 3)})
    assert turns == [
        Turn(0),
        Turn(5, {"learning_rate": 2}),
        Turn(7, {"learning_rate": 1}, rows, is_rollback=True),
        Turn(8, {"learning_rate": 1, "accumulation": 2}, rows),
    ]
    assert turn_at(turns, 6).live == {"learning_rate": 2} and next_turn_step(turns, 5) == 7
    assert again.is_abandoned(0, 8) and not again.is_abandoned(0, 7) and not again.is_abandoned(1, 8)
    assert again.find("c")["kind"] == "refused" and again.find("z") is None


def test_what_is_asked_after_a_crash_holds_before_and_over_what_was_set_at_later_steps(tmp_path):
    course = Course(tmp_path)
    for number, (step, changes) in enumerate([
        (42, {"learning_rate": [1, 2]}), (45, {"accumulation": [1, 2]}), (40, {"learning_rate": [2, 3], "batch_size": [1, 4]}),
    ]):  # fmt: skip
        course.record({"kind": "set", "request": f"q{number}", "step": step, "changes": changes, "reason": ""})
    assert course.turns() == [
        Turn(0),
        Turn(40, {"learning_rate": 3, "batch_size": 4}),
        Turn(42, {"learning_rate": 3, "batch_size": 4}),
        Turn(45, {"learning_rate": 3, "batch_size": 4, "accumulation": 2}),
    ]


def test_a_batch_size_asked_while_a_crashed_run_waits_trains_each_row_once(lab, first, monkeypatch):
    """Its checkpoint is of step 4, the changes written down of steps 5 and 7."""
    common = {"epochs": 2, "checkpoint_steps": 4}

    def what(folder, step):
        if step == 5:
            ask(folder, 1, accumulation=2)
        if step == 7:
            ask(folder, 2, learning_rate=1e-3)
        if step == 8:
            raise Crash

    job, folder = make_job(lab, "waits", [first], **common)
    with monkeypatch.context() as patch:
        at_steps(patch, what)
        with pytest.raises(Crash):
            train(job, folder)
    asked = (Request(id="q3", kind="set", changes={"batch_size": 2}),)
    job, folder = make_job(lab, "waits", [first], fence=2, **common)
    assert train(job.model_copy(update={"asked": asked}), folder) is WorkerExit.DONE
    assert [m["step"] for m in messages(folder, "change") if m["request"] == "q3"] == [4]
    steps = [m for m in messages(folder, "step") if m["fence"] == 2]
    assert {m["rows"] for m in steps[:-1]} <= {1, 2}, "it holds from the very next step"
    rows = {m["step"]: m["rows"] for m in messages(folder, "step")}
    assert sum(rows.values()) == 96
    again, again_folder = make_job(lab, "waits-again", [first], **common)
    (again_folder / COURSE).write_bytes((folder / COURSE).read_bytes())
    assert train(again, again_folder) is WorkerExit.DONE
    assert losses(again_folder) == final_losses(folder), "the course alone replays the run"
    assert_same_version(again.output, job.output)
