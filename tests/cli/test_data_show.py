"""`stoker data show`: what the rows of a dataset are like, in words, bars and JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from small_datasets import Take, mails, record_dataset

from stoker.cli.histogram import bar, bar_lines, histogram_lines
from stoker.workspace import Workspace


def test_show_carries_the_same_statistics_in_json_and_words(stoker: Any, take: Take) -> None:
    take([*mails(), mails()[0], {"question": "Is it?", "answer": ""}])
    found = stoker("data", "show", "d1", "--json").json()
    assert found["statistics"]["labels"] == [["ham", 60], ["spam", 20]] and found["score"] < 100
    assert {"id", "name", "reasons", "notes", "ledger", "runs", "finding_counts", "tokens"} <= found.keys()
    words = stoker("data", "show", "d1").out
    assert "82 in = " in words and f"{found['score']} of 100: good" in words
    assert "'ham'   60 ████" in words and "'spam'  20 █████" in words
    assert "turns of a row: 2 in every row" in words
    assert "characters of an answer: least 3, median 3, 90 % up to 4" in words
    assert "repeated-rows" in words and "empty-answer" in words


def test_show_draws_the_token_lengths_of_the_summary(stoker: Any, take: Take) -> None:
    path = take(mails()).folder / "dataset.json"
    tokens = {
        "tokenizer": "tiny", "max_length": 512, "total": 9000, "quantiles": {"p50": 40, "p90": 60, "p99": 99, "max": 700},
        "histogram": [[n, n, n] for n in range(30)], "lost": [[256, 7], [512, 3], [1024, 0]],
    }  # fmt: skip
    path.chmod(0o644)
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "tokens": tokens}))
    assert stoker("data", "show", "d1", "--json").json()["tokens"] == tokens
    words = stoker("data", "show", "d1").out
    assert "tokens of a row (tiny): median 40, 90 % up to 60, 99 % up to 99, most 700" in words
    assert "max_length 256 would lose 7 rows" in words and "max_length 1,024" not in words
    assert "  29-29  29" not in words and words.count("█") > 8


def test_a_dataset_that_waits_says_what_a_person_can_do(stoker: Any, take: Take) -> None:
    take([{**row, "answer": f"As an AI, {{{{name}}}}, I can't. {n}"} for n, row in enumerate(mails())], state="waiting")
    assert "of 100: it waits for a person; as it is: stoker data approve d1" in stoker("data", "show", "d1").out


def test_kept_preference_rows_have_statistics_too(stoker: Any, take: Take) -> None:
    take([{"prompt": f"Is {n * 7919} so?", "chosen": f"yes {n}", "rejected": "no"} for n in range(40)], state="kept")
    assert stoker("data", "show", "d1", "--json").json()["statistics"]["kinds"] == {"preference": 40}
    assert "characters of a prompt" in stoker("data", "show", "d1").out


@pytest.mark.parametrize("state", ["accepted", "rejected"])
def test_a_dataset_without_rows_shows_without_statistics(stoker: Any, lab: Workspace, state: str) -> None:
    record_dataset(lab, "d1", "half.jsonl", "ab" * 32, state, refusal="half a file" if state == "rejected" else None)
    answer = stoker("data", "show", "d1", "--json")
    assert answer.code == 0 and answer.json()["statistics"] is None and answer.json()["tokens"] is None
    assert "characters" not in stoker("data", "show", "d1").out


def test_bars_are_proportional_and_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (bar(8, 8, 4), bar(4, 8, 4), bar(1, 1000, 4), bar(0, 8, 4)) == ("████", "██", "▏", "")
    for columns in (30, 60, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = histogram_lines([[2**n, 2 ** (n + 1) - 1, 10**n] for n in range(7)])
        lines += bar_lines([("a very long answer " * 9, 1_000_000), ("b", 3)], is_text=True)
        assert max(map(len, lines)) <= columns
    ends = [line.rstrip("▏▎▍▌▋▊▉█ ") for line in histogram_lines([[1, 9, 5], [10, 99, 5000]])]
    assert len({len(line) for line in ends}) == 1, "numbers are aligned"


def test_many_bins_become_few_and_lose_no_row() -> None:
    lines = histogram_lines([[n, n, 1] for n in range(40)])
    assert len(lines) <= 12 and sum(int(line.split()[1]) for line in lines) == 40
    assert lines[0].split()[0] == "0-3"
