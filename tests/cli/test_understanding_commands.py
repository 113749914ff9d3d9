"""`eval explain` and `eval items` on results written as benches and evaluations write them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from small_datasets import Take, mails
from sqlalchemy import insert

from stoker.mailbox.benches import BenchItem, BenchResult, write_bench
from stoker.mailbox.kept import read_kept, side_by_side
from stoker.store import tables as t
from stoker.store.store import Store
from stoker.workspace import Workspace

CATEGORIES = ("add", "sort", "copy")
NOW = 1_700_000_000.0


def make_items(wrong: set[int], num: int = 60, *, answer: str = "a wrong answer") -> list[BenchItem]:
    return [
        BenchItem(
            id=f"q{n}", category=CATEGORIES[n % 3], prompt=f"{CATEGORIES[n % 3]} the things of shelf {n}",
            expected=f"right {n}", answer=answer if n in wrong else f"right {n}", finished=True,
            scores={"exact": float(n not in wrong)}, confidence=0.9,
        )
        for n in range(num)
    ]  # fmt: skip


def bench(lab: Workspace, key: str, model: str, items: list[BenchItem], **fields: Any) -> BenchResult:
    given: dict[str, Any] = {
        "model": model, "source": "version", "weights_sha256": "ab", "benchmark": "shelf", "benchmark_sha256": "cd",
        "scorer": "exact", "primary": "exact", "metrics": {"exact": True}, "n": len(items), "scores": {},
        "settings": {"shots": 0, "limit": None}, "at": NOW, **fields,
    }  # fmt: skip
    result = BenchResult(key=key, **given)
    write_bench(lab.benches, result, items)
    return result


def add_version(lab: Workspace, number: int) -> None:
    store = Store(lab.store, now=lambda: NOW + number)
    store.claim()
    with store.transaction() as transaction:
        job = {"id": f"j{number}0", "number": 10 * number, "dataset": "d0123456789ab", "position": 1, "created": NOW}
        transaction.execute(insert(t.jobs).values(**job))
        run = {"id": f"r{number}0", "number": 10 * number, "job": job["id"], "dataset": job["dataset"], "state": "done"}
        transaction.execute(insert(t.runs).values(**run, created=NOW))
        transaction.execute(
            insert(t.versions).values(
                model="main", version=number, parent=number - 1, run=run["id"], state="published", method="full",
                weights_sha256=f"{number:064d}", base_sha256="cd" * 32, steps=3, datasets=["d0123456789ab"],
                outcome="promoted", created=NOW + number,
            )
        )  # fmt: skip
    store.close()


def test_a_lab_without_results_says_how_to_get_them(stoker: Any, history: Workspace) -> None:
    for command in (("eval", "explain", "main/v1"), ("eval", "items")):
        answer = stoker(*command)
        assert answer.code == 3 and "eval bench" in answer.err


def test_an_explanation_names_the_weak_category_and_the_failures(stoker: Any, history: Workspace) -> None:
    bench(history, "k1", "main/v1", make_items({n for n in range(60) if n % 3 == 1}))
    answer = stoker("eval", "explain", "@champion")
    assert answer.code == 0, answer.err
    assert "66.7 % exact, 60 items" in answer.out and "20 of 60 answers are wrong" in answer.out
    (weak,) = [line for line in answer.out.splitlines() if line.startswith("sort ")]
    assert "weak" in weak and "0.0 %" in weak
    assert "overconfident" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100
    (found,) = stoker("eval", "explain", "v1", "--json").json()
    assert (found["n"], found["wrong"], found["source"], found["result"]) == (60, 20, "bench", "k1")
    assert [one["outcome"] for one in found["categories"] if one["name"] == "sort"] == ["worse"]
    assert found["kinds"][0]["n"] == 20 and found["repeated_answers"] == [{"answer": "a wrong answer", "times": 20}]


def test_every_benchmark_is_explained_or_those_asked_for(stoker: Any, history: Workspace) -> None:
    for name in ("shelf", "attic"):
        bench(history, name, "main/v1", make_items({1}), benchmark=name)
    assert [one["benchmark"] for one in stoker("eval", "explain", "v1", "--json").json()] == ["attic", "shelf"]
    asked = stoker("eval", "explain", "v1", "--benchmark", "shelf", "--json").json()
    assert [one["benchmark"] for one in asked] == ["shelf"]
    answer = stoker("eval", "explain", "v1", "--benchmark", "cellar")
    assert (
        answer.code == 3 and "attic, shelf" in answer.err and "eval bench --model v1 --benchmark cellar" in answer.err
    )


@pytest.mark.parametrize(("word", "code"), [("base", 3), ("main/v9", 3), ("other/v1", 3), ("./nowhere", 3)])
def test_a_model_without_results_is_an_error_that_says_what_there_is(
    stoker: Any, history: Workspace, word: str, code: int
) -> None:
    bench(history, "k1", "main/v1", make_items({1}))
    answer = stoker("eval", "explain", word)
    assert answer.code == code and "Traceback" not in answer.err and answer.out == ""
    if word == "base":
        assert "results are of main/v1" in answer.err


def test_an_endpoint_is_explained_by_its_address(stoker: Any, history: Workspace) -> None:
    bench(history, "k1", "http://localhost:9/v1#small", make_items({1, 2}), source="endpoint")
    (found,) = stoker("eval", "explain", "http://localhost:9/v1#small", "--json").json()
    assert found["wrong"] == 2


def test_the_mark_moves_what_counts_as_right(stoker: Any, history: Workspace) -> None:
    items = [one.model_copy(update={"scores": {"exact": 0.6}}) for one in make_items(set())]
    bench(history, "k1", "main/v1", items)
    assert stoker("eval", "explain", "v1", "--json").json()[0]["wrong"] == 60
    assert stoker("eval", "explain", "v1", "--mark", "0.6", "--json").json()[0]["wrong"] == 0
    assert stoker("eval", "explain", "v1", "--mark", "0").code == 2
    assert stoker("eval", "explain", "v1", "--mark", "nan").code == 2


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(stoker: Any, history: Workspace, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    bench(history, "k1", "main/v1", make_items({1, 4, 7}, answer=hostile))
    page = tmp_path / "page.html"
    answer = stoker("eval", "explain", "v1", "--html", str(page))
    text = page.read_text("utf-8")
    assert answer.code == 0 and "wrote" in answer.err
    assert hostile not in text and "&lt;script&gt;" in text and "http" not in text.replace("http-equiv", "")
    assert "weaker than the rest" not in text, "three of twenty are no weak category"
    again = stoker("eval", "explain", "v1", "--html", str(page))
    assert again.code == 4 and "exists" in again.err


def test_items_over_versions_with_what_was_learned_and_forgotten(stoker: Any, history: Workspace) -> None:
    add_version(history, 2)
    add_version(history, 3)
    for number, wrong in ((1, {1, 2, 3, 9}), (2, {1, 2, 9}), (3, {1, 5, 9})):
        bench(history, f"k{number}", f"main/v{number}", make_items(wrong), at=NOW + number)
    found = stoker("eval", "items", "--json").json()
    assert found["versions"] == ["main/v1", "main/v2", "main/v3"] and found["never_right"] == ["q1", "q9"]
    assert len(found["always_right"]) == 55
    changed = found["changes"]
    assert (changed["from"], changed["to"]) == ("main/v2", "main/v3"), "the last two versions"
    assert [one["id"] for one in changed["learned"]] == ["q2"] and [one["id"] for one in changed["forgotten"]] == ["q5"]
    assert changed["forgotten"][0]["before"] == "right 5" and changed["forgotten"][0]["after"] == "a wrong answer"
    asked = stoker("eval", "items", "--from", "v1", "--to", "v3", "--json").json()["changes"]
    assert [one["id"] for one in asked["learned"]] == ["q2", "q3"]
    answer = stoker("eval", "items")
    assert "always right 55, never right 2" in answer.out and "is it right?" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100


def test_one_version_is_compared_with_the_base(stoker: Any, history: Workspace) -> None:
    bench(history, "k1", "main/v1", make_items({1}))
    answer = stoker("eval", "items")
    assert answer.code == 3 and "eval bench --model base" in answer.err
    bench(history, "k0", "base", make_items({1, 2}), source="base")
    found = stoker("eval", "items", "--json").json()
    assert found["versions"] == ["main/v1"] and [one["id"] for one in found["changes"]["learned"]] == ["q2"]
    assert found["changes"]["from"] == "base"


def test_results_asked_in_another_way_are_not_laid_side_by_side(stoker: Any, history: Workspace) -> None:
    add_version(history, 2)
    bench(history, "k0", "base", make_items({1}))
    bench(history, "k1", "main/v1", make_items({1}))
    bench(history, "k2", "main/v2", make_items({2}), settings={"shots": 5, "limit": None})
    answer = stoker("eval", "items", "--json")
    assert answer.json()["versions"] == ["main/v1"] and "main/v2" in answer.err
    answer = stoker("eval", "items", "--to", "v2")
    assert answer.code == 3 and "main/v2 has no result on shelf" in answer.err


def test_several_benchmarks_need_a_choice(stoker: Any, history: Workspace) -> None:
    for name in ("shelf", "attic"):
        bench(history, name, "main/v1", make_items({1}), benchmark=name)
        bench(history, f"{name}0", "base", make_items({1}), benchmark=name)
    answer = stoker("eval", "items")
    assert answer.code == 2 and "--benchmark attic" in answer.err
    assert stoker("eval", "items", "--benchmark", "attic").code == 0
    assert stoker("eval", "items", "--benchmark", "cellar").code == 3
    assert stoker("eval", "items", "--benchmark", "attic", "--model", "nobody").code == 3


def evaluation(lab: Workspace, number: int, answers: dict[str, set[int]]) -> Path:
    """Write an evaluation's folder as the evaluation task does."""
    folder = lab.evaluation(f"e{number}")
    folder.mkdir(parents=True)
    for label, wrong in answers.items():
        lines = [
            orjson.dumps(item.model_dump(exclude={"choice", "confidence", "meta"}) | {"benchmark": "shelf"})
            for item in make_items(wrong)
        ]
        (folder / f"items-{label.replace('/', '-')}.jsonl").write_bytes(b"\n".join(lines))
    sets = [{"name": "shelf", "scorer": "exact", "metric": "exact", "sha256": "cd"}]
    scores = {label: {"shelf": {"n": 60}} for label in answers}
    (folder / "results.json").write_bytes(orjson.dumps({"scores": scores, "sets": sets}))
    os.utime(folder / "results.json", (NOW, NOW + number))
    return folder


