"""Canonical rows out again, in the formats that other tools read. What is written reads back as the same row.

A row that a format can't hold exactly (tools in Alpaca, several turns in a table) is left out, and the reason counted.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from stoker.data.rows import Message, Row
from stoker.durable import STAGING_PREFIX, disk_full_named, fsync_path

Target = Literal["openai", "alpaca", "sharegpt", "prompt-completion", "csv", "parquet"]
Record = dict[str, Any]


class NotHeld(Exception):
    """What of a row the format can't hold."""


@dataclass
class Written:
    """How many rows were written, and how many left out for each reason."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def write_rows(rows: Iterable[Row], target: Target, path: Path) -> Written:
    """Write rows to `path`, whole or not at all."""
    written = Written()
    records: list[Record] = []
    convert = _CONVERTERS[target]
    for row in rows:
        try:
            records.append(convert(row))
        except NotHeld as reason:
            written.left_out[str(reason)] += 1
    written.rows = len(records)
    staging = path.with_name(f"{STAGING_PREFIX}{path.name}")
    with disk_full_named(path, 0):
        try:
            _WRITERS.get(target, _write_jsonl)(records, staging)
            fsync_path(staging)
            staging.rename(path)
        finally:
            staging.unlink(missing_ok=True)
    fsync_path(path.absolute().parent)
    return written


def to_openai(row: Row) -> Record:
    """Return {"messages", "tools"}, {"prompt", "chosen", "rejected"}, {"messages", "label"} or {"text"}."""
    content = row.content
    if content.messages is None:
        return {"text": content.text}
    messages = [_openai_turn(turn) for turn in content.messages]
    record: Record = {"messages": messages}
    if content.chosen is not None:
        answers = {"chosen": content.chosen, "rejected": content.rejected or ()}
        record = {"prompt": messages, **{key: [_openai_turn(turn) for turn in turns] for key, turns in answers.items()}}
    if content.label is not None:
        record["label"] = content.label
    if content.tools:
        record["tools"] = list(content.tools)
    return record


def to_sharegpt(row: Row) -> Record:
    """Return {"conversations", "tools"}; call ids and names have no place there."""
    turns: list[Record] = []
    for turn in _chat_turns(row):
        if "tool_call_id" in turn or "name" in turn or any("id" in call for call in turn.get("tool_calls", ())):
            raise NotHeld("ids and names of calls")
        weight = {"weight": 0} if turn.get("weight") == 0 else {}
        calls = [call["function"] for call in turn.get("tool_calls", ())]
        if calls and weight:
            raise NotHeld("weights of calls")
        if turn["content"] or not calls:
            speaker = {"user": "human", "assistant": "gpt", "tool": "observation"}.get(turn["role"], turn["role"])
            turns.append({"from": speaker, "value": turn["content"], **weight})
        if calls:
            turns.append({"from": "function_call", "value": orjson.dumps(calls).decode()})
    record: Record = {"conversations": turns}
    if row.tools:
        record["tools"] = orjson.dumps(row.tools).decode()
    return record


def to_alpaca(row: Row) -> Record:
    """Return {"instruction", "input", "output", "system", "history"}."""
    turns = _plain_turns(row, "alpaca")
    record: Record = {"instruction": turns[-2]["content"], "input": "", "output": turns[-1]["content"]}
    if turns[0]["role"] == "system":
        record["system"] = turns[0]["content"]
        turns = turns[1:]
    if len(turns) > 2:
        pairs = zip(turns[:-2:2], turns[1:-2:2], strict=True)
        record["history"] = [[asked["content"], answered["content"]] for asked, answered in pairs]
    return record


def to_prompt_completion(row: Row) -> Record:
    """Return {"prompt", "completion"}: strings where that is all, turns elsewhere; `tools` beside them."""
    turns = _chat_turns(row)
    if [set(turn) for turn in turns] == [{"role", "content"}] * 2:
        record: Record = {"prompt": turns[0]["content"], "completion": turns[1]["content"]}
    else:
        written = [_openai_turn(turn) for turn in turns]
        place = len(row.prompt_messages())
        record = {"prompt": written[:place], "completion": written[place:]}
    return record | ({"tools": list(row.tools)} if row.tools else {})


def to_table(row: Row) -> Record:
    """Return {"system", "prompt", "completion"} of a row with one question and one answer."""
    if row.content.text is not None:
        raise NotHeld("plain text beside conversations")
    turns = _plain_turns(row, "a table")
    if len(turns) - (turns[0]["role"] == "system") > 2:
        raise NotHeld("more than one turn")
    system = turns[0]["content"] if turns[0]["role"] == "system" else ""
    return {"system": system, "prompt": turns[-2]["content"], "completion": turns[-1]["content"]}


def to_columns(row: Row) -> Record:
    """Return what `to_openai` does, with nested parts of changing shape as JSON."""
    record = to_openai(row)
    if "tools" in record:
        record["tools"] = orjson.dumps(record["tools"]).decode()
    return record


_CONVERTERS: Mapping[Target, Callable[[Row], Record]] = {
    "openai": to_openai,
    "alpaca": to_alpaca,
    "sharegpt": to_sharegpt,
    "prompt-completion": to_prompt_completion,
    "csv": to_table,
    "parquet": to_columns,
}


def _chat_turns(row: Row) -> list[Message]:
    if row.kind != "chat":
        raise NotHeld("plain text" if row.kind == "text" else "preference rows")
    return list(row.messages or ())


def _plain_turns(row: Row, where: str) -> list[Message]:
    """Return the turns of a conversation that is words of user and assistant alone, after a system prompt or not."""
    turns = _chat_turns(row)
    if row.tools or any("tool_calls" in turn or turn["role"] == "tool" for turn in turns):
        raise NotHeld("tools")
    if any(turn.get("weight") == 0 for turn in turns):
        raise NotHeld("weights")
    if any(set(turn) != {"role", "content"} for turn in turns):
        raise NotHeld("names of speakers")
    if turns[0]["role"] == "system" and not turns[0]["content"].strip():
        raise NotHeld(f"an empty system prompt, which {where} can't tell from none")
    return turns


def _openai_turn(turn: Message) -> Record:
    """Return a turn as OpenAI writes it: arguments are a string of JSON."""
    if "tool_calls" not in turn:
        return dict(turn)
    calls = [
        {**call, "function": {**call["function"], "arguments": orjson.dumps(call["function"]["arguments"]).decode()}}
        for call in turn["tool_calls"]
    ]
    return {**turn, "tool_calls": calls}


def _write_jsonl(records: list[Record], path: Path) -> None:
    with path.open("wb") as file:
        for record in records:
            file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))


def _write_csv(records: list[Record], path: Path) -> None:
    names = [
        name for name in ("system", "prompt", "completion") if name != "system" or any(r["system"] for r in records)
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(records)


def _write_parquet(records: list[Record], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    parquet.write_table(pa.table(columns), path)


_WRITERS: Mapping[str, Callable[[list[Record], Path], None]] = {"csv": _write_csv, "parquet": _write_parquet}
