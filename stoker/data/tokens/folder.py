"""A tokenizer's folder as transformers would read it: the chat template and the special tokens, without transformers.

Only JSON and template files are read; what a template may do is bounded by its sandbox.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from stoker.data.tokens.chat import REMEDY, Chat, Templates, Vocabulary
from stoker.data.tokens.template import compile_template
from stoker.errors import SettingError
from stoker.spec.lab import Auto

TOKENIZER = "tokenizer.json"
LONGEST = 4096
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_EXTRA = ("extra_special_tokens", "additional_special_tokens")


def read_chat(folder: Path) -> Chat:
    """Return the folder's chat template; SettingError when it has none."""
    settings = {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}
    sources = _sources(folder, settings)
    if "default" not in sources:
        raise SettingError(f"{folder} has no chat template", "it says how a conversation becomes tokens", REMEDY)
    plain = sources["default"]
    with_tools = sources.get("tool_use", plain)
    templates = Templates(compile_template(plain), compile_template(with_tools), plain)
    return Chat(templates, _vocabulary(folder, settings))


def longest_row(max_length: int | Auto, folder: Path) -> int:
    """Return the longest row in tokens that a model takes: as set, or its context and at most LONGEST."""
    config = _json(folder / "config.json")
    context = config.get("max_position_embeddings") or (config.get("text_config") or {}).get("max_position_embeddings")
    if max_length == "auto":
        return min(LONGEST, context or LONGEST)
    return min(max_length, context or max_length)


def _sources(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Return the templates by name; a file of its own goes before the settings."""
    given = settings.get("chat_template") or _json(folder / "chat_template.json").get("chat_template") or {}
    if isinstance(given, str):
        given = {"default": given}
    elif isinstance(given, list):
        given = {one["name"]: one["template"] for one in given}
    files = {path.stem: path for path in (folder / "additional_chat_templates").glob("*.jinja")}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = folder / "chat_template.jinja"
    return {name: path.read_text("utf-8") for name, path in files.items()} or dict(given)


def _vocabulary(folder: Path, settings: dict[str, Any]) -> Vocabulary:
    named = {key: _text(settings[key]) for key in _NAMED if settings.get(key) is not None}
    extra: list[Any] = []
    for key in _EXTRA:
        given = settings.get(key) or ()
        extra += given.values() if isinstance(given, dict) else given
    special = list(dict.fromkeys([*named.values(), *map(_text, extra)]))
    added = [one["content"] for one in _json(folder / TOKENIZER).get("added_tokens", ())]
    return Vocabulary(named, special, added or special)


def _text(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _json(path: Path) -> dict[str, Any]:
    content = orjson.loads(path.read_bytes()) if path.is_file() else {}
    return content if isinstance(content, dict) else {}
