"""One finding: a rule, and where it applies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from stoker.data.checks.rules import RULES
from stoker.data.findings import excerpt

MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's code and the row it was found in; `line` is None when it is the file's as a whole."""

    code: str
    file: str
    line: int | None
    excerpt: str

    def to_json(self) -> dict[str, Any]:
        rule = RULES[self.code]
        return {
            "code": self.code, "severity": rule.severity, "file": self.file, "line": self.line,
            "excerpt": self.excerpt, "remedy": rule.remedy,
        }  # fmt: skip


@dataclass
class Findings:
    """Findings by code: all are counted, the first `max_shown` of each are kept."""

    file: str
    max_shown: int = MAX_SHOWN
    counts: Counter[str] = field(default_factory=Counter)
    shown: list[Finding] = field(default_factory=list)
    _num_shown: Counter[str] = field(default_factory=Counter)

    def add(self, code: str, line: int | None, what: str, num_rows: int = 1, *, member: str = "") -> None:
        """Count a finding; `member` is the file of a zip that its row is in."""
        self.counts[code] += num_rows
        self._num_shown[code] += 1
        if self._num_shown[code] <= self.max_shown:
            self.shown.append(Finding(code, f"{self.file}: {member}" if member else self.file, line, excerpt(what)))

    def to_json(self) -> list[dict[str, Any]]:
        """Return them by severity, then by how many rows have them, then by line."""
        order = ("block", "warn", "note")
        found = sorted(
            self.shown,
            key=lambda one: (order.index(RULES[one.code].severity), -self.counts[one.code], one.code, one.line or 0),
        )
        return [finding.to_json() for finding in found]
