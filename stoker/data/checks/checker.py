"""Checks that every row of a file goes through, one at a time, and those that need all of them.

Only hashes, lengths and the first few examples are kept, so that a million rows fit in memory. Rows come with their folded
words, which the sealed split needs as well.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from stoker.data.checks.finding import Findings
from stoker.data.checks.language import language_findings
from stoker.data.checks.phrases import phrase_findings
from stoker.data.checks.sample import RowSample
from stoker.data.checks.text import is_refusal, text_findings
from stoker.data.rows import Row
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

Hashes = npt.NDArray[np.uint64]


class Checker:
    """Collects what is wrong with a file's usable rows."""

    def __init__(self, file: str, spec: CheckSpec) -> None:
        self.findings = Findings(file)
        self._spec = spec
        self._lines = array("Q")
        self._prompts, self._answers = array("Q"), array("Q")
        self._num_chars, self._is_open_end = array("Q"), array("b")
        self._leaks: list[tuple[int, str]] = []
        self._labels: dict[int, str] = {}
        self._scripts: Counter[str] = Counter()
        self._sample = RowSample()

    def add(self, row: Row, prompt: Sequence[str], answer: Sequence[str]) -> None:
        """Check a row; `prompt` and `answer` are their folded words."""
        text = row_text(row)
        for code, what in text_findings(text):
            self.findings.add(code, row.line, what)
        self._note_script(text)
        words = row.answer()
        self._sample.add(row, words)
        if row.messages is None:
            return
        if is_refusal(words):
            self.findings.add("refusals", row.line, words)
        self._note_answer(row, " ".join(prompt), " ".join(answer), len(answer), words)

    def _note_answer(self, row: Row, prompt: str, answer: str, num_words: int, words: str) -> None:
        if num_words >= MIN_LEAK_WORDS and answer in prompt:
            self._leaks.append((row.line, words))
        answer_hash = _hash(answer)
        self._lines.append(row.line)
        is_pair = row.kind == "preference"  # many pairs of one prompt are how such data is made
        self._prompts.append(
            int(row.id, 16) if is_pair else _hash(prompt) ^ (_hash(repr(row.tools)) if row.tools else 0)
        )
        self._answers.append(answer_hash)
        self._num_chars.append(len(words))
        self._is_open_end.append(_OPEN_END.search(words) is not None)
        if len(self._labels) <= MAX_LABELS:
            self._labels.setdefault(answer_hash, words)

    def _note_script(self, text: str) -> None:
        if text.isascii():
            self._scripts["Latin"] += 1
            return
        found = Counter(match.lastgroup for match in _SCRIPTS.finditer(text[:_SCRIPT_CHARS]))
        if found:
            self._scripts[str(found.most_common(1)[0][0])] += 1

    def finish(self) -> Findings:
        """Return everything, the checks over all rows included."""
        lines, prompts, answers = (
            np.array(values, dtype=np.uint64) for values in (self._lines, self._prompts, self._answers)
        )
        is_labelled = self._find_labels(answers)
        is_short = np.array(self._num_chars, dtype=np.int64) <= MAX_CONFLICT_CHARS
        self._find_conflicts(lines[is_short], prompts[is_short], answers[is_short])
        self._find_leaks(len(lines), is_labelled)
        self._find_cuts(lines)
        self._find_scripts()
        sample = self._sample.rows()
        for code, line, what in language_findings(sample):
            self.findings.add(code, line, what)
        for what in phrase_findings(sample) if not is_labelled else ():
            self.findings.add("boilerplate-answers", None, what)
        return self.findings

    def _find_labels(self, answers: Hashes) -> bool:
        values, counts = np.unique(answers, return_counts=True)
        if len(answers) < MIN_ROWS_FOR_LABELS or len(values) > min(MAX_LABELS, max(2, _LABEL_SHARE * len(answers))):
            return False
        order = np.argsort(-counts, kind="stable")
        shown = ", ".join(f"{self._labels[int(values[i])][:40]!r} {counts[i] / len(answers):.0%}" for i in order[:6])
        self.findings.add("labels", None, f"{len(values)} different answers: {shown}", len(answers))
        if counts.max() > _ONE_LABEL_SHARE * len(answers):
            self.findings.add("one-label", None, shown, int(counts.max()))
        return True

    def _find_conflicts(self, lines: Hashes, prompts: Hashes, answers: Hashes) -> None:
        order = np.lexsort((lines, prompts))
        group = np.cumsum(np.concatenate(([True], np.diff(prompts[order].astype(np.int64)) != 0)))[: len(order)] - 1
        if len(group) == 0:
            return
        low = np.full(group[-1] + 1, np.iinfo(np.uint64).max, np.uint64)
        high = np.zeros(group[-1] + 1, np.uint64)
        np.minimum.at(low, group, answers[order])
        np.maximum.at(high, group, answers[order])
        is_conflict = (low != high)[group]
        first = np.concatenate(([0], np.flatnonzero(np.diff(group)) + 1))
        for place in np.flatnonzero(is_conflict):
            start = first[group[place]]
            other = lines[order[start + 1 if place == start else start]]
            self.findings.add("conflicting-answers", int(lines[order[place]]), f"the same question as line {other}")

    def _find_leaks(self, num_rows: int, is_labelled: bool) -> None:
        is_extraction = is_labelled or len(self._leaks) > _EXTRACTION_SHARE * num_rows
        if self._spec.task == "extraction" or (self._spec.task == "auto" and is_extraction):
            return
        for line, answer in self._leaks:
            self.findings.add("answer-in-prompt", line, answer)

    def _find_cuts(self, lines: Hashes) -> None:
        lengths = np.array(self._num_chars, dtype=np.int64)
        if len(lengths) == 0 or lengths.max() < _MIN_CUT_CHARS:
            return
        cut = np.flatnonzero((lengths == lengths.max()) & np.array(self._is_open_end, dtype=bool))
        if len(cut) >= max(_MIN_CUT_ROWS, _MIN_CUT_SHARE * len(lengths)):
            for place in cut:
                self.findings.add(
                    "cut-answers", int(lines[place]), f"it has {lengths.max():,} characters, as others have"
                )

    def _find_scripts(self) -> None:
        total = sum(self._scripts.values())
        common = [(name, count) for name, count in self._scripts.most_common() if count >= _SCRIPT_SHARE * total]
        if len(common) > 1:
            shown = ", ".join(f"{name} {count / total:.0%}" for name, count in common)
            self.findings.add("mixed-scripts", None, shown, total)


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def row_text(row: Row) -> str:
    """Return all words of a row, a line between its turns."""
    content = row.content
    if content.messages is None:
        return content.text or ""
    turns = (*content.messages, *(content.chosen or ()), *(content.rejected or ()))
    return "\n".join(turn["content"] for turn in turns)
