"""What a tokenizer's own chat template does: how it renders, and which token ends an assistant turn.

Training, the mask proof, evaluation and serving all render through `Chat`, so a prompt is the same text everywhere.
A template with a thinking switch renders prompts with thinking off, unless a row's answer itself holds thinking.
It tokenises nothing but short probes; see tokenizing.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from typing import Any

import orjson
from transformers.utils.chat_template_utils import _compile_jinja_template

from stoker.errors import SettingError

Message = dict[str, Any]
_PROBE: list[Message] = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]
_REMEDY = "choose an instruction-tuned base, or save a chat_template.jinja beside its tokenizer"


class Chat:
    """A tokenizer's chat template. `stop_id` ends an assistant turn; `appends_stop`: the template writes none itself."""

    def __init__(self, tokenizer: Any) -> None:
        self.template = tokenizer.chat_template
        self._by_tools = {
            has_tools: _compile_jinja_template(_template_text(tokenizer, has_tools)) for has_tools in (False, True)
        }
        self._special_texts = dict(tokenizer.special_tokens_map)
        self.has_thinking_switch = "enable_thinking" in _template_text(tokenizer, False)
        added = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        special = sorted((t for t in tokenizer.all_special_tokens if t), key=len, reverse=True)
        self._last_added = re.compile("|".join(map(re.escape, added)) or "(?!)")
        self._final_special = re.compile("(" + ("|".join(map(re.escape, special)) or "(?!)") + r")\s*\Z")
        self.stop_text, self.appends_stop = self._find_stop(tokenizer)
        self.stop_id: int = tokenizer.convert_tokens_to_ids(self.stop_text)
        self.stop_ids = self._all_stops(tokenizer)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, *, prompt: bool, thinking: bool = False
    ) -> str:
        """Return the conversation as text; `prompt` adds what makes the model answer. May raise jinja2.TemplateError."""
        switch = {"enable_thinking": thinking} if self.has_thinking_switch else {}
        text: str = self._by_tools[bool(tools)].render(
            messages=self.fitted(messages),
            tools=list(tools) if tools else None,
            documents=None,
            add_generation_prompt=prompt,
            **self._special_texts,
            **switch,
        )
        return text

    @staticmethod
    def fitted(messages: Sequence[Message]) -> list[Message]:
        """Fit canonical messages to what templates expect: text is never None, tool arguments are objects."""
        return [_for_template(message) for message in messages]

    def up_to_stop(self, answer: str) -> str | None:
        """Cut what a template writes after the stop token; None when no stop token ends the answer."""
        if self.appends_stop:
            return answer + self.stop_text
        match = self._final_special.search(answer)
        return answer[: match.end(1)] if match else None

    def after_last_token(self, text: str) -> str:
        """Return the text behind the last added token: what a following piece could merge with."""
        end = 0
        for match in self._last_added.finditer(text):
            end = match.end()
        return text[end:]

    def _find_stop(self, tokenizer: Any) -> tuple[str, bool]:
        prompt, whole = self.render(_PROBE[:1], None, prompt=True), self.render(_PROBE, None, prompt=False)
        answer = whole[len(prompt) :] if whole.startswith(prompt) else whole
        match = self._final_special.search(answer)
        if match:
            return match.group(1), False
        if tokenizer.eos_token is None:
            raise SettingError(
                "the tokenizer has no token that ends an answer",
                "its template writes none after an assistant turn and it has no eos token; generation would never stop",
                _REMEDY,
            )
        return str(tokenizer.eos_token), True

    def _all_stops(self, tokenizer: Any) -> list[int]:
        vocabulary = tokenizer.get_added_vocab()
        stops = [self.stop_id, tokenizer.eos_token_id, vocabulary.get("<|eom_id|>")]
        return list(dict.fromkeys(stop for stop in stops if stop is not None))


_chats: weakref.WeakKeyDictionary[Any, Chat] = weakref.WeakKeyDictionary()


def chat_of(tokenizer: Any) -> Chat:
    """Return the tokenizer's `Chat`, compiled once. SettingError when it has no chat template."""
    chat = _chats.get(tokenizer)
    if chat is None or chat.template != tokenizer.chat_template:
        if not tokenizer.chat_template:
            raise SettingError(
                "the base model's tokenizer has no chat template",
                "the template says how a conversation becomes tokens; a guessed one would train the wrong format",
                _REMEDY,
            )
        chat = _chats[tokenizer] = Chat(tokenizer)
    return chat


def _template_text(tokenizer: Any, has_tools: bool) -> str:
    tools = [{"type": "function", "function": {"name": "probe"}}] if has_tools else None
    return str(tokenizer.get_chat_template(tools=tools))


def _for_template(message: Message) -> Message:
    calls = message.get("tool_calls")
    if not calls and message.get("content") is not None:
        return message
    fitted = {key: value for key, value in message.items() if key != "tool_calls"}
    fitted["content"] = message.get("content") or ""
    if calls:
        fitted["tool_calls"] = [_fit_call(call) for call in calls]
    return fitted


def _fit_call(call: Message) -> Message:
    function = call.get("function", call)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            return call
    fitted = {**function, "arguments": arguments}
    return {**call, "function": fitted} if "function" in call else fitted