def test_evaluations_of_versions_are_read_too(stoker: Any, history: Workspace) -> None:
    evaluation(history, 1, {"main/v1": {1, 2}, "base": {1, 2, 3, 4}})
    (found,) = stoker("eval", "explain", "v1", "--json").json()
    assert (found["source"], found["wrong"]) == ("evaluation", 2)
    assert any("confidence is kept by" in sentence for sentence in found["notes"])
    changed = stoker("eval", "items", "--json").json()["changes"]
    assert [one["id"] for one in changed["learned"]] == ["q3", "q4"]
    bench(history, "k1", "main/v1", make_items({1}), at=NOW - 100)
    assert stoker("eval", "explain", "v1", "--json").json()[0]["source"] == "bench", "it has confidence"
    assert len(stoker("eval", "items", "--json").json()["changes"]["learned"]) == 2, "both of one evaluation"


def test_broken_results_are_as_good_as_missing(history: Workspace) -> None:
    folder = evaluation(history, 1, {"main/v1": {1}})
    (history.evaluation("e2")).mkdir()
    (history.evaluation("e2") / "results.json").write_text("{half")
    path = folder / "items-main-v1.jsonl"
    path.write_bytes(path.read_bytes() + b'\n{"half": \n[1]\n{"id": "x"}\n')
    (kept,) = read_kept(history)
    assert len(kept.items()) == 60
    path.unlink()
    assert kept.items() == [] and side_by_side([], models=["a"], benchmark="b") == {}


