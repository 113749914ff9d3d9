"""From rows to token sequences, through the tokenizer's own chat template.

Two things hold by construction. The tokens before an answer are exactly `encode_prompt` of the messages before it:
prompt and answer are tokenised apart, as generation does. Every assistant turn but those of weight 0 is trained once, up
to and including its stop token: turns share a sequence as long as each next prompt continues it token for token (templates that drop
earlier thinking break that), otherwise a turn becomes a sequence of its own. `mask_proof` checks both afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import numpy as np

from stoker.data.rows import Row
from stoker.errors import DataError
from stoker.model.chat import Chat, Message, chat_of
from stoker.model.encoded import Encoded, Ids

__all__ = [
    "Encoded",
    "encode_prompt",
    "encode_row",
    "encode_row_prompt",
    "encode_rows",
    "row_prompts",
    "stop_token_ids",
]

_CHUNK_ROWS = 2048
# What a template raises by itself, and what Jinja lets through when a message lacks what the template joins.
_TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, ValueError, AttributeError)


@dataclass(slots=True)
class _Turn:
    """An assistant turn: the text that generation would be given, and the answer up to its stop token."""

    prompt: str
    answer: str
    may_join: bool


@dataclass(slots=True)
class _Piece:
    """Text tokenised by itself. `joint` is the text before it that it might merge with, when a turn follows."""

    text: str
    is_trained: bool
    joint: str | None = None


@dataclass(slots=True)
class _Plan:
    """How a row becomes sequences: each a list of pieces."""

    row: Row
    turns: list[_Turn] = field(default_factory=list)
    sequences: list[list[_Piece]] = field(default_factory=list)


def encode_rows(rows: Sequence[Row], tokenizer: Any, refused: dict[str, str] | None = None) -> list[list[Encoded]]:
    """Return each row's sequences.

    A row that the template refuses gets none, and its reason goes into `refused`; without `refused`, DataError.
    """
    encoded: list[list[Encoded]] = []
    for start in range(0, len(rows), _CHUNK_ROWS):
        encoded.extend(_encode_chunk(rows[start : start + _CHUNK_ROWS], tokenizer, refused))
    return encoded


def encode_row(row: Row, tokenizer: Any) -> list[Encoded]:
    """Return the sequences of one row; DataError when the template refuses it."""
    return encode_rows([row], tokenizer)[0]


def encode_prompt(
    messages: Sequence[Message], tools: Sequence[Message] | None, tokenizer: Any, thinking: bool = False
) -> Ids:
    """Return the tokens that make the model answer these messages: what serving sends."""
    chat = chat_of(tokenizer)
    try:
        text = chat.render(messages, tools, prompt=True, thinking=thinking)
    except _TEMPLATE_ERRORS as error:
        raise _refusal(f"the chat template refuses these messages ({error})") from error
    return np.array(_tokenize([text], tokenizer)[0], dtype=np.int32)


def encode_row_prompt(row: Row, tokenizer: Any) -> Ids:
    """Return the prompt of a row's last answer, as it is trained: thinking is on when the answer holds thinking."""
    if row.messages is None:
        raise _refusal(f"line {row.line}: a row of plain text has no prompt")
    answers = row.trained_turns()
    if not answers:
        return encode_prompt(row.messages, row.tools, tokenizer)
    turn = _turn(row, answers[-1], chat_of(tokenizer))
    return np.array(_tokenize([turn.prompt], tokenizer)[0], dtype=np.int32)


def row_prompts(rows: Sequence[Row], tokenizer: Any) -> list[list[list[int]]]:
    """Return, for each conversation, the prompt of each trained turn, every one tokenised as a whole text."""
    chat = chat_of(tokenizer)
    texts = [[_turn(row, i, chat).prompt for i in row.trained_turns()] for row in rows]
    ids = iter(_tokenize([text for prompts in texts for text in prompts], tokenizer))
    return [[next(ids) for _ in prompts] for prompts in texts]


def stop_token_ids(tokenizer: Any) -> list[int]:
    """Return what generation stops at: the template's end of an assistant turn first, then the eos token."""
    return chat_of(tokenizer).stop_ids


