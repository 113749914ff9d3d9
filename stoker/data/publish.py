"""Writing the dataset folder: rows by side, ledger, index, summary; published whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from stoker.data.checks.judge import judge
from stoker.data.collect import Collected
from stoker.data.dataset import HELDOUT, KEPT, KEPT_HELDOUT, ROWS, SUMMARY
from stoker.data.findings import REMEDIES, excerpt
from stoker.data.ledger import LEDGER, LedgerEntry, count_reasons, count_states, write_ledger
from stoker.data.sealing.index import IndexContent, write_index
from stoker.data.sealing.split import HELD_OUT, Side, Split, large_clusters
from stoker.durable import publish_folder, write_json
from stoker.spec.jobs import IntakeJob

NUM_LARGEST_CLUSTERS = 10
_STATE_OF_SIDE = {
    Side.TRAINED: "train", Side.SEALED: "held_out", Side.NEAR_SEALED: "held_out", Side.SEALED_COPY: "held_out",
    Side.DUPLICATE: "duplicate", Side.QUARANTINED: "quarantined",
}  # fmt: skip


def publish_dataset(
    job: IntakeJob, found: Collected, content: IndexContent, split: Split, spool: Path
) -> dict[str, Any]:
    """Publish `job.dataset.folder` and return its summary. `spool` holds the canonical rows in order."""
    _complete_ledger(found.entries, found.entry_of_row, split)
    summary = _summary(job, found, split, content)
    manifest_facts = {"dataset": job.dataset.id, "file_sha256": job.file_sha256}
    with publish_folder(job.dataset.folder, manifest_facts, fault="dataset") as staging:
        large = {cluster: "" for cluster, _ in large_clusters(split)[:NUM_LARGEST_CLUSTERS]}
        num_written = _write_rows(staging, found, spool, content, split, large)
        assert num_written == (summary["train"], summary["held_out"]), "every row is in the file of its side"
        _describe_large_clusters(summary, split, content, large)
        held_out = split.rows(*HELD_OUT)
        write_index(
            staging,
            content,
            split.rows(Side.TRAINED),
            split.rows(Side.SEALED),
            (content.ids[held_out], content.lines[held_out]),
        )
        write_ledger(staging / LEDGER, found.entries)
        write_json(staging / SUMMARY, summary)
    return summary


def _complete_ledger(entries: Sequence[LedgerEntry], entry_of_row: Sequence[int], split: Split) -> None:
    for row, place in enumerate(entry_of_row):
        entry = entries[place]
        entry.state = _STATE_OF_SIDE[Side(int(split.side[row]))]
        entry.cluster = int(split.clusters[row]) if split.clusters[row] >= 0 else None
        if row in split.reasons:
            entry.code, entry.reason = split.reasons[row]
            entry.remedy = REMEDIES.get(entry.code, "")


def _write_rows(
    staging: Path, found: Collected, spool: Path, content: IndexContent, split: Split, large: dict[int, str]
) -> tuple[int, int]:
    """Deal the spool's rows to their sides; fill in excerpts of large clusters and of rows quarantined late."""
    representatives = _representatives(content, split)
    num_trained = num_held_out = 0
    with contextlib.ExitStack() as stack:
        rows = stack.enter_context(spool.open("rb"))
        names = ((ROWS, HELDOUT), (KEPT, KEPT_HELDOUT)) if any(found.is_kept) else ((ROWS, HELDOUT),)
        files = [[stack.enter_context((staging / name).open("wb")) for name in pair] for pair in names]
        for row, record in enumerate(rows):
            side, cluster = Side(int(split.side[row])), int(split.clusters[row])
            train, heldout = files[found.is_kept[row]]
            if large.get(cluster) == "":
                large[cluster] = excerpt(record)
            if side == Side.TRAINED:
                train.write(record)
                num_trained += 1
            elif side in HELD_OUT:
                extra = orjson.dumps({"cluster": cluster, "is_representative": row in representatives})
                heldout.write(record.rstrip()[:-1] + b"," + extra[1:] + b"\n")
                num_held_out += 1
            elif side == Side.QUARANTINED:
                found.entries[found.entry_of_row[row]].excerpt = excerpt(record)
    return num_trained, num_held_out


def _representatives(content: IndexContent, split: Split) -> set[int]:
    """Return for each sealed cluster the row of smallest id."""
    sealed = split.rows(Side.SEALED)
    order = sealed[np.lexsort((content.ids[sealed], split.clusters[sealed]))]
    is_first = np.concatenate(([True], np.diff(split.clusters[order]) != 0))[: len(order)]
    return set(order[is_first].tolist())


def _summary(job: IntakeJob, found: Collected, split: Split, content: IndexContent) -> dict[str, Any]:
    counts = count_states(found.entries)
    num_kept = int((np.array(found.is_kept, bool) & (split.side == Side.TRAINED)).sum())
    notes = [*found.all_notes(), *split.notes]
    if num_kept:
        notes.append(f"{num_kept} preference rows are kept; supervised training skips them")
    reasons = count_reasons(found.entries)
    for code, text in (
        ("near-sealed", "near sealed rows and are held out"),
        ("sealed-copy", "copies of held-out rows and stay held out"),
        ("benchmark-overlap", "near benchmark items and are quarantined"),
    ):
        if reasons.get(code):
            notes.append(f"{reasons[code]} rows are {text}")
    if counts["train"] == 0:
        notes.append("nothing is left to train on: every row is held out, a duplicate or quarantined")
    return {
        "id": job.dataset.id, "name": job.dataset.name, "file_sha256": job.file_sha256, "format": found.format,
        **counts, "preference_rows": num_kept, "reasons": reasons, "notes": notes,
        "num_clusters": split.num_clusters, "sealed_clusters": len(split.sealed_clusters), "largest_clusters": [],
        **judge(found.checker.finish(), found.entries, split, job.check),
        "tokens": found.tokens, "too_small": split.too_small, "num_boilerplate_shingles": len(content.boilerplate),
        "similarity": job.split.similarity, "boilerplate_share": job.split.boilerplate_share,
        "bytes": job.file.stat().st_size, "files": found.files,
    }  # fmt: skip


def _describe_large_clusters(
    summary: dict[str, Any], split: Split, content: IndexContent, large: dict[int, str]
) -> None:
    found = large_clusters(split)
    for cluster, num_rows in found[:NUM_LARGEST_CLUSTERS]:
        first = int(content.lines[split.clusters == cluster].min())
        share = round(num_rows / len(content.ids), 4)
        summary["largest_clusters"].append(
            {"cluster": cluster, "rows": num_rows, "share": share, "line": first, "excerpt": large[cluster]}
        )
    if found:
        summary["notes"].append(
            f"{len(found)} clusters of near duplicates hold over 1 % of the rows, the largest {found[0][1]} rows"
        )
