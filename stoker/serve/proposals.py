"""A dataset proposed from rated requests: what was liked or corrected as rows, what was only disliked to be looked at.

Ordered for active learning: requests that models answered differently first, then those a model was least sure of. Nothing
here trains or reaches the inbox; a person's command does, and the data gate judges the file like any other.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from stoker.durable import write_atomic
from stoker.serve.log_queries import reading

Only = Literal["up", "down", "all"]

RAW_ENDPOINTS = ("completions", "/v1/completions")


@dataclass(frozen=True)
class Candidate:
    """A request with its rating. `answer` is what would be trained, or what is to be looked at."""

    request: str
    time: float
    model: str
    prompt: tuple[dict[str, Any], ...]
    answer: str
    why: str
    comment: str | None
    confidence: float | None
    num_answers: int
    num_alike: int = 1

    def row(self) -> dict[str, Any]:
        """Return the row as it would be trained."""
        return {"messages": [*self.prompt, {"role": "assistant", "content": self.answer}]}

    def to_json(self) -> dict[str, Any]:
        return {
            "request": self.request, "time": self.time, "model": self.model, "why": self.why, "comment": self.comment,
            "confidence": self.confidence, "different_answers": self.num_answers, "alike": self.num_alike,
            **self.row(),
        }  # fmt: skip


@dataclass
class Proposal:
    """Rows in the order of what can be learned from them, what needs a person, and why the rest was left out."""

    rows: list[Candidate] = field(default_factory=list)
    review: list[Candidate] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [one.to_json() for one in self.rows],
            "review": [one.to_json() for one in self.review],
            "left_out": dict(self.left_out),
        }


def propose(folder: Path, *, since: float = 0.0, only: Only = "all", most: int | None = None) -> Proposal:
    """Return the proposal from the rated requests since a moment; `most` rows and as many to review."""
    with reading(folder) as connection:
        requests = connection.execute(_KEPT, (since,)).fetchall() if connection is not None else []
    answers = _answers(requests)
    proposal = Proposal()
    rated: dict[str, list[tuple[Candidate, bool]]] = {}
    for request in requests:
        if request["rating"] is None or only not in ("all", request["rating"]):
            continue
        prompt = _messages(request)
        if isinstance(prompt, str):
            proposal.left_out[prompt] += 1
            continue
        key = _key(request["prompt"])
        candidate = _candidate(request, prompt, len(answers[key]))
        rated.setdefault(key, []).append((candidate, _is_row(request)))
    for alike in rated.values():
        _settle(alike, proposal)
    for kept in (proposal.rows, proposal.review):
        kept.sort(key=_what_teaches_most)
        if most is not None and len(kept) > most:
            proposal.left_out[f"more than the {most:,} asked for"] += len(kept) - most
            del kept[most:]
    return proposal


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSONL, whole or not at all."""
    write_atomic(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))


_KEPT = """
SELECT requests.*, feedback.rating, feedback.comment, feedback.correction, feedback.time AS rated_at
FROM requests LEFT JOIN feedback ON feedback.request = requests.id
WHERE requests.time >= ? AND requests.prompt IS NOT NULL AND requests.answer IS NOT NULL ORDER BY requests.time
"""


def _answers(requests: Iterable[sqlite3.Row]) -> dict[str, set[str]]:
    """Return the different answers, case and spaces aside, that each prompt got from any model."""
    found: dict[str, set[str]] = {}
    for request in requests:
        found.setdefault(_key(request["prompt"]), set()).add(_folded(request["answer"]))
    return found


def _settle(alike: list[tuple[Candidate, bool]], proposal: Proposal) -> None:
    """Decide over the ratings of one prompt: one row at most, the newest correction before the newest liked answer."""
    rows = [one for one, is_row in alike if is_row]
    disliked = [one for one, is_row in alike if not is_row]
    corrections = [one for one in rows if one.why == _CORRECTED]
    refused = {_folded(one.answer) for one in disliked}
    liked = [one for one in rows if one.why != _CORRECTED and _folded(one.answer) not in refused]
    contested = [one for one in rows if one.why != _CORRECTED and _folded(one.answer) in refused]
    chosen = (corrections or liked)[-1:]
    for one in chosen:
        proposal.rows.append(_alike(one, [other for other in rows if _folded(other.answer) == _folded(one.answer)]))
        others = [other for other in corrections + liked if _folded(other.answer) != _folded(one.answer)]
        same = len(corrections + liked) - len(others) - 1
        if others:
            proposal.left_out["a newer answer to the same prompt is there"] += len(others)
        if same:
            proposal.left_out["the same prompt and answer again"] += same
    if chosen:
        if disliked or contested:
            proposal.left_out["disliked, and a better answer is there"] += len(disliked) + len(contested)
        return
    for answer in dict.fromkeys(_folded(one.answer) for one in disliked):
        same_answer = [one for one in disliked if _folded(one.answer) == answer]
        proposal.review.append(_alike(same_answer[-1], same_answer))
        if len(same_answer) > 1:
            proposal.left_out["the same prompt and answer again"] += len(same_answer) - 1
    if contested:
        proposal.left_out["liked by one, disliked by another"] += len(contested)


def _alike(one: Candidate, same: list[Candidate]) -> Candidate:
    known = [other.confidence for other in same if other.confidence is not None]
    return Candidate(**{**one.__dict__, "num_alike": len(same), "confidence": min(known, default=None)})


_CORRECTED = "corrected"


def _candidate(request: sqlite3.Row, prompt: list[dict[str, Any]], num_answers: int) -> Candidate:
    is_corrected = request["correction"] is not None
    return Candidate(
        request=request["id"],
        time=request["rated_at"],
        model=request["model"],
        prompt=tuple(prompt),
        answer=request["correction"] if is_corrected else request["answer"],
        why=_CORRECTED if is_corrected else "liked" if request["rating"] == "up" else "disliked",
        comment=request["comment"],
        confidence=request["confidence"],
        num_answers=num_answers,
    )


def _is_row(request: sqlite3.Row) -> bool:
    return request["correction"] is not None or request["rating"] == "up"


def _messages(request: sqlite3.Row) -> list[dict[str, Any]] | str:
    """Return the prompt's turns, or why the request is no row."""
    if request["status"] >= 400:
        return "the request failed"
    if not request["answer"].strip() and request["correction"] is None:
        return "the answer is empty"
    try:
        prompt = orjson.loads(request["prompt"])
    except orjson.JSONDecodeError:
        return "its prompt is no JSON"
    if isinstance(prompt, str):
        if request["endpoint"] in RAW_ENDPOINTS:
            return "a raw completion has no turns"
        return [{"role": "user", "content": prompt}]
    is_turns = isinstance(prompt, list) and prompt and all(isinstance(turn, dict) and "role" in turn for turn in prompt)
    return prompt if is_turns else "its prompt is no conversation"


def _what_teaches_most(one: Candidate) -> tuple[bool, float, float, str]:
    """Order by: models disagreed, how unsure the model was (unknown last), newest first."""
    return one.num_answers < 2, 2.0 if one.confidence is None else one.confidence, -one.time, one.request


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _key(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()
