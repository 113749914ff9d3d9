"""`stoker eval compare MODEL MODEL ...` on results that are there: what it prints, its JSON, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from answered import answered

from stoker.cli.comparing_results import HELDOUT, HELDOUT_ANSWERS, sealed_rows, write_heldout
from stoker.data.benchmarks import read_benchmark
from stoker.data.rows import Row
from stoker.durable import sha256_file
from stoker.mailbox.benches import RESULT, read_items, write_bench
from stoker.store.reader import Reader
from stoker.workspace import Workspace

Stoker = Callable[..., Any]
FIELDS = ("n", "a", "b", "difference", "low", "high", "p_value", "minimum_detectable", "outcome")
WEAK = [1.0] * 10 + [0.0] * 20 + [1.0] * 5 + [0.0] * 25
STRONG = [1.0] * 10 + [1.0] * 20 + [0.0] * 5 + [0.0] * 25


class Bench:
    """A lab with benchmarks, models' folders and results on them."""

    def __init__(self, lab: Workspace) -> None:
        self.lab = lab

    def benchmark(self, name: str, num: int = 60) -> Path:
        path = self.lab.benchmarks / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        lines = ({"id": f"q{n}", "prompt": f"question {n}", "answer": "yes"} for n in range(num))
        path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        return path

    def model(self, name: str) -> Path:
        folder = self.lab.root / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        return folder

    def result(self, model: Path, name: str, marks: list[float | None], **fields: Any) -> Path:
        path = self.lab.benchmarks / f"{name}.jsonl"
        sha256 = sha256_file(path) if path.is_file() else "ab" * 32
        facts: dict[str, Any] = {
            "benchmark_sha256": sha256, "at": 2e9, "settings": {"shots": 0, "limit": None, "max_new_tokens": 512},
        }  # fmt: skip
        measured = answered(str(model), marks, benchmark=name, **(facts | fields))
        return write_bench(self.lab.benches, measured.result, measured.items)


@pytest.fixture
def bench(lab: Workspace) -> Bench:
    return Bench(lab)


@pytest.fixture
def two(bench: Bench) -> tuple[str, str]:
    """Two models with results on one benchmark, the second better."""
    bench.benchmark("sums")
    weak, strong = bench.model("weak"), bench.model("strong")
    bench.result(weak, "sums", list(WEAK), first_token_seconds=0.02, tokens_per_second=90.0, disk_bytes=2_000_000)
    bench.result(strong, "sums", list(STRONG), first_token_seconds=0.05, tokens_per_second=45.0, disk_bytes=4_000_000)
    return str(weak), str(strong)


def test_json_of_two_models_on_one_benchmark_is_the_fixed_object(
    lab: Workspace, two: tuple[str, str], stoker: Stoker
) -> None:
    found = stoker("eval", "compare", *two, "--benchmark", "sums", "--json").json()
    assert set(FIELDS) <= found.keys()
    assert (found["benchmark"], found["model_a"], found["model_b"]) == ("sums", *two)
    # Every number again from the items on disk.
    marks = []
    for folder in sorted(lab.benches.iterdir(), key=lambda folder: two.index(_model(folder))):
        marks.append({item.id: item.scores["exact"] for item in read_items(folder)})
    pairs = [(marks[0][id], marks[1][id]) for id in marks[0] if id in marks[1]]
    assert found["n"] == len(pairs) == 60
    assert found["a"] == sum(a for a, _ in pairs) / 60 and found["b"] == sum(b for _, b in pairs) / 60
    assert found["difference"] == pytest.approx(sum(b - a for a, b in pairs) / 60)
    assert found["low"] <= found["difference"] <= found["high"]
    assert (found["only_a"], found["only_b"]) == (sum(a > b for a, b in pairs), sum(b > a for a, b in pairs)) == (5, 20)
    assert found["outcome"] == "better" and found["p_value"] < 0.01
    assert found["recommendation"]["model"] == two[1]
    assert [one["tokens_per_second"] for one in found["models"]] == [90.0, 45.0]
    assert len(found["disagreements"]) == 3


def _model(folder: Path) -> str:
    return str(orjson.loads((folder / RESULT).read_bytes())["model"])


