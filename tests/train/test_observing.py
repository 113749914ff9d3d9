"""What a run measures beside training: it changes nothing, comes when it should, and stays within its budget."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import orjson
import pytest
import torch
from test_training_run import stop_after
from train_lab import assert_same_version, losses, make_dataset, make_job, messages, train

from stoker.durable import read_manifest
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.model.device import resolve_hardware
from stoker.model.generation import generate
from stoker.model.likelihood import mean_nll_that_fits
from stoker.model.load import load_for_inference, load_tokenizer
from stoker.spec.lab import TrainSpec
from stoker.train.conductor import StepFacts
from stoker.train.observing import samples as sampling
from stoker.train.observing.budget import Budget
from stoker.train.observing.heldout import schedule
from stoker.train.observing.layer_norms import LayerNorms, layer_of
from stoker.train.observing.samples import Samples, choose_probes
from stoker.train.observing.sealed import gather_sealed
from stoker.train.plan import load_plan

OFF = {"layer_norms_every": 0, "eval_every": 0, "sample_every": 0}
ALL = {"layer_norms_every": 1, "eval_every": 2, "sample_every": 3, "watch_share": 1.0, "sample_tokens": 12}
JUMPING = {"epochs": 6, "eval_every": 5, "checkpoint_steps": 5, "learning_rate": 0.1, "decay_fraction": 0.0}
LORA = {"method": "lora", "model": {"lora_dropout": 0.1}}


@pytest.fixture(scope="module")
def sealing(lab):
    return make_dataset(lab, 21, rows=40, heldout=20)


@pytest.fixture(scope="module")
def observed(lab, sealing):
    job, folder = make_job(lab, "observed", [sealing], **ALL)
    assert train(job, folder) is WorkerExit.DONE
    return job, folder


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    yield outbox
    outbox.finished(WorkerExit.DONE)


def told(outbox: Outbox, kind: str) -> list[dict]:
    return messages(outbox.folder, kind)


def facts(step: int, seconds: float = 1.0, tokens: int = 10_000) -> StepFacts:
    return StepFacts(step, 1.0, 1.0, 1e-3, tokens, 1, seconds, True)


@pytest.mark.parametrize("settings", [{}, LORA], ids=["full", "lora with dropout"])
def test_a_run_with_everything_measured_is_bit_for_bit_the_run_without(lab, sealing, settings):
    outputs = []
    for run, watching in ((f"all-{len(settings)}", ALL), (f"off-{len(settings)}", OFF)):
        job, folder = make_job(lab, run, [sealing], **settings, **watching)
        train(job, folder)
        outputs.append((losses(folder), job.output))
    assert {"layers", "evaluation", "sample"} <= {m["kind"] for m in messages(lab / "runs" / f"all-{len(settings)}")}
    assert not {"layers", "evaluation", "sample"} & {m["kind"] for m in messages(folder)}
    assert outputs[0][0] == outputs[1][0]
    assert_same_version(outputs[0][1], outputs[1][1])


def test_a_run_that_is_interrupted_tells_each_evaluation_once_and_the_same(lab, sealing, observed, monkeypatch):
    for fence, cut in ((1, 3), (2, 6), (3, None)):
        job, folder = make_job(lab, "observed-cut", [sealing], fence=fence, **ALL)
        with monkeypatch.context() as patch:
            if cut:
                stop_after(patch, cut)
            train(job, folder)
    whole = {m["step"]: (m["heldout_loss"], m["rows"]) for m in messages(observed[1], "evaluation")}
    cut_up = messages(folder, "evaluation")
    assert len(cut_up) == len(whole) and {m["step"]: (m["heldout_loss"], m["rows"]) for m in cut_up} == whole
    assert_same_version(observed[0].output, job.output)


def test_evaluations_come_every_so_many_steps_and_after_the_last(observed):
    total = read_manifest(observed[0].output)["steps"]
    found = messages(observed[1], "evaluation")
    assert [m["step"] for m in found] == sorted({*range(2, total + 1, 2), total})
    assert {m["rows"] for m in found} == {20} and all(m["seconds"] > 0 for m in found)
    assert found[-1]["heldout_loss"] < found[0]["heldout_loss"]


def test_the_number_of_rows_is_at_most_that_of_the_settings(lab, sealing):
    job, folder = make_job(lab, "few-rows", [sealing], eval_every=4, eval_rows=5)
    train(job, folder)
    assert {m["rows"] for m in messages(folder, "evaluation")} == {5}


def test_a_run_too_short_for_samples_and_evaluations_says_so_once_and_only_when_it_is_whole(lab, sealing, monkeypatch):
    job, folder = make_job(lab, "short", [sealing], watch_share=1e-6)
    train(job, folder)
    assert messages(folder, "sample") == messages(folder, "evaluation") == []
    events = [m for m in messages(folder, "event") if m["code"] == "watching.too-short"]
    assert [m["data"] for m in events] == [{"missing": ["a held-out loss", "answers to held-out rows"]}]
    for fence, cut in ((1, 6), (2, None)):
        job, folder = make_job(lab, "short-cut", [sealing], fence=fence, watch_share=1e-6)
        with monkeypatch.context() as patch:
            if cut:
                stop_after(patch, cut)
            train(job, folder)
    assert "watching.too-short" not in {m["code"] for m in messages(folder, "event")}


@pytest.mark.parametrize(("settings", "is_evaluated"), [({}, False), ({"eval_every": 4}, True), ({"watch_share": 1.0}, True),
                                                         ({"early_stopping": 100}, True)])  # fmt: skip
def test_a_short_run_is_evaluated_where_it_is_asked_for_and_not_by_default(lab, sealing, settings, is_evaluated):
    job, folder = make_job(lab, f"short-{'-'.join(settings)}", [sealing], sample_every=0, **settings)
    train(job, folder)
    assert bool(messages(folder, "evaluation")) is is_evaluated
    told = [m["data"]["missing"] for m in messages(folder, "event") if m["code"] == "watching.too-short"]
    assert told == ([] if is_evaluated else [["a held-out loss"]])


def test_evaluations_are_as_many_as_half_the_share_pays_for_and_ten_at_most(lab, sealing, observed):
    job, folder = observed
    rows, plan = gather_sealed(job, load_tokenizer(job.base_folder), 4096), load_plan(folder / "plan.npz")
    sealed_tokens, trained_tokens = sum(row.num_tokens for row in rows), int(plan.tokens.sum())
    numbers = []
    for times in (1, 40, 100, 1000):
        when = schedule(TrainSpec(), dataclasses.replace(plan, tokens=plan.tokens * times), rows)
        numbers.append(math.ceil(plan.total_steps / when.every) if when.every else 0)
        # A step is at least two forward passes.
        cost = numbers[-1] * when.num_rows * sealed_tokens / len(rows)
        assert cost <= 0.02 / 2 * 2 * trained_tokens * times * 1.01
    assert numbers[0] == 0 < numbers[1] < numbers[2] <= numbers[3] == 10 and when.num_rows == 20
    whatever = schedule(TrainSpec(watch_share=1.0), plan, rows)
    assert (whatever.every, whatever.num_rows) == (1, 20)


def test_sealed_rows_are_of_the_datasets_trained_and_never_train(lab, sealing, observed):
    job, folder = observed
    tokenizer = load_tokenizer(job.base_folder)
    rows = {row.id for row in gather_sealed(job, tokenizer, 4096)}
    sealed_ids = {orjson.loads(line)["id"] for line in (sealing.folder / "heldout.jsonl").read_bytes().splitlines()}
    assert rows == sealed_ids and len(rows) == 20
    trained = {row[1] for m in row_losses(folder) for row in m["rows"]}
    assert len(trained) == 40 and not trained & rows
    assert load_plan(folder / "plan.npz").rows.sum() == 40

    gone = sorted(rows)[:3]
    without = job.model_copy(update={"new": (sealing.model_copy(update={"removed": tuple(gone)}),)})
    assert {row.id for row in gather_sealed(without, tokenizer, 4096)} == rows - set(gone)
    keeper = lab / "keeper-of-sealed"
    keeper.mkdir()
    ledger = [{"row": row, "state": "held_out", "line": 1} for row in gone]
    (keeper / "ledger.jsonl").write_bytes(b"\n".join(map(orjson.dumps, ledger)) + b"\n")
    replaced = job.model_copy(update={"new": (sealing.model_copy(update={"kept_by": (keeper,)}),)})
    assert {row.id for row in gather_sealed(replaced, tokenizer, 4096)} == set(gone)
    middle = sorted(row.num_tokens for row in gather_sealed(job, tokenizer, 4096))[10]
    short = gather_sealed(job, tokenizer, middle)
    assert 0 < len(short) < 20 and all(len(s) <= middle for row in short for s in row.sequences)


def row_losses(folder):
    lines = (folder / "row_losses.jsonl").read_bytes().splitlines()
    return [record for record in map(orjson.loads, lines) if "rows" in record]


def test_layer_norms_are_of_the_gradient_before_clipping(lab, sealing):
    job, folder = make_job(lab, "norms", [sealing], layer_norms_every=2, max_grad_norm=1e-3, eval_every=0)
    train(job, folder)
    norms = {step["step"]: step["grad_norm"] for step in messages(folder, "step")}
    found = messages(folder, "layers")
    assert [m["step"] for m in found] == list(range(2, len(norms) + 1, 2))
    for message in found:
        assert {"embed", "norm", "layers.0"} <= message["norms"].keys()
        assert math.hypot(*message["norms"].values()) == pytest.approx(norms[message["step"]], rel=1e-5)


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("model.layers.11.self_attn.q_proj.weight", "layers.11"),
        ("base_model.model.model.layers.2.mlp.up_proj.lora_A.default.weight", "layers.2"),
        ("transformer.h.0.attn.c_attn.weight", "layers.0"),
        ("model.embed_tokens.weight", "embed"),
        ("lm_head.weight", "head"),
        ("model.norm.weight", "norm"),
        ("visual.proj", "other"),
    ],
)
def test_parameters_are_grouped_by_layer(parameter, layer):
    assert layer_of(parameter) == layer


def test_a_layer_whose_gradient_is_not_finite_is_told_as_null(outbox):
    named = {f"layers.{i}.weight": torch.nn.Parameter(torch.zeros(3)) for i in range(2)}
    named["layers.0.weight"].grad = torch.tensor([3.0, 4.0, 0.0])
    named["layers.1.weight"].grad = torch.tensor([1.0, math.inf, 0.0])
    norms = LayerNorms(named, TrainSpec, outbox, Budget())
    for step in (9, 10):
        norms.measure(step)
        norms.after_step(facts(step))
    assert [(m["step"], m["norms"]) for m in told(outbox, "layers")] == [(10, {"layers.0": 5.0, "layers.1": None})]
    assert norms.latest is not None and norms.latest[1]["layers.1"] == math.inf


@pytest.fixture
def asked(observed, tmp_path, outbox, monkeypatch):
    """Samples of a trained model under a clock of the test's own: `make(spec, total_steps, measuring=.., answering=..)`."""
    job, _ = observed
    loaded = load_for_inference(as_ref(job), job.base_folder, resolve_hardware(job.train))
    rows = gather_sealed(job, loaded.tokenizer, 4096)

    def make(spec: TrainSpec, total_steps: int, measuring: float = 0.0, answering: float = 0.0):
        now = [0.0]
        for name, inner, seconds in (
            ("mean_nll_that_fits", mean_nll_that_fits, measuring),
            ("generate", generate, answering),
        ):
            monkeypatch.setattr(sampling, name, takes(now, inner, seconds))
        budget = Budget(clock=lambda: now[0])
        probes = choose_probes(rows, spec, loaded.tokenizer)
        return Samples(probes, lambda: spec, lambda: total_steps, loaded, 1024, outbox, budget), budget

    return make, loaded


