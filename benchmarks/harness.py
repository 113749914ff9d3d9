"""What every benchmark shares: the machine in words, medians over interleaved rounds, and RESULTS.md.

Each script owns one section of RESULTS.md, between two marker comments, and rewrites it whole; a figure there is
what one run of that script printed on the machine and the date the section names.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
_HEADER = "# Measured figures\n\nEach section is rewritten by the command it names.\n"


def precision() -> str:
    """Return what a matrix product is computed in where a setting leaves it open: "bf16" or "fp32"."""
    from stoker.model.device import resolve_hardware
    from stoker.spec.lab import TrainSpec

    return resolve_hardware(TrainSpec()).precision


def machine() -> str:
    """Return processor, cores in use and library versions, for the head of a section."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    cores = f"{cpu}, {len(os.sched_getaffinity(0))} cores, {'no ' if precision() == 'fp32' else ''}bf16"
    parts = [cores, f"Python {platform.python_version()}"]
    for package in ("torch", "transformers", "trl", "peft"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "; ".join(parts)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return "median (lowest-highest)"."""
    text = f"{statistics.median(values):,.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{digits}f}-{max(values):,.{digits}f})"
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(name: str, command: str, body: str) -> None:
    """Replace section `name` of RESULTS.md with `body`, headed by the command, machine and date."""
    text = RESULTS.read_text() if RESULTS.exists() else _HEADER
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n## {name}\n\n`{command}` on {datetime.date.today().isoformat()}; {machine()}\n\n{body}\n{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else text.rstrip() + "\n\n" + section + "\n"
    RESULTS.write_text(text)
    print(body)
