"""The daily report as people read it: page and text say the same, nothing in a name can act, small plots are true."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from page_reader import Page

from stoker.analysis.eta import Eta
from stoker.report.advice import advise, find_needs
from stoker.report.charts import line, spans
from stoker.report.daily import (
    Bill,
    Champion,
    DailyFacts,
    IncidentPart,
    QueuedJob,
    RejectedFile,
    RunBill,
    Score,
    Standing,
    TrainedFile,
    VerdictPart,
    run_part,
)
from stoker.report.daily_page import MAX_PLOTS, daily_page, daily_text
from stoker.report.tables import MAX_ROWS

HOSTILE = "<script>alert(1)</script>|`a`\n# b](javascript:x) <img src=x onerror=y>\u202egnp\x1b[31m"
NOTHING: dict[str, list[dict[str, Any]]] = {
    "parked": [], "failed": [], "paused": [], "short_of_space": [], "waiting": [], "evaluations": [], "alerts": [],
}  # fmt: skip


def night(idle: DailyFacts, word: str = "orders.jsonl", num_runs: int = 1) -> DailyFacts:
    """Return the facts of a night in which something of everything happened."""
    at = idle.window.begins + 60
    run = {"id": "r1", "name": word, "dataset": "d1", "state": "done", "model": "main", "version": 1, "trial": None,
           "step": 40, "total_steps": 40}  # fmt: skip
    numbers = [float(n) for n in range(1, 41)]
    columns = {"step": numbers, "loss": [3.0 - n / 20 for n in numbers]}
    columns |= {name: [value] * 40 for name, value in (("rows", 4.0), ("tokens", 50.0), ("seconds", 0.5))}
    parts = [run_part(run | {"id": f"r{n}"}, columns, "cuda") for n in range(1, num_runs + 1)]
    score = Score("main/v1", "base", "heldout", "nll", 64, 0.81, 0.93, -0.12, -0.2, -0.04, "better", 0.1, True)
    aside = replace(score, metric="f1", is_primary=False)
    verdict = VerdictPart("e1", "r1", "r1", "main/v1", True, "better", f"Promoted: {word}", at, (score, aside))
    rejected = RejectedFile(word, "d2", f"{word}: not JSON", at)
    return advise(
        replace(
            idle,
            files_accepted=(word,),
            files_trained=(TrainedFile("d1", word, 2000, 1900, 60, 30, 10, "r1", "main/v1", at),),
            files_rejected=(rejected,),
            runs=tuple(parts),
            verdicts=(verdict, replace(verdict, evaluation="e7", run=None, asked_by="hand")),
            champions=(Champion("main", 1, "r1", at, word, (Standing("heldout", "nll", 0.81, 64, "e1", True),)),),
            champion_changes=(f"main: its base → v1. {word} by hand",),
            incidents=(IncidentPart("i1", "divergence", "r1", "critical", "recovered", word, 3, at, at, f"undone {word}"),),
            bill=Bill(1.25, "r1", 0.4, "r1", "EUR", (RunBill("r1", 1.25, 0.4),)),
            queue=(QueuedJob("j9", "r9", word, "queued", None, Eta(90.0, 80.0, 100.0)),),
            queue_eta=Eta(90.0, 80.0, 100.0),
            needs=tuple(find_needs(NOTHING, (), (rejected,), (), 10**12, 10**9)),
        )
    )  # fmt: skip


def test_page_and_text_have_every_figure_with_its_source(idle: DailyFacts) -> None:
    facts = night(idle)
    page, text = Page(daily_page(facts)).text, daily_text(facts).replace("\\", "")
    for said in (page, text):
        for figure in (
            facts.headline, "1 trained, 1 refused", "40 (r1)", "160 rows", "2,000 tokens", "20 s of steps on cuda", "0.00556 (r1)",
            "1.25 kWh (r1)", "0.4 EUR (r1)", "main/v1: promoted (e1)", "main/v1 from r1, since ", "1, none still open",
            "1 file, ETA 1 min 30 s (1 min 20 s to 1 min 40 s)", "1.0 TB free, a run needs 268.4 MB", "r1", "1–40 of 40", "2.875 → 1.075", "e1", "-0.200 to -0.040", "0.930", "0.810", "e7",
            "i1", "(3 events)", "1,900", "d2", "j9", "1 min 30 s", "Europe/Berlin", "3.0 MB", "stoker data show d2",
        ):  # fmt: skip
            assert figure in said, figure


def test_an_idle_day_says_so_and_shows_no_empty_table(idle: DailyFacts) -> None:
    facts = advise(idle)
    page, text = Page(daily_page(facts)).text, daily_text(facts)
    for said in (page, text):
        assert "Idle day: nothing came in and nothing was trained" in said
        assert "Verdicts" not in said and "Incidents" not in said and "Training" not in said


def test_a_report_about_an_older_day_says_of_when_the_queue_is(idle: DailyFacts) -> None:
    assert "as of" not in Page(daily_page(advise(idle))).text
    later = replace(idle, made_at=idle.window.ends + 86_400)
    for said in (Page(daily_page(advise(later))).text, daily_text(advise(later))):
        assert f"Queue, disk and what needs you: as of {idle.window.words(later.made_at)}" in said


def test_a_trend_stands_in_the_table_where_no_plot_shows_it(idle: DailyFacts) -> None:
    assert "▁" not in Page(daily_page(night(idle))).text and "▁" in daily_text(night(idle))
    assert "▁" in Page(daily_page(night(idle, num_runs=MAX_PLOTS + 1))).text


def test_energy_and_cost_stand_beside_their_run_and_nothing_where_none_is_known(idle: DailyFacts) -> None:
    row = next(line for line in daily_text(night(idle)).splitlines() if line.startswith("| r1 "))
    assert row.endswith("| 1.25 kWh | 0.4 EUR |")
    assert "energy |" not in daily_text(replace(night(idle), bill=Bill()))


def test_nothing_in_a_name_can_act(idle: DailyFacts) -> None:
    facts = night(idle, HOSTILE)
    page = Page(daily_page(facts))
    assert not page.tags & {"script", "img", "a", "link", "iframe"}
    assert not any(name.startswith("on") or name in ("href", "src") for name in page.attributes)
    assert "alert(1)" in page.text
    assert "\u202e" not in page.text and "\x1b" not in page.text
    text = daily_text(facts)
    assert re.search(r"(?<!\\)(<|\]\(javascript)", text) is None and "\u202e" not in text
    rows = [row for row in text.splitlines() if row.startswith("| r1 ")]
    assert len(rows) == 1 and len(re.findall(r"(?<!\\)\|", rows[0])) == 12


def test_the_page_loads_nothing_from_elsewhere(idle: DailyFacts) -> None:
    page = daily_page(night(idle))
    assert "default-src 'none'" in page
    assert "http://" not in page and "https://" not in page


def test_many_runs_draw_few_plots_and_long_tables_are_cut_and_say_so(idle: DailyFacts) -> None:
    facts = night(idle, num_runs=MAX_ROWS + 7)
    page = daily_page(facts)
    assert page.count("<polyline") == MAX_PLOTS
    assert f"{MAX_ROWS + 7 - MAX_PLOTS} shorter runs are not drawn" in page
    assert "7 more are in the JSON" in page and "7 more are in the JSON" in daily_text(facts)


def test_the_json_has_the_fields_that_programs_read(idle: DailyFacts) -> None:
    found = orjson.loads(orjson.dumps(night(idle).to_json()))
    assert {
        "headline", "next_action", "files_trained", "files_rejected", "steps", "incidents", "verdicts", "gpu_hours",
        "cost", "energy_kwh", "currency", "queue", "champions", "runs", "used_bytes", "free_bytes", "is_idle",
    } <= found.keys()  # fmt: skip
    assert found["steps"] == sum(run["num_steps"] for run in found["runs"]) == 40
    assert found["gpu_hours"] == pytest.approx(sum(run["seconds"] for run in found["runs"]) / 3600)
    assert found["verdicts"][0]["scores"][0]["low"] == -0.2


def test_a_loss_that_is_not_finite_is_counted_and_not_drawn() -> None:
    run = {"id": "r1", "name": "a", "dataset": "d", "state": "running", "model": "main", "version": 1, "trial": None,
           "step": 2, "total_steps": None}  # fmt: skip
    columns = {name: [1.0, 2.0] for name in ("step", "rows", "tokens", "seconds")}
    part = run_part(run, columns | {"loss": [math.nan, math.nan]}, None)
    assert (part.num_steps, part.first_loss, part.curve, part.version) == (2, None, (), None)


def test_a_refused_spike_is_a_step_and_no_loss_of_the_run() -> None:
    run = {"id": "r1", "name": "a", "dataset": "d", "state": "running", "model": "main", "version": 1, "trial": None,
           "step": 3, "total_steps": None}  # fmt: skip
    columns = {name: [1.0, 2.0, 3.0] for name in ("step", "rows", "tokens", "seconds")} | {"loss": [2.0, 900.0, 1.0]}
    part = run_part(run, columns, None, frozenset({2}))
    assert (part.num_steps, part.first_loss, part.last_loss) == (3, 2.0, 1.0)
    assert [loss for _, loss in part.curve] == [2.0, 1.0]
    assert 900.0 in [loss for _, loss in run_part(run, columns, None).curve]


def test_a_curve_reaches_both_ends_of_both_axes() -> None:
    drawn = line("loss", [(10, 3.0), (20, 1.0), (30, 2.0)])
    assert drawn is not None
    assert drawn.points == "0.00,0.00 50.00,100.00 100.00,50.00"
    assert (drawn.first, drawn.last, drawn.low, drawn.high) == (10, 30, 1.0, 3.0)
    assert line("one point", [(1, 1.0)]) is None
    flat = line("flat", [(1, 1.0), (2, 1.0)])
    assert flat is not None and "nan" not in flat.points


def test_intervals_share_one_scale_around_zero() -> None:
    first, none, second = spans([(-1.0, 0.5, 0.0), None, (1.0, 2.0, 1.5)])
    assert first is not None and second is not None and none is None
    assert (first.low, first.mark, first.high) == (25.0, 50.0, 62.5)
    assert (second.low, second.mark, second.high) == (75.0, 87.5, 100.0)
    assert spans([(0.0, 0.0, 0.0)])[0] is not None
    (small,) = spans([(-0.01, 0.03, 0.01)], least_reach=0.1)
    assert small is not None and (small.low, small.high) == (45.0, 65.0), "a small difference looks small"
