"""Freezes the basics as a benchmark file. Its seed stands here and a test holds its SHA-256, so that scores compare.

An answer has room for the longest one expected, spelled letter by letter; a model that never stops costs little.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

from stoker.durable import write_atomic
from stoker.tasks.basics.generate import generate_items

NAME = "basics"
NUM_PER_CATEGORY = 20
SEED = 2001
MAX_NEW_TOKENS = 64
HEADER = (
    f'scorer = "basics"\nmax_new_tokens = {MAX_NEW_TOKENS}\ndescription = "what a model could do before: copying, arithmetic, sorting, JSON, a format, stopping"\n'
    'licence = "Apache-2.0"\n'
)


def write_basics(folder: Path) -> Path:
    """Write basics.jsonl and basics.toml into `folder` unless they are there; return the .jsonl path."""
    path = folder / f"{NAME}.jsonl"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        items = b"".join(orjson.dumps(item.to_json()) + b"\n" for item in generate_items(NUM_PER_CATEGORY, SEED))
        header = f'{HEADER}sha256 = "{hashlib.sha256(items).hexdigest()}"\n'
        # The header first: items without their scorer would be marked by the default one.
        write_atomic(path.with_suffix(".toml"), header.encode())
        write_atomic(path, items)
    return path
