"""What decides a model's answers besides weights and question: the conditions under which kept ones are used again.

The answers themselves are kept by `stoker.mailbox.answers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from stoker.durable import sha256_file
from stoker.mailbox.answers import Answer, AnswerBook, Likelihood, Unfit
from stoker.model.device import Hardware

__all__ = ["Answer", "AnswerBook", "Likelihood", "Unfit", "conditions_of"]

_SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
_NOT_THE_TOKENIZERS = ("manifest.json", "model.safetensors.index.json")


def conditions_of(base_folder: Path, hardware: Hardware) -> str:
    """Return 16 hex digits of all that affects a result besides weights and row: tokenizer, template, numerics.

    Tokenizer, template and generation settings are the base's, for every version of its line.
    """
    files = sorted({path for pattern in _SMALL_FILES for path in base_folder.glob(pattern)})
    hashes = {path.name: sha256_file(path) for path in files if path.name not in _NOT_THE_TOKENIZERS}
    return _hash({"files": hashes, "dtype": str(hardware.dtype), "device": hardware.device.type})


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
