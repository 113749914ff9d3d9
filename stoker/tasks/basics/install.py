"""Freezes the basics as a benchmark file. Its seed stands here and a test holds its SHA-256, so that scores compare."""

from __future__ import annotations

from pathlib import Path

import orjson

from stoker.durable import write_atomic
from stoker.tasks.basics.generate import generate_items

NAME = "basics"
NUM_PER_CATEGORY = 20
SEED = 2001
HEADER = (
    'scorer = "basics"\ndescription = "what a model could do before: copying, arithmetic, sorting, JSON, a format, stopping"\n'
    'licence = "Apache-2.0"\n'
)


def write_basics(folder: Path) -> Path:
    """Write basics.jsonl and basics.toml into `folder` unless they are there; return the .jsonl path."""
    path = folder / f"{NAME}.jsonl"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        items = generate_items(NUM_PER_CATEGORY, SEED)
        # The header first: items without their scorer would be marked by the default one.
        write_atomic(path.with_suffix(".toml"), HEADER.encode())
        write_atomic(path, b"".join(orjson.dumps(item.to_json()) + b"\n" for item in items))
    return path
