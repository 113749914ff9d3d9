"""The text of a key or a share link: `stk_<id>_<secret><checksum>`, `lnk_...`.

The id is public (lists and errors show it); the secret carries 190 bits, so its plain SHA-256 is safe at rest; the checksum
tells a cut or mistyped key from an unknown one without looking anything up. Pure: it keeps nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Literal

Kind = Literal["key", "link"]

PREFIXES: dict[Kind, str] = {"key": "stk", "link": "lnk"}
_ALPHABET = string.digits + string.ascii_letters
_ID_ALPHABET = string.digits + string.ascii_lowercase
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 8, 32, 6
_FORM = re.compile(
    rf"(stk|lnk)_([0-9a-z]{{{_ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH}}}([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True)
class Parsed:
    """What a whole key says of itself. Only its digest can prove it."""

    kind: Kind
    id: str
    digest: bytes


class NotAKey(ValueError):
    """Why a text is no key; the text itself is never in it."""


def make(kind: Kind) -> tuple[Parsed, str]:
    """Return a new key and its text, which is to be shown once and kept nowhere."""
    name = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    start = f"{PREFIXES[kind]}_{name}_{secret}"
    text = start + _checksum(start)
    return parse(text), text


def parse(text: str) -> Parsed:
    """Take a text apart; NotAKey says what is wrong with it."""
    found = _FORM.fullmatch(text)
    if found is None and not text.startswith(tuple(f"{prefix}_" for prefix in PREFIXES.values())):
        raise NotAKey("it is not of the form stk_..., as stoker serve key new makes them")
    if found is None or not secrets.compare_digest(_checksum(text[:-_CHECKSUM_LENGTH]), found[3]):
        raise NotAKey("its checksum does not fit: it is incomplete or mistyped, cut off while it was copied perhaps")
    kind: Kind = "key" if found[1] == PREFIXES["key"] else "link"
    return Parsed(kind, f"{found[1]}_{found[2]}", hashlib.sha256(text.encode()).digest())


def _checksum(text: str) -> str:
    value = zlib.crc32(text.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