def lineage(lab: Workspace, version: int, **roles: str) -> None:
    """Say which datasets a version has, by role."""
    store = Store(lab.store, now=lambda: NOW)
    store.claim()
    with store.transaction() as transaction:
        for role, dataset in roles.items():
            row = {"model": "main", "version": version, "dataset": dataset, "role": role}
            transaction.execute(insert(t.version_datasets).values(**row))
    store.close()


def test_the_change_of_each_version_is_attributed_to_its_file(stoker: Any, history: Workspace) -> None:
    add_version(history, 2)
    lineage(history, 1, new="d0123456789ab")
    lineage(history, 2, new="d0a", replay="d0123456789ab")
    evaluation(history, 1, {"main/v1": set(range(20)), "base": set(range(40))})
    evaluation(history, 2, {"main/v2": set(range(45)), "main/v1": set(range(20)), "base": set(range(40))})
    answer = stoker("eval", "influence", "--json")
    found = answer.json()
    assert [(one["version"], one["parent"], one["files"], one["outcome"]) for one in found] == [
        ("main/v1", "base", ["orders.jsonl"], "helps"),
        ("main/v2", "main/v1", ["more.jsonl"], "hurts"),
    ]
    assert (found[0]["change"], found[1]["change"], found[1]["n"]) == (
        pytest.approx(1 / 3),
        pytest.approx(-25 / 60),
        60,
    )
    assert found[1]["replayed"] == ["orders.jsonl"]
    answer = stoker("eval", "influence")
    assert "orders.jsonl were replayed" in answer.err and max(map(len, answer.out.splitlines())) <= 100


