"""Every file of the zoo is taken for what it is, whatever it is called; none is taken silently for something else."""

from __future__ import annotations

import pytest
from small_lab import SmallLab
from zoo import ZOO

from stoker.data.findings import FileRefused


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_file_is_taken_for_what_it_is(lab: SmallLab, name: str) -> None:
    content, wanted = ZOO[name]
    if wanted is None:
        with pytest.raises(FileRefused):
            lab.take(content, name)
        return
    lab.intake = lab.intake.model_copy(update={"allow_unproven": True})
    summary = lab.take(content, name).summary
    assert summary["format"] == wanted
    assert summary["quarantined"] == 0, summary["reasons"]
    assert summary["rows_in"] == summary["train"] + summary["held_out"] + summary["duplicate"] > 0


@pytest.mark.parametrize(
    "name", sorted(name for name, (_, wanted) in ZOO.items() if wanted and not name.endswith((".txt", ".md")))
)
def test_the_name_does_not_matter(lab: SmallLab, name: str) -> None:
    lab.intake = lab.intake.model_copy(update={"allow_unproven": True})
    assert lab.take(ZOO[name][0], "download").summary["format"] == ZOO[name][1]


def test_the_zoo_is_large() -> None:
    assert len(ZOO) >= 60
