"""Files that nothing is wrong with pass: nothing blocks, the score is high, no row is lost. With --corpus more rows and seeds."""

from __future__ import annotations

import pytest
from clean_files import CLEAN, clean_file
from small_lab import SmallLab

_EXPECTED = {"labels", "mixed-scripts", "languages", "boilerplate-answers"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "num_rows" in metafunc.fixturenames:
        is_full = metafunc.config.getoption("--corpus", False)
        metafunc.parametrize(("num_rows", "seed"), [(3000, 1), (3000, 2)] if is_full else [(150, 1)])


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_file_is_not_blamed(lab: SmallLab, name: str, num_rows: int, seed: int) -> None:
    summary = lab.take(clean_file(name, num_rows, seed), f"{name}.jsonl").summary
    blamed = [found for found in summary["findings"] if found["severity"] != "note"]
    assert summary["score"] >= 90 and summary["gate"] == "pass", blamed
    assert "block" not in {found["severity"] for found in summary["findings"]}
    assert {*summary["finding_counts"]} - _EXPECTED == set() or num_rows > 150, blamed
    num_beside = summary["held_out"] - summary["sealed_clusters"]  # of thousands of rows, a few are near each other
    assert summary["quarantined"] == 0 and 0 <= num_beside <= num_rows // 1000


def test_there_are_twenty_kinds() -> None:
    assert len(CLEAN) >= 20


@pytest.mark.parametrize("name", ["feelings", "multilingual", "topics"])
def test_the_score_and_the_findings_do_not_depend_on_the_order_of_rows(lab: SmallLab, name: str) -> None:
    lines = clean_file(name, 200).splitlines()
    lines += [line.replace(b".", b". {{name}}") for line in lines[:20]] + lines[:9]
    found = []
    for order in (lines, lines[::-1], sorted(lines)):
        found.append(lab.take(b"\n".join(order), "rows.jsonl").summary)
        lab.datasets.clear()
    assert found[0]["deductions"] and found[0]["score"] < 100
    for key in ("score", "gate", "deductions", "finding_counts"):
        assert found[0][key] == found[1][key] == found[2][key]
