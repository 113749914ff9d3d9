"""From messages to the tokens that are sent: the same template, code and tokenizer as in training.

Nothing of the training stack is loaded for it; `stoker.data.tokens` renders and tokenises as `stoker.model.tokenizing` does,
and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stoker.data.tokens.encoders import ReferenceEncoder
from stoker.data.tokens.folder import TOKENIZER, read_chat
from stoker.data.tokens.layout import TEMPLATE_ERRORS
from stoker.serve.errors import ApiError


class Prompts:
    """The prompts of one model, from its tokenizer's folder."""

    def __init__(self, folder: Path) -> None:
        self._chat = read_chat(folder)
        self._encoder = ReferenceEncoder(folder)
        eos = self._chat.vocabulary.named.get("eos_token")
        self._end = self._encoder.token_id(eos) if eos else None

    def of_messages(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> list[int]:
        """Return the tokens that make the model answer these messages; ApiError when the template refuses them."""
        try:
            listed = [dict(one) for one in tools] if tools else None
            text = self._chat.render([dict(one) for one in messages], listed, prompt=True)
        except TEMPLATE_ERRORS as error:
            raise ApiError(
                400, f"the model's chat template refuses these messages: {error}", param="messages"
            ) from None
        return self._ids(text, with_special=False)

    def of_text(self, text: str) -> list[int]:
        """Return the tokens of a text to go on with, with what the tokenizer puts before a text."""
        ids = self._ids(text, with_special=True)
        return ids[:-1] if len(ids) > 1 and ids[-1] == self._end and not self._ends_so(text) else ids

    def _ends_so(self, text: str) -> bool:
        return text.endswith(self._chat.vocabulary.named["eos_token"])

    def _ids(self, text: str, *, with_special: bool) -> list[int]:
        ids: list[int] = self._encoder.encode([text], with_special=with_special).of(0).tolist()
        return ids


def prompts_of(folder: Path) -> Prompts | None:
    """Return the prompts of the model in a folder; None when it holds no tokenizer that can be read here."""
    return Prompts(folder) if (folder / TOKENIZER).is_file() else None
