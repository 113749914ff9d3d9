"""A judge: another model that says how right an answer is, asked over an OpenAI-compatible endpoint.

What it said is kept and not asked again. A judge is only worth what it agrees with people: `calibration`, a file of
answers that people marked, is judged too, and the agreement stands with every result.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stoker.analysis.agreement import agreement, cohens_kappa
from stoker.analysis.scorers.base import Meta, Scorer
from stoker.errors import DataError, PermanentError
from stoker.mailbox.journal import JournalReader, JournalWriter

Ask = Callable[[str], str]
"""From a prompt to the judge's reply; raises when the endpoint does not answer."""

PROMPT = """You mark answers. Compare the answer with the reference and decide whether it is right.

Question:
{prompt}

Reference answer:
{expected}

Answer to mark:
{answer}

Reply with one line, "MARK: " and a whole number from 0 (wrong) to 10 (right), and nothing else."""
_MARK = re.compile(r"MARK\s*:\s*(\d{1,3})(?:\s*/\s*10)?\b", re.IGNORECASE)
_ALONE = re.compile(r"^\s*(\d{1,2})(?:\s*/\s*10)?\s*\.?\s*$")
_MOST = 10
_FIELDS = ("prompt", "expected", "answer")


@dataclass(frozen=True, slots=True)
class Marked:
    """An answer that a person marked right or wrong."""

    prompt: str
    expected: str
    answer: str
    is_right: bool


class Judge:
    """Asks for marks and keeps them in `book`, found again by everything that the question held."""

    def __init__(self, ask: Ask, name: str, template: str, book: Path) -> None:
        _check_template(template)
        self._ask, self._name, self._template, self._path = ask, name, template, book
        self._marks: dict[str, float] = {}
        reader = JournalReader(book)
        while records := reader.read():
            self._marks.update({record["key"]: float(record["mark"]) for record in records if "mark" in record})

    def mark(self, prompt: str, expected: str, answer: str) -> float:
        """Return the judge's mark from 0 to 1; PermanentError when its reply has none."""
        question = _fill(self._template, {"prompt": prompt, "expected": expected, "answer": answer})
        key = hashlib.sha256(orjson.dumps([self._name, question])).hexdigest()[:32]
        if key not in self._marks:
            self._marks[key] = read_mark(self._ask(question))
            writer = JournalWriter(self._path)
            try:
                writer.append({"key": key, "judge": self._name, "mark": self._marks[key]})
            finally:
                writer.close()
        return self._marks[key]


def read_mark(reply: str) -> float:
    """Return the mark of a reply, 0 to 1: the last "MARK: n", else a number that stands alone."""
    found = list(_MARK.finditer(reply))
    match = found[-1] if found else _ALONE.match(reply)
    if match is None or int(match[1]) > _MOST:
        raise PermanentError(f"the judge gave no mark from 0 to {_MOST}: {reply.strip()[:200]!r}")
    return int(match[1]) / _MOST


def judge_scorer(judge: Judge, marked: Sequence[Marked]) -> Scorer:
    """Return the scorer that asks the judge; its agreement with `marked` is one of its metrics of the whole."""

    def score(meta: Meta, expected: str, answer: str) -> dict[str, float]:
        mark = judge.mark(str(meta.get("prompt", "")), expected, answer)
        return {"judge": mark, "judge_right": float(mark > 0.5)}

    def measure(scored: Sequence[tuple[Meta, str, str]]) -> dict[str, float]:
        if not marked:
            return {}
        given = [judge.mark(each.prompt, each.expected, each.answer) > 0.5 for each in marked]
        people = [each.is_right for each in marked]
        return {
            "judge_agreement": agreement(people, given), "judge_kappa": cohens_kappa(people, given),
            "judge_checked": float(len(marked)),
        }  # fmt: skip

    return Scorer("judge", {"judge": False, "judge_right": True}, score, measure, is_proven=False)


def read_marked(path: Path) -> list[Marked]:
    """Read answers that people marked: JSONL of prompt, expected, answer and right (true or false)."""
    if not path.is_file():
        raise DataError(f"{path}: no such file", "the judge is to be compared with it", "mend `calibration`")
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            value: Any = orjson.loads(line)
            texts = [value[key] for key in _FIELDS]
            if not isinstance(value["right"], bool) or not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{path}, line {number} is no marked answer", "a line is {prompt, expected, answer, right}", "mend it"
            ) from None
        found.append(Marked(*texts, is_right=value["right"]))
    return found


def _check_template(template: str) -> None:
    missing = [name for name in _FIELDS if f"{{{name}}}" not in template and name != "expected"]
    if missing:
        raise DataError(
            f"the judge's prompt lacks {{{missing[0]}}}", "it must show the question and the answer", "add it"
        )


def _fill(template: str, fields: dict[str, str]) -> str:
    """Put the texts in at once: braces in an answer are text, no places."""
    return re.sub(r"\{(prompt|expected|answer)\}", lambda match: fields[match[1]], template)
