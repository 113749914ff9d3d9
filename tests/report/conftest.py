"""Facts of a report as `gather` would make them: an idle lab, changed where a test needs it."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.report.daily import Bill, DailyFacts
from stoker.report.window import Window

DAY = 86_400.0
BEGINS = 1_795_000_000.0


@pytest.fixture
def idle() -> DailyFacts:
    names = (
        "files_accepted", "files_trained", "files_rejected", "runs", "versions", "verdicts", "champions",
        "champion_changes", "incidents", "queue", "needs", "evaluations_to_go",
    )  # fmt: skip
    values: dict[str, Any] = dict.fromkeys(names, ())
    return DailyFacts(
        window=Window(BEGINS, BEGINS + DAY, "Europe/Berlin"),
        made_at=BEGINS + DAY,
        lab="/labs/one",
        state="idle",
        bill=Bill(),
        free_bytes=10**12,
        needed_bytes=256 << 20,
        queue_eta=None,
        used_bytes=(("versions", 3_000_000), ("everything else", 1_000)),
        is_queue_paused=False,
        **values,
    )
