"""A zoo of files as people have them: every dialect and container that is met in the wild, made here, with what each is.

`ZOO` maps a file name to its content and the format it must be taken for; None: it must be refused, never guessed.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import zstandard
from pyarrow import parquet

_N = 40
_TOPICS = [
    "river",
    "lamp",
    "stone",
    "garden",
    "letter",
    "window",
    "song",
    "market",
    "bridge",
    "winter",
    "engine",
    "harbour",
]


def _pairs() -> list[tuple[str, str]]:
    return [
        (
            f"What did the {_TOPICS[i % 12]} number {i * 37} say?",
            f"It spoke of the {_TOPICS[(i * 5) % 12]}, {i * 11} times, é.",
        )
        for i in range(_N)
    ]


def _jsonl(make: Callable[[str, str], Any]) -> bytes:
    return b"".join(orjson.dumps(make(question, answer)) + b"\n" for question, answer in _pairs())


def _json(make: Callable[[str, str], Any]) -> bytes:
    return orjson.dumps([make(question, answer) for question, answer in _pairs()], option=orjson.OPT_INDENT_2)


def _csv(header: str, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    quoted = [delimiter.join('"' + word.replace('"', '""') + '"' for word in pair) for pair in _pairs()]
    return "\r\n".join([header.replace(",", delimiter), *quoted]).encode(encoding)


def _parquet(make: Callable[[str, str], Any]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([make(*pair) for pair in _pairs()]), file)
    return file.getvalue()


def _arrow(make: Callable[[str, str], Any]) -> bytes:
    file, table = io.BytesIO(), pa.Table.from_pylist([make(*pair) for pair in _pairs()])
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def _turns(q: str, a: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": q}, {"role": "assistant", "content": a}]


def _said(q: str, a: str) -> list[dict[str, Any]]:
    return [{"from": "human", "value": q}, {"from": "gpt", "value": a}]


_CALL = {"name": "look_up", "arguments": '{"word": "x"}'}
_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
_PROSE = "\n\n".join(f"Chapter {i}. " + " ".join(_TOPICS[(i * j) % 12] for j in range(90)) + "." for i in range(60))


def _with_tools(q: str, a: str) -> dict[str, Any]:
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": _CALL}]}
    return {
        "messages": [_turns(q, a)[0], called, {"role": "tool", "content": "1", "tool_call_id": "c"}, _turns(q, a)[1]],
        "tools": [_TOOL],
    }


def _glaive(q: str, a: str) -> dict[str, Any]:
    called = {"from": "function_call", "value": orjson.dumps({"name": "look_up", "arguments": {"word": q}}).decode()}
    return {
        "conversations": [_said(q, a)[0], called, {"from": "observation", "value": "{}"}, _said(q, a)[1]],
        "tools": orjson.dumps([_TOOL["function"]]).decode(),
    }


ZOO: dict[str, tuple[bytes, str | None]] = {
    # OpenAI
    "openai.jsonl": (_jsonl(lambda q, a: {"messages": _turns(q, a)}), "messages"),
    "openai-system.jsonl": (_jsonl(lambda q, a: {"messages": [{"role": "system", "content": "Be brief."}, *_turns(q, a)]}), "messages"),
    "openai-parts.jsonl": (
        _jsonl(lambda q, a: {"messages": [{"role": "user", "content": [{"type": "text", "text": q}]}, _turns(q, a)[1]]}), "messages",
    ),
    "openai-tools.jsonl": (_jsonl(_with_tools), "messages"),
    "openai-weights.jsonl": (
        _jsonl(lambda q, a: {"messages": [*_turns(q, "no"), _turns(q, a)[0], {**_turns(q, a)[1], "weight": 1}]}), "messages",
    ),
    "openai-functions.jsonl": (
        _jsonl(lambda q, a: {"messages": [_turns(q, a)[0], {"role": "assistant", "content": None, "function_call": _CALL}], "functions": [_TOOL]}),
        "messages",
    ),
    "openai-reasoning.jsonl": (
        _jsonl(lambda q, a: {"messages": [_turns(q, a)[0], {**_turns(q, a)[1], "reasoning_content": "Well."}]}), "messages",
    ),
    "openai-preference.jsonl": (
        _jsonl(lambda q, a: {"prompt": _turns(q, a)[:1], "chosen": _turns(q, a)[1:], "rejected": _turns(q, "No.")[1:]}), "preference",
    ),
    "ultrachat.json": (_json(lambda q, a: {"prompt": q, "prompt_id": q[:4], "messages": _turns(q, a)}), "messages"),
    "messages.parquet": (_parquet(lambda q, a: {"messages": _turns(q, a), "source": "x"}), "messages"),
    "messages.csv": (
        ("id,messages\n" + "\n".join(f'{i},"{orjson.dumps(_turns(q, a)).decode().replace(chr(34), chr(34) * 2)}"' for i, (q, a) in enumerate(_pairs()))).encode(),
        "messages",
    ),
    # ShareGPT
    "sharegpt.json": (_json(lambda q, a: {"id": q[:3], "conversations": _said(q, a)}), "sharegpt"),
    "sharegpt-system.jsonl": (_jsonl(lambda q, a: {"system": "Be brief.", "conversations": _said(q, a)}), "sharegpt"),
    "sharegpt-system-turn.jsonl": (_jsonl(lambda q, a: {"conversations": [{"from": "system", "value": "Be brief."}, *_said(q, a)]}), "sharegpt"),
    "sharegpt-glaive.json": (_json(_glaive), "sharegpt"),
    "sharegpt-roles.jsonl": (_jsonl(lambda q, a: {"conversations": _turns(q, a)}), "sharegpt"),
    "sharegpt-role-value.jsonl": (
        _jsonl(lambda q, a: {"conversations": [{"role": "user", "value": q}, {"role": "assistant", "value": a}]}), "sharegpt",
    ),
    "sharegpt-user-chatgpt.jsonl": (
        _jsonl(lambda q, a: {"conversations": [{"from": "user", "value": q}, {"from": "chatgpt", "value": a}]}), "sharegpt",
    ),
    "sharegpt-text.jsonl": (_jsonl(lambda q, a: {"conversation": [{"from": "human", "text": q}, {"from": "bot", "text": a}]}), "sharegpt"),
    "sharegpt-pairs.jsonl": (_jsonl(lambda q, a: {"conversation": [{"human": q, "assistant": a}], "category": "x"}), "sharegpt"),
    "sharegpt-dialogue.jsonl": (_jsonl(lambda q, a: {"dialogue": [{"speaker": "user", "text": q}, {"speaker": "assistant", "text": a}]}), "sharegpt"),
    "sharegpt-long.jsonl": (_jsonl(lambda q, a: {"conversations": _said(q, a) * 3, "model": "gpt-4"}), "sharegpt"),
    "sharegpt.jsonl.gz": (gzip.compress(_jsonl(lambda q, a: {"conversations": _said(q, a)})), "sharegpt"),
    # Alpaca
    "alpaca.json": (_json(lambda q, a: {"instruction": "Answer.", "input": q, "output": a}), "alpaca"),
    "alpaca-no-input.jsonl": (_jsonl(lambda q, a: {"instruction": q, "output": a}), "alpaca"),
    "alpaca-text.jsonl": (_jsonl(lambda q, a: {"instruction": q, "input": "", "output": a, "text": f"### {q}\n{a}"}), "alpaca"),
    "alpaca-history.jsonl": (_jsonl(lambda q, a: {"instruction": q, "input": "", "output": a, "history": [[q, a]], "system": "S"}), "alpaca"),
    "dolly.jsonl": (_jsonl(lambda q, a: {"instruction": q, "context": "", "response": a, "category": "open_qa"}), "alpaca"),
    "alpaca.csv": (_csv("instruction,output"), "alpaca"),
    "alpaca.parquet": (_parquet(lambda q, a: {"instruction": q, "input": None, "output": a}), "alpaca"),
    # prompt and completion
    "prompt-completion.jsonl": (_jsonl(lambda q, a: {"prompt": q, "completion": a}), "prompt-completion"),
    "prompt-completion-turns.jsonl": (
        _jsonl(lambda q, a: {"prompt": _turns(q, a)[:1], "completion": _turns(q, a)[1:]}), "prompt-completion",
    ),
    "prompt-completion.csv": (_csv("prompt,completion"), "prompt-completion"),
    "prompt-completion.tsv": (_csv("prompt,completion", "\t"), "prompt-completion"),
    "prompt-completion-semicolon.csv": (_csv("Prompt,Completion", ";"), "prompt-completion"),
    "prompt-completion-label-text.jsonl": (_jsonl(lambda q, a: {"prompt": q, "completion": a, "label": "spam"}), "prompt-completion"),
    "prompt-completion-utf16.csv": (_csv("prompt,completion", encoding="utf-16"), "prompt-completion"),
    "prompt-completion-bom.csv": (_csv("prompt,completion", encoding="utf-8-sig"), "prompt-completion"),
    # question and answer
    "gsm8k.jsonl": (_jsonl(lambda q, a: {"question": q, "answer": a}), "query-response"),
    "squad.jsonl": (
        _jsonl(lambda q, a: {"context": "A text. " + q, "question": q, "answers": {"text": [a], "answer_start": [1]}}), "query-response",
    ),
    "math.jsonl": (_jsonl(lambda q, a: {"problem": q, "solution": a, "level": 3}), "query-response"),
    "query-response.json": (_json(lambda q, a: {"query": q, "response": a}), "query-response"),
    "input-target.jsonl": (_jsonl(lambda q, a: {"input": q, "target": a}), "query-response"),
    "prompt-response.jsonl": (_jsonl(lambda q, a: {"prompt": q, "response": a, "model": "m"}), "query-response"),
    "question-number.jsonl": (_jsonl(lambda q, a: {"question": q, "answer": len(q) * len(a)}), "query-response"),
    "question-reasoning.jsonl": (_jsonl(lambda q, a: {"question": q, "reasoning": "Well, then.", "answer": a}), "query-response"),
    "capitals.csv": (_csv("Question,Answer"), "query-response"),
    "columns.json": (
        orjson.dumps({"question": [q for q, _ in _pairs()], "answer": [a for _, a in _pairs()]}), "query-response",
    ),
    "wrapped.json": (orjson.dumps({"version": "1.1", "data": [{"question": q, "answer": a} for q, a in _pairs()]}), "query-response"),
    "by-key.json": (orjson.dumps({f"q{i}": {"question": q, "answer": a} for i, (q, a) in enumerate(_pairs())}), "query-response"),
    "hub-rows.json": (
        orjson.dumps({"rows": [{"row_idx": i, "row": {"question": q, "answer": a}} for i, (q, a) in enumerate(_pairs())]}), "query-response",
    ),
    "qa.arrow": (_arrow(lambda q, a: {"question": q, "answer": a}), "query-response"),
    "qa.jsonl.zst": (zstandard.compress(_jsonl(lambda q, a: {"question": q, "answer": a})), "query-response"),
    "two-files.zip": (_zip(train__jsonl=_jsonl(lambda q, a: {"question": q, "answer": a}), README__md=b"# Made by hand"), "query-response"),
    # preferences
    "dpo.jsonl": (_jsonl(lambda q, a: {"prompt": q, "chosen": a, "rejected": "No."}), "preference"),
    "dpo-sharegpt.json": (
        _json(lambda q, a: {"conversations": _said(q, a)[:1], "chosen": _said(q, a)[1], "rejected": {"from": "gpt", "value": "No."}}), "preference",
    ),
    "hh-rlhf.jsonl": (
        _jsonl(lambda q, a: {"chosen": f"\n\nHuman: {q}\n\nAssistant: {a}", "rejected": f"\n\nHuman: {q}\n\nAssistant: No."}), "preference",
    ),
    "implicit.jsonl": (_jsonl(lambda q, a: {"chosen": _turns(q, a), "rejected": _turns(q, "No.")}), "preference"),
    "swift.jsonl": (_jsonl(lambda q, a: {"messages": _turns(q, a), "rejected_response": "No."}), "preference"),
    "kto.jsonl": (_jsonl(lambda q, a: {"prompt": q, "completion": a, "label": len(a) % 2 == 0}), "kto"),
    "kto-tag.jsonl": (_jsonl(lambda q, a: {"messages": _turns(q, a), "kto_tag": True}), "kto"),
    # text
    "corpus.jsonl": (_jsonl(lambda q, a: {"text": f"{q} {a}", "meta": {"x": 1}}), "text"),
    "book.txt": (_PROSE.encode(), "text"),
    "notes.md": (("# Notes\n\n" + _PROSE).encode(), "text"),
    "book.txt.gz": (gzip.compress(_PROSE.encode()), "text"),
    # what must be refused, not guessed
    "mails.csv": (_csv("subject,body"), None),
    "numbers.csv": (b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 3) for i in range(40)), None),
    "splits.json": (orjson.dumps({"train": [{"question": "q", "answer": "a"}], "test": [{"question": "q", "answer": "a"}]}), None),
    "half.jsonl": (_jsonl(lambda q, a: {"question": q, "answer": a})[:-20], None),
    "latin.csv": (_csv("prompt,completion", encoding="cp1252"), None),
    "questions-only.jsonl": (_jsonl(lambda q, a: {"question": q}), None),
}  # fmt: skip
