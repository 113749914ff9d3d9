"""The task that shows rows as they are trained. It reads a tokenizer, never weights, and changes nothing in the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoker.data.dataset import Dataset
from stoker.data.rows import Row
from stoker.data.tokens.folder import longest_row
from stoker.durable import MANIFEST
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.model.base import ensure_tokenizer
from stoker.model.load import load_tokenizer
from stoker.model.preview import preview_row
from stoker.model.tiny import ensure_tiny, is_tiny
from stoker.spec.jobs import PreviewJob


def run_preview(job: PreviewJob, folder: Path, outbox: Outbox) -> WorkerExit:
    """Tell each row in a `row` message, and in `result` what holds for all."""
    outbox.phase("load")
    base, is_provisional = _tokenizer_folder(job, folder)
    tokenizer, max_length = load_tokenizer(base), longest_row(job.train.max_length, base)
    outbox.send(
        "result", base=job.base.name, max_length=max_length, is_provisional=is_provisional,
        special_tokens=_special_tokens(tokenizer),
    )  # fmt: skip
    for record in job.rows:
        outbox.send("row", row=preview_row(Row.from_json(record), tokenizer, max_length, job.dataset.name))
    return WorkerExit.DONE


def _tokenizer_folder(job: PreviewJob, folder: Path) -> tuple[Path, bool]:
    """Return the base's folder; of a tiny base that is not made yet, the one that this dataset as the first would make."""
    made = job.base.folder
    if not is_tiny(job.base) or (made is not None and (made / MANIFEST).exists()):
        return ensure_tokenizer(job.base), False
    provisional = folder / "base"
    dataset = Dataset(job.dataset.folder)
    ensure_tiny(provisional, dataset.train_rows() or dataset.all_rows(), job.train.seed)
    return provisional, True


def _special_tokens(tokenizer: Any) -> list[str]:
    return sorted({str(token) for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()) if token})
