"""The mask proof: before step 1, what is trained is checked on every sequence and shown as text a person can read.

Every sequence has trained tokens; every trained span ends with a stop token and holds none earlier; no text begins
with two BOS tokens; nothing is longer than the model is trained on; and the tokens before each answer are those that
generation sends, tokenised anew and compared. A refusal names the file and the line. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stoker.data.rows import Row
from stoker.errors import MaskProofFailed
from stoker.model.chat import chat_of
from stoker.model.encoded import Encoded, EncodedSet, flatten
from stoker.model.segments import segments_of
from stoker.model.tokenizing import row_prompts

_PROMPT_ROWS = 4000
_TEMPLATE_ROWS = 16
_SHOWN_ROWS = 3
_SHOWN_CHARACTERS = 3000
_Indices = NDArray[np.int64]


def prove(encoded: Sequence[Encoded], rows: Mapping[str, Row], tokenizer: Any, max_length: int, file_name: str) -> str:
    """Check every sequence and return the proof's text; `rows` are by row id. MaskProofFailed names file and line."""
    flat = flatten(encoded)
    check = _Check(flat, rows, tokenizer, file_name)
    check.every_sequence_trains()
    check.nothing_is_cut(max_length)
    check.begins_once()
    check.spans_end_with_stop()
    num_prompts, num_rows = check.prompts_are_what_generation_sends()
    facts = [
        f"file: {file_name}",
        f"sequences: {len(flat):,} from {len(set(flat.row_ids)):,} rows",
        f"tokens: {len(flat.ids):,}, trained: {int(flat.num_trained.sum()):,}",
        f"longest: {int(flat.lengths.max(initial=0)):,} of {max_length:,} tokens",
        f"every sequence trains at least {int(flat.num_trained.min(initial=1)):,} tokens: yes",
        f"every trained span ends with a stop token ({check.stops_text}): yes",
        "no doubled BOS: yes",
        f"prompt tokens equal to generation's: {num_prompts:,} prompts of {num_rows:,} rows compared, all equal",
    ]
    return "\n".join([*facts, "", "Trained tokens stand between ⟦ and ⟧.", *_shown(flat, tokenizer)]) + "\n"