def takes(now, inner, seconds):
    def timed(*args, **named):
        now[0] += seconds
        return inner(*args, **named)

    return timed


def as_ref(job):
    from train_lab import as_parent

    return as_parent(job)


def walk(samples, budget, steps: int, tokens: int = 10_000):
    for step in range(1, steps + 1):
        budget.after_step(facts(step, tokens=tokens))
        samples.after_step(facts(step, tokens=tokens))


def test_answers_wait_until_the_budget_has_room_and_the_rest_is_told(asked, outbox):
    make, _ = asked
    spec = TrainSpec(sample_every=10, sample_rows=2, sample_tokens=2, watch_share=0.1)
    walk(*make(spec, 60, measuring=0.3, answering=1.7), 60)
    # At nine tenths of a tenth of the time: the first answers at once, the next when they are paid for; measuring alone meanwhile.
    found = {m["step"]: m["answer"] is not None for m in told(outbox, "sample") if m["probe"] == 1}
    assert [step for step, is_answered in found.items() if is_answered] == [10, 55]
    assert [step for step, is_answered in found.items() if not is_answered] == [30, 40, 50, 60]
    assert all((m["is_match"] is None) == (m["answer"] is None) and m["nll"] > 0 for m in told(outbox, "sample"))
    assert [(m["code"], m["data"]) for m in told(outbox, "event")] == [("samples.postponed", {"taken": 2, "due": 6})]


