"""Taking files in: a whole file of the inbox becomes an immutable copy, a row of the store, and then leaves the inbox.

Order of the effects, so that a crash between any two repeats a step and loses nothing: the copy is durable under its
SHA-256; the row and its event are committed; the original is removed. A file found again after a crash is known by its
hash. The inbox is never the source of truth.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import watchfiles
from sqlalchemy import insert, select, update

from stoker.data.accept import accept_file
from stoker.durable import retire, sweep
from stoker.errors import DiskFull, InvalidInput, TemporaryError
from stoker.registry import families
from stoker.store import tables as t
from stoker.store.families import keepers, standings
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import rejection
from stoker.supervisor.context import Context
from stoker.supervisor.settling import Settling, scan

log = logging.getLogger(__name__)

SAFETY_SCAN_SECONDS = 10.0
RETRY_SECONDS = 15.0


@dataclass(frozen=True)
class Taken:
    """What became of a file: its dataset, and whether its content was new."""

    dataset: str
    is_new: bool


class Inbox:
    """Looks at the inbox when something happened there, and takes what is whole."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settling = Settling()
        self._told: set[Path] = set()
        self._retry_at: dict[Path, float] = {}
        self._next_scan = 0.0
        self._has_news = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.is_busy = True

    def start(self) -> None:
        """Begin to listen for file events; with `force_polling` the folder is only looked at now and then."""
        if self._context.spec.intake.force_polling:
            return
        self._thread = threading.Thread(target=self._listen, name="inbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def tick(self) -> bool:
        """Take the files that are whole; return whether any was taken."""
        now = self._context.now()
        if not self._has_news.is_set() and now < self._next_scan:
            return False
        self._has_news.clear()
        intake = self._context.spec.intake
        seen, unreadable = scan(self._context.workspace.inbox)
        self._tell_unreadable(unreadable)
        waiting = [file for file in seen if self._retry_at.get(file.path, 0.0) <= now]
        whole = self._settling.whole(waiting, now, intake.settle_seconds)
        took = [self._take_safely(path) for path in whole]
        self.is_busy = bool(waiting)
        pause = intake.poll_seconds if intake.force_polling else SAFETY_SCAN_SECONDS
        self._next_scan = now + (max(0.02, min(0.25, intake.settle_seconds / 4)) if self.is_busy else pause)
        return any(took)

    def take(self, path: Path, *, priority: int = 0, is_kept: bool = False) -> Taken:
        """Accept one file now. `is_kept`: the original stays where it is (a file named on the command line)."""
        workspace = self._context.workspace
        accepted = accept_file(path, workspace.files)
        with self._context.store.transaction() as transaction:
            taken = _record(transaction, path, accepted.sha256, accepted.bytes, priority, is_kept=is_kept)
        if not is_kept:
            path.unlink(missing_ok=True)
            with self._context.store.transaction() as transaction:
                clear = update(t.files).where(t.files.c.sha256 == accepted.sha256).values(inbox_path=None)
                transaction.execute(clear)
        return taken

    def _take_safely(self, path: Path) -> bool:
        try:
            before = path.stat()
            self.take(path)
        except InvalidInput as refusal:
            self._reject(path, refusal)
        except DiskFull as error:
            self._retry_at[path] = self._context.now() + RETRY_SECONDS
            self._tell("warn", "inbox.disk-full", f"{path.name} waits in the inbox: {error}")
            return False
        except TemporaryError:
            return False  # it is being written again; the next scan sees a new time
        except FileNotFoundError:
            return False
        except OSError as error:
            self._retry_at[path] = self._context.now() + RETRY_SECONDS
            self._tell_left(path, error.strerror or str(error))
            return False
        log.info("took %s (%d bytes)", path, before.st_size)
        return True

    def _reject(self, path: Path, refusal: InvalidInput) -> None:
        """Move a file that is refused before it is read; nothing of it was accepted."""
        words = {"what": refusal.what, "why": refusal.why, "remedy": refusal.remedy}
        modified_ns = path.lstat().st_mtime_ns
        target = self._context.workspace.rejected / path.name
        if os.path.lexists(target):
            target = target.with_name(f"{path.stem}-{modified_ns}{path.suffix}")
        rejection.put_report(self._context.workspace, target.name, rejection.report_text(path.name, words))
        path.replace(target)
        self._tell("warn", "file.rejected", f"{path.name} was rejected: {refusal}")

    def _tell_unreadable(self, unreadable: dict[Path, str]) -> None:
        """Say once that a path can't be read; what can be read again loses its report."""
        for path in [path for path in self._told if path not in unreadable and path not in self._retry_at]:
            (self._context.workspace.rejected / f"{path.name}{rejection.REPORT_SUFFIX}").unlink(missing_ok=True)
            self._told.discard(path)
        for path, reason in unreadable.items():
            self._tell_left(path, reason)

    def _tell_left(self, path: Path, reason: str) -> None:
        """Report a path that stays in the inbox because it can't be read."""
        if path in self._told:
            return
        self._told.add(path)
        words = {
            "what": f"{path} can't be read: {reason}",
            "why": "a file or folder of the inbox must be readable by the user that runs Stoker; it was left there",
            "remedy": f"chmod -R u+rX '{path}', or take it out of the inbox",
        }
        rejection.put_report(self._context.workspace, path.name, rejection.report_text(path.name, words))
        self._tell("warn", "inbox.unreadable", f"{words['what']}; {words['remedy']}")

    def _tell(self, severity: str, code: str, text: str) -> None:
        with self._context.store.transaction() as transaction:
            transaction.event(severity, code, text)

    def _listen(self) -> None:
        workspace = self._context.workspace
        try:
            for _ in watchfiles.watch(
                workspace.inbox, stop_event=self._stop, debounce=50, step=20, rust_timeout=1000,
                ignore_permission_denied=True, raise_interrupt=False,
            ):  # fmt: skip
                self._has_news.set()
                self._context.wake.set()
        except (OSError, RuntimeError) as error:
            # Without file events (too many watches, an odd file system) the safety scan still finds every file.
            log.warning("no file events from %s: %s", workspace.inbox, error)


def forget_gone(transaction: Transaction) -> None:
    """Note that originals left the inbox, where a crash came between their removal and the note."""
    for row in transaction.rows(select(t.files).where(t.files.c.inbox_path.is_not(None))):
        if not Path(row.inbox_path).exists():
            transaction.execute(update(t.files).where(t.files.c.sha256 == row.sha256).values(inbox_path=None))


def retire_orphans(transaction: Transaction, files: Path) -> None:
    """Remove copies that no row knows: a crash came before their acceptance, the originals are still in the inbox."""
    known = {row.sha256 for row in transaction.rows(select(t.files.c.sha256))}
    sweep(files)
    for folder in files.iterdir():
        if folder.is_dir() and folder.name not in known:
            retire(folder)


def _record(transaction: Transaction, path: Path, sha256: str, size: int, priority: int, *, is_kept: bool) -> Taken:
    """Enter an accepted file; the same content is entered once."""
    known = transaction.first(
        select(t.files, t.datasets.c.id, t.datasets.c.state)
        .join_from(t.files, t.datasets)
        .where(t.files.c.sha256 == sha256)
    )
    inbox_path = None if is_kept else str(path)
    if known is None:
        return _record_new(transaction, path.name, sha256, size, priority, inbox_path)
    if known.state == "rejected":
        set_fields(transaction, t.datasets, known.id, state="accepted", name=path.name, attempts=0, priority=priority)
        transaction.execute(update(t.files).where(t.files.c.sha256 == sha256).values(inbox_path=inbox_path))
        transaction.event("info", "file.accepted", f"{path.name} is read again as {known.id}", dataset=known.id)
        return Taken(known.id, is_new=True)
    if known.inbox_path != str(path):
        text = f"{path.name} has the same content as {known.name}, already accepted as {known.id}; it trains once"
        if known.id in keepers(standings(transaction.connection)):
            text += f". It is not current; to go back to it: stoker data rollback {known.id}"
        transaction.event("info", "file.known", text, dataset=known.id)
    return Taken(known.id, is_new=False)


def _record_new(
    transaction: Transaction, name: str, sha256: str, size: int, priority: int, inbox_path: str | None
) -> Taken:
    dataset_id = f"d{sha256[:12]}"
    transaction.execute(
        insert(t.files).values(sha256=sha256, name=name, bytes=size, inbox_path=inbox_path, accepted_at=transaction.now)
    )
    transaction.execute(
        insert(t.datasets).values(
            id=dataset_id,
            number=transaction.next_number(t.datasets),
            file_sha256=sha256,
            name=name,
            state="accepted",
            priority=priority,
            created=transaction.now,
        )
    )
    transaction.event("info", "file.accepted", f"{name} was accepted as {dataset_id}", dataset=dataset_id)
    families.enter(transaction, dataset_id, name, sha256)
    return Taken(dataset_id, is_new=True)