class _Check:
    """The checks over one flat set of sequences."""

    def __init__(self, flat: EncodedSet, rows: Mapping[str, Row], tokenizer: Any, file_name: str) -> None:
        self._flat, self._rows, self._tokenizer, self._file_name = flat, rows, tokenizer, file_name
        if tokenizer.chat_template:
            self._stops = chat_of(tokenizer).stop_ids
        else:
            self._stops = [tokenizer.eos_token_id]
        self.stops_text = " or ".join(map(str, tokenizer.convert_ids_to_tokens(self._stops)))

    def every_sequence_trains(self) -> None:
        self._refuse_first(
            self._flat.num_trained == 0, "no token of it is trained", "an answer must be there to learn from",
            "look at the row; an empty answer or a template that hides it does this",
        )  # fmt: skip

    def nothing_is_cut(self, max_length: int) -> None:
        self._refuse_first(
            self._flat.lengths > max_length, f"it is longer than {max_length} tokens", "answers are never cut",
            "raise train.max_length, or leave the row out",
        )  # fmt: skip

    def begins_once(self) -> None:
        bos = self._tokenizer.bos_token_id
        if bos is None:
            return
        starts = self._flat.offsets[:-1][self._flat.lengths > 1]
        doubled = np.zeros(len(self._flat), dtype=np.bool_)
        doubled[self._flat.lengths > 1] = (self._flat.ids[starts] == bos) & (self._flat.ids[starts + 1] == bos)
        self._refuse_first(
            doubled, "it begins with two BOS tokens", "generation would send one, so the model would see another prompt",
            "take the BOS token out of the row's text or out of the base's chat template",
        )  # fmt: skip

    def spans_end_with_stop(self) -> None:
        flat = self._flat
        is_stop = np.isin(flat.ids, self._stops)
        ends = self._span_ends()
        self._refuse_first(
            self._sequences_of(np.flatnonzero(ends & ~is_stop)), "a trained answer does not end with a stop token",
            f"the model would not learn to stop; the stop tokens are {self.stops_text}",
            "check the base's chat template",
        )  # fmt: skip
        inside = self._sequences_of(np.flatnonzero(flat.trained & is_stop & ~ends))
        is_chat = np.array([self._rows[row_id].messages is not None for row_id in flat.row_ids], dtype=np.bool_)
        self._refuse_first(
            inside & is_chat[flat.row_index] if len(flat) else inside, "a stop token stands inside its answer",
            "the model would learn to stop in the middle",
            f"take {self.stops_text} out of the row's text",
        )  # fmt: skip

    def prompts_are_what_generation_sends(self) -> tuple[int, int]:
        """Compare the tokens before each answer with the prompt tokenised by itself; all rows up to some thousands."""
        sequences_of = self._sequences_by_row()
        chosen = list(sequences_of)
        if len(chosen) > _PROMPT_ROWS:
            chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, _PROMPT_ROWS).astype(int)]
        prompts = row_prompts([self._rows[row_id] for row_id in chosen], self._tokenizer)
        num_prompts = 0
        for row_id, expected in zip(chosen, prompts, strict=True):
            self._compare(self._rows[row_id], self._given_prompts(sequences_of[row_id]), expected)
            num_prompts += len(expected)
        for row_id in chosen[:_TEMPLATE_ROWS]:
            self._compare_with_template(self._rows[row_id])
        return num_prompts, len(chosen)

    def _compare(self, row: Row, given: list[NDArray[np.int32]], expected: list[list[int]]) -> None:
        if len(given) % len(expected):
            self._refuse(
                row.line, f"{len(given)} trained answers, but {len(expected)} turns to train",
                "every assistant turn is trained, unless its weight is 0", "report this row; the template splits its turns in an unknown way",
            )  # fmt: skip
        for prompt, wanted in zip(given, expected, strict=False):
            if not np.array_equal(prompt, wanted):
                self._refuse(
                    row.line, "the tokens before an answer are not those that generation would send",
                    "trained and served prompts must be the same, token for token",
                    "check the base's chat template and tokenizer",
                )  # fmt: skip

    def _compare_with_template(self, row: Row) -> None:
        """Compare our rendering of the conversation with transformers' own."""
        assert row.messages is not None
        chat = chat_of(self._tokenizer)
        switch = {"enable_thinking": False} if chat.has_thinking_switch else {}
        messages = chat.fitted(row.messages)
        theirs = self._tokenizer.apply_chat_template(
            messages, tools=list(row.tools) if row.tools else None, tokenize=False, **switch
        )
        if theirs != chat.render(row.messages, row.tools, prompt=False):
            self._refuse(
                row.line, "it renders differently through transformers", "serving renders through transformers",
                "update transformers, or report the base's chat template",
            )  # fmt: skip

    def _given_prompts(self, sequences: list[int]) -> list[NDArray[np.int32]]:
        """Return the tokens before each trained span of these sequences."""
        prompts: list[NDArray[np.int32]] = []
        for index in sequences:
            sequence = self._flat[index]
            before = np.concatenate([[False], sequence.trained[:-1]])
            prompts.extend(sequence.ids[:start] for start in np.flatnonzero(sequence.trained & ~before))
        return prompts

    def _sequences_by_row(self) -> dict[str, list[int]]:
        by_row: dict[str, list[int]] = {}
        for index, row in enumerate(self._flat.row_index.tolist()):
            row_id = self._flat.row_ids[row]
            if self._rows[row_id].messages is not None:
                by_row.setdefault(row_id, []).append(index)
        return by_row

    def _span_ends(self) -> NDArray[np.bool_]:
        """Say of each token whether it is the last of a trained span."""
        trained = np.asarray(self._flat.trained)
        follows = np.concatenate([trained[1:], [False]])
        follows[self._flat.offsets[1:] - 1] = False
        return np.asarray(trained & ~follows)

    def _sequences_of(self, tokens: _Indices) -> NDArray[np.bool_]:
        """Say of each sequence whether it holds one of these tokens."""
        holds = np.zeros(len(self._flat), dtype=np.bool_)
        holds[np.searchsorted(self._flat.offsets, tokens, side="right") - 1] = True
        return holds

    def _refuse_first(self, is_wrong: NDArray[np.bool_], what: str, why: str, remedy: str) -> None:
        if not is_wrong.any():
            return
        sequence = self._flat[int(np.argmax(is_wrong))]
        others = int(is_wrong.sum()) - 1
        self._refuse(sequence.line, what + (f" (so are {others:,} more)" if others else ""), why, remedy)

    def _refuse(self, line: int, what: str, why: str, remedy: str) -> None:
        raise MaskProofFailed(f"{self._file_name}, line {line}: {what}", why, remedy)


def _shown(flat: EncodedSet, tokenizer: Any) -> list[str]:
    """Render some sequences spread over the set."""
    texts: list[str] = []
    count = min(_SHOWN_ROWS, len(flat))
    for index in np.linspace(0, len(flat) - 1, count).astype(int) if count else ():
        sequence = flat[int(index)]
        texts += ["", f"--- line {sequence.line}, row {sequence.row_id} ---", _marked(sequence, tokenizer)]
    return texts


def _marked(sequence: Encoded, tokenizer: Any) -> str:
    whole = "".join(f"⟦{text}⟧" if is_trained else text for text, is_trained in segments_of(sequence, tokenizer))
    if len(whole) <= _SHOWN_CHARACTERS:
        return whole
    half = _SHOWN_CHARACTERS // 2
    return f"{whole[:half]}\n[... {len(whole) - 2 * half:,} characters not shown ...]\n{whole[-half:]}"
