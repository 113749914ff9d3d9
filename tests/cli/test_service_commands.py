"""`stoker service`: the unit shown is the unit written, and no other lab's unit is overwritten unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoker.workspace import Workspace


def test_the_unit_that_is_shown_is_installed(
    stoker: Any, lab: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shown = stoker("service", "show")
    assert shown.code == 0 and f'--lab "{lab.root}" up' in shown.out
    answer = stoker("service", "install")
    path = tmp_path / "home/.config/systemd/user/stoker-lab.service"
    assert answer.code == 0 and path.read_text() == shown.out
    assert "systemctl --user daemon-reload && systemctl --user enable --now stoker-lab.service" in answer.err
    assert stoker("service", "install").code == 0, "the same unit again is no conflict"


def test_a_unit_of_someone_else_is_not_overwritten_unasked(
    stoker: Any, lab: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "home/.config/systemd/user/stoker-lab.service"
    path.parent.mkdir(parents=True)
    path.write_text("[Unit]\n")
    refused = stoker("service", "install")
    assert refused.code == 4 and "--yes" in refused.err and path.read_text() == "[Unit]\n"
    assert stoker("service", "install", "--yes").code == 0 and "ExecStart" in path.read_text()
