"""The sealed split: sides, and the invariant that no trained row is ever near a sealed one."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lab import SmallLab

from stoker.data.dataset import Dataset
from stoker.data.findings import FileRefused
from stoker.data.rows import Row
from stoker.data.sealing.index import Index
from stoker.data.sealing.shingles import ShingleBuilder, row_words
from stoker.spec.lab import IntakeSpec, SplitSpec


def random_rows(chooser: random.Random, num_rows: int, num_words: int = 40) -> list[dict[str, str]]:
    words = [f"w{i}" for i in range(2000)]
    return [
        {"prompt": " ".join(chooser.choices(words, k=num_words // 2)), "completion": " ".join(chooser.choices(words, k=num_words))}
        for _ in range(num_rows)
    ]  # fmt: skip


def perturbed(chooser: random.Random, row: dict[str, str], num_changes: int) -> dict[str, str]:
    words = row["completion"].split()
    for _ in range(num_changes):
        words[chooser.randrange(len(words))] = f"new{chooser.randrange(1000)}"
    return {**row, "completion": " ".join(words)}


def three_words(row: Row) -> set[tuple[str, ...]]:
    """Return the shingles of a row as words: a second implementation, without hashes."""
    prompt, answer = row_words(row)
    words = [*prompt, *answer]
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def assert_no_trained_row_is_near_a_sealed_one(folders: list[Path], similarity: float) -> None:
    """Check every pair of a trained and a sealed row of all datasets by brute force, less both files' boilerplate."""
    sides = []
    for folder in folders:
        dataset, index = Dataset(folder), Index(folder, folder.name)
        sealed_lines = set(index.sealed().lines.tolist())
        sealed = [row for row in dataset.heldout_rows(representatives_only=False) if row.line in sealed_lines]
        sides.append((set(index.boilerplate.tolist()), hashed(dataset.train_rows()), hashed(sealed)))
    for ours, trained, _ in sides:
        for theirs, _, sealed in sides:
            for row in trained:
                for other in sealed:
                    a, b = row - ours - theirs, other - ours - theirs
                    assert not (a | b) or len(a & b) / len(a | b) < similarity


def hashed(rows: list[Row]) -> list[set[int]]:
    builder = ShingleBuilder()
    for row in rows:
        builder.add(row)
    whole, _ = builder.finish()
    assert list(whole.sizes) == [len(three_words(row)) for row in rows]
    return [set(part.tolist()) for part in np.split(whole.flat, whole.offsets[1:-1])]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), template_words=st.sampled_from([0, 0, 30]))
def test_no_trained_row_is_ever_near_a_sealed_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, template_words: int
) -> None:
    chooser = random.Random(seed)
    lab = SmallLab(tmp_path_factory.mktemp("lab"))
    lab.split = SplitSpec(min_clusters=4, fraction=0.2, similarity=chooser.choice([0.5, 0.7]))
    pool = random_rows(chooser, 60)
    for _ in range(4):
        template = " ".join(f"t{i}" for i in range(chooser.choice([0, template_words])))
        rows = [perturbed(chooser, chooser.choice(pool), chooser.randrange(12)) for _ in range(50)] + random_rows(
            chooser, 10
        )
        rows = [{**row, "prompt": f"{template} {row['prompt']}"} for row in rows]
        pool += rows[::2]
        summary = lab.take_rows(rows, f"file{len(lab.datasets)}.jsonl").summary
        assert summary["rows_in"] == sum(summary[key] for key in ("train", "held_out", "duplicate", "quarantined"))
    folders = [dataset.folder for dataset in lab.datasets]
    assert sum(Dataset(folder).summary["sealed_clusters"] for folder in folders) >= 4
    assert_no_trained_row_is_near_a_sealed_one(folders, lab.split.similarity)


