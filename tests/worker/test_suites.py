"""Tasks of lm-evaluation-harness from a local folder, offline: the same numbers as the harness's own model, to the last digit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.errors import DataError, InvalidInput, UserError, WorkerExit
from stoker.evaluate.suites import Kept, check_suite
from stoker.mailbox.benches import BenchItem, BenchResult, read_items
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES, Outbox
from stoker.model.device import resolve_hardware
from stoker.model.resident import Resident
from stoker.spec.jobs import BaseRef, BenchJob, BenchModel, BenchSettings, EndpointRef, ModelRef, Suite
from stoker.spec.lab import EvaluateSpec, TrainSpec
from stoker.worker.benching import run_bench

BENCH_TESTS = Path(__file__).resolve().parents[1] / "bench"
TRAIN = TrainSpec(threads=1, precision="fp32")
PLACES = ("Aru", "Belm", "Coro", "Dunwick", "Elsa", "Farr", "Gant", "Hoyle")
CHOICE = """\
task: places_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/choice.jsonl
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{label}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""
WRITTEN = """\
task: places_written
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/written.jsonl
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}\\n"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 8
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "choice.yaml").write_text(CHOICE.format(folder=folder))
    (folder / "written.yaml").write_text(WRITTEN.format(folder=folder))
    rows = [
        {"question": f"How many people live in {place}?", "choices": ["Then 12 people", f"In {place} there are", "blue"],
         "label": n % 3, "answer": "parrot" if n % 2 else "blue"}
        for n, place in enumerate(PLACES)
    ]  # fmt: skip
    for name in ("choice", "written"):
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [str(BENCH_TESTS), *sys.path])
    from api_server import ApiServer

    made = ApiServer()
    yield made
    made.close()


def make_job(folder: Path, suite: Path, model: BenchModel, **fields: Any) -> BenchJob:
    suites = tuple(Suite(task=task, folder=suite) for task in ("places_choice", "places_written"))
    given: dict[str, Any] = {
        "models": (model,), "suites": suites, "evaluate": EvaluateSpec(batch_size=4, resamples=400), "train": TRAIN,
        "answers": folder / "answers", "output": folder / "benches", "root": folder, **fields,
    }  # fmt: skip
    return BenchJob(**given)


def run(job: BenchJob, name: str = "task") -> tuple[dict[str, BenchResult], dict[str, list[BenchItem]], list[bool]]:
    task = job.root / name
    task.mkdir()
    outbox = Outbox(task)
    code = WorkerExit.CRASH
    try:
        code = run_bench(job, task, outbox, Resident())
    finally:
        outbox.finished(code)
    done = [m for m in JournalReader(task / MESSAGES).read() if m["kind"] == "bench" and m["state"] == "done"]
    found = [BenchResult.model_validate_json((job.output / m["key"] / "result.json").read_bytes()) for m in done]
    items = {result.benchmark: read_items(job.output / result.key) for result in found}
    return {result.benchmark: result for result in found}, items, [m["is_kept"] for m in done]


def base_model(base: Path) -> BenchModel:
    ref = ModelRef(label="base", base=BaseRef(name="tiny", folder=base), weights_sha256="to be found")
    return BenchModel(source="base", model=ref)


def harness_alone(suite: Path, base: Path, batch_size: int) -> dict[str, Any]:
    """Run the same tasks by the harness's own means, without a line of ours."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    own = HFLM(
        pretrained=str(base), dtype="float32", device="cpu", batch_size=batch_size,
        attn_implementation=resolve_hardware(TRAIN).attention,
    )  # fmt: skip
    manager = TaskManager(include_path=str(suite), include_defaults=False)
    tasks: list[Any] = ["places_choice", "places_written"]
    return dict(evaluator.simple_evaluate(own, tasks=tasks, task_manager=manager, bootstrap_iters=0) or {})


def test_a_loaded_model_gets_the_numbers_of_the_harness_to_the_last_digit(
    tmp_path: Path, suite: Path, tiny_base: Path
) -> None:
    results, items, _ = run(make_job(tmp_path, suite, base_model(tiny_base)))
    alone = harness_alone(suite, tiny_base, 4)
    for task, metrics in (("places_choice", ("acc", "acc_norm")), ("places_written", ("exact_match",))):
        result = results[task]
        assert (result.scorer, result.n, result.primary) == ("lm-eval", 8, metrics[0])
        assert result.scores == {metric: alone["results"][task][f"{metric},none"] for metric in metrics}
        samples = alone["samples"][task]
        assert [item.prompt for item in items[task]] == [one["arguments"][0][0] for one in samples]
        assert [item.scores for item in items[task]] == [{metric: one[metric] for metric in metrics} for one in samples]
    assert [item.answer for item in items["places_written"]] == [
        one["filtered_resps"][0] for one in alone["samples"]["places_written"]
    ]
    kept = [
        one
        for line in next((tmp_path / "answers").iterdir()).read_bytes().splitlines()
        if isinstance(one := orjson.loads(line)["response"], list)
    ]
    theirs = [list(response) for one in alone["samples"]["places_choice"] for response in one["filtered_resps"]]
    assert sorted(kept) == sorted(theirs) and len(kept) == 24
    choice = items["places_choice"][1]
    assert choice.expected == "In Belm there are" and choice.choice in ("Then 12 people", "In Belm there are", "blue")
    assert choice.confidence is not None and 1 / 3 <= choice.confidence <= 1
    assert results["places_choice"].memory_bytes and results["places_choice"].tokens_per_second


