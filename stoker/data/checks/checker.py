"""Checks that every row of a file goes through, many at a time, and those that need all of them.

Only hashes, lengths and the first few examples are kept, so that a million rows fit in memory. Rows come with their hashed
words, which the sealed split needs as well.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xxhash

from stoker.data.checks.finding import MAX_SHOWN, Findings
from stoker.data.checks.language import language_findings
from stoker.data.checks.phrases import phrase_findings
from stoker.data.checks.sample import RowSample
from stoker.data.checks.text import is_refusal, suspects, text_findings
from stoker.data.rows import Row
from stoker.data.sealing.shingles import RowWords, row_words
from stoker.spec.lab import CheckSpec

MIN_LEAK_WORDS = 5
MIN_ROWS_FOR_LABELS = 50
MAX_LABELS = 100
MAX_CONFLICT_CHARS = 200  # two stories told of one prompt don't contradict each other
_LABEL_SHARE = 0.05
_ONE_LABEL_SHARE = 0.95
_EXTRACTION_SHARE = 0.5
_MIN_CUT_CHARS, _MIN_CUT_SHARE, _MIN_CUT_ROWS = 200, 0.01, 5
_SCRIPT_SHARE = 0.05
_OPEN_END = re.compile(r"[\w\s,;:(\-]\Z")
_SCRIPTS = re.compile(
    "(?P<Latin>[A-Za-z\u00c0-\u024f])|(?P<Cyrillic>[\u0400-\u04ff])|(?P<Greek>[\u0370-\u03ff])|(?P<Hebrew>[\u0590-\u05ff])"
    "|(?P<Arabic>[\u0600-\u06ff])|(?P<Devanagari>[\u0900-\u097f])|(?P<Thai>[\u0e00-\u0e7f])"
    "|(?P<Japanese>[\u3040-\u30ff])|(?P<Chinese>[\u4e00-\u9fff])|(?P<Korean>[\uac00-\ud7af])"
)
_SCRIPT_CHARS = 200
_HASH_BYTES = 8

Hashes = npt.NDArray[np.uint64]


class Checker:
    """Collects what is wrong with a file's usable rows."""

    def __init__(self, file: str, spec: CheckSpec, max_shown: int = MAX_SHOWN) -> None:
        self.findings = Findings(file, max_shown)
        self._spec = spec
        self._lines = array("Q")
        self._prompts, self._answers = array("Q"), array("Q")
        self._num_chars, self._is_open_end = array("Q"), array("b")
        self._leaks: list[tuple[int, str]] = []  # place of the row, its answer
        self._members, self._first_places = [""], [0]
        self._labels: dict[int, str] = {}
        self._scripts: Counter[str] = Counter()
        self._sample = RowSample()

    def enter(self, member: str) -> None:
        """Begin with a file of a zip: the rows that follow are in it."""
        if member != self._members[-1]:
            self._members.append(member)
            self._first_places.append(len(self._lines))

    def add_rows(self, rows: Sequence[Row], words: RowWords) -> None:
        """Check rows; `words` are theirs."""
        texts = [row_text(row) for row in rows]
        for place in suspects(texts):
            for code, what in text_findings(texts[place]):
                self.findings.add(code, rows[place].line, what, member=self._members[-1])
        self._note_scripts(texts)
        view, begin = memoryview(words.hashes.tobytes()), 0
        for row, num_prompt, num_answer in zip(rows, words.num_prompt.tolist(), words.num_answer.tolist(), strict=True):
            middle = begin + num_prompt * _HASH_BYTES
            end = middle + num_answer * _HASH_BYTES
            answer = row.answer()
            self._sample.add(row, answer, self._members[-1])
            if row.messages is not None:
                self._note_answer(row, answer, view[begin:middle], view[middle:end])
            begin = end

    def _note_answer(self, row: Row, words: str, prompt: memoryview, answer: memoryview) -> None:
        """`prompt` and `answer` are the hashes of their words, `words` is the answer."""
        if is_refusal(words):
            self.findings.add("refusals", row.line, words, member=self._members[-1])
        if len(answer) >= MIN_LEAK_WORDS * _HASH_BYTES and _may_leak(prompt, answer) and _leaks(row):
            self._leaks.append((len(self._lines), words))
        answer_hash = xxhash.xxh3_64_intdigest(answer)
        self._lines.append(row.line)
        if row.kind == "preference":  # many pairs of one prompt are how such data is made
            self._prompts.append(int(row.id, 16))
        else:
            self._prompts.append(xxhash.xxh3_64_intdigest(prompt) ^ (_hash(repr(row.tools)) if row.tools else 0))
        self._answers.append(answer_hash)
        self._num_chars.append(len(words))
        self._is_open_end.append(_is_open_end(words[-1:]))
        if len(self._labels) <= MAX_LABELS:
            self._labels.setdefault(answer_hash, words)

    def _note_scripts(self, texts: Sequence[str]) -> None:
        num_ascii = 0
        for text in texts:
            if not text.isascii():
                self._note_script(text)
                continue
            if not num_ascii:
                self._scripts["Latin"] += 0  # among equals a script's place is where it was first seen
            num_ascii += 1
        if num_ascii:
            self._scripts["Latin"] += num_ascii

    def _note_script(self, text: str) -> None:
        found: Counter[str] = Counter()
        for character, number in Counter(text[:_SCRIPT_CHARS]).items():
            if (script := script_of(character)) is not None:
                found[script] += number
        if found:
            self._scripts[found.most_common(1)[0][0]] += 1

    def finish(self) -> Findings:
        """Return everything, the checks over all rows included."""
        lines, prompts, answers = (
            np.array(values, dtype=np.uint64) for values in (self._lines, self._prompts, self._answers)
        )
        is_labelled = self._find_labels(answers)
        is_short = np.array(self._num_chars, dtype=np.int64) <= MAX_CONFLICT_CHARS
        self._find_conflicts(lines, prompts, answers, np.flatnonzero(is_short))
        self._find_leaks(lines, is_labelled)
        self._find_cuts(lines)
        self._find_scripts()
        sample = self._sample.rows()
        for code, row, what in language_findings(sample):
            self.findings.add(code, None if row is None else row.line, what, member="" if row is None else row.member)
        for what in phrase_findings(sample) if not is_labelled else ():
            self.findings.add("boilerplate-answers", None, what)
        return self.findings

    def _find_labels(self, answers: Hashes) -> bool:
        values, counts = np.unique(answers, return_counts=True)
        if not is_label_set(len(answers), len(values)):
            return False
        order = np.argsort(-counts, kind="stable")
        shown = ", ".join(f"{self._labels[int(values[i])][:40]!r} {counts[i] / len(answers):.0%}" for i in order[:6])
        if len(order) > 6:
            shown += f" ... {self._labels[int(values[order[-1]])][:40]!r} {counts[order[-1]] / len(answers):.1%}"
        self.findings.add("labels", None, f"{len(values)} different answers: {shown}", len(answers))
        if counts.max() > _ONE_LABEL_SHARE * len(answers):
            self.findings.add("one-label", None, shown, int(counts.max()))
        return True

    def _find_conflicts(self, lines: Hashes, prompts: Hashes, answers: Hashes, compared: npt.NDArray[np.int64]) -> None:
        order = compared[np.lexsort((lines[compared], prompts[compared]))]
        group = np.cumsum(np.concatenate(([True], np.diff(prompts[order].astype(np.int64)) != 0)))[: len(order)] - 1
        if len(group) == 0:
            return
        low = np.full(group[-1] + 1, np.iinfo(np.uint64).max, np.uint64)
        high = np.zeros(group[-1] + 1, np.uint64)
        np.minimum.at(low, group, answers[order])
        np.maximum.at(high, group, answers[order])
        is_conflict = (low != high)[group]
        first = np.concatenate(([0], np.flatnonzero(np.diff(group)) + 1))
        conflicts = np.flatnonzero(is_conflict)
        for place in conflicts[np.argsort(lines[order[conflicts]], kind="stable")]:
            start = first[group[place]]
            here, other = int(order[place]), int(order[start + 1 if place == start else start])
            where = f" of {self._member(other)}" if self._member(other) != self._member(here) else ""
            self._add_at(here, lines, "conflicting-answers", f"the same question as line {lines[other]}{where}")

    def _add_at(self, place: int, lines: Hashes, code: str, what: str) -> None:
        self.findings.add(code, int(lines[place]), what, member=self._member(place))

    def _member(self, place: int) -> str:
        return self._members[bisect_right(self._first_places, place) - 1]

    def _find_leaks(self, lines: Hashes, is_labelled: bool) -> None:
        is_extraction = is_labelled or len(self._leaks) > _EXTRACTION_SHARE * len(lines)
        if self._spec.task == "extraction" or (self._spec.task == "auto" and is_extraction):
            return
        for place, answer in self._leaks:
            self._add_at(place, lines, "answer-in-prompt", answer)

    def _find_cuts(self, lines: Hashes) -> None:
        lengths = np.array(self._num_chars, dtype=np.int64)
        if len(lengths) == 0 or lengths.max() < _MIN_CUT_CHARS:
            return
        cut = np.flatnonzero((lengths == lengths.max()) & np.array(self._is_open_end, dtype=bool))
        if len(cut) >= max(_MIN_CUT_ROWS, _MIN_CUT_SHARE * len(lengths)):
            for place in cut.tolist():
                self._add_at(place, lines, "cut-answers", f"it has {lengths.max():,} characters, as others have")

    def _find_scripts(self) -> None:
        total = sum(self._scripts.values())
        common = [(name, count) for name, count in self._scripts.most_common() if count >= _SCRIPT_SHARE * total]
        if len(common) > 1:
            shown = ", ".join(f"{name} {count / total:.0%}" for name, count in common)
            self.findings.add("mixed-scripts", None, shown, total)


