"""A run that goes wrong comes right by itself: each fault planted, each remedy told, nothing lost."""

import pytest
from test_course import ask, final_losses, run_through
from train_lab import assert_same_version, losses, make_job, messages, train

from stoker import faults
from stoker.analysis.detectors.watch import Watch
from stoker.durable import read_manifest
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.spec.recovery import RecoverSpec
from stoker.spec.watching import WatchSpec
from stoker.train.course import Course
from stoker.train.healing import Healer
from stoker.train.progress import Progress

LONG = {"epochs": 4, "checkpoint_steps": 8}


@pytest.fixture(scope="module")
def plain(lab, first):
    """The undisturbed run's losses."""
    job, folder = make_job(lab, "undisturbed", [first], **LONG)
    assert train(job, folder) is WorkerExit.DONE
    return losses(folder)


def spoiled(monkeypatch, lab, run, new, fault, *, recover=None, exit=WorkerExit.DONE, **settings):
    """Train with a planted fault."""
    job, folder = make_job(lab, run, new, **{**LONG, **settings})
    job = job.model_copy(update={"recover": RecoverSpec(**(recover or {}))})
    with monkeypatch.context() as patch:
        faults._reached.clear()
        patch.setenv("STOKER_FAULT", fault)
        assert train(job, folder) is exit
    return job, folder


def codes(folder):
    return [m["code"] for m in messages(folder, "event")]


def tail(found, count=8):
    return sum(list(found.values())[-count:]) / count


@pytest.mark.parametrize("fault", ["nan", "inf"])
def test_a_step_that_is_not_finite_is_left_out(lab, first, plain, monkeypatch, fault):
    job, folder = spoiled(monkeypatch, lab, f"one-{fault}", [first], f"step.loss:{fault}@30")
    assert [m["step"] for m in messages(folder, "skipped")] == [30]
    assert "non-finite" in codes(folder) and Course(folder).entries == []
    assert tail(final_losses(folder)) == pytest.approx(tail(plain), rel=0.02)
    assert read_manifest(job.output)["skipped_steps"] == 1


def test_several_in_a_row_send_the_run_back_with_half_the_rate(lab, first, plain, monkeypatch):
    job, folder = spoiled(monkeypatch, lab, "nans", [first], "step.loss:nan@30-32")
    told = messages(folder, "rollback")
    assert [(m["from_step"], m["to_step"], m["leg"]) for m in told] == [(32, 24, 1)]
    rate = next(m for m in messages(folder, "change") if m["name"] == "learning_rate")
    assert (rate["old"], rate["new"]) == (5e-3, 2.5e-3)
    event = next(m for m in messages(folder, "event") if m["code"] == "recovery.rolled-back")
    assert event["data"]["from_step"] == 32 and "3 steps in a row were not finite" in event["text"]
    assert read_manifest(job.output)["skipped_steps"] == 0
    assert tail(final_losses(folder)) < 1.2 * tail(plain)


def test_rollbacks_come_to_an_end_and_so_does_the_run(lab, first, monkeypatch):
    job, folder = spoiled(
        monkeypatch, lab, "hopeless", [first], "step.loss:nan@20-1000", recover={"max_rollbacks": 2},
        exit=WorkerExit.NON_FINITE,
    )  # fmt: skip
    assert len(messages(folder, "rollback")) == 2 and "recovery.gave-up" in codes(folder)
    assert not job.output.exists()


@pytest.mark.parametrize("policy", ["skip-then-fail", "tell"])
def test_the_policy_for_non_finite_steps_decides(lab, first, monkeypatch, policy):
    exit = WorkerExit.NON_FINITE if policy == "skip-then-fail" else WorkerExit.DONE
    _job, folder = spoiled(
        monkeypatch, lab, f"policy-{policy}", [first], "step.loss:nan@20-24", recover={"non_finite": policy}, exit=exit
    )
    assert messages(folder, "rollback") == []


def test_a_spike_is_not_applied_its_batch_waits_for_review_and_the_rate_is_halved(lab, first, plain, monkeypatch):
    job, folder = spoiled(monkeypatch, lab, "spike", [first], "step.loss:x100@30")
    assert [m["step"] for m in messages(folder, "skipped")] == [30]
    assert "spike" in messages(folder, "skipped")[0]["reason"]
    put_aside = messages(folder, "quarantined")[0]
    assert put_aside["dataset"] == first.id and {row["code"] for row in put_aside["rows"]} == {"loss-spike"}
    assert all(row["line"] >= 1 and "step 30" in row["reason"] for row in put_aside["rows"])
    assert {"loss-spike", "recovery.batch-quarantined", "recovery.rate-halved"} <= set(codes(folder))
    rates = {m["step"]: m["learning_rate"] for m in messages(folder, "step")}
    assert rates[32] == pytest.approx(rates[31] / 2)
    rows = [(row, step) for row, step, _, _ in visits(folder, first)]
    away = {int(row["row"], 16) for row in put_aside["rows"]}
    assert away and not any(row in away and step > 31 for row, step in rows), "later epochs leave them out"
    assert read_manifest(job.output)["skipped_steps"] == 1
    assert tail(final_losses(folder)) < 1.2 * tail(plain)


def visits(folder, dataset):
    from train_lab import history

    return history(folder, dataset)