def test_measuring_alone_never_takes_the_time_that_answers_wait_for(asked, outbox):
    make, _ = asked
    spec = TrainSpec(sample_every=10, sample_rows=2, sample_tokens=2, watch_share=0.1)
    walk(*make(spec, 60, measuring=1.0, answering=1.0), 60)
    assert [m["step"] for m in told(outbox, "sample") if m["probe"] == 1] == [10, 45]


def test_the_first_answers_wait_until_what_they_are_guessed_to_cost_has_room(asked, outbox):
    make, _ = asked
    spec = TrainSpec(sample_every=10, sample_rows=2, sample_tokens=2, watch_share=0.1)
    samples, budget = make(spec, 600, measuring=0.1, answering=0.1)
    walk(samples, budget, 600, tokens=10)
    first = next(m["step"] for m in told(outbox, "sample") if m["answer"] is not None)
    # A second a step of ten tokens: prompts and expected answers as dear as trained ones, two tokens of answers as 16 each.
    computed = sum(len(s) for probe in samples._probes for s in probe.sequences)
    computed += sum(len(probe.prompt_ids) for probe in samples._probes) + 2 * 16
    assert 100 < first == pytest.approx(computed * 0.1 / (0.9 * 0.1), abs=2)
    # Once it is known how little they take, they come when they are due.
    assert {m["step"] for m in told(outbox, "sample") if m["answer"] is not None} >= set(
        range(first // 10 * 10 + 10, 601, 10)
    )


def test_answers_of_a_fast_model_are_guessed_by_its_layers(asked, outbox):
    make, loaded = asked
    spec = TrainSpec(sample_every=1, sample_rows=2, sample_tokens=2, watch_share=0.001)
    samples, budget = make(spec, 40)
    walk(samples, budget, 40, tokens=10**9)
    first = next(m["step"] for m in told(outbox, "sample") if m["answer"] is not None)
    assert first == pytest.approx(2 * 1.5 * (loaded.model.config.num_hidden_layers + 2) / 0.9, abs=1.5)


def test_samples_leave_the_evaluations_the_half_that_is_theirs(asked, outbox):
    make, _ = asked
    spec = TrainSpec(sample_every=1, sample_rows=2, sample_tokens=2, watch_share=0.1)
    samples, budget = make(spec, 40, answering=1.0)
    budget.reserved_share = 0.05
    walk(samples, budget, 20)
    budget.evaluating_seconds = budget.spent_seconds = 1.0
    taken = [m["step"] for m in told(outbox, "sample") if m["probe"] == 1 and m["answer"] is not None]
    assert taken == [1]
    assert budget.allows(0.7, 0.1) and not budget.allows(0.9, 0.1)
    budget.evaluating_seconds = 0.5
    assert budget.allows(0.2, 0.1) and not budget.allows(0.4, 0.1)


def test_what_is_done_at_each_step_counts(outbox):
    now = iter(range(100))
    budget = Budget(clock=lambda: float(next(now)))
    budget.after_step(facts(1, seconds=100.0))
    assert budget.allows(1.8, 0.02) and not budget.allows(1.9, 0.02)
    named = {"layers.0.weight": torch.nn.Parameter(torch.zeros(3))}
    named["layers.0.weight"].grad = torch.ones(3)
    norms = LayerNorms(named, lambda: TrainSpec(layer_norms_every=1), outbox, budget)
    norms.measure(1)
    norms.after_step(facts(1))
    assert budget.spent_seconds == 2.0 and not budget.allows(0.1, 0.02) and budget.allows(1e9, 1.0)


def test_a_larger_share_of_the_time_takes_all_samples(asked, outbox):
    make, _ = asked
    spec = TrainSpec(sample_every=10, sample_rows=2, sample_tokens=2, watch_share=0.3)
    walk(*make(spec, 60, measuring=0.5, answering=1.5), 60)
    found = [m for m in told(outbox, "sample") if m["probe"] == 1]
    assert (
        [m["step"] for m in found if m["answer"] is not None] == [10, 20, 30, 40, 50, 60] == [m["step"] for m in found]
    )
    assert told(outbox, "event") == []


def test_samples_are_off_at_zero_and_ten_a_run_by_default(asked, outbox):
    make, _ = asked
    for off in ({"sample_every": 0}, {"sample_rows": 0}):
        walk(*make(TrainSpec(**off), 20), 20)
    assert told(outbox, "sample") == []
    walk(*make(TrainSpec(sample_rows=3, sample_tokens=2, watch_share=1.0), 40), 40)
    found = told(outbox, "sample")
    assert len({m["step"] for m in found}) == 10 and {m["probe"] for m in found} == {1, 2, 3}


def test_a_sample_holds_question_expected_answer_nll_and_mark(asked, outbox):
    make, _ = asked
    walk(*make(TrainSpec(sample_every=1, sample_rows=20, sample_tokens=24, watch_share=1.0), 1), 1)
    found = told(outbox, "sample")
    assert len(found) == 20
    for message in found:
        words = message["prompt"].split("turn around ")[1].split()
        assert message["expected"] == " ".join(reversed(words))
        assert message["is_match"] == (message["answer"] == message["expected"]) and message["nll"] > 0
    walk(*make(TrainSpec(sample_every=1, sample_rows=20, sample_tokens=1, watch_share=1.0), 1), 1)
    assert max(len(m["answer"]) for m in told(outbox, "sample")[20:]) < max(len(m["answer"]) for m in found)


def test_probes_that_can_be_answered_in_time_come_first(asked, observed):
    _, loaded = asked
    rows = gather_sealed(observed[0], loaded.tokenizer, 4096)
    size = {row.id: sum(s.trained.sum() for s in row.sequences) for row in rows}
    middle = int(np.median(list(size.values())))
    probes = choose_probes(rows, TrainSpec(sample_tokens=middle, sample_rows=8), loaded.tokenizer)
    assert all(sum(s.trained.sum() for s in probe.sequences) <= middle for probe in probes)


def test_measuring_leaves_mode_gradients_and_every_generator_alone(asked, outbox):
    make, loaded = asked
    samples, budget = make(TrainSpec(sample_every=1, sample_tokens=4, watch_share=1.0), 1)
    loaded.model.train()
    seeds = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    weights = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    walk(samples, budget, 1)
    assert told(outbox, "sample") and loaded.model.training
    assert (random.getstate(), np.random.get_state()[1].tolist()) == seeds[:2]
    assert torch.equal(torch.get_rng_state(), seeds[2])
    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    loaded.model.eval()


def test_the_best_checkpoint_is_the_one_with_the_lowest_heldout_loss(lab, sealing):
    job, folder = make_job(lab, "best", [sealing], **JUMPING)
    train(job, folder)
    found = {m["step"]: m["heldout_loss"] for m in messages(folder, "evaluation")}
    best = min(found, key=found.get)
    assert best < max(found), "the rate is too high for the loss to fall to the end, or the test says nothing"
    assert [m["step"] for m in messages(folder, "checkpoint") if m["is_best"]][-1] == best
    assert (folder / "checkpoints" / f"step-{best:08d}").is_dir()
