"""What a chat template does: how it renders, and which token ends an assistant turn.

Intake measures rows through `Chat`, and training, the mask proof, evaluation and serving through the same class over a loaded
tokenizer, so a prompt is the same text everywhere. A template with a thinking switch renders prompts with thinking off, unless a
row's answer itself holds thinking. It tokenises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import orjson

from stoker.data.rows import Message
from stoker.errors import SettingError

REMEDY = "choose an instruction-tuned base, or save a chat_template.jinja beside its tokenizer"
_PROBE: list[Message] = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The texts of a tokenizer's special tokens: by name (eos_token, ...), all of them, and every added token."""

    named: Mapping[str, str]
    special: Sequence[str]
    added: Sequence[str]


@dataclass(frozen=True, slots=True)
class Templates:
    """A tokenizer's template for rows without tools and with them, compiled, and the source of the first."""

    plain: jinja2.Template
    with_tools: jinja2.Template
    source: str


class Chat:
    """A tokenizer's chat template. `stop_text` ends an assistant turn; `appends_stop`: the template writes none itself."""

    def __init__(self, templates: Templates, vocabulary: Vocabulary) -> None:
        self.templates, self.vocabulary = templates, vocabulary
        self.has_thinking_switch = "enable_thinking" in templates.source
        added = sorted(vocabulary.added, key=len, reverse=True)
        special = sorted((text for text in vocabulary.special if text), key=len, reverse=True)
        self._last_added = re.compile("|".join(map(re.escape, added)) or "(?!)")
        self._final_special = re.compile("(" + ("|".join(map(re.escape, special)) or "(?!)") + r")\s*\Z")
        self.stop_text, self.appends_stop = self._find_stop()

    def render(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, *, prompt: bool, thinking: bool = False
    ) -> str:
        """Return the conversation as text; `prompt` adds what makes the model answer. May raise jinja2.TemplateError."""
        switch = {"enable_thinking": thinking} if self.has_thinking_switch else {}
        template = self.templates.with_tools if tools else self.templates.plain
        return template.render(
            messages=self.fitted(messages),
            tools=list(tools) if tools else None,
            documents=None,
            add_generation_prompt=prompt,
            **self.vocabulary.named,
            **switch,
        )

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

    def _find_stop(self) -> tuple[str, bool]:
        prompt, whole = self.render(_PROBE[:1], None, prompt=True), self.render(_PROBE, None, prompt=False)
        answer = whole[len(prompt) :] if whole.startswith(prompt) else whole
        match = self._final_special.search(answer)
        if match:
            return match.group(1), False
        if "eos_token" not in self.vocabulary.named:
            raise SettingError(
                "the tokenizer has no token that ends an answer",
                "its template writes none after an assistant turn and it has no eos token; generation would never stop",
                REMEDY,
            )
        return self.vocabulary.named["eos_token"], True


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