@pytest.mark.parametrize(
    ("policy", "is_applied", "is_aside", "is_halved"),
    [("tell", True, False, False), ("quarantine", False, True, False), ("halve-rate", True, False, True)],
)
def test_the_policy_for_spikes_decides(lab, first, monkeypatch, policy, is_applied, is_aside, is_halved):
    _job, folder = spoiled(
        monkeypatch, lab, f"spike-{policy}", [first], "step.loss:x100@30", recover={"loss_spike": policy}
    )
    assert (messages(folder, "skipped") == []) is is_applied
    assert bool(messages(folder, "quarantined")) is is_aside
    assert ("recovery.rate-halved" in codes(folder)) is is_halved
    assert "loss-spike" in codes(folder)


def test_a_rate_that_makes_a_run_diverge_is_undone_from_the_best_checkpoint(lab, first, plain, monkeypatch):
    def what(folder, step):
        if step == 30 and not Course(folder).leg:
            ask(folder, 1, learning_rate=0.5)

    job, folder = run_through(monkeypatch, lab, "diverging", [first], what, **{**LONG, "epochs": 8})
    told = messages(folder, "rollback")
    assert told and told[0]["to_step"] <= 30
    rates = [m["new"] for m in messages(folder, "change") if m["name"] == "learning_rate"]
    assert rates[1] == 2.5e-3, "half of what was in force where it went back to"
    assert tail(final_losses(folder)) < 1.2 * tail(plain)
    assert job.output.exists()


def test_out_of_memory_in_the_middle_splits_the_step_and_goes_on(lab, first, plain, monkeypatch):
    _job, folder = spoiled(monkeypatch, lab, "oom", [first], "step.loss:oom@30", gradient_checkpointing="off")
    assert "memory.tight" in codes(folder)
    assert list(final_losses(folder)) == list(plain)
    assert list(final_losses(folder).values()) == pytest.approx(list(plain.values()), rel=2e-2)


def test_a_run_that_healed_itself_replays_exactly_after_a_crash(lab, first, monkeypatch):
    """The spike is of a certain step and not of a process's time: it comes again in the worker that goes on."""
    from stoker.train import trainer

    compute = trainer.SegmentTrainer.training_step

    def spiking(self, model, inputs, num_items_in_batch=None):
        with monkeypatch.context() as patch:
            if inputs.step == 29:
                patch.setattr(trainer, "fault_factor", lambda name: 100.0)
            return compute(self, model, inputs, num_items_in_batch)

    monkeypatch.setattr(trainer.SegmentTrainer, "training_step", spiking)
    nothing = lambda folder, step: None  # noqa: E731
    whole, whole_folder = run_through(monkeypatch, lab, "healed-whole", [first], nothing, **LONG)
    cut, cut_folder = run_through(monkeypatch, lab, "healed-cut", [first], nothing, crashes=(30, 33), **LONG)
    assert Course(whole_folder).entries == Course(cut_folder).entries != []
    assert losses(cut_folder) == losses(whole_folder)
    assert_same_version(whole.output, cut.output)


def test_spikes_one_after_another_mean_the_weights_and_no_batch_is_blamed(lab, first, monkeypatch):
    _job, folder = spoiled(monkeypatch, lab, "three", [first], "step.loss:x100@30-32")
    assert messages(folder, "quarantined") == []
    assert [m["from_step"] for m in messages(folder, "rollback")] == [32]


@pytest.fixture
def healer(tmp_path):
    """Make healers of the run in tmp_path."""
    outbox = Outbox(tmp_path)
    yield lambda progress=None, **recover: Healer(
        RecoverSpec(**recover), Watch(WatchSpec()), progress or Progress(), Course(tmp_path), outbox
    )
    outbox._journal.close()


def test_so_many_batches_are_put_aside_and_no_more(healer):
    calm = Progress()
    found = healer(calm, max_quarantined_batches=1)
    for step in range(1, 40):
        found.after_step(step, 2.0 + 0.01 * (step % 3), 1.0, is_applied=True, is_last=False, max_skipped=3)
    assert found.loss_limit() < 5
    calm.num_left_out = 1
    assert found.loss_limit() == float("inf")


def test_the_rate_is_halved_so_often_and_no_more(tmp_path, healer):
    for number in range(2):
        Course(tmp_path).record(
            {"kind": "set", "request": f"recovery-loss-spike-0-{number}", "step": number, "reason": "",
             "changes": {"learning_rate": [2, 1]}}
        )  # fmt: skip
    for limit, is_halved in ((3, True), (2, False)):
        found = healer(Progress(refused=[40]), max_rate_halvings=limit)
        (remedy,) = found.after_step(41, 2.0, 1.0, is_applied=True, is_last=False, max_skipped=3)
        assert remedy.action == "quarantine" and remedy.is_rate_halved is is_halved


@pytest.mark.parametrize(
    ("policy", "actions"), [("tell", []), ("halve-rate", ["halve-rate"]), ("rollback", ["rollback"])]
)
def test_exploding_gradients_follow_the_policy(healer, policy, actions):
    found = healer(gradients_exploding=policy)
    done = []
    for step in range(1, 80):
        norm = 1.0 if step < 50 else 1000.0
        done += found.after_step(step, 2.0, norm, is_applied=True, is_last=False, max_skipped=3)
    assert [remedy.action for remedy in done] == actions


def test_divergence_follows_the_policy(healer):
    for policy, actions in {"tell": [], "halve-rate": ["halve-rate"], "rollback": ["rollback"]}.items():
        found = healer(divergence=policy, loss_spike="tell")
        done = []
        for step in range(1, 140):
            done += found.after_step(
                step, 2.0 if step < 60 else 5.0, 1.0, is_applied=True, is_last=False, max_skipped=3
            )
        assert [remedy.action for remedy in done] == actions
