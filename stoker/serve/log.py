"""The log of requests: lines, what each pass used, and feedback, in `requests.db`, written in batches by a thread of its own.

Adding never waits for the disk. A disk that is full costs lines, which are counted and told once, and no request. What
passes used is never dropped: it is added up until it can be written. Reading is in `log_queries`.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stoker.faults import fault_point
from stoker.serve.database import damage_told, is_busy, open_database, transaction
from stoker.serve.quotas import IN_ALL, Quotas, day

GrantKind = Literal["open", "key", "link"]

FILE = "requests.db"
VERSION = 1
SCHEMA = """
CREATE TABLE requests (
    id TEXT PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, pass TEXT, model TEXT NOT NULL, endpoint TEXT NOT NULL,
    status INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, first_token_seconds REAL,
    seconds REAL, error TEXT, confidence REAL, prompt TEXT, answer TEXT
);
CREATE INDEX requests_by_time ON requests (time);
CREATE TABLE usage (
    pass TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL, tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL, refused INTEGER NOT NULL, PRIMARY KEY (pass, day)
);
CREATE TABLE feedback (
    request TEXT PRIMARY KEY, time REAL NOT NULL, rating TEXT NOT NULL, comment TEXT, correction TEXT
);
CREATE TABLE lost (time REAL NOT NULL, lines INTEGER NOT NULL, reason TEXT NOT NULL)
"""
BATCH_SECONDS = 0.1
_MOST_WAITING = 20_000
_BUSY_SECONDS = 5.0
_PRUNE_SECONDS = 3600.0
_PRUNED_AT_ONCE = 5000
_LARGEST = 2**63 - 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Line:
    """One request that ended. `prompt` and `answer` only where they are kept."""

    id: str
    time: float
    kind: GrantKind
    pass_id: str | None
    model: str
    endpoint: str
    status: int
    tokens_in: int
    tokens_out: int
    first_token_seconds: float | None
    seconds: float
    error: str | None = None
    confidence: float | None = None
    prompt: Any = None
    answer: str | None = None


@dataclass
class Used:
    """What a pass used on a day since the last write."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    refused: int = 0


