"""What can be wrong with a row or a file: stable codes, and for each the remedy.

A `RowProblem` quarantines one row and the file goes on. A file that can't be used at all raises `FileRefused`,
whose `line` (from 1, when one is known) and `file` travel to the report beside the rejected file.
"""

from __future__ import annotations

from stoker.errors import DataError

EXCERPT_CHARS = 200

REMEDIES: dict[str, str] = {
    "not-json": "write one JSON object a line; NaN, Infinity and lone surrogates are not JSON",
    "not-object": "write each row as a JSON object with named keys",
    "line-too-long": "split the row, or raise intake.max_line_megabytes",
    "too-deep": "flatten the row: at most 64 levels of nesting",
    "ragged-row": "give the row as many fields as the header; quote a field that holds the delimiter",
    "unknown-keys": "name the keys as one of the known formats, for example prompt and completion",
    "no-prompt": "give the prompt, or begin chosen and rejected with the same turns",
    "same-answers": "leave the pair out: equal answers teach no preference",
    "null-value": "write the text, or leave the row out",
    "wrong-type": "write text as JSON strings",
    "empty-answer": "write the answer that should be learned, or leave the row out",
    "empty-prompt": "write the prompt, or use a row with only text for plain text",
    "empty-text": "leave the row out",
    "no-messages": "write at least one user and one assistant turn",
    "bad-role": "use the roles system, user, assistant, tool",
    "no-answer": "end the conversation with the assistant's turn",
    "roles-out-of-order": "start with system or user, then alternate; a tool result follows a tool call",
    "unsupported-part": "keep text parts only; images and audio are not trained",
    "bad-weight": "give a turn the weight 0 or 1",
    "nothing-trained": "leave the row out, or give a turn of the assistant the weight 1",
    "bad-tool-call": "give each call a name and its arguments as a JSON object",
    "bad-tools": "give tools as a list of JSON objects, each with a name",
    "duplicate-in-file": "nothing to do: the first copy counts",
    "duplicate-of-earlier": "nothing to do: the row was accepted before",
    "sealed-copy": "nothing to do: a sealed test row never trains",
    "near-sealed": "nothing to do: what is nearly a sealed test row never trains",
    "benchmark-overlap": "remove the row from the file or the item from the benchmark",
}


class RowProblem(Exception):
    """Why one row is quarantined: a stable `code` of REMEDIES and the `reason` with the value at fault."""

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"{code}: {reason}")

    @property
    def remedy(self) -> str:
        return REMEDIES[self.code]


class FileRefused(DataError):
    """A file that can't become a dataset; the lab goes on with the next."""

    def __init__(self, what: str, why: str, remedy: str, line: int | None = None) -> None:
        super().__init__(what, why, remedy)
        self.line = line
        self.findings: list[str] = []


def excerpt(value: str | bytes) -> str:
    """Return the first EXCERPT_CHARS characters, safe to show and to store as JSON."""
    if isinstance(value, bytes):
        value = value[: EXCERPT_CHARS * 4].decode("utf-8", errors="replace")
    return value[:EXCERPT_CHARS]


def shown(value: object) -> str:
    """Return a value short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
