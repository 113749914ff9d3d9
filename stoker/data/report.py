"""The report that lies beside a rejected file: what happened, why, what to do, and the first findings."""

from __future__ import annotations

from stoker.data.findings import FileRefused
from stoker.errors import UserError


def render_report(name: str, error: UserError) -> str:
    """Return the report as plain text, wrapped by the reader."""
    lines = [f"{name} was rejected", "", f"what: {error.what}"]
    if isinstance(error, FileRefused) and error.line is not None:
        lines.append(f"line: {error.line}")
    if error.why:
        lines.append(f"why: {error.why}")
    if error.remedy:
        lines.append(f"remedy: {error.remedy}")
    if isinstance(error, FileRefused) and error.findings:
        lines += ["", f"the first {len(error.findings)} findings:", *(f"  {finding}" for finding in error.findings)]
    return "\n".join(lines) + "\n"
