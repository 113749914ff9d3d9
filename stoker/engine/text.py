"""An answer's text as it grows: whole characters only, cut at the first stop string, nothing told that may be one's beginning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class GrowingText:
    """The text of an answer's tokens so far. `take` gives what may be told and was not; `is_stopped`: a stop string came."""

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._ids: list[int] = []
        self._told = self._window = self._read = 0
        self.text = ""
        self.is_stopped = False

    def add(self, token: int) -> None:
        """Append a token; its text is read when it is needed."""
        self._ids.append(token)

    def read(self) -> None:
        """Bring `text` up to the last whole character and look for stop strings."""
        if self.is_stopped or self._read == len(self._ids):
            return
        known = self._decode(self._ids[self._window : self._read])
        whole = self._decode(self._ids[self._window :])
        if whole.endswith("\ufffd") or len(whole) < len(known):
            return
        before = len(self.text)
        self.text += whole[len(known) :]
        self._window, self._read = self._read, len(self._ids)
        self._look_for_stops(before)

    def finish(self) -> None:
        """Read what is left: a character that was never completed stays as it is."""
        if self.is_stopped:
            return
        before, whole = len(self.text), self._decode(self._ids)
        if whole.startswith(self.text):
            self.text = whole
        self._look_for_stops(before)

    def take(self, *, is_over: bool = False) -> str:
        """Return the text not told yet, but for an end that may be the beginning of a stop string."""
        end = len(self.text) if is_over else len(self.text) - self._num_held()
        piece = self.text[self._told : end]
        self._told = max(self._told, end)
        return piece

    def _look_for_stops(self, before: int) -> None:
        found = [at for stop in self._stops if (at := self.text.find(stop, max(0, before - len(stop) + 1))) >= 0]
        if found:
            self.text, self.is_stopped = self.text[: min(found)], True

    def _num_held(self) -> int:
        for length in range(max(map(len, self._stops), default=1) - 1, 0, -1):
            if any(len(stop) > length and self.text.endswith(stop[:length]) for stop in self._stops):
                return length
        return 0

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""
