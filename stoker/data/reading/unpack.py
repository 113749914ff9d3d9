"""Files out of gzip, zstandard and zip, with every decoded byte counted: a bomb ends at the limits, not at the disk's.

A zip's members are written under names of ours, so no path in it means anything; what it says about sizes is not
believed. Archives in archives, encrypted members and links are refused; only a bundle (`data.bundle`), whose members a
person named, may hold gzip and zstandard files.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import zstandard

from stoker.data.bundle import is_bundle
from stoker.data.findings import FileRefused
from stoker.data.reading.source import MEGABYTE
from stoker.durable import disk_full_named
from stoker.spec.lab import IntakeSpec

MAX_MEMBERS = 1000
FREE_BYTES = 64 * MEGABYTE  # expansion is not looked at below this
_BLOCK = 1 << 20
_PACKED_BLOCK = 2048  # a packed byte can become 32 KB, all in memory at once
_MAX_WINDOW = 128 * MEGABYTE  # a frame that asks for more memory is refused
_GZIP, _ZSTD, _ZIP, _EMPTY_ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PK\x05\x06"
_PACKED = (_GZIP, _ZSTD, _ZIP)
# What decoders raise on damaged data; zipfile says NotImplementedError of an unknown method, RuntimeError of a password.
_BROKEN = (OSError, EOFError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file that is not packed: the given one, or one that was unpacked. `inner` is its name in a zip, else "".

    `sha256` is that of the member as it lies in the zip. `is_named`: a person named it, so it is not left out.
    """

    path: Path
    name: str
    inner: str = ""
    sha256: str = ""
    is_named: bool = False


def unpack(path: Path, name: str, spec: IntakeSpec, scratch: Path) -> list[Member]:
    """Return the plain files in `path`; FileRefused when it can't be unpacked."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_EMPTY_ZIP):
        raise FileRefused(f"{name} is an empty zip", "a file needs at least one row", "put a data file into it")
    if not head.startswith(_PACKED):
        return [Member(path, name)]
    counter = _Counter(path.stat().st_size, name, spec)
    if head.startswith(_ZIP):
        return _unzip(path, name, counter, scratch)
    target = scratch / "unpacked"
    return [Member(target, _decode(path, name, counter, target))]


def _decode(path: Path, name: str, counter: _Counter, target: Path) -> str:
    """Decode a gzip or zstandard file to `target`; return its name without the packer's suffix."""
    with path.open("rb") as file:
        what = "gzip" if file.read(4).startswith(_GZIP) else "zstandard"
        file.seek(0)
        with _named_damage(name, what):
            blocks = _blocks(gzip.GzipFile(fileobj=file)) if what == "gzip" else _zstd_blocks(file)
            counter.copy(blocks, target, name)
    _refuse_packed(target, name)
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in (".gz", ".zst") else name


def _zstd_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what each frame decodes to; EOFError when the last one is cut, which zstandard's own reader lets pass."""
    decoder = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    frame, is_open = decoder.decompressobj(), False
    while data := file.read(_PACKED_BLOCK):
        while data:
            yield frame.decompress(data)
            data, is_open = frame.unused_data, not frame.eof
            if frame.eof:
                frame = decoder.decompressobj()
    if is_open:
        raise EOFError("it stops inside a frame")


def _unzip(path: Path, name: str, counter: _Counter, scratch: Path) -> list[Member]:
    members: list[Member] = []
    with _named_damage(name, "zip"), zipfile.ZipFile(path) as archive:
        is_named = is_bundle(archive)
        infos = [info for info in archive.infolist() if is_named or not _is_clutter(info)]
        if not infos or len(infos) > MAX_MEMBERS:
            why = f"a zip holds at least one data file and at most {MAX_MEMBERS:,}"
            raise FileRefused(f"{name} holds {len(infos):,} files", why, "pack the data files alone")
        for number, info in enumerate(infos):
            if info.flag_bits & 1:
                raise FileRefused(
                    f"{name}: {info.filename} is encrypted", "there is no password here", "pack it without"
                )
            target, called = scratch / f"unpacked-{number}", f"{name}: {info.filename}"
            with archive.open(info) as stream:
                sha256 = counter.copy(_blocks(stream), target, called)
            if is_named:
                target, called = _plain(target, called, counter)
            else:
                _refuse_packed(target, called)
            if target.stat().st_size:
                members.append(Member(target, called, info.filename, sha256, is_named))
    return members


def _plain(path: Path, name: str, counter: _Counter) -> tuple[Path, str]:
    """Return a bundle's member unpacked, and what it is then called; FileRefused when it is empty or another zip."""
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise FileRefused(f"{name} is empty", "each file that is named needs at least one row", "leave it out")
    if not head.startswith((_GZIP, _ZSTD)):
        _refuse_packed(path, name)
        return path, name
    target = path.with_name(f"{path.name}-decoded")
    return target, _decode(path, name, counter, target)


def _is_clutter(info: zipfile.ZipInfo) -> bool:
    """Tell what a packer adds by itself: folders, links, resource forks, hidden files."""
    parts = PurePosixPath(info.filename).parts
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    return (
        info.is_dir() or is_link or any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in parts)
    )


def _refuse_packed(path: Path, name: str) -> None:
    with path.open("rb") as file:
        if file.read(4).startswith(_PACKED):
            raise FileRefused(f"{name} is packed twice", "one layer is unpacked", "unpack it once and drop that")


class _Counter:
    """Writes decoded streams to files and counts their bytes against the limits of all of them together."""

    def __init__(self, packed_bytes: int, name: str, spec: IntakeSpec) -> None:
        self._name, self._spec = name, spec
        self._limit = int(spec.max_file_megabytes * MEGABYTE)
        self._expanded = max(FREE_BYTES, int(packed_bytes * spec.max_expansion))
        self._num_bytes = 0

    def copy(self, blocks: Iterable[bytes], target: Path, name: str) -> str:
        """Write the blocks to `target`; return their SHA-256."""
        digest = hashlib.sha256()
        with disk_full_named(target, 0), target.open("wb") as file:
            for block in blocks:
                self._num_bytes += len(block)
                self._check(name)
                digest.update(block)
                file.write(block)
        return digest.hexdigest()

    def _check(self, name: str) -> None:
        if self._num_bytes > self._limit:
            raise FileRefused(
                f"{name} unpacks to more than {self._limit:,} bytes",
                f"intake.max_file_megabytes = {self._spec.max_file_megabytes:g}",
                "split the file, or raise intake.max_file_megabytes",
            )
        if self._num_bytes > self._expanded:
            raise FileRefused(
                f"{name} unpacks to more than {self._spec.max_expansion:g} times its size",
                f"intake.max_expansion = {self._spec.max_expansion:g}; text packs 3 to 20 times, a bomb a thousand times",
                "unpack it and drop that, or raise intake.max_expansion",
            )


def _blocks(stream: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


@contextlib.contextmanager
def _named_damage(name: str, what: str) -> Iterator[None]:
    """Turn what a decoder raises on damaged data into a refusal that names the file."""
    try:
        yield
    except FileRefused:
        raise
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the data's
        raise FileRefused(
            f"{name} is damaged: it can't be unpacked as {what} ({error or type(error).__name__})",
            "a file is taken whole or not at all",
            "copy or pack the file again",
        ) from error
