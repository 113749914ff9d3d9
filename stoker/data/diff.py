"""What is different between two datasets, row by row: added, removed, and changed (the same prompt, another answer)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson

from stoker.data.findings import excerpt
from stoker.data.rows import Row


def diff_rows(before: Iterable[Row], after: Iterable[Row]) -> dict[str, list[dict[str, Any]]]:
    """Return `added`, `removed` (id, line, excerpt) and `changed` (id and line on both sides, and both answers).

    Order and file names don't count. A prompt with several new answers is changed once for each that is gone.
    """
    old, new = {row.id: row for row in before}, {row.id: row for row in after}
    removed = [row for row in old.values() if row.id not in new]
    added = {row.id: row for row in new.values() if row.id not in old}
    by_prompt: dict[bytes, list[Row]] = defaultdict(list)
    for row in reversed(added.values()):
        if (prompt := _prompt(row)) is not None:
            by_prompt[prompt].append(row)
    changed, gone = [], []
    for row in removed:
        prompt = _prompt(row)
        if prompt is None or not by_prompt[prompt]:
            gone.append(row)
            continue
        successor = by_prompt[prompt].pop()
        del added[successor.id]
        changed.append(
            {
                "id": row.id, "line": row.line, "before": excerpt(row.answer()),
                "new_id": successor.id, "new_line": successor.line, "after": excerpt(successor.answer()),
            }
        )  # fmt: skip
    return {
        "added": [_shown(row) for row in added.values()],
        "removed": [_shown(row) for row in gone],
        "changed": changed,
    }


def _prompt(row: Row) -> bytes | None:
    prompt = row.prompt_messages()
    return orjson.dumps([prompt, row.tools], option=orjson.OPT_SORT_KEYS) if prompt else None


def _shown(row: Row) -> dict[str, Any]:
    prompt = row.prompt_messages()
    words = prompt[-1]["content"] if prompt else row.answer()
    return {"id": row.id, "line": row.line, "excerpt": excerpt(words)}
