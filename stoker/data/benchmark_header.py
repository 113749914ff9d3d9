"""The header of a benchmark, `NAME.toml` beside `NAME.jsonl`: how its items are asked and marked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from stoker.errors import DataError
from stoker.spec.base import Spec

SCORERS = (
    "exact", "normalised", "contains", "number", "choice", "regex", "json", "f1", "bleu", "chrf", "rouge",
    "code", "judge", "python", "nll", "syllo", "basics",
)  # fmt: skip
"""Every scorer there is: what each does is in stoker/analysis/scorers and stoker/evaluate/scoring.py."""

BY_RUNNING = frozenset({"code", "judge", "python"})
"""Those that run or ask something."""

Method = Literal["generation", "likelihood", "likelihood-normalised"]


class Header(Spec):
    """What a header may say."""

    scorer: str = Field("normalised", description="How answers are marked.")
    options: dict[str, str | int | float] = Field({}, description="The scorer's own settings.")
    method: Method = Field(
        "generation",
        description='"generation": the model writes. "likelihood": the likeliest of the item\'s `choices`; '
        '"likelihood-normalised": the likeliest for its length in bytes.',
    )
    system: str = Field("", description="System prompt of every item that has none of its own.")
    categories: tuple[str, ...] = Field((), description="The only categories there may be; empty: any.")
    examples: tuple[dict[str, Any], ...] = Field((), description="Solved items to show before a question (few-shot).")
    shots_from: str = Field("", description="A file of solved items to show, relative to the benchmark.")
    max_new_tokens: int | None = Field(
        None, ge=1, description="No answer to an item is longer than this (tokens); none: as long as evaluations allow."
    )
    description: str = ""
    licence: str = ""
    sha256: str = Field("", description="Of the items file when it was frozen; other items are refused.")


def header_path(path: Path) -> Path:
    """Return where the header of the items in `path` is."""
    return path.with_suffix(".toml")


def read_header(path: Path) -> Header:
    """Return the header of the items in `path`, the defaults when it has none; DataError names what is wrong."""
    place = header_path(path)
    if not place.is_file():
        return Header()
    try:
        value = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: {error}", "a benchmark's header is TOML", "mend the line named") from None
    try:
        header = Header.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        known = ", ".join(Header.model_fields)
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{place}: {key}: {first['msg']}", f"a header holds {known}", "mend that line") from None
    if header.scorer not in SCORERS:
        raise DataError(
            f"{place}: scorer = {header.scorer!r} is not known", f"scorers are {', '.join(SCORERS)}", "choose one"
        )
    if header.method != "generation" and header.scorer != "choice":
        raise DataError(
            f"{place}: method = {header.method!r} with scorer {header.scorer!r}",
            "only options have likelihoods to choose by",
            'set scorer = "choice", or method = "generation"',
        )
    return header
