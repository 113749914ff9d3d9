"""A file's findings, score and whether it may train: from the rows' checks, the ledger and the sealed split."""

from __future__ import annotations

from typing import Any

from stoker.data.checks.finding import Findings
from stoker.data.checks.rules import UNUSABLE
from stoker.data.checks.score import score_of
from stoker.data.ledger import Ledger
from stoker.data.sealing.split import Split
from stoker.spec.lab import CheckSpec

_NOT_THE_ROWS_FAULT = ("benchmark-overlap", "sealed-copy", "near-sealed")


def judge(findings: Findings, ledger: Ledger, split: Split, spec: CheckSpec) -> dict[str, Any]:
    """Return score, gate ("pass", "warn" or "stop"), deductions, findings and their counts, for the summary."""
    num_unusable = 0
    for entry in ledger.told():
        told = entry.told
        if entry.state == "quarantined":
            what = f"{told.reason}: {told.excerpt}" if told.excerpt else told.reason
            findings.add(told.code, entry.line, what, member=entry.member)
            num_unusable += told.code not in _NOT_THE_ROWS_FAULT
        elif told.code == "duplicate-in-file":
            findings.add("repeated-rows", entry.line, told.reason, member=entry.member)
        elif told.code in ("near-sealed", "sealed-copy"):
            findings.add("sealed-overlap", entry.line, told.reason, member=entry.member)
    for entry, first in ledger.later_of_clusters():
        where = f" of {first.member}" if first.member != entry.member else ""
        what = f"nearly the same as line {first.line}{where}"
        findings.add("near-duplicates", entry.line, what, member=entry.member)
    if split.too_small:
        findings.add("few-rows", None, split.notes[0])
    counts = {UNUSABLE.code: num_unusable, **findings.counts}
    score, deductions = score_of({code: number for code, number in counts.items() if number}, len(ledger))
    gate = "stop" if score < spec.stop_below else "warn" if score < spec.warn_below else "pass"
    if gate == "stop":
        findings.add("low-score", None, f"{score} of 100, and check.stop_below = {spec.stop_below}", len(ledger))
    return {
        "score": score, "gate": gate, "deductions": [one.to_json() for one in deductions],
        "findings": findings.to_json(), "finding_counts": dict(findings.counts),
    }  # fmt: skip