def test_several_benchmarks_are_a_list(bench: Bench, two: tuple[str, str], stoker: Stoker) -> None:
    bench.benchmark("words")
    for model in two:
        bench.result(Path(model), "words", list(WEAK))
    found = stoker("eval", "compare", *two, "--json").json()
    assert [(one["benchmark"], one["outcome"]) for one in found] == [
        ("sums", "better"), ("words", "no detectable difference")
    ]  # fmt: skip
    assert found[0]["p_corrected"] == pytest.approx(2 * found[0]["p_value"])
    assert len(stoker("eval", "compare", *two, "--benchmark", "sums", "--benchmark", "words", "--json").json()) == 2


def test_the_terminal_says_first_what_to_use_within_100_columns(two: tuple[str, str], stoker: Stoker) -> None:
    shown = stoker("eval", "compare", *two, "--items", "2")
    assert shown.code == 0
    assert shown.out.startswith("Use ") and "strong: " in shown.out.split("better than")[0].replace("\n", " ")
    for words in ("strong against weak", "25.0 %", "50.0 %", "+25.0", "45", "4.0 MB", "50 ms", "expected  yes"):
        assert words in shown.out, words
    assert shown.out.count("prompt") == 2
    table = [line for line in shown.out.splitlines() if not line.startswith(("Use", "/"))]
    assert max(map(len, table)) <= 100
    assert "prompt" not in stoker("eval", "compare", *two, "--items", "0").out


def test_pages_are_written_once(bench: Bench, two: tuple[str, str], stoker: Stoker, tmp_path: Path) -> None:
    page, text = tmp_path / "page.html", tmp_path / "text.md"
    done = stoker("eval", "compare", *two, "--html", str(page), "--markdown", str(text), "--json")
    assert done.code == 0 and len(done.json()) == 1
    assert "<svg" in page.read_text() and "| sums |" in text.read_text()
    again = stoker("eval", "compare", *two, "--html", str(page))
    assert again.code == 4 and "exists" in again.err
    assert stoker("eval", "compare", *two, "--markdown", str(tmp_path / "no" / "where.md")).code == 3


def test_three_models_are_three_pairs(bench: Bench, two: tuple[str, str], stoker: Stoker) -> None:
    third = bench.model("third")
    bench.result(third, "sums", list(STRONG))
    found = stoker("eval", "compare", *two, str(third), "--benchmark", "sums", "--json").json()
    assert [(Path(one["model_a"]).name, Path(one["model_b"]).name) for one in found] == [
        ("weak", "strong"), ("weak", "third"), ("strong", "third")
    ]  # fmt: skip
    assert "third against strong" in stoker("eval", "compare", *two, str(third)).out


def test_a_model_without_a_result_is_told_of_when_nothing_may_be_measured(
    bench: Bench, two: tuple[str, str], stoker: Stoker
) -> None:
    new = bench.model("new")
    nothing = stoker("eval", "compare", two[0], str(new), "--stored")
    assert nothing.code == 3 and "only one of them has a result" in nothing.err and "--stored" in nothing.err
    bench.benchmark("words")
    bench.result(Path(two[0]), "words", list(WEAK))
    partly = stoker("eval", "compare", *two, "--stored")
    assert partly.code == 0 and "words, strong against weak: not compared, only one of them has a result" in partly.err


def test_a_suite_that_both_have_is_compared_too(bench: Bench, two: tuple[str, str], stoker: Stoker) -> None:
    for model in two:
        bench.result(Path(model), "arc_easy", list(WEAK))
    found = stoker("eval", "compare", *two, "--json").json()
    assert [one["benchmark"] for one in found] == ["sums", "arc_easy"]


@pytest.mark.parametrize("harm", ["no result", "no items", "cut short", "file changed", "other shots", "older weights"])
def test_what_is_unfinished_or_of_another_question_does_not_count(
    bench: Bench, two: tuple[str, str], stoker: Stoker, harm: str
) -> None:
    (folder,) = (one for one in bench.lab.benches.iterdir() if _model(one) == two[1])
    if harm == "no result":
        (folder / RESULT).unlink()
    elif harm == "no items":
        (folder / "items.jsonl").unlink()
    elif harm == "cut short":
        (folder / "items.jsonl").write_bytes((folder / "items.jsonl").read_bytes()[:-30])
    elif harm == "file changed":
        bench.benchmark("sums", 61)
    elif harm == "other shots":
        bench.result(Path(two[1]), "sums", list(STRONG), settings={"shots": 5, "limit": None, "max_new_tokens": 512})
    else:
        bench.result(Path(two[1]), "sums", list(STRONG), at=1.0)
        (Path(two[1]) / "model.safetensors").write_bytes(b"newer")
    assert stoker("eval", "compare", *two, "--stored").code == 3


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[1] / "bench"), *sys.path])
    from api_server import ApiServer

    made = ApiServer()
    yield made
    made.close()