def _encode_chunk(rows: Sequence[Row], tokenizer: Any, refused: dict[str, str] | None) -> list[list[Encoded]]:
    plans: list[_Plan | None] = []
    for row in rows:
        try:
            plans.append(_plan(row, chat_of(tokenizer)) if row.messages is not None else _Plan(row))
        except DataError as error:
            if refused is None:
                raise
            refused[row.id] = str(error)
            plans.append(None)
    ids_of = _tokenize_pieces([plan for plan in plans if plan is not None and plan.turns], tokenizer)
    texts = [plan.row for plan in plans if plan is not None and plan.row.text is not None]
    plain = iter(_encode_texts(texts, tokenizer))
    return [
        [] if plan is None else _assemble(plan, ids_of) if ids_of is not None and plan.turns else [next(plain)]
        for plan in plans
    ]


def _tokenize_pieces(plans: list[_Plan], tokenizer: Any) -> _Tokens | None:
    if not plans:
        return None
    ids_of = _Tokens(tokenizer)
    ids_of.add(_texts(plans))
    ids_of.add(_texts(plan for plan in plans if _cut_where_pieces_merge(plan, ids_of)))
    return ids_of


def _plan(row: Row, chat: Chat) -> _Plan:
    assert row.messages is not None
    turns = [_turn(row, i, chat) for i in row.trained_turns()]
    if not turns:
        raise _refusal(f"line {row.line}: no turn of the assistant is trained")
    plan = _Plan(row, turns)
    _lay_out(plan, chat, cuts=frozenset())
    return plan


def _turn(row: Row, index: int, chat: Chat) -> _Turn:
    """Render the assistant turn at `index`, with thinking off if its rendering allows that, else on."""
    assert row.messages is not None
    before, through = row.messages[:index], row.messages[: index + 1]
    try:
        for thinking in (False, True) if chat.has_thinking_switch else (False,):
            prompt = chat.render(before, row.tools, prompt=True, thinking=thinking)
            whole = chat.render(through, row.tools, prompt=False, thinking=thinking)
            if whole.startswith(prompt):
                answer, may_join = whole[len(prompt) :], True
                break
        else:
            answer, may_join = _answer_within(whole, row, index, chat), False
    except _TEMPLATE_ERRORS as error:
        raise _refusal(f"line {row.line}: the chat template refuses this conversation ({error})") from error
    upto = chat.up_to_stop(answer)
    if upto is None:
        raise _refusal(f"line {row.line}: the chat template ends the answer without a stop token: {answer[-40:]!r}")
    return _Turn(prompt, upto, may_join and not chat.appends_stop)


def _answer_within(whole: str, row: Row, index: int, chat: Chat) -> str:
    """Find the answer in the rendering of a template whose prompt opens something that finished turns don't hold."""
    assert row.messages is not None
    history = chat.render(row.messages[:index], row.tools, prompt=False, thinking=True)
    content = str(row.messages[index].get("content") or "").strip()
    start = whole.rfind(content, len(history)) if content and whole.startswith(history) else -1
    if start < 0:
        raise _refusal(
            f"line {row.line}: the chat template changes the answer, so its tokens can't be told from the prompt"
        )
    return whole[start:]


def _lay_out(plan: _Plan, chat: Chat, cuts: frozenset[int]) -> None:
    """Give each turn its pieces; a turn in `cuts`, or whose prompt does not continue the text, starts a sequence."""
    plan.sequences, running = [], ""
    for i, turn in enumerate(plan.turns):
        if running and i not in cuts and turn.may_join and turn.prompt.startswith(running):
            sequence = plan.sequences[-1]
            sequence.append(_Piece(turn.prompt[len(running) :], False))
        else:
            sequence = [_Piece(turn.prompt, False)]
            plan.sequences.append(sequence)
        is_last = i + 1 == len(plan.turns)
        joint = None if is_last or not turn.may_join else chat.after_last_token(turn.prompt)
        sequence.append(_Piece(turn.answer, True, joint))
        running = turn.prompt + turn.answer if turn.may_join else ""