def test_the_seal_holds_even_where_minhash_misses_every_pair(lab: SmallLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.data.sealing.split.find_clusters", lambda sets, *_: np.arange(len(sets)))
    chooser = random.Random(0)
    rows = random_rows(chooser, 60)
    summary = lab.take_rows([*rows, *(perturbed(chooser, row, 2) for row in rows)]).summary
    assert summary["reasons"]["near-sealed"] > 5
    assert_no_trained_row_is_near_a_sealed_one([lab.datasets[0].folder], 0.7)


def test_a_later_file_of_sealed_rows_trains_without_them(lab: SmallLab) -> None:
    chooser = random.Random(1)
    first = lab.take_rows(random_rows(chooser, 400), "first.jsonl")
    sealed = first.heldout_rows()
    assert len(sealed) == 20
    copies = [{"prompt": row.prompt_messages()[0]["content"], "completion": row.answer()} for row in sealed]
    near = [perturbed(chooser, row, 1) for row in copies]
    second = lab.take_rows([*copies, *near, *random_rows(chooser, 100)], "second.jsonl")
    assert second.summary["reasons"] | {"sealed": 0} == {"sealed": 0, "near-sealed": 20, "sealed-copy": 20}
    assert not {row.id for row in second.train_rows()} & {row.id for row in sealed}
    assert len(second.heldout_rows()) == second.summary["sealed_clusters"] == 16
    reasons = [record["reason"] for record in second.ledger()]
    assert reasons[0] == f"the same row is held out at first.jsonl:{sealed[0].line}"
    assert reasons[20].startswith(f"near the sealed row first.jsonl:{sealed[0].line} (similarity 0.9")


def test_a_later_copy_of_a_trained_row_is_a_duplicate_and_a_near_one_is_never_sealed(lab: SmallLab) -> None:
    chooser = random.Random(2)
    first = lab.take_rows(random_rows(chooser, 100), "first.jsonl")
    trained = [
        {"prompt": row.prompt_messages()[0]["content"], "completion": row.answer()} for row in first.train_rows()
    ]
    near = [perturbed(chooser, row, 1) for row in trained]
    second = lab.take_rows([trained[0], *near], "second.jsonl")
    assert second.summary["reasons"] == {"duplicate-of-earlier": 1}
    assert second.summary["held_out"] == 0 and second.summary["train"] == len(near)
    assert next(second.ledger())["reason"] == f"the same row is at first.jsonl:{first.train_rows()[0].line}"


def test_a_template_file_meets_the_same_rows_in_a_mixed_file(lab: SmallLab) -> None:
    """The template is boilerplate in one file only: sealed rows must be found without it all the same."""
    chooser = random.Random(3)
    template = " ".join(f"rule{i}" for i in range(200))
    rows = [{**row, "prompt": f"{template} {row['prompt']}"} for row in random_rows(chooser, 100)]
    first = lab.take_rows(rows)
    assert first.summary["num_clusters"] == 100 and first.summary["num_boilerplate_shingles"] == 198
    sealed = [
        perturbed(chooser, {"prompt": row.prompt_messages()[0]["content"], "completion": row.answer()}, 1)
        for row in first.heldout_rows()
    ]
    second = lab.take_rows([*sealed, *random_rows(chooser, 200)])
    assert second.summary["reasons"]["near-sealed"] == len(sealed) == 16


def test_the_split_is_the_same_every_time_and_in_every_order(lab: SmallLab, tmp_path: Path) -> None:
    rows = random_rows(random.Random(4), 200)
    sealed = {row.id for row in lab.take_rows(rows).heldout_rows()}
    again = SmallLab(tmp_path / "again").take_rows(rows)
    assert {row.id for row in again.heldout_rows()} == sealed
    reordered = SmallLab(tmp_path / "reordered").take_rows(rows[::-1])
    assert {row.id for row in reordered.heldout_rows()} == sealed
    for name in ("rows.jsonl", "heldout.jsonl", "ledger.jsonl", "index.npz", "dataset.json"):
        assert (again.folder / name).read_bytes() == (lab.datasets[0].folder / name).read_bytes()


@pytest.mark.parametrize(
    ("num_rows", "spec", "sealed"),
    [
        (1000, SplitSpec(), 50),
        (100, SplitSpec(), 16),
        (1000, SplitSpec(max_clusters=10, min_clusters=5), 10),
        (1000, SplitSpec(fraction=0.1), 100),
        (40, SplitSpec(min_clusters=20), 20),
    ],
)
def test_the_share_that_is_sealed_follows_the_settings(
    lab: SmallLab, num_rows: int, spec: SplitSpec, sealed: int
) -> None:
    lab.split = spec
    summary = lab.take_rows(random_rows(random.Random(5), num_rows, 12)).summary
    assert summary["sealed_clusters"] == summary["held_out"] == sealed


def test_similarity_and_boilerplate_share_change_the_clusters(lab: SmallLab) -> None:
    chooser = random.Random(6)
    rows = random_rows(chooser, 50)
    rows += [perturbed(chooser, row, 4) for row in rows]
    lab.intake = IntakeSpec(allow_unproven=True)
    lab.split = SplitSpec(similarity=0.5)
    assert lab.take_rows(rows).summary["num_clusters"] == 50
    lab.datasets.clear()
    lab.split = SplitSpec(similarity=0.95)
    assert lab.take_rows(rows).summary["num_clusters"] == 100
    lab.datasets.clear()
    lab.split = SplitSpec(boilerplate_share=1.0)
    template = " ".join(f"rule{i}" for i in range(900))
    rows = [{**row, "prompt": template} for row in rows]
    collapsed = lab.take_rows(rows).summary
    assert collapsed["num_clusters"] == 1 and collapsed["largest_clusters"][0]["rows"] == 100
    assert any("near duplicates hold over 1 %" in note for note in collapsed["notes"])


def test_a_file_too_small_to_seal_is_refused_unless_something_else_can_judge(lab: SmallLab, tmp_path: Path) -> None:
    rows = random_rows(random.Random(7), 31)
    with pytest.raises(FileRefused, match="31 clusters"):
        lab.take_rows(rows)
    lab.intake = IntakeSpec(allow_unproven=True)
    summary = lab.take_rows(rows).summary
    assert summary["too_small"] and summary["train"] == 31 and "nothing is sealed" in summary["notes"][0]
    lab.intake = IntakeSpec()
    lab.datasets.clear()
    benchmark = tmp_path / "quiz.jsonl"
    benchmark.write_bytes(orjson.dumps({"prompt": "what is the capital of France", "answer": "Paris"}))
    lab.benchmarks = [benchmark]
    assert lab.take_rows(rows).summary["too_small"]
    lab.benchmarks = []
    lab.datasets.clear()
    lab.take_rows(random_rows(random.Random(8), 100))
    assert lab.take_rows(rows).summary["train"] == 31


def test_rows_near_a_benchmark_item_are_quarantined_by_prompt_or_as_a_whole(lab: SmallLab, tmp_path: Path) -> None:
    rows = random_rows(random.Random(9), 60)
    items = [
        {"id": "by-prompt", "prompt": rows[3]["prompt"], "answer": "short"},
        {"id": "whole", "prompt": "x", "answer": "y"},
    ]
    items[1] = {
        **items[1],
        "prompt": rows[5]["prompt"] + " more words here now and then",
        "answer": rows[5]["completion"],
    }
    path = tmp_path / "quiz.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps(item) for item in items))
    lab.benchmarks = [path]
    dataset = lab.take_rows(rows)
    found = {record["line"]: record for record in dataset.ledger() if record["state"] == "quarantined"}
    assert sorted(found) == [4, 6] and {record["code"] for record in found.values()} == {"benchmark-overlap"}
    assert "prompt is near item by-prompt of quiz" in found[4]["reason"] and "item whole" in found[6]["reason"]
    assert found[4]["excerpt"] and found[4]["remedy"]