def test_what_was_answered_is_used_again_and_the_limit_is_another_question(
    tmp_path: Path, suite: Path, tiny_base: Path
) -> None:
    job = make_job(tmp_path, suite, base_model(tiny_base))
    first, _, _ = run(job)
    (journal,) = (tmp_path / "answers").iterdir()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-3]) + lines[-3][:9])
    second, _, is_kept = run(job, "second")
    assert is_kept == [True, True] and {name: one.key for name, one in first.items()} == {
        name: one.key for name, one in second.items()
    }
    assert len([line for line in journal.read_bytes().splitlines() if line]) == len(lines) + 1
    limited, _, _ = run(job.model_copy(update={"settings": BenchSettings(limit=3)}), "third")
    assert limited["places_choice"].n == 3 and limited["places_choice"].key != first["places_choice"].key


def test_shots_and_seed_are_the_harness_s(tmp_path: Path, suite: Path, tiny_base: Path) -> None:
    suites = (Suite(task="places_choice", folder=suite),)
    found = {}
    for seed in (0, 3):
        settings = BenchSettings(shots=2, seed=seed)
        job = make_job(tmp_path, suite, base_model(tiny_base), suites=suites, settings=settings)
        results, items, _ = run(job, f"seed{seed}")
        assert results["places_choice"].settings["shots"] == 2
        prompts = [item.prompt for item in items["places_choice"]]
        assert all(prompt.count("Question:") == 3 for prompt in prompts)
        found[seed] = (results["places_choice"].key, prompts)
    assert found[0][0] != found[3][0] and found[0][1] != found[3][1]


def test_an_endpoint_is_asked_by_the_harness_too(tmp_path: Path, suite: Path, server: Any) -> None:
    endpoint = EndpointRef(label=f"{server.url}#parrot", url=server.url, model="parrot")
    results, items, _ = run(make_job(tmp_path, suite, BenchModel(source="endpoint", endpoint=endpoint)))
    assert results["places_written"].scores == {"exact_match": 0.0} and results["places_written"].source == "endpoint"
    assert [item.answer for item in items["places_written"]] == [" parrot"] * 8
    # by characters, "blue" is the shortest and so the likeliest; a third of the items expect it
    assert [item.choice for item in items["places_choice"]] == ["blue"] * 8
    assert results["places_choice"].scores["acc"] == 2 / 8
    asked = len(server.asked)
    assert asked == 8 * 3 + 8
    run(make_job(tmp_path, suite, BenchModel(source="endpoint", endpoint=endpoint)), "again")
    assert len(server.asked) == asked


def test_an_unknown_task_names_those_there_are(suite: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no task 'mmlu' in .*places_choice, places_written"):
        check_suite(Suite(task="mmlu", folder=suite))


def test_a_task_whose_data_is_gone_is_refused_with_its_reason(tmp_path: Path, tiny_base: Path) -> None:
    (tmp_path / "choice.yaml").write_text(CHOICE.format(folder=tmp_path / "nowhere"))
    suites = (Suite(task="places_choice", folder=tmp_path),)
    with pytest.raises(DataError, match=r"'places_choice' of .* can't be run: FileNotFoundError"):
        run(make_job(tmp_path, tmp_path, base_model(tiny_base), suites=suites))


def test_without_the_harness_the_error_says_what_to_install(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"pip install 'stoker\[suites\]'"):
        check_suite(Suite(task="places_choice", folder=suite))


def test_kept_responses_are_of_their_conditions(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "w", "one")
    assert kept.put("loglikelihood", ("a", "b"), [-1.0, False]) and not kept.put(
        "loglikelihood", ("a", "b"), [0.0, True]
    )
    kept.close()
    assert Kept(tmp_path, "w", "one").get("loglikelihood", ("a", "b")) == [-1.0, False]
    assert Kept(tmp_path, "w", "two").get("loglikelihood", ("a", "b")) is None