def _cut_where_pieces_merge(plan: _Plan, ids_of: _Tokens) -> bool:
    """Start a new sequence after each answer whose tokens would merge with its prompt when tokenised as one text.

    The next prompt would then hold other tokens than this sequence does.
    """
    cuts: set[int] = set()
    answers = [piece for sequence in plan.sequences for piece in sequence if piece.is_trained]
    for i, piece in enumerate(answers):
        if piece.joint and ids_of.of(piece.joint + piece.text) != ids_of.of(piece.joint) + ids_of.of(piece.text):
            cuts.add(i + 1)
    if cuts:
        _lay_out(plan, ids_of.chat, frozenset(cuts))
    return bool(cuts)


def _assemble(plan: _Plan, ids_of: _Tokens) -> list[Encoded]:
    encoded = []
    for sequence in plan.sequences:
        ids: list[int] = []
        trained: list[bool] = []
        for i, piece in enumerate(sequence):
            piece_ids = ids_of.of(piece.text) if i else ids_of.whole(piece.text)
            ids += piece_ids
            trained += [piece.is_trained] * len(piece_ids)
        encoded.append(_encoded(ids, trained, plan.row))
    return encoded


def _encode_texts(rows: Sequence[Row], tokenizer: Any) -> list[Encoded]:
    """Encode rows of plain text: every token is trained, and the eos token after them."""
    if not rows:
        return []
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else stop_token_ids(tokenizer)[0]
    encoded = []
    for row, ids in zip(rows, _tokenize([str(row.text) for row in rows], tokenizer, with_special=True), strict=True):
        whole = ids if ids and ids[-1] == end else [*ids, end]
        encoded.append(_encoded(whole, [True] * len(whole), row))
    return encoded


def _encoded(ids: list[int], trained: list[bool], row: Row) -> Encoded:
    mask = np.array(trained, dtype=np.bool_)
    mask[:1] = False
    return Encoded(np.array(ids, dtype=np.int32), mask, row.id, row.line)


def _refusal(what: str) -> DataError:
    return DataError(what, "a row trains only when the base model's own chat template can render it")


class _Tokens:
    """Token ids of texts, each text tokenised once.

    A piece from the middle of a sequence must not get what a tokenizer puts at the start of a text (SentencePiece's
    space) and must lose what a special token before it swallows, so where that matters it is tokenised behind one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self.chat = tokenizer, chat_of(tokenizer)
        self._whole: dict[str, list[int]] = {}
        self._anchor = self._needed_anchor()

    def add(self, texts: Iterable[tuple[str, bool]]) -> None:
        """Tokenise texts in one batch; each comes with whether it starts a sequence."""
        wanted = dict.fromkeys(text if is_first else self._anchor + text for text, is_first in texts)
        missing = [text for text in wanted if text not in self._whole]
        self._whole.update(zip(missing, _tokenize(missing, self._tokenizer), strict=True))

    def whole(self, text: str) -> list[int]:
        return self._whole[text]

    def of(self, text: str) -> list[int]:
        return self._whole[self._anchor + text][self._anchor_length :]

    def _needed_anchor(self) -> str:
        self._anchor_length = 0
        stop = self.chat.stop_text
        probes = ["A", "\nA", " A", "\n\nA"]
        alone, behind, stops = (
            _tokenize(texts, self._tokenizer) for texts in (probes, [stop + p for p in probes], [stop])
        )
        if all(b == stops[0] + a for a, b in zip(alone, behind, strict=True)):
            return ""
        self._anchor_length = len(stops[0])
        return stop


def _texts(plans: Iterable[_Plan]) -> Iterable[tuple[str, bool]]:
    for plan in plans:
        for sequence in plan.sequences:
            for i, piece in enumerate(sequence):
                yield piece.text, i == 0
                if piece.joint:
                    yield piece.joint, False
                    yield piece.joint + piece.text, False


def _tokenize(texts: list[str], tokenizer: Any, with_special: bool = False) -> list[list[int]]:
    if not texts:
        return []
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "encode_batch_fast"):
        ids: list[list[int]] = tokenizer(texts, add_special_tokens=with_special)["input_ids"]
        return ids
    backend.no_truncation()
    backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=with_special)]
