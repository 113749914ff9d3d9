"""Fixtures that tests of model, train and evaluate share: some rows, and a tiny base made from them."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stoker.data.rows import Row

# Where no bytecode is written, each of the many processes compiles torch and transformers anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_PLACES = ("Aru", "Belm", "Coro", "Dunwick", "Elsa", "Farr", "Gant", "Hoyle")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where files run side by side, begin with the long ones: the short ones then fill the end evenly."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def tiny_rows() -> list[Row]:
    """Small conversations: single turns, several turns, a system turn, a tool call."""
    from stoker.data.rows import Row

    rows = []
    for i in range(64):
        place, number = _PLACES[i % len(_PLACES)], i * 7 + 3
        messages = [
            {"role": "user", "content": f"How many people live in {place} house number {number}?"},
            {"role": "assistant", "content": f"In {place} there are {number + i % 5} people."},
        ]
        if i % 4 == 1:
            messages.insert(0, {"role": "system", "content": "Answer in one short sentence."})
        if i % 4 == 2:
            messages += [
                {"role": "user", "content": "And the year after?"},
                {"role": "assistant", "content": f"Then {number + i} people lived there."},
            ]
        rows.append(Row.from_content(i + 1, messages))
    rows.append(_tool_row(len(rows) + 1))
    return rows


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, tiny_rows: list[Row]) -> Path:
    """A tiny base model's folder. Read only: copy it to change it."""
    from stoker.model.tiny import ensure_tiny

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    ensure_tiny(folder, tiny_rows, seed=0)
    return folder


def _tool_row(line: int) -> Row:
    from stoker.data.rows import Row

    call = {"id": "c1", "type": "function", "function": {"name": "census", "arguments": '{"place": "Aru"}'}}
    tools = [{"type": "function", "function": {"name": "census", "description": "Count people.", "parameters": {}}}]
    messages = [
        {"role": "user", "content": "Count the people of Aru."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"people": 12}', "tool_call_id": "c1"},
        {"role": "assistant", "content": "Twelve people live in Aru."},
    ]
    return Row.from_content(line, messages, tools=tools)
