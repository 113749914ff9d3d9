"""What a model's weights have already answered, kept in `answers/<weights_sha256>.jsonl` and used again for ever.

A record is found by the row's content id and by everything else that affects it: tokenizer and template, precision,
device, and for an answer the length it may have. So the base is measured once in a lab's life, and a worker that is
killed in the middle goes on where it was. Lines that a crash tore are skipped; scores are not kept, they are
computed from the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from stoker.mailbox.journal import JournalReader, JournalWriter


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A row's mean NLL over its trained tokens, how many those are, and the length of its longest sequence."""

    nll: float
    num_tokens: int
    length: int


@dataclass(frozen=True, slots=True)
class Unfit:
    """A row this model can't be given: too long (`reason` is empty), or refused by the template."""

    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated text; `is_finished`: it ended by itself, not by the limit."""

    text: str
    is_finished: bool


class AnswerBook:
    """The kept results of one model's weights under one set of conditions. Use as a context manager.

    `max_new_tokens` is how long answers may be where a question does not say it.
    """

    def __init__(self, folder: Path, weights_sha256: str, conditions: str, max_new_tokens: int) -> None:
        self.path = folder / f"{weights_sha256}.jsonl"
        self._conditions, self._max_new_tokens = conditions, max_new_tokens
        self._likelihoods: dict[str, Likelihood] = {}
        self._unfit: dict[str, Unfit] = {}
        self._answers: dict[tuple[str, int], Answer] = {}
        self._writer: JournalWriter | None = None
        self._read()

    def likelihood(self, row_id: str) -> Likelihood | None:
        return self._likelihoods.get(row_id)

    def answer(self, row_id: str, max_new_tokens: int | None = None) -> Answer | None:
        return self._answers.get((row_id, max_new_tokens or self._max_new_tokens))

    def unfit_reason(self, row_id: str, max_length: int) -> str | None:
        """Say why the row is left out at this limit, or None when it is not, or not known yet."""
        known = self._likelihoods.get(row_id)
        unfit = self._unfit.get(row_id)
        if unfit is not None and unfit.reason:
            return unfit.reason
        length = known.length if known is not None else unfit.length if unfit is not None else 0
        return "longer than train.max_length" if length > max_length else None

    def add_likelihood(self, row_id: str, likelihood: Likelihood) -> None:
        self._likelihoods[row_id] = likelihood
        self._append(
            "nll", row_id, nll=likelihood.nll, tokens=likelihood.num_tokens, length=likelihood.length
        )  # fmt: skip

    def add_unfit(self, row_id: str, unfit: Unfit) -> None:
        self._unfit[row_id] = unfit
        self._append("unfit", row_id, length=unfit.length, reason=unfit.reason)

    def add_answer(self, row_id: str, answer: Answer, max_new_tokens: int | None = None) -> None:
        limit = max_new_tokens or self._max_new_tokens
        self._answers[row_id, limit] = answer
        self._append("answer", row_id, text=answer.text, finished=answer.is_finished, max_new_tokens=limit)

    def __enter__(self) -> AnswerBook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.sync()
            self._writer.close()
            self._writer = None

    def _append(self, kind: str, row_id: str, **fields: Any) -> None:
        if self._writer is None:
            self._writer = JournalWriter(self.path)
        self._writer.append({"kind": kind, "row": row_id, "conditions": self._conditions, **fields})

    def _read(self) -> None:
        reader = JournalReader(self.path)
        while records := reader.read():
            for record in records:
                self._take(record)

    def _take(self, record: Any) -> None:
        """Keep a record made under the same conditions; one that is not whole is as good as missing."""
        if not isinstance(record, dict) or record.get("conditions") != self._conditions:
            return
        match record:
            case {"kind": "nll", "row": str(row), "nll": float(nll), "tokens": int(tokens), "length": int(length)}:
                self._likelihoods[row] = Likelihood(nll, tokens, length)
            case {"kind": "unfit", "row": str(row), "length": int(length), "reason": str(reason)}:
                self._unfit[row] = Unfit(length, reason)
            case {"kind": "answer", "row": str(row), "text": str(text), "finished": bool(finished)}:
                if isinstance(limit := record.get("max_new_tokens"), int):
                    self._answers[row, limit] = Answer(text, finished)
