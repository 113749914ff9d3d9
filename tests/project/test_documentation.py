"""The pages say what the code does: references are generated, named paths exist, every setting is read somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from stoker.cli.reference import pages
from stoker.data.checks.rules import RULES
from stoker.data.formats.recognise import Format
from stoker.data.formats.write import Target
from stoker.data.quality.signals import GROUPS
from stoker.spec.lab import CheckSpec
from stoker.spec.schema import list_settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_generated_reference_is_current(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert written == pages()[name], "run: make docs"


def test_every_format_is_documented() -> None:
    page = (ROOT / "docs" / "formats.md").read_text("utf-8")
    assert [name for name in get_args(Format) if f"| `{name}` |" not in page] == []
    assert [name for name in get_args(Target) if f"`{name}`" not in page] == []


def test_every_finding_has_its_page_and_its_line_in_the_index() -> None:
    folder = ROOT / "docs" / "reference"
    assert {path.stem for path in (folder / "findings").iterdir()} == {*RULES}
    index = (folder / "findings.md").read_text("utf-8")
    assert set(re.findall(r"^\| \[([\w-]+)\]\(findings/\1\.md\)", index, re.MULTILINE)) == {*RULES}


def test_the_score_page_names_the_gates_in_force() -> None:
    page = (ROOT / "docs" / "score.md").read_text("utf-8")
    spec = CheckSpec()
    assert f"`check.warn_below` ({spec.warn_below})" in page and f"`check.stop_below` ({spec.stop_below})" in page


def test_every_signal_of_the_review_is_documented_with_its_group() -> None:
    page = (ROOT / "docs" / "quality.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]+) \| ([\w-]+) \|", page, re.MULTILINE)
    assert {name: group for names, group in rows for name in re.findall(r"`([\w-]+)`", names)} == GROUPS


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8")
    assert [setting.key for setting in list_settings() if f"`{setting.key}`" not in page] == []


def test_every_setting_is_read_outside_the_specs() -> None:
    code = "\n".join(
        path.read_text("utf-8")
        for path in (ROOT / "stoker").rglob("*.py")
        if not path.is_relative_to(ROOT / "stoker" / "spec")
    )
    names = {setting.key.partition(".")[2] for setting in list_settings()} - {"preset"}
    unread = [name for name in sorted(names) if not re.search(rf"\.{name}\b", code)]
    assert unread == [], "a setting that nothing reads is a defect"


def test_every_path_that_the_map_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    named = re.findall(r"`((?:stoker|tests|benchmarks|docs)/[\w./-]*)`", text)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_a_page_shows_exists(page: Path) -> None:
    known = set(re.findall(r"^## (stoker [\w -]+)$", pages()["commands.md"], re.MULTILINE))
    words = {command.split()[1] for command in known}
    shown = re.findall(r"(?:^|`|&& |; )stoker ((?:[a-z]+)(?: [a-z]+)?)", page.read_text("utf-8"), re.MULTILINE)
    wrong = [command for command in shown if not _exists(command, known, words)]
    assert wrong == []


def _exists(command: str, known: set[str], words: set[str]) -> bool:
    first = command.split()[0]
    is_group = f"stoker {first}" not in known and first in words
    if is_group and " " in command:
        return any(f"{one} ".startswith(f"stoker {command} ") for one in known)
    return first in words