def test_influence_without_results_says_how_to_get_them(stoker: Any, history: Workspace) -> None:
    answer = stoker("eval", "influence")
    assert answer.code == 3 and "eval bench --model main/v1 --model base" in answer.err
    bench(history, "k1", "main/v1", make_items({1}))
    assert "eval bench --model main/v1" in stoker("eval", "influence").err, "the base has none"
    answer = stoker("eval", "influence", "--benchmark", "cellar")
    assert answer.code == 3 and "results on shelf" in answer.err
    assert stoker("eval", "influence", "--model", "nobody").code == 3


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--dataset", "d0a"), 2, "--method loss"),
        (("--method", "loss", "--dataset", "d0a", "--model", "http://localhost:9/v1#x"), 2, "endpoint"),
        (("--method", "loss", "--dataset", "zz", "--model", "base"), 3, "zz"),
        (("--method", "gradient", "--rows", "2"), 2, "rows"),
        (("--method", "weather"), 2, "weather"),
    ],
)
def test_what_influence_cannot_do_is_said(
    stoker: Any, history: Workspace, args: tuple[str, ...], code: int, words: str
) -> None:
    (history.bases / "tiny").mkdir(parents=True)
    answer = stoker("eval", "influence", *args)
    assert answer.code == code and words in answer.err and "Traceback" not in answer.err


@pytest.mark.slow
def test_influence_is_measured_by_a_worker_of_its_own(stoker: Any, lab: Workspace, take: Take, tiny_base: Path) -> None:
    """The base asked about a dataset that it has never seen."""
    shutil.copytree(tiny_base, lab.bases / "tiny")
    take(mails(60), "d01")
    asked = [{"prompt": f"Name the river of land {n}.", "answer": f"It is river {n * 37}."} for n in range(12)]
    (lab.benchmarks / "rivers.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in asked))
    asked_for = ("eval", "influence", "--model", "base", "--dataset", "d01", "--rows", "8", "--items", "8")
    answer = stoker(*asked_for, "--method", "gradient", "--json")
    assert answer.code == 0, answer.err
    found = answer.json()
    assert [(one["target"], one["name"], one["n"]) for one in found["effects"]] == [("rivers", "mails.jsonl", 8)]
    assert (found["model"], found["moved"]) == ("base", "all weights")
    answer = stoker(*asked_for, "--method", "loss", "--benchmark", "rivers")
    assert answer.code == 0 and "mails.jsonl" in answer.out and max(map(len, answer.out.splitlines())) <= 100
    assert stoker(*asked_for, "--method", "loss", "--benchmark", "cellar").code == 3