class RequestLog:
    """The writer of `requests.db`. Raises StoreLost at once when the file is damaged."""

    def __init__(self, folder: Path, *, keep_days: int, quotas: Quotas, now: Callable[[], float] = time.time) -> None:
        self.path = folder / FILE
        self._keep_seconds = keep_days * 86_400.0
        self._quotas, self._now = quotas, now
        self._changed = threading.Condition()
        self._lines: list[Line] = []
        self._used: dict[tuple[str, str], Used] = {}
        self._written: dict[tuple[str, str], Used] = {}
        self._lost, self._reason = 0, ""
        self._added, self._settled = 0, 0
        self._is_hurried = self._is_writing = self._is_closing = False
        self._connection: sqlite3.Connection | None = None
        self._inode = -1
        self._pruned_at = -math.inf
        self._open()
        self._know_what_was_used()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def add(self, line: Line) -> None:
        """Take a line; it is written soon. A line too many is dropped and counted."""
        with self._changed:
            self._wake_writer()
            self._added += 1
            if len(self._lines) >= _MOST_WAITING:
                self._settled += 1
                self._lose(1, "the disk is too slow for them")
            else:
                self._lines.append(line)

    def use(self, pass_id: str, today: str, *, requests: int = 0, tokens_in: int = 0, tokens_out: int = 0, refused: int = 0) -> None:  # fmt: skip
        """Count what a pass used."""
        with self._changed:
            self._wake_writer()
            used = self._used.setdefault((pass_id, today), Used())
            _add(used, Used(requests, _whole(tokens_in), _whole(tokens_out), refused))

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until what was added is written or lost; tell whether that came true in time."""
        with self._changed:
            wanted = self._added
            self._is_hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: self._settled >= wanted and not (self._used or self._is_writing), seconds
            )

    def close(self) -> None:
        """Write what is left and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(_BUSY_SECONDS + 10.0)
        if self._lost:
            log.warning("%d lines of the request log were lost: %s", self._lost, self._reason)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_work() or self._is_closing, _PRUNE_SECONDS)
                self._changed.wait_for(lambda: self._is_closing or self._is_hurried, BATCH_SECONDS)
                lines, used = self._lines, self._used
                self._lines, self._used = [], {}
                self._is_hurried, is_last = False, self._is_closing
                self._is_writing = True
            is_done = self._try(lines, used)
            if is_last:
                break
            if not is_done:
                self._wait_a_second()
        if self._connection is not None:
            self._connection.close()

    def _wake_writer(self) -> None:
        """Wake it for the first piece of a batch; the rest it finds."""
        if not self._has_work():
            self._changed.notify_all()

    def _has_work(self) -> bool:
        return bool(self._lines or self._used)

    def _wait_a_second(self) -> None:
        """Wait before what failed is tried again, unless the log is closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing, 1.0)

    def _try(self, lines: list[Line], used: dict[tuple[str, str], Used]) -> bool:
        """Write a batch; tell whether it is settled. Usage always stays to be written, lines only while the file is busy."""
        try:
            self._write(lines, used)
        except Exception as error:  # noqa: BLE001 - whatever the disk does, the thread goes on and requests with it
            self._close()
            with self._changed:
                for key, one in used.items():
                    _add(self._used.setdefault(key, Used()), one)
                if is_busy(error) and not self._is_closing:
                    self._lines[:0] = lines
                else:
                    self._settled += len(lines)
                    self._lose(len(lines), str(error))
                self._is_writing = False
                self._changed.notify_all()
            return False
        with self._changed:
            self._settled += len(lines)
            self._is_writing = False
            self._changed.notify_all()
        return True

    def _lose(self, num_lines: int, reason: str) -> None:
        if not self._reason:
            log.warning("the request log can't be written (%s); requests go on, their lines are lost", reason)
        self._lost, self._reason = self._lost + num_lines, reason

    def _write(self, lines: list[Line], used: dict[tuple[str, str], Used]) -> None:
        if self._connection is None or self._is_replaced():
            self._close()
            self._open()
        connection = self._connection
        assert connection is not None
        lost, reason = self._lost, self._reason
        fault_point("requests.write")
        with transaction(connection):
            connection.executemany(_INSERT, [_row(line) for line in lines])
            connection.executemany(_ADD_USE, [(*key, *_values(one)) for key, one in used.items()])
            if lost:
                connection.execute("INSERT INTO lost VALUES (?, ?, ?)", (self._now(), lost, _text(reason)))
            totals = [(key, _totals(connection, *key)) for key in used]
        if reason:
            log.warning("the request log is written again; %d lines were lost", lost)
        with self._changed:
            self._lost -= lost
            self._reason = self._reason if self._lost else ""
        for key, found in totals:
            self._tell_quotas(key, used[key], found)
        self._prune(connection)

    def _tell_quotas(self, key: tuple[str, str], new: Used, found: tuple[tuple[int, int], tuple[int, int]]) -> None:
        """Take up what other servers of this lab let through: all that is written, less what was written here."""
        pass_id, today = key
        for period, (requests, tokens) in zip((today, IN_ALL), found, strict=True):
            mine = self._written.setdefault((pass_id, period), Used())
            _add(mine, new)
            self._quotas.know(pass_id, period, requests - mine.requests, tokens - mine.tokens_in - mine.tokens_out)

    def _know_what_was_used(self) -> None:
        assert self._connection is not None
        query = "SELECT pass, day, requests, tokens_in + tokens_out FROM usage"
        in_all: dict[str, list[int]] = {}
        with damage_told(self.path):
            rows = self._connection.execute(query).fetchall()
        for pass_id, period, requests, tokens in rows:
            self._quotas.know(pass_id, period, requests, tokens)
            sums = in_all.setdefault(pass_id, [0, 0])
            sums[0] += requests
            sums[1] += tokens
        for pass_id, (requests, tokens) in in_all.items():
            self._quotas.know(pass_id, IN_ALL, requests, tokens)

    def _prune(self, connection: sqlite3.Connection) -> None:
        if time.monotonic() - self._pruned_at < _PRUNE_SECONDS:
            return
        recent = day(self._now() - 2 * 86_400)
        self._written = {key: used for key, used in self._written.items() if key[1] == IN_ALL or key[1] >= recent}
        if not self._keep_seconds:
            self._pruned_at = time.monotonic()
            return
        oldest = self._now() - self._keep_seconds
        old = "SELECT id FROM requests WHERE time < ? LIMIT ?"
        with transaction(connection):
            connection.execute(f"DELETE FROM feedback WHERE request IN ({old})", (oldest, _PRUNED_AT_ONCE))
            num = connection.execute(f"DELETE FROM requests WHERE id IN ({old})", (oldest, _PRUNED_AT_ONCE)).rowcount
        if num < _PRUNED_AT_ONCE:
            self._pruned_at = time.monotonic()

    def _open(self) -> None:
        if self._inode != -1 and not self.path.exists():
            log.warning("%s was deleted while requests were answered; a new one is begun", self.path)
        self._connection = open_database(self.path, SCHEMA, VERSION, busy_seconds=_BUSY_SECONDS)
        self._inode = self.path.stat().st_ino

    def _is_replaced(self) -> bool:
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_COLUMNS = (
    "id", "time", "kind", "pass", "model", "endpoint", "status", "tokens_in", "tokens_out", "first_token_seconds",
    "seconds", "error", "confidence", "prompt", "answer",
)  # fmt: skip
_INSERT = f"INSERT OR REPLACE INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_ADD_USE = """
INSERT INTO usage (pass, day, requests, tokens_in, tokens_out, refused) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (pass, day) DO UPDATE SET requests = requests + excluded.requests, tokens_in = tokens_in + excluded.tokens_in,
    tokens_out = tokens_out + excluded.tokens_out, refused = refused + excluded.refused
"""


def _totals(connection: sqlite3.Connection, pass_id: str, today: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return requests and tokens of that day, and in all."""
    sums = "SELECT total(requests), total(tokens_in + tokens_out) FROM usage WHERE pass = ?"
    of_day = connection.execute(f"{sums} AND day = ?", (pass_id, today)).fetchone()
    in_all = connection.execute(sums, (pass_id,)).fetchone()
    return (int(of_day[0]), int(of_day[1])), (int(in_all[0]), int(in_all[1]))


def _row(line: Line) -> tuple[Any, ...]:
    """Return what is stored: whatever a client or an engine said, one line never spoils a batch."""
    prompt = None if line.prompt is None else _text(json.dumps(line.prompt, ensure_ascii=False, default=str))
    return (
        line.id, line.time, line.kind, line.pass_id, _text(line.model), line.endpoint, line.status,
        _whole(line.tokens_in), _whole(line.tokens_out), line.first_token_seconds, line.seconds, _text(line.error),
        line.confidence, prompt, _text(line.answer),
    )  # fmt: skip


def _text(text: str | None) -> str | None:
    """Return the text with lone surrogates, which no file can hold, as question marks."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _whole(number: int) -> int:
    return max(0, min(int(number), _LARGEST))


def _values(used: Used) -> tuple[int, int, int, int]:
    return used.requests, used.tokens_in, used.tokens_out, used.refused


def _add(to: Used, more: Used) -> None:
    to.requests += more.requests
    to.tokens_in += more.tokens_in
    to.tokens_out += more.tokens_out
    to.refused += more.refused
