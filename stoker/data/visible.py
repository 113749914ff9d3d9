"""Text of unknown origin made safe to look at: what would move a cursor, hide words or turn them around becomes a sign.

Line breaks and tabs stay. What is stored and trained is never changed by this; it is for terminals and pages alone.
"""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """Return the text with each such character as its number: ESC as <U+001B>."""
    return _CONTROL.sub(lambda match: f"<U+{ord(match.group()):04X}>", text)
