"""How a row becomes sequences of text pieces: which are prompt and which are trained, and where a sequence must end.

Prompt and answer are tokenised apart, as generation does. Every assistant turn but those of weight 0 is trained once, up to
and including its stop token: turns share a sequence as long as each next prompt continues it token for token (templates that
drop earlier thinking break that), otherwise a turn becomes a sequence of its own. Token ids come from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import jinja2

from stoker.data.rows import Row
from stoker.data.tokens.chat import Chat
from stoker.errors import DataError

Encode = Callable[[list[str]], Sequence[list[int]]]

# What a template raises by itself, and what Jinja lets through when a message lacks what the template joins.
TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant turn: the text that generation would be given, and the answer up to its stop token."""

    prompt: str
    answer: str
    may_join: bool


@dataclass(slots=True)
class Piece:
    """Text tokenised by itself. `joint` is the text before it that it might merge with, when a turn follows."""

    text: str
    is_trained: bool
    joint: str | None = None


@dataclass(slots=True)
class Plan:
    """How a row becomes sequences: each a list of pieces."""

    row: Row
    turns: list[Turn] = field(default_factory=list)
    sequences: list[list[Piece]] = field(default_factory=list)


def plan_row(row: Row, chat: Chat) -> Plan:
    """Lay a conversation out; DataError when the template refuses it."""
    return plan_turns(row, render_turns(row, chat), chat)


def plan_turns(row: Row, turns: list[Turn], chat: Chat) -> Plan:
    """Lay out the trained turns of a row."""
    plan = Plan(row, turns)
    _lay_out(plan, chat, cuts=frozenset())
    return plan


def render_turns(row: Row, chat: Chat) -> list[Turn]:
    """Return the trained turns as the template renders them; DataError when it refuses."""
    turns = [render_turn(row, i, chat) for i in row.trained_turns()]
    if not turns:
        raise refusal(f"line {row.line}: no turn of the assistant is trained")
    return turns


def render_turn(row: Row, index: int, chat: Chat) -> Turn:
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
    except TEMPLATE_ERRORS as error:
        raise refusal(f"line {row.line}: the chat template refuses this conversation ({error})") from error
    upto = chat.up_to_stop(answer)
    if upto is None:
        raise refusal(f"line {row.line}: the chat template ends the answer without a stop token: {answer[-40:]!r}")
    return Turn(prompt, upto, may_join and not chat.appends_stop)


def _answer_within(whole: str, row: Row, index: int, chat: Chat) -> str:
    """Find the answer in the rendering of a template whose prompt opens something that finished turns don't hold."""
    assert row.messages is not None
    history = chat.render(row.messages[:index], row.tools, prompt=False, thinking=True)
    content = str(row.messages[index].get("content") or "").strip()
    start = whole.rfind(content, len(history)) if content and whole.startswith(history) else -1
    if start < 0:
        raise refusal(
            f"line {row.line}: the chat template changes the answer, so its tokens can't be told from the prompt"
        )
    return whole[start:]


def refusal(what: str) -> DataError:
    return DataError(what, "a row trains only when the base model's own chat template can render it")


def tokenize_pieces(plans: Sequence[Plan], encode: Encode, chat: Chat) -> PieceTokens:
    """Tokenise every piece, and begin new sequences where pieces would merge."""
    ids_of = PieceTokens(encode, chat)
    ids_of.add(_texts(plans))
    ids_of.add(_texts(plan for plan in plans if _cut_where_pieces_merge(plan, ids_of)))
    return ids_of


def _lay_out(plan: Plan, chat: Chat, cuts: frozenset[int]) -> None:
    """Give each turn its pieces; a turn in `cuts`, or whose prompt does not continue the text, starts a sequence."""
    plan.sequences, running = [], ""
    for i, turn in enumerate(plan.turns):
        if running and i not in cuts and turn.may_join and turn.prompt.startswith(running):
            sequence = plan.sequences[-1]
            sequence.append(Piece(turn.prompt[len(running) :], False))
        else:
            sequence = [Piece(turn.prompt, False)]
            plan.sequences.append(sequence)
        is_last = i + 1 == len(plan.turns)
        joint = None if is_last or not turn.may_join else chat.after_last_token(turn.prompt)
        sequence.append(Piece(turn.answer, True, joint))
        running = turn.prompt + turn.answer if turn.may_join else ""


def _cut_where_pieces_merge(plan: Plan, ids_of: PieceTokens) -> bool:
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


class PieceTokens:
    """Token ids of texts, each text tokenised once.

    A piece from the middle of a sequence must not get what a tokenizer puts at the start of a text (SentencePiece's
    space) and must lose what a special token before it swallows, so where that matters it is tokenised behind one.
    """

    def __init__(self, encode: Encode, chat: Chat) -> None:
        self._encode, self.chat = encode, chat
        self._whole: dict[str, list[int]] = {}
        self._anchor, self._anchor_length = needed_anchor(encode, chat.stop_text)

    def add(self, texts: Iterable[tuple[str, bool]]) -> None:
        """Tokenise texts in one batch; each comes with whether it starts a sequence."""
        wanted = dict.fromkeys(text if is_first else self._anchor + text for text, is_first in texts)
        missing = [text for text in wanted if text not in self._whole]
        self._whole.update(zip(missing, self._encode(missing), strict=True))

    def whole(self, text: str) -> list[int]:
        return self._whole[text]

    def of(self, text: str) -> list[int]:
        return self._whole[self._anchor + text][self._anchor_length :]


def needed_anchor(encode: Encode, stop: str) -> tuple[str, int]:
    """Return the text that pieces inside a sequence are tokenised behind, and its length in tokens; "" where none is needed."""
    probes = ["A", "\nA", " A", "\n\nA"]
    alone, behind, stops = (list(encode(texts)) for texts in (probes, [stop + p for p in probes], [stop]))
    if all(b == stops[0] + a for a, b in zip(alone, behind, strict=True)):
        return "", 0
    return stop, len(stops[0])


def _texts(plans: Iterable[Plan]) -> Iterable[tuple[str, bool]]:
    for plan in plans:
        for sequence in plan.sequences:
            for i, piece in enumerate(sequence):
                yield piece.text, i == 0
                if piece.joint:
                    yield piece.joint, False
                    yield piece.joint + piece.text, False
