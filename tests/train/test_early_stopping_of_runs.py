"""Early stopping: a run whose held-out loss no longer falls ends early, with its best weights and an honest count of rows."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest
from pydantic import ValidationError
from test_training_run import stop_after
from train_lab import WORDS, as_parent, assert_same_version, make_dataset, make_job, messages, train

from stoker.durable import read_manifest, sha256_file, verify_folder
from stoker.errors import InvalidInput, WorkerExit
from stoker.spec.jobs import JOB, DatasetRef, IntakeJob
from stoker.spec.lab import IntakeSpec, SplitSpec, TrainSpec
from stoker.train import run as run_module
from stoker.train.plan import load_plan

# So high a rate for so many epochs over so few rows: the held-out loss rises long before the end.
OVERFITTING = {"epochs": 12, "learning_rate": 0.02, "eval_every": 3, "sample_every": 0}
STOPPING = {**OVERFITTING, "early_stopping": 2}


@pytest.fixture(scope="module")
def data(lab):
    return make_dataset(lab, 31, rows=24, heldout=16)


@pytest.fixture(scope="module")
def stopped(lab, data):
    job, folder = make_job(lab, "stopped-early", [data], **STOPPING)
    assert train(job, folder) is WorkerExit.DONE
    return job, folder


def evaluations(folder):
    return {m["step"]: m["heldout_loss"] for m in messages(folder, "evaluation")}


def test_the_run_ends_after_its_patience_with_the_weights_of_the_best_evaluation(lab, data, stopped):
    job, folder = stopped
    facts = verify_folder(job.output)
    found, early = evaluations(folder), facts["finished_early"]
    best = min(found, key=found.get)
    total = load_plan(folder / "plan.npz").total_steps
    assert early["stopped_at"] == max(found) == best + 6 < total == early["total_steps"]
    assert early["weights_of_step"] == facts["steps"] == best
    assert messages(folder)[-1]["exit"] == 0 and messages(folder)[-1]["reason"] == early["reason"]
    same, same_folder = make_job(lab, "until-the-best", [data], **OVERFITTING)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, best)
        train(same, same_folder)
    checkpoint = same_folder / "checkpoints" / f"step-{best:08d}"
    assert_same_weights(job.output / "model.safetensors", checkpoint / "weights.safetensors")
    assert_same_weights(job.output / "moments.safetensors", checkpoint / "moments.safetensors")


def assert_same_weights(left, right):
    from safetensors.numpy import load_file

    a, b = load_file(left), load_file(right)
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def test_only_the_rows_that_are_in_the_weights_count_as_trained(lab, data):
    job, folder = make_job(lab, "one-epoch", [data], **{**STOPPING, "epochs": 1, "eval_every": 1, "min_delta": 5.0})
    train(job, folder)
    facts, plan = read_manifest(job.output), load_plan(folder / "plan.npz")
    early = facts["finished_early"]
    assert facts["steps"] < early["stopped_at"] == 3 < plan.total_steps
    assert facts["rows"] == plan.rows[: facts["steps"]].sum() == 24 - early["rows_not_reached"]
    assert f"{early['rows_not_reached']} of 24 rows were not reached" in early["reason"]
    assert facts["tokens"] == plan.tokens[: facts["steps"]].sum()
    assert messages(folder, "result")[0]["rows"] == facts["rows"]


def test_more_patience_or_none_trains_further(lab, data, stopped):
    for run, patience in (("patient", 3), ("endless", 0)):
        job, folder = make_job(lab, run, [data], **{**OVERFITTING, "early_stopping": patience})
        train(job, folder)
        assert max(evaluations(folder)) > max(evaluations(stopped[1]))
    assert read_manifest(job.output)["finished_early"] is None


def test_a_run_that_is_killed_on_the_way_stops_at_the_same_step_with_the_same_weights(lab, data, stopped, monkeypatch):
    class Dead(Exception):
        pass

    def die(*args, **named):
        raise Dead

    job, folder = make_job(lab, "killed-early", [data], **STOPPING, checkpoint_steps=2)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        assert train(job, folder) is WorkerExit.PAUSED
    with monkeypatch.context() as patch:  # after it stopped, before it published
        patch.setattr(run_module, "publish_version", die)
        with pytest.raises(Dead):
            train(job, folder)
    assert train(job, folder) is WorkerExit.DONE
    assert evaluations(folder) == evaluations(stopped[1])
    assert_same_version(stopped[0].output, job.output)
    assert read_manifest(job.output)["finished_early"] == read_manifest(stopped[0].output)["finished_early"]


def test_the_line_goes_on_from_a_version_that_finished_early(lab, first, stopped):
    job, folder = make_job(lab, "after-early", [first], parent=as_parent(stopped[0]), version=2)
    assert train(job, folder) is WorkerExit.DONE
    assert any(m["code"] == "moments.kept" for m in messages(folder, "event"))


def test_a_best_checkpoint_that_is_damaged_is_told_and_the_run_keeps_what_it_has(lab, data, monkeypatch):
    job, folder = make_job(lab, "damaged-best", [data], **STOPPING)
    restore = run_module.go_back_to_best

    def damage_first(run, *rest):
        weights = folder / "checkpoints" / f"step-{run.progress.best_step:08d}" / "weights.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        return restore(run, *rest)

    monkeypatch.setattr(run_module, "go_back_to_best", damage_first)
    assert train(job, folder) is WorkerExit.DONE
    early = read_manifest(job.output)["finished_early"]
    assert messages(folder, "damaged") and early["weights_of_step"] == early["stopped_at"]


def test_without_sealed_rows_a_run_says_that_nothing_can_stop_it(lab, first):
    job, folder = make_job(lab, "nothing-sealed", [first], early_stopping=1)
    train(job, folder)
    assert [m["code"] for m in messages(folder, "event")].count("early-stopping.off") == 1
    assert read_manifest(job.output)["finished_early"] is None


def test_early_stopping_without_evaluations_is_refused():
    with pytest.raises(ValidationError, match=r"train\.eval_every is 0"):
        TrainSpec(early_stopping=2, eval_every=0)


@pytest.fixture(scope="module")
def taken(lab):
    """A dataset that the intake made: with the index by which benchmark items are held against trained rows."""
    file, task, folder = lab / "taken.jsonl", lab / "intake", lab / "datasets" / "taken"
    rows = [{"prompt": f"the opposite of {word}", "answer": word[::-1]} for word in WORDS * 2]
    rows = [{**row, "prompt": f"{row['prompt']} number {place}"} for place, row in enumerate(rows)]
    file.write_bytes(b"\n".join(orjson.dumps(row) for row in rows) + b"\n")
    ref = DatasetRef(id="taken", folder=folder, name=file.name)
    split = SplitSpec(fraction=0.0, min_clusters=0, max_clusters=0)
    job = IntakeJob(
        dataset=ref, file=file, file_sha256=sha256_file(file), intake=IntakeSpec(allow_unproven=True), split=split
    )
    task.mkdir()
    (task / JOB).write_text(job.model_dump_json())
    subprocess.run([sys.executable, "-m", "stoker.data", str(task)], check=True)
    return ref


def with_benchmark(lab, job, items):
    folder = lab / "benchmarks"
    folder.mkdir(exist_ok=True)
    (folder / "words.jsonl").write_bytes(b"\n".join(orjson.dumps(item) for item in items) + b"\n")
    return job.model_copy(update={"benchmarks": folder})


def test_a_run_can_stop_by_the_score_on_a_benchmark(lab, taken):
    items = [{"prompt": f"what is {word}?", "answer": word} for word in ("granite", "basalt", "gneiss")]
    on = {"early_stopping_on": "words", "sample_tokens": 4, "eval_rows": 2}
    job, folder = make_job(lab, "by-benchmark", [taken], **STOPPING, **on)
    assert train(with_benchmark(lab, job, items), folder) is WorkerExit.DONE
    found = messages(folder, "evaluation")
    # No answer is ever right: the first score is the best, and two more are the end.
    assert [(m["step"], m["benchmark"], m["score"]) for m in found] == [(step, "words", 0.0) for step in (3, 6, 9)]
    early = read_manifest(job.output)["finished_early"]
    assert (early["weights_of_step"], early["stopped_at"]) == (3, 9)
    assert "the score on words had no gain in 2 evaluations, the best is 0.0000 at step 3" in early["reason"]


def test_a_benchmark_that_is_not_there_or_has_no_score_is_refused_before_the_first_step(lab, data):
    job, folder = make_job(lab, "no-benchmark", [data], **STOPPING, early_stopping_on="nothing")
    with pytest.raises(InvalidInput, match=r"train\.early_stopping_on = 'nothing' is no benchmark"):
        train(with_benchmark(lab, job, []), folder)
    assert messages(folder, "step") == []


def test_a_scorer_that_runs_or_asks_something_stops_no_run(lab, taken):
    job, folder = make_job(lab, "by-code", [taken], **STOPPING, early_stopping_on="words")
    job = with_benchmark(lab, job, [{"prompt": "p", "answer": "a", "meta": {"tests": "pass"}}])
    (job.benchmarks / "words.toml").write_text('scorer = "code"\n')
    with pytest.raises(InvalidInput, match="only scorers that compare texts are used"):
        train(job, folder)
    assert messages(folder, "step") == []
