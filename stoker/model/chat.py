"""A loaded tokenizer's chat template, with the ids of what ends an answer.

How a template renders is `stoker.data.tokens.chat`, which intake measures rows with; here it is compiled by transformers
itself. It tokenises nothing but short probes; see tokenizing.
"""

from __future__ import annotations

import weakref
from typing import Any

from transformers.utils.chat_template_utils import _compile_jinja_template

from stoker.data.tokens.chat import REMEDY, Templates, Vocabulary
from stoker.data.tokens.chat import Chat as TemplateChat
from stoker.errors import SettingError


class Chat(TemplateChat):
    """A tokenizer's chat template. `stop_id` ends an assistant turn, `stop_ids` is what generation stops at."""

    def __init__(self, tokenizer: Any) -> None:
        self.template = tokenizer.chat_template
        plain, with_tools = (_template_text(tokenizer, has_tools) for has_tools in (False, True))
        templates = Templates(_compile_jinja_template(plain), _compile_jinja_template(with_tools), plain)
        vocabulary = Vocabulary(
            dict(tokenizer.special_tokens_map), tokenizer.all_special_tokens, list(tokenizer.get_added_vocab())
        )
        super().__init__(templates, vocabulary)
        self.stop_id: int = tokenizer.convert_tokens_to_ids(self.stop_text)
        stops = [self.stop_id, tokenizer.eos_token_id, tokenizer.get_added_vocab().get("<|eom_id|>")]
        self.stop_ids: list[int] = list(dict.fromkeys(stop for stop in stops if stop is not None))


_chats: weakref.WeakKeyDictionary[Any, Chat] = weakref.WeakKeyDictionary()


def chat_of(tokenizer: Any) -> Chat:
    """Return the tokenizer's `Chat`, compiled once. SettingError when it has no chat template."""
    chat = _chats.get(tokenizer)
    if chat is None or chat.template != tokenizer.chat_template:
        if not tokenizer.chat_template:
            raise SettingError(
                "the base model's tokenizer has no chat template",
                "the template says how a conversation becomes tokens; a guessed one would train the wrong format",
                REMEDY,
            )
        chat = _chats[tokenizer] = Chat(tokenizer)
    return chat


def _template_text(tokenizer: Any, has_tools: bool) -> str:
    tools = [{"type": "function", "function": {"name": "probe"}}] if has_tools else None
    return str(tokenizer.get_chat_template(tools=tools))
