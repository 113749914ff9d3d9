"""Writes the daily report when it is due, and enters every report into the store.

A report is due at the times of [report]. The store keeps up to when reports were made; that moment, the report's row and the
event `report.ready` are one transaction, so a report is made once however often the supervisor starts. Times that were missed while
no supervisor ran are made up by one report at the start, which begins where the last one ended. A report that can't be made
harms nothing else: it is told once and tried again later.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import insert, select, update

from stoker.report.gathering import gather
from stoker.report.publishing import entry_of, write_report
from stoker.report.window import Window, due_before, local
from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.store.report_queries import BEGAN
from stoker.store.store import Transaction
from stoker.supervisor.context import Context

log = logging.getLogger(__name__)

CHECK_SECONDS = 15.0
RETRY_SECONDS = 600.0
MADE_UP_TO = "reports_made_up_to"
_FIELDS = ("begins", "ends", "headline", "path", "created")


class Reporting:
    """Looks now and then whether a report is due."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._next_look = 0.0
        self._failed_due: float | None = None

    def tick(self) -> None:
        """Make the report that is due, if any."""
        now = self._context.now()
        if now < self._next_look:
            return
        self._next_look = now + CHECK_SECONDS
        self._context.refresh_settings()
        window = self._due_window(now)
        if window is None:
            return
        try:
            self._make(window)
        except Exception as error:
            # Whatever is wrong with a report, the lab goes on; it is a page for people.
            log.exception("the report due at %s can't be made", window.ends)
            self._next_look = now + RETRY_SECONDS
            self._tell_failure(window, error)

    def _due_window(self, now: float) -> Window | None:
        """Return the window of a report that is due. A schedule begins when it is first seen: nothing before is due."""
        spec, timezone = self._context.spec.report, self._context.spec.lab.timezone
        due = due_before(spec, now, timezone)
        with self._context.store.transaction() as transaction:
            if transaction.get(BEGAN) is None:
                transaction.put(BEGAN, now)
            made_up_to = transaction.get(MADE_UP_TO)
            if due is None and made_up_to is not None:
                transaction.put(MADE_UP_TO, None)
            elif due is not None and made_up_to is None:
                transaction.put(MADE_UP_TO, now)
        if due is None or made_up_to is None or due <= made_up_to:
            return None
        previous = due_before(spec, due - 1.0, timezone)
        assert previous is not None, "a schedule has a time before"
        return Window(min(previous, made_up_to), due, timezone)

    def _make(self, window: Window) -> None:
        workspace = self._context.workspace
        facts = gather(Reader(workspace), window, self._context.now(), self._context.spec)
        page = write_report(workspace, facts)
        with self._context.store.transaction() as transaction:
            report_id = record(transaction, entry_of(workspace, facts, page))
            transaction.put(MADE_UP_TO, window.ends)
            text = f"{facts.headline} Next: {facts.next_action}"
            transaction.event(
                "info", "report.ready", text, report=report_id, path=str(page), headline=facts.headline,
                next_action=facts.next_action,
            )  # fmt: skip

    def _tell_failure(self, window: Window, error: Exception) -> None:
        if self._failed_due == window.ends:
            return
        self._failed_due = window.ends
        due = local(window.ends, window.timezone).strftime("%Y-%m-%d %H:%M")
        with self._context.store.transaction() as transaction:
            text = f"the report due at {due} can't be made: {error}; it is tried again every {RETRY_SECONDS / 60:g} min"
            transaction.event("warn", "report.failed", text)


def record(transaction: Transaction, fields: dict[str, Any]) -> str:
    """Enter a report and return its id; one that was written again keeps its id."""
    entry = {name: fields[name] for name in _FIELDS}
    p = t.reports
    known: str | None = transaction.scalar(select(p.c.id).where(p.c.path == entry["path"]))
    if known is not None:
        transaction.execute(update(p).where(p.c.id == known).values(**entry))
        return known
    number = transaction.next_number(p)
    transaction.execute(insert(p).values(id=f"rep{number}", number=number, **entry))
    return f"rep{number}"
