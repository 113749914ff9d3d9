"""The end of an engine's log: what it said before it died."""

from __future__ import annotations

from pathlib import Path


def last_lines(log: Path, num_lines: int = 8) -> str:
    """Return the last lines, indented."""
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-num_lines:]) or "  (it wrote nothing)"
