"""Taking a file into the lab: an immutable copy under its content's hash, durable before the file counts as accepted.

Links and anything that is not a regular file are refused. The source is left where it is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from stoker.durable import STAGING_PREFIX, disk_full_named, fsync_path, require_free
from stoker.errors import DataError, TemporaryError
from stoker.faults import fault_point

CONTENT = "content"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted file: `path` is the immutable copy, `name` what the file was called."""

    sha256: str
    name: str
    bytes: int
    path: Path


def accept_file(path: Path, files: Path) -> Accepted:
    """Copy `path` to `files`/SHA256/content and return it; the same content twice is the same copy.

    DataError: a link, not a regular file, not readable. TemporaryError: it changed while it was copied. DiskFull.
    """
    descriptor = _open(path)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise DataError(
                f"{path} is not a regular file", "folders, pipes and devices are not taken", "copy the file"
            )
        require_free(files, before.st_size)
        files.mkdir(parents=True, exist_ok=True)
        part = files / f"{STAGING_PREFIX}{uuid.uuid4().hex[:12]}.part"
        try:
            with disk_full_named(part, before.st_size):
                digest, num_bytes = _copy(descriptor, part)
            after = os.fstat(descriptor)
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or num_bytes != after.st_size:
                raise TemporaryError(f"{path} changed while it was copied")
            return Accepted(digest, path.name, num_bytes, _publish(part, files / digest))
        finally:
            part.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path} is a link", "only files themselves are taken", "copy the file it names") from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise DataError(f"{path} can't be read", "the lab's user may not open it", f"chmod u+r {path}") from None
        if error.errno == errno.ENOENT:
            raise DataError(f"{path} is not there", "it was moved or deleted", "drop it again") from None
        raise


def _copy(source: int, part: Path) -> tuple[str, int]:
    digest, num_bytes = hashlib.sha256(), 0
    with part.open("wb") as file:
        while block := os.read(source, _BLOCK):
            digest.update(block)
            file.write(block)
            num_bytes += len(block)
        file.flush()
        fault_point("accept.written")
        os.fsync(file.fileno())
    return digest.hexdigest(), num_bytes


def _publish(part: Path, folder: Path) -> Path:
    content = folder / CONTENT
    if not content.exists():
        folder.mkdir(exist_ok=True)
        part.chmod(0o400)
        fault_point("accept.rename")
        part.rename(content)
        fsync_path(folder)
        fsync_path(folder.parent)
    return content
