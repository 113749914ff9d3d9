"""Publishing files and folders so that a crash at any moment leaves the old or the new, never half.

A folder is written under a staging name, each file fsynced, `manifest.json` (size and SHA-256 of every
file) written last, then renamed into place and the parent fsynced. Deletion renames first. A folder under
its real name is therefore whole, or damaged by something other than a crash, which `verify_folder` names.
It does not decide what to keep; see train/checkpoint and registry.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from stoker.errors import Damaged, DiskFull
from stoker.faults import fault_point

MANIFEST = "manifest.json"
STAGING_PREFIX = ".staging-"
TRASH_PREFIX = ".trash-"


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Flush a file or folder to the device."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_full_named(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn "no space left" from any library below into DiskFull with the path and the free bytes.

    torch and safetensors report a full disk as their own errors without a word about space, so any
    exception raised while less than a megabyte is free counts as one.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        free = free_bytes(path)
        is_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if is_space or free < 1 << 20:
            raise DiskFull(path, needed_bytes, free) from error
        raise


def free_bytes(path: Path) -> int:
    """Return the bytes a user may still write on the file system that holds `path`."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def disk_use(folder: Path) -> int:
    """Return the bytes that a folder's files take on the disk; what vanishes meanwhile counts nothing."""
    total = 0
    stack = [str(folder)]
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
            except OSError:
                continue
    return total


def require_free(path: Path, needed_bytes: int) -> None:
    """Raise DiskFull before a write that could not finish."""
    free = free_bytes(path)
    if free < needed_bytes:
        raise DiskFull(path, needed_bytes, free)


def write_atomic(path: Path, data: bytes, *, fault: str = "file") -> None:
    """Replace `path` with `data`: temporary file, fsync, rename, fsync of the parent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{STAGING_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}")
    with disk_full_named(path, len(data)):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                fault_point(f"{fault}.written")
                os.fsync(file.fileno())
            fault_point(f"{fault}.rename")
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_path(path.parent)


def write_json(path: Path, value: Any, *, fault: str = "file") -> None:
    """Write `value` as indented JSON, atomically. NaN becomes null: JSON has no NaN."""
    write_atomic(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY), fault=fault)


@contextlib.contextmanager
def publish_folder(
    destination: Path, facts: Mapping[str, Any] | None = None, *, fault: str = "folder"
) -> Iterator[Path]:
    """Yield a staging folder to fill; on leaving, publish it as `destination` with its manifest.

    `facts` go into the manifest (run, step, fence, seed, versions, ...); values are read on leaving, so a caller
    may fill the mapping inside the block. An existing destination is replaced. An exception publishes nothing.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = destination.parent / f"{STAGING_PREFIX}{destination.name}-{uuid.uuid4().hex[:8]}"
    with disk_full_named(destination):
        try:
            staging.mkdir()
            yield staging
            fault_point(f"{fault}.filled")
            seal_folder(staging, facts or {}, fault=fault)
            fault_point(f"{fault}.rename")
            if destination.exists():
                retire(destination)
            staging.rename(destination)
            fault_point(f"{fault}.renamed")
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync_path(destination.parent)


def seal_folder(folder: Path, facts: Mapping[str, Any], *, fault: str = "folder") -> None:
    """Fsync every file of `folder` and write its manifest, the manifest last."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        fsync_path(path)
        name = path.relative_to(folder).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    fault_point(f"{fault}.manifest")
    write_json(folder / MANIFEST, {**facts, "files": files})
    for subfolder in sorted(path for path in folder.rglob("*") if path.is_dir()):
        fsync_path(subfolder)
    fsync_path(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a published folder; Damaged when it is missing or unreadable."""
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise Damaged(folder, MANIFEST, "missing") from None
    except orjson.JSONDecodeError as error:
        raise Damaged(folder, MANIFEST, f"not JSON ({error})") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise Damaged(folder, MANIFEST, "has no list of files")
    return manifest


def verify_folder(folder: Path) -> dict[str, Any]:
    """Check every file against the manifest and return the manifest; Damaged names the first that differs."""
    manifest = read_manifest(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name, expected in sorted(manifest["files"].items()):
        path = folder / name
        if name not in present:
            raise Damaged(folder, name, "missing")
        if path.stat().st_size != expected["bytes"]:
            raise Damaged(folder, name, f"{path.stat().st_size} bytes, the manifest says {expected['bytes']}")
        if sha256_file(path) != expected["sha256"]:
            raise Damaged(folder, name, "its SHA-256 differs from the manifest")
    extra = sorted(present - manifest["files"].keys())
    if extra:
        raise Damaged(folder, extra[0], "not in the manifest")
    return manifest


def retire(folder: Path) -> None:
    """Delete a folder: rename it first, so that no half-deleted folder keeps a real name."""
    trash = folder.parent / f"{TRASH_PREFIX}{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return
    fsync_path(folder.parent)
    fault_point("folder.retired")
    shutil.rmtree(trash, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove what a crash left behind in `parent`: staging and trash names of whoever held it before.

    Call it only while holding the lock under which folders of `parent` are published.
    """
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        if path.name.startswith((STAGING_PREFIX, TRASH_PREFIX)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
