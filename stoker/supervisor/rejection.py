"""Rejected files: the file in `rejected/` with `NAME.report.txt` beside it, saying what, why and what to do.

The report and the copy are on the disk before the store says "rejected", so a crash between leaves both to be made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stoker.durable import STAGING_PREFIX, disk_full_named, fsync_path, sha256_file, write_atomic
from stoker.workspace import Workspace

REPORT_SUFFIX = ".report.txt"


def put_file(workspace: Workspace, copy: Path, name: str, sha256: str, report: str) -> Path:
    """Place a refused file and its report in `rejected/`; return where the file is. Doing it twice changes nothing."""
    target = _target(workspace.rejected, name, sha256)
    if not target.exists():
        staging = target.with_name(f"{STAGING_PREFIX}{target.name}")
        with disk_full_named(target, copy.stat().st_size):
            shutil.copyfile(copy, staging)
            fsync_path(staging)
            staging.replace(target)
    put_report(workspace, target.name, report)
    return target


def put_report(workspace: Workspace, name: str, report: str) -> None:
    """Write NAME.report.txt into `rejected/`."""
    write_atomic(workspace.rejected / f"{name}{REPORT_SUFFIX}", report.rstrip().encode() + b"\n")


def report_text(name: str, refusal: Mapping[str, Any]) -> str:
    """Return the report of a refusal from its what, why, remedy, file and line."""
    where = f", line {refusal['line']}" if refusal.get("line") else ""
    lines = [f"{name}{where} was rejected.", "", f"what    {refusal.get('what') or refusal.get('reason') or 'unknown'}"]
    lines += [f"rule    {refusal['why']}"] if refusal.get("why") else []
    lines += [f"remedy  {refusal['remedy']}"] if refusal.get("remedy") else []
    return "\n".join(lines)


def _target(folder: Path, name: str, sha256: str) -> Path:
    """Return a free name for the file, or the one it already has there."""
    target = folder / name
    if not target.exists() or sha256_file(target) == sha256:
        return target
    return folder / f"{Path(name).stem}-{sha256[:12]}{Path(name).suffix}"
