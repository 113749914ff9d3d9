"""`stoker doctor`: what this machine has, what is missing, and the line that installs it.

torch is asked through its metadata, never imported. Exit code 1 when something that training needs is missing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from stoker.cli import units
from stoker.cli.channels import check_channels
from stoker.cli.console import AsJson, print_json, say
from stoker.cli.finding import Finding
from stoker.cli.lab import current_lab
from stoker.errors import NotFound, SettingError

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "fuse.sshfs",
    "9p",
    "ceph",
    "lustre",
    "glusterfs",
    "fuse.glusterfs",
    "afs",
}
_ROOM_TO_BEGIN = 5 * 10**9  # a base and the first checkpoints, while no checkpoint says how large they are (bytes)
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?P<range>[^;]*)(?:;(?P<marker>.*))?")


def doctor(as_json: AsJson = False) -> None:
    """Check this machine and the lab: GPU, disk, channels."""
    findings = list(examine())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            say(f"{finding.state:<7}  {finding.name:<{width}}  {finding.detail}")
            if finding.remedy:
                say(f"{'':<7}  {'':<{width}}  try: {finding.remedy}")
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Yield every finding, the machine first, then packages, then the lab."""
    yield _python()
    yield from _packages()
    yield from _gpus()
    yield _cpu()
    yield _sqlite()
    yield from _lab()


def _python() -> Finding:
    detail = f"{platform.python_version()} at {sys.executable}"
    return Finding("python", "ok", f"{detail}, {platform.platform(terse=True)}")


def _packages() -> Iterator[Finding]:
    missing: list[str] = []
    for name, wanted, extra in _requirements():
        if extra not in ("", "train"):
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{name}{wanted}")
            continue
        if name in ("torch", "transformers", "peft"):
            yield Finding(name, "ok", version)
    if missing:
        line = "pip install " + " ".join(shlex.quote(requirement) for requirement in missing)
        yield Finding("packages", "missing", ", ".join(missing), line)
    else:
        yield Finding("packages", "ok", f"everything stoker {importlib.metadata.version('stoker')} needs to train")


def _requirements() -> Iterator[tuple[str, str, str]]:
    """Yield name, version range and extra ("" for the base install) of everything stoker asks for."""
    for line in importlib.metadata.requires("stoker") or []:
        match = _REQUIREMENT.fullmatch(line)
        if match is None:
            continue
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", match["marker"] or "")
        yield match["name"], match["range"].strip(), extra[1] if extra else ""


def _gpus() -> Iterator[Finding]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Finding("gpu", "ok", f"no GPU ({str(error).lower()}): training runs on the CPU, qlora is not possible")
        return
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            detail = f"{_text(pynvml.nvmlDeviceGetName(handle))}, {units.size(memory.free)} of {units.size(memory.total)} free"
            yield Finding(f"gpu {index}", "ok", f"{detail}, driver {_text(pynvml.nvmlSystemGetDriverVersion())}")
    finally:
        pynvml.nvmlShutdown()
    if _version("torch").endswith("+cpu"):
        yield Finding(
            "torch", "warn", f"{_version('torch')} can't use the GPU", "pip install --force-reinstall torch from an index with CUDA builds"
        )  # fmt: skip


def _cpu() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    cores = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        flags = ""
    bf16 = "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "no bf16: fp32 is used"
    return Finding(
        "cpu", "ok", f"{cores}, {bf16}; {units.size(memory.available)} of {units.size(memory.total)} memory free"
    )


def _sqlite() -> Finding:
    from stoker.store.engine import has_wal_bug

    version = sqlite3.sqlite_version
    if has_wal_bug(sqlite3.sqlite_version_info):
        return Finding(
            "sqlite", "ok", f"{version}: its WAL mode can corrupt a database, so the store uses a rollback journal instead"
        )  # fmt: skip
    return Finding("sqlite", "ok", f"{version}, WAL")


def _lab() -> Iterator[Finding]:
    try:
        workspace = current_lab()
    except NotFound:
        yield Finding("lab", "ok", "none here", "stoker init DIR, or stoker demo")
        yield from _disk(Path.cwd(), _ROOM_TO_BEGIN)
        return
    from stoker.locks import is_locked
    from stoker.mailbox.checkpoints import needed_bytes, newest_checkpoint_bytes
    from stoker.spec.guarding import GuardSpec
    from stoker.spec.reading import read_settings

    guard = GuardSpec()
    try:
        spec = read_settings(workspace.settings)
    except SettingError as error:
        yield Finding("settings", "missing", error.what, error.remedy)
    else:
        guard = spec.guard
        running = "its supervisor runs" if is_locked(workspace.lock) else "no supervisor runs"
        yield Finding("lab", "ok", f"{workspace.root}, base {spec.model.base}, {running}")
        if spec.model.method == "qlora" and not _version("bitsandbytes"):
            yield Finding(
                "qlora", "missing", "bitsandbytes holds the 4-bit weights", "pip install 'bitsandbytes>=0.45'"
            )
        yield from check_channels(spec.alerts, workspace.root)
    newest = max((newest_checkpoint_bytes(folder) for folder in workspace.runs.glob("r*")), default=0)
    yield from _disk(workspace.root, needed_bytes(guard, newest) if newest else _ROOM_TO_BEGIN)


def _disk(folder: Path, wanted: int) -> Iterator[Finding]:
    from stoker.durable import free_bytes

    free = free_bytes(folder)
    if free < wanted:
        detail = f"{units.size(free)} free at {folder}, {units.size(wanted)} are needed"
        yield Finding("disk", "warn", detail, "checkpoints need room; free some")
    else:
        yield Finding("disk", "ok", f"{units.size(free)} free at {folder}")
    kind = file_system(folder)
    if kind in _NETWORK:
        yield Finding(
            "file system",
            "warn",
            f"{folder} is on {kind}: file events and SQLite's locks do not work reliably there",
            "keep the lab on a local disk, or at least: stoker config set intake.force_polling true",
        )


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder`, "" when it is not known."""
    import psutil

    resolved = folder.resolve()
    best, kind = -1, ""
    for partition in psutil.disk_partitions(all=True):
        mount = Path(partition.mountpoint)
        if resolved.is_relative_to(mount) and len(mount.parts) > best:
            best, kind = len(mount.parts), partition.fstype
    return kind


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
