"""What the words of one row give away: encoding damage, secrets, refusals, templates that were not filled in.

`suspects` asks of a batch of texts in one pass which of them `text_findings` could have anything to say of; few have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from ftfy.badness import is_bad

_PLACEHOLDER = re.compile(
    r"\{\{\s*[A-Za-z_][\w. ]*\}\}|<(?:INSERT|YOUR|ADD)[ _][A-Z_ ]{2,40}>|\[(?:INSERT|YOUR) [A-Z ]{2,40}\]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
_MARKS_OF_MOJIBAKE = re.compile(r"[ÂÃâÐÑð€™ï]")
_REFUSAL = re.compile(
    r"\s*(?:(?:I'm|I am|I’m)\s+(?:very |really |so )?(?:sorry|unable|not able)\b(?=.{0,80}\b(?:can't|cannot|can’t|unable|not able|not allowed|not comfortable)\b)"
    r"|(?:Sorry|Apologies),? (?:but )?I (?:can't|cannot|can’t|am unable)"
    r"|As an? (?:AI|artificial intelligence)\b"
    r"|I (?:can't|cannot|can’t|won't) (?:help|assist|provide|fulfill|comply|do that|answer)\b)",
    re.IGNORECASE | re.DOTALL,
)
_FIRST_OF_REFUSALS = "IiSsAa"
_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    ("an AWS key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})")),
    ("a Slack token", re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    ("a Google key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")),
    ("an API key", re.compile(r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}")),
    ("a JSON web token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    ("an e-mail address", re.compile(r"\b[\w.+-]{1,64}@(?!example\.)[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}\b")),
)
_DIGITS = re.compile(r"(?<![\d.-])(?:\d[ -]?){13,18}\d(?![\d-])")
# Visa; Mastercard; Amex; Discover and UnionPay; JCB; Diners: the lengths that issuers give out now
_CARD = re.compile(
    r"4\d{15}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6(?:011|2\d\d|4[4-9]\d|5\d\d)\d{12}|35\d{14}|3(?:0[0-5]|[689]\d)\d{11}"
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)

# RE2 finds any of these in one pass. Each part matches wherever the pattern above that it stands for does, and more.
_TRIGGERS = (
    r"\x{FFFD}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]|[ÂÃâÐÑð€™ï]|\{\{|<(?:INSERT|YOUR|ADD)|\[(?:INSERT|YOUR)|PRIVATE KEY-"
    r"|AKIA|ASIA|gh[pousr]_|github_pat_|xox[abprs]-|AIza|hf_|sk-[A-Za-z0-9_-]{20}|eyJ|[\w.+-]@[\w-]|[^\x00-\x7f]@|@[^\x00-\x7f]"
    r"|(?:\p{Nd}[ -]?){13}"
)


def suspects(texts: Sequence[str]) -> list[int]:
    """Return the places of the texts that `text_findings` must look at; it finds nothing in the others."""
    import pyarrow as pa  # a sixth of a gigabyte of address space, so only once there are rows
    import pyarrow.compute as pc

    found = pc.match_substring_regex(pa.array(texts, pa.large_string()), _TRIGGERS)
    places: list[int] = np.flatnonzero(found.to_numpy(zero_copy_only=False)).tolist()
    return places


def text_findings(text: str) -> Iterator[tuple[str, str]]:
    """Yield (code, what was found) for a row's whole text."""
    if "\ufffd" in text:
        yield "replacement-characters", around(text, text.index("\ufffd"))
    if (control := _CONTROL.search(text)) is not None:
        yield "control-characters", f"U+{ord(control[0]):04X} in {around(text, control.start())!r}"
    if not text.isascii() and (mark := _MARKS_OF_MOJIBAKE.search(text)) is not None and is_bad(text):
        yield "mojibake", around(text, mark.start())
    if ("{{" in text or "<" in text or "[" in text) and (placeholder := _find_placeholder(text)) is not None:
        yield "placeholders", placeholder
    secret = find_secret(text)
    if secret is not None:
        yield "secrets", secret


def find_secret(text: str) -> str | None:
    """Return what kind of secret a text holds and a hint of it that does not give it away; None when it holds none."""
    for what, pattern in _SECRETS:
        if (found := pattern.search(text)) is not None:
            return f"{what}: {found[0][:6]}..."
    for number in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", number[0])
        if _CARD.fullmatch(digits) and len(set(digits)) > 2 and _passes_luhn(digits):
            return f"a card number: {digits[:4]}..."
    return None


def is_refusal(answer: str) -> bool:
    """Tell whether an answer refuses in the phrases that assistants use."""
    first = answer[:1]
    if first.isascii() and first.isalnum() and first not in _FIRST_OF_REFUSALS:
        return False
    return _REFUSAL.match(answer) is not None


def around(text: str, place: int, num_chars: int = 30) -> str:
    """Return what stands around a place, on one line."""
    return " ".join(text[max(0, place - num_chars) : place + num_chars].split())


def _find_placeholder(text: str) -> str | None:
    """Return a placeholder outside code, where templates are what is meant."""
    if "{%" in text:
        return None
    if (found := _PLACEHOLDER.search(text)) is not None and "`" in text:
        found = _PLACEHOLDER.search(_CODE.sub(" ", text))
    return found[0] if found else None


def _passes_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: the check digit of card numbers."""
    doubled = [int(digit) * (2 if i % 2 else 1) for i, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