def test_what_is_missing_is_measured_first_and_only_once(bench: Bench, stoker: Stoker, server: Any) -> None:
    path = bench.benchmark("words")
    lines = ({"id": f"w{n}", "prompt": f"Say the word w{n}", "answer": f"w{n if n % 4 else 'x'}"} for n in range(40))
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    path.with_suffix(".toml").write_text('scorer = "exact"\n')
    models = f"{server.url}#one", f"{server.url}#two"
    found = stoker("eval", "compare", *models, "--benchmark", "words", "--json")
    assert found.code == 0, found.err
    assert (found.json()["n"], found.json()["a"], found.json()["outcome"]) == (40, 0.75, "no detectable difference")
    asked = len(server.asked)
    assert asked >= 80
    assert stoker("eval", "compare", *models).code == 0 and len(server.asked) == asked
    (damaged, _) = bench.lab.benches.iterdir()
    (damaged / "items.jsonl").unlink()
    assert stoker("eval", "compare", *models).code == 0
    assert len(read_items(damaged)) == 40
    some = stoker("eval", "compare", *models, "--benchmark", "words", "--limit", "10", "--json").json()
    assert some["n"] == 10
    assert stoker("eval", "compare", *models, "--benchmark", "words", "--shots", "2", "--json").json()["n"] == 38


def test_endpoints_are_not_asked_for_likelihoods(bench: Bench, stoker: Stoker, server: Any) -> None:
    path = bench.benchmark("level")
    path.with_suffix(".toml").write_text('scorer = "nll"\n')
    models = f"{server.url}#one", f"{server.url}#two"
    nothing = stoker("eval", "compare", *models)
    assert nothing.code == 3 and "level: neither has a result" in nothing.err


def test_what_can_not_be_compared_is_refused(bench: Bench, two: tuple[str, str], stoker: Stoker) -> None:
    twice = stoker("eval", "compare", two[0], two[0])
    assert twice.code == 2 and "named twice" in twice.err
    same = stoker("eval", "compare", two[0], f"{two[0]}/../weak")
    assert same.code == 2 and "are the same model" in same.err
    alone = stoker("eval", "compare", two[0])
    assert alone.code == 2 and "two models" in alone.err
    assert stoker("eval", "compare", two[0], "v9").code == 3
    assert stoker("eval", "compare", "t9").code == 3
    unknown = stoker("eval", "compare", *two, "--benchmark", "nosuch")
    assert unknown.code == 3 and "there are sums" in unknown.err
    assert stoker("eval", "compare", *two, "--items", "-1").code == 2
    assert stoker("eval", "compare", *two, "--shots", "-1").code == 2


def test_sealed_rows_become_benchmarks_with_the_ids_that_evaluations_know(tmp_path: Path) -> None:
    rows = [
        Row.from_content(1, [{"role": "user", "content": "one?"}, {"role": "assistant", "content": "1"}]),
        Row.from_content(
            2,
            [
                {"role": "system", "content": "Count."}, {"role": "user", "content": "two?"},
                {"role": "assistant", "content": "2"}, {"role": "user", "content": "three?"},
                {"role": "assistant", "content": "3"},
            ],
        ),
        Row.from_content(3, text="plain text"),
    ]  # fmt: skip
    paths = write_heldout(tmp_path, rows, 1)
    assert [path.stem for path in paths] == [HELDOUT, HELDOUT_ANSWERS]
    heldout, answers = map(read_benchmark, paths)
    assert [item.row.id for item in heldout.items] == [row.id for row in rows[:2]]
    assert heldout.scorer == "nll" and answers.scorer == "f1"
    assert [item.row.id for item in answers.items] == [min(row.id for row in rows[:2])]
    assert write_heldout(tmp_path, rows[2:], 5) == []


def test_sealed_rows_are_those_of_trained_datasets(history: Workspace) -> None:
    content = {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]}
    folder = history.dataset("d0123456789ab")
    row = {"id": "0" * 16, "line": 1, "is_representative": True, **content}
    (folder / "heldout.jsonl").write_bytes(orjson.dumps(row) + b"\n")
    assert [one.id for one in sealed_rows(Reader(history))] == ["0" * 16]
