"""A file's findings, score and whether it may train: from the rows' checks, the ledger and the sealed split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.data.checks.finding import Findings
from stoker.data.checks.rules import UNUSABLE
from stoker.data.checks.score import score_of
from stoker.data.ledger import LedgerEntry
from stoker.data.sealing.split import Split
from stoker.spec.lab import CheckSpec

_NOT_THE_ROWS_FAULT = ("benchmark-overlap", "sealed-copy", "near-sealed")


def judge(findings: Findings, entries: Sequence[LedgerEntry], split: Split, spec: CheckSpec) -> dict[str, Any]:
    """Return score, gate ("pass", "warn" or "stop"), deductions, findings and their counts, for the summary."""
    num_unusable = 0
    for entry in entries:
        if entry.state == "quarantined":
            what = f"{entry.reason}: {entry.excerpt}" if entry.excerpt else entry.reason
            findings.add(entry.code, entry.line, what, member=entry.member)
            num_unusable += entry.code not in _NOT_THE_ROWS_FAULT
        elif entry.code == "duplicate-in-file":
            findings.add("repeated-rows", entry.line, entry.reason, member=entry.member)
        elif entry.code in ("near-sealed", "sealed-copy"):
            findings.add("sealed-overlap", entry.line, entry.reason, member=entry.member)
    _find_near_duplicates(findings, entries)
    if split.too_small:
        findings.add("few-rows", None, split.notes[0])
    counts = {UNUSABLE.code: num_unusable, **findings.counts}
    score, deductions = score_of({code: number for code, number in counts.items() if number}, len(entries))
    gate = "stop" if score < spec.stop_below else "warn" if score < spec.warn_below else "pass"
    if gate == "stop":
        findings.add("low-score", None, f"{score} of 100, and check.stop_below = {spec.stop_below}", len(entries))
    return {
        "score": score, "gate": gate, "deductions": [one.to_json() for one in deductions],
        "findings": findings.to_json(), "finding_counts": dict(findings.counts),
    }  # fmt: skip


def _find_near_duplicates(findings: Findings, entries: Sequence[LedgerEntry]) -> None:
    """Count every row of a cluster but its first."""
    first: dict[int, LedgerEntry] = {}
    for entry in entries:
        if entry.cluster is None:
            continue
        other = first.setdefault(entry.cluster, entry)
        if other is not entry:
            where = f" of {other.member}" if other.member != entry.member else ""
            what = f"nearly the same as line {other.line}{where}"
            findings.add("near-duplicates", entry.line, what, member=entry.member)
