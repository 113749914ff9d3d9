"""Writing the dataset folder: rows by side, ledger, index, summary; published whole or not at all."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from stoker.data.checks.columns import ignored_keys
from stoker.data.checks.judge import judge
from stoker.data.collect import Collected
from stoker.data.dataset import HELDOUT, KEPT, KEPT_HELDOUT, LEDGER, ROWS, SUMMARY
from stoker.data.findings import REMEDIES, excerpt
from stoker.data.ledger import Told
from stoker.data.sealing.index import IndexContent, write_index
from stoker.data.sealing.split import HELD_OUT, Side, Split, large_clusters
from stoker.durable import publish_folder, write_json
from stoker.spec.jobs import IntakeJob

NUM_LARGEST_CLUSTERS = 10
_STATE_OF_SIDE = {
    Side.OPEN: "train", Side.TRAINED: "train", Side.SEALED: "held_out", Side.NEAR_SEALED: "held_out", Side.SEALED_COPY: "held_out",
    Side.DUPLICATE: "duplicate", Side.QUARANTINED: "quarantined",
}  # fmt: skip


def publish_dataset(
    job: IntakeJob, found: Collected, content: IndexContent, split: Split, spool: Path
) -> dict[str, Any]:
    """Publish `job.dataset.folder` and return its summary. `spool` holds the canonical rows in order."""
    _complete_ledger(found, split)
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
        found.ledger.write(staging / LEDGER)
        write_json(staging / SUMMARY, summary)
    return summary


def _complete_ledger(found: Collected, split: Split) -> None:
    places = found.places
    states = [_STATE_OF_SIDE[Side(side)] for side in range(len(Side))]
    found.ledger.settle(places, [states[side] for side in split.side.tolist()], split.clusters)
    for row, (code, reason) in split.reasons.items():
        found.ledger.tell(int(places[row]), Told(code, reason, REMEDIES.get(code, "")))


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
        dealt = zip(rows, split.side.tolist(), split.clusters.tolist(), found.is_kept, strict=True)
        for row, (record, side, cluster, is_kept) in enumerate(dealt):
            train, heldout = files[is_kept]
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
                place = int(found.places[row])
                found.ledger.tell(place, replace(found.ledger.told_of(place), excerpt=excerpt(record)))
    return num_trained, num_held_out


def _representatives(content: IndexContent, split: Split) -> set[int]:
    """Return for each sealed cluster the row of smallest id."""
    sealed = split.rows(Side.SEALED)
    order = sealed[np.lexsort((content.ids[sealed], split.clusters[sealed]))]
    is_first = np.concatenate(([True], np.diff(split.clusters[order]) != 0))[: len(order)]
    return set(order[is_first].tolist())


def _summary(job: IntakeJob, found: Collected, split: Split, content: IndexContent) -> dict[str, Any]:
    counts = found.ledger.count_states()
    for what, num_rows in ignored_keys(found.unused_keys, found.formats):
        found.checker.findings.add("ignored-keys", None, what, num_rows)
    num_kept = int((np.frombuffer(found.is_kept, np.bool_) & (split.side == Side.TRAINED)).sum())
    notes = [*found.all_notes(), *split.notes]
    if num_kept:
        notes.append(f"{num_kept} preference rows are kept; supervised training skips them")
    reasons = found.ledger.count_reasons()
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
        **judge(found.checker.finish(), found.ledger, split, job.check),
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