def is_label_set(num_answers: int, num_distinct: int) -> bool:
    """Tell whether answers come from a short list: then they are labels."""
    most = min(MAX_LABELS, max(2, _LABEL_SHARE * num_answers))
    return num_answers >= MIN_ROWS_FOR_LABELS and num_distinct <= most


def _may_leak(prompt: memoryview, answer: memoryview) -> bool:
    """Tell whether the answer's words but the first and last stand in the prompt; those two may be parts of words there."""
    inner = answer[_HASH_BYTES:-_HASH_BYTES]
    return len(inner) <= len(prompt) and prompt.tobytes().find(inner) >= 0


def _leaks(row: Row) -> bool:
    prompt, answer = row_words(row)
    return " ".join(answer) in " ".join(prompt)


@lru_cache(maxsize=65_536)
def _is_open_end(character: str) -> bool:
    return _OPEN_END.match(character) is not None


@lru_cache(maxsize=65_536)
def script_of(character: str) -> str | None:
    """Return the writing system of a letter, None for other characters and systems that are not told apart."""
    match = _SCRIPTS.match(character)
    return None if match is None else match.lastgroup


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def row_text(row: Row) -> str:
    """Return all words of a row, a line between its turns."""
    content = row.content
    if content.messages is None:
        return content.text or ""
    turns = (*content.messages, *(content.chosen or ()), *(content.rejected or ()))
    return "\n".join(turn["content"] for turn in turns)
