"""Solved examples shown before a question: which ones, and how they stand in the conversation.

An example is never an item that is tested, and no tested item is near one: what is near an example that had to be
taken does not count. The same seed shows the same examples, in the same order, to every item and every model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoker.data.benchmarks import Benchmark, Item, read_benchmark, read_item
from stoker.data.findings import RowProblem
from stoker.data.rows import Message, Row
from stoker.data.sealing.overlap import near_each_other
from stoker.errors import DataError, InvalidInput
from stoker.spec.jobs import BenchSettings

SHOWN = "shown as an example"
NEAR_SHOWN = "near an example that is shown"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is tested, what is shown, and why items that are neither do not count (id to reason)."""

    tested: list[Item]
    examples: list[Item]
    left_out: dict[str, str]


def examples_of(path: Path, benchmark: Benchmark) -> list[Item]:
    """Return the examples that the benchmark in `path` brings: of the file that its header names, and in the header."""
    header, found = benchmark.header, []
    if header.shots_from:
        source = path.parent / header.shots_from
        if not source.is_file():
            raise DataError(
                f"benchmark {benchmark.name}: shots_from = {header.shots_from!r}: no such file",
                "it is relative to the benchmark", "mend its header",
            )  # fmt: skip
        found += read_benchmark(source).items
    for place, value in enumerate(header.examples, start=1):
        try:
            found.append(read_item(value, place, ""))
        except RowProblem as problem:
            raise DataError(
                f"benchmark {benchmark.name}, example {place}: {problem.reason}", problem.code, problem.remedy
            ) from None
    return found


def draw(benchmark: Benchmark, settings: BenchSettings, brought: Sequence[Item] = ()) -> Drawn:
    """Draw the tested items and the examples; InvalidInput when there are fewer examples than asked for.

    A limit leaves the items whose id hashes lowest with the seed, so a larger limit only adds items. Without examples of its own the
    benchmark gives up as many items as are shown.
    """
    order = _shuffled(benchmark.items, settings.seed)
    limit = min(settings.limit or len(order), len(order))
    if not settings.shots:
        return Drawn(_in_file_order(benchmark, order[:limit]), [], {})
    if brought:
        tested, candidates = order[:limit], _shuffled(brought, settings.seed)
        _require(settings.shots, len(candidates), f"benchmark {benchmark.name} brings {len(candidates)} examples")
    else:
        room = len(order) - settings.shots
        _require(settings.shots, len(order) - 1, f"benchmark {benchmark.name} has {len(order)} items, one is tested")
        tested = order[: min(limit, room)]
        candidates = order[len(tested) :][::-1]
    near = near_each_other([item.row for item in candidates], [item.row for item in tested])
    examples = sorted(candidates, key=lambda item: item.row.id in near)[: settings.shots]
    left_out = {} if brought or settings.limit else {item.id: SHOWN for item in examples}
    bad = {row_id for item in examples for row_id in near.get(item.row.id, ())}
    left_out |= {item.id: NEAR_SHOWN for item in tested if item.row.id in bad}
    return Drawn(_in_file_order(benchmark, tested), examples, left_out)


def with_examples(row: Row, examples: Sequence[Item]) -> Row:
    """Return the question after the examples as earlier turns, behind its own system prompt; only its answer is scored."""
    if not examples or row.messages is None:
        return row
    messages = list(row.messages)
    system = [messages.pop(0)] if messages[0]["role"] == "system" else []
    shown = [turn for item in examples for turn in _turns(item.row)]
    return Row.from_content(row.line, [*system, *shown, *messages], tools=row.tools)


def _turns(row: Row) -> list[Message]:
    turns = [turn for turn in row.messages or () if turn["role"] != "system"]
    return [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in turns]


def _shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{item.id}".encode()).digest())


def _in_file_order(benchmark: Benchmark, items: Sequence[Item]) -> list[Item]:
    chosen = {item.id for item in items}
    return [item for item in benchmark.items if item.id in chosen]


def _require(shots: int, available: int, what: str) -> None:
    if shots > available:
        raise InvalidInput(
            f"{shots} shots, but {what}",
            "an example is never an item that is tested",
            f"ask for {available} at most" if available > 0 else "ask for none",
        )
