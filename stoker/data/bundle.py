"""Several files as one: a plain zip that is the same, byte for byte, for the same set of files in any order.

Its comment marks it. The files in it were named by a person, so intake leaves none of them out, as it does in a zip that
someone packed: each is read, or the whole is refused with the name of the one that can't be.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from stoker.durable import sha256_file

BUNDLE = b"stoker bundle 1"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_BLOCK = 1 << 20


def write_bundle(files: Sequence[Path], target: Path) -> None:
    """Write `files` into the bundle `target`, uncompressed, under their own names."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = BUNDLE
        for name, file in _named(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = _UNIX, 0o600 << 16
            with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as member:
                shutil.copyfileobj(source, member, _BLOCK)


def is_bundle(archive: zipfile.ZipFile) -> bool:
    """Tell whether `write_bundle` made this zip."""
    return archive.comment == BUNDLE


def bundle_name(files: Sequence[Path]) -> str:
    """Return what the files are called together: "a+b.zip", "a+b+3-more.zip"."""
    names = sorted(file.name.removesuffix(file.suffix) or file.name for file in files)
    more = [f"{len(names) - 2}-more"] if len(names) > 3 else names[2:]
    return "+".join([*names[:2], *more]) + ".zip"


def _named(files: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the files with their names in the bundle, in an order that follows from names and contents alone."""
    taken: set[str] = set()
    named = []
    for file in sorted(files, key=lambda file: (file.name, sha256_file(file))):
        name, number = file.name, 1
        while name in taken:
            number += 1
            name = f"{file.stem}-{number}{file.suffix}"
        taken.add(name)
        named.append((name, file))
    return named
