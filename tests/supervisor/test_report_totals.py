"""The totals of a report, counted a second time from what the workers wrote: repeats, midnight and rollbacks included."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import insert, update

from stoker.analysis.forecast import queue_etas
from stoker.durable import publish_folder
from stoker.mailbox.messages import MESSAGES
from stoker.report.daily import DailyFacts
from stoker.report.gathering import gather
from stoker.report.window import Window
from stoker.spec.lab import LabSpec
from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.store.store import set_fields
from stoker.supervisor import ingest, queue, recover

MIDNIGHT = 1_000_000.0
DAY = 86_400.0
YESTERDAY = Window(MIDNIGHT - DAY, MIDNIGHT)
TODAY = Window(MIDNIGHT, MIDNIGHT + DAY)


class Training:
    """A run whose worker's messages a test writes, second by second."""

    def __init__(self, lab: Any, number: int) -> None:
        self.lab, self.run, self.dataset = lab, f"r{number}", lab.dataset(number)
        lab.workspace.run(self.run).mkdir(parents=True)
        with lab.store.transaction() as tx:
            values = {"state": "running", "started_at": MIDNIGHT - DAY, "model": "main", "version": number}
            set_fields(tx, t.runs, self.run, **values)

    def start(self, fence: int, moment: float, resumed_from: int | None = None, device: str = "cpu") -> None:
        with self.lab.store.transaction() as tx:
            set_fields(tx, t.runs, self.run, fence=fence)
        self.voice = self.lab.outbox(self.run, fence)
        self.voice.send("started", time=moment, device=device, resumed_from=resumed_from)

    def steps(self, first: int, last: int, since: float, every: float = 10.0) -> None:
        for place, step in enumerate(range(first, last + 1)):
            self.voice.send(
                "step", time=since + every * place, step=step, total_steps=last, loss=2.0 - step / 100,
                learning_rate=1e-3, grad_norm=1.0, tokens=100, rows=4, seconds=0.5, epoch=step / last,
            )  # fmt: skip

    def enter(self) -> None:
        with self.lab.store.transaction() as tx:
            ingest.read_run(tx, self.run, self.lab.workspace.run(self.run))

    def counted_again(self, window: Window) -> tuple[int, int, float]:
        """Count steps, rows and seconds from the messages alone: of each step the last time it was made."""
        last: dict[int, dict[str, Any]] = {}
        for line in (self.lab.workspace.run(self.run) / MESSAGES).read_bytes().splitlines():
            message = orjson.loads(line)
            if message["kind"] == "started" and message.get("resumed_from") is not None:
                last = {step: one for step, one in last.items() if step <= message["resumed_from"]}
            if message["kind"] == "step":
                last[message["step"]] = message
        within = [one for one in last.values() if window.has(one["time"])]
        return len(within), sum(one["rows"] for one in within), sum(one["seconds"] for one in within)


def report(lab: Any, window: Window) -> DailyFacts:
    return gather(Reader(lab.workspace), window, MIDNIGHT + DAY, lab.context.spec)


def totals(lab: Any, window: Window) -> tuple[int, int, float]:
    facts = report(lab, window)
    return facts.steps, facts.rows, facts.training_seconds


def test_a_run_over_midnight_is_in_both_days_and_no_step_in_two(lab: Any) -> None:
    run = Training(lab, 1)
    run.start(1, MIDNIGHT - 100)
    run.steps(1, 20, since=MIDNIGHT - 95)
    run.enter()
    assert totals(lab, YESTERDAY) == run.counted_again(YESTERDAY) == (10, 40, 5.0)
    assert totals(lab, TODAY) == run.counted_again(TODAY) == (10, 40, 5.0)


def test_steps_that_a_resumed_run_repeats_count_once_when_they_were_last_made(lab: Any) -> None:
    run = Training(lab, 1)
    run.start(1, MIDNIGHT - 200)
    run.steps(1, 15, since=MIDNIGHT - 195)
    run.enter()
    run.start(2, MIDNIGHT + 5, resumed_from=8)
    run.steps(9, 30, since=MIDNIGHT + 10)
    run.enter()
    assert totals(lab, YESTERDAY) == run.counted_again(YESTERDAY) == (8, 32, 4.0)
    assert totals(lab, TODAY) == run.counted_again(TODAY) == (22, 88, 11.0)


def test_steps_from_before_a_run_went_back_are_not_part_of_it(lab: Any) -> None:
    run = Training(lab, 1)
    run.start(1, MIDNIGHT + 1)
    run.steps(1, 15, since=MIDNIGHT + 2)
    run.enter()
    run.start(2, MIDNIGHT + 500, resumed_from=6)
    run.enter()
    assert totals(lab, TODAY) == run.counted_again(TODAY) == (6, 24, 3.0)


def test_the_sum_over_runs_is_what_their_messages_say(lab: Any) -> None:
    runs = [Training(lab, number) for number in (1, 2, 3)]
    for number, run in enumerate(runs, start=1):
        run.start(1, MIDNIGHT + 1000 * number)
        run.steps(1, 7 * number, since=MIDNIGHT + 1000 * number + 1)
        run.enter()
    assert report(lab, YESTERDAY).runs == ()
    again = [run.counted_again(TODAY) for run in runs]
    assert totals(lab, TODAY) == tuple(sum(column) for column in zip(*again, strict=True))
    facts = report(lab, TODAY)
    assert [(part.run, part.steps, part.device) for part in facts.runs] == [
        ("r1", (1, 7), "cpu"), ("r2", (1, 14), "cpu"), ("r3", (1, 21), "cpu"),
    ]  # fmt: skip
    assert facts.runs[2].first_loss == pytest.approx(2.0 - 1.5 / 100)
    assert facts.runs[2].first_steps == (1, 2)
    assert facts.runs[2].last_steps == (20, 21)


def test_a_file_is_trained_on_the_day_its_run_was_done(lab: Any) -> None:
    run = Training(lab, 1)
    run.start(1, MIDNIGHT - 50)
    run.steps(1, 8, since=MIDNIGHT - 45)
    run.enter()
    lab.publish("main", 1, [run.dataset])
    lab.clock.now = MIDNIGHT + 60
    with lab.store.transaction() as tx:
        tx.execute(
            insert(t.models).values(
                name="main", number=1, family="main", base="tiny", revision="main", shape={}, created=0.0
            )
        )
        recover.run_ended(lab.context, tx, run.run, {"exit": 0})
    before, after = (report(lab, window) for window in (YESTERDAY, TODAY))
    assert before.files_trained == () and before.steps == 5
    (file,) = after.files_trained
    assert (file.run, file.version, file.dataset) == ("r1", "main/v1", run.dataset)
    assert file.rows_in == file.train + file.held_out + file.duplicate + file.quarantined == 10
    assert after.headline == "Needs you: 1 job waits, and no supervisor is running. 1 file trained."
    assert after.evaluations_to_go == ("e1 of main/v1",)


def test_crashes_are_told_with_what_was_done_and_a_parked_run_needs_a_person(lab: Any) -> None:
    run = Training(lab, 1)
    lab.clock.now = MIDNIGHT + 10
    for _ in range(3):
        with lab.store.transaction() as tx:
            recover.run_crashed(lab.context, tx, run.run, "killed")
    facts = report(lab, TODAY)
    assert [(one.kind, one.num_events) for one in facts.incidents] == [("run.crashed", 2), ("run.parked", 1)]
    assert facts.headline.startswith("Needs you: r1 (f1.jsonl) is parked at step 0")
    assert facts.next_command == "stoker queue retry j1"
    with lab.store.transaction() as tx:
        queue.retry(tx, "j1")
    assert report(lab, TODAY).next_command != "stoker queue retry j1"


def test_incidents_take_the_place_of_their_events(lab: Any) -> None:
    lab.dataset(1)
    with lab.store.transaction() as tx:
        tx.execute(
            insert(t.incidents).values(
                id="i1", number=1, kind="divergence", subject="r1", severity="critical", state="recovered",
                title="the loss of r1 rises", num_events=2, opened_at=MIDNIGHT + 5, updated_at=MIDNIGHT + 9,
            )
        )  # fmt: skip
        tx.execute(
            insert(t.events),
            [
                {"time": MIDNIGHT + 5, "severity": "critical", "code": "divergence", "text": "rises", "run": "r1",
                 "incident": "i1", "data": {}},
                {"time": MIDNIGHT + 6, "severity": "warn", "code": "recovery.rolled-back", "text": "back to step 40",
                 "run": "r1", "incident": "i1", "data": {}},
                {"time": MIDNIGHT + 7, "severity": "warn", "code": "step.skipped", "text": "skipped", "run": "r1",
                 "incident": None, "data": {}},
            ],
        )  # fmt: skip
    facts = report(lab, TODAY)
    assert [(one.id, one.kind, one.done) for one in facts.incidents] == [
        ("i1", "divergence", "back to step 40"), (None, "step.skipped", None),
    ]  # fmt: skip


def test_an_incident_that_was_opened_again_is_in_the_report(lab: Any) -> None:
    with lab.store.transaction() as tx:
        times = {"opened_at": MIDNIGHT - 900, "updated_at": MIDNIGHT - 5, "closed_at": MIDNIGHT - 500}
        known = {"kind": "hang", "subject": "r1", "severity": "warn", "title": "stands still", "num_events": 1, **times}
        tx.execute(insert(t.incidents).values(id="i1", number=1, state="recovered", **known))
        tx.execute(insert(t.incidents).values(id="i2", number=2, state="open", **known))
    assert [one.id for one in report(lab, TODAY).incidents] == ["i2"]
    assert [one.id for one in report(lab, YESTERDAY).incidents] == ["i1", "i2"]


def test_the_queue_has_the_forecast_of_the_command_line(lab: Any) -> None:
    done, going = Training(lab, 1), Training(lab, 2)
    for run in (done, going):
        run.start(1, MIDNIGHT + 1)
        run.voice.send("plan", time=MIDNIGHT + 1, total_steps=16, tokens=1600, method="full")
        run.steps(1, 16, since=MIDNIGHT + 2)
        run.enter()
    lab.dataset(3)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="done", ended_at=MIDNIGHT + 300)
        set_fields(tx, t.runs, "r2", total_steps=36)
    facts = report(lab, TODAY)
    reader = Reader(lab.workspace)
    ends, all_done = queue_etas(reader, reader.queue())
    # 20 steps of half a second are left, and what lies beside the steps of a run; the third file is as large as the first.
    assert [(job.run, job.eta) for job in facts.queue] == list(zip(("r2", "r3"), ends, strict=True))
    assert facts.queue_eta == all_done == ends[-1] and all_done is not None
    assert all_done.low < all_done.seconds < all_done.high
    assert facts.to_json()["queue_eta"] == all_done.to_json() == facts.to_json()["queue"][-1]["eta"]


def test_the_disk_is_low_when_less_is_free_than_the_guard_keeps(lab: Any) -> None:
    lab.dataset(1)
    assert "disk" not in [need.rule for need in report(lab, TODAY).needs]
    facts = report(lab, TODAY)
    lab.spec(guard={"disk_reserve_megabytes": (facts.free_bytes >> 20) + 1000})
    low = report(lab, TODAY)
    assert low.needed_bytes == ((facts.free_bytes >> 20) + 1000) << 20
    assert "disk" in [need.rule for need in low.needs]
    with publish_folder(lab.workspace.run("r1") / "checkpoints" / "step-00000001", {}) as staging:
        (staging / "weights.safetensors").write_bytes(b"x" * 1_000_000)
    assert report(lab, TODAY).needed_bytes - low.needed_bytes >= 2_000_000, "room for two checkpoints comes on top"


def bill(lab: Any, window: Window, **prices: Any) -> Any:
    return gather(Reader(lab.workspace), window, MIDNIGHT + DAY, LabSpec.model_validate({"cost": prices})).bill


def test_energy_and_cost_are_the_windows_share_of_a_runs(lab: Any) -> None:
    run = Training(lab, 1)
    run.start(1, MIDNIGHT - 100)
    run.steps(1, 40, since=MIDNIGHT - 90)  # its worker is on it for 100 s before midnight and for 300 s after it
    run.enter()
    assert bill(lab, TODAY).energy_kwh is None and bill(lab, TODAY).cost is None
    with lab.store.transaction() as tx:
        tx.execute(update(t.run_costs).values(joules=4 * 3.6e6, source="counter"))
    assert [bill(lab, window).energy_kwh for window in (YESTERDAY, TODAY)] == pytest.approx([1.0, 3.0])
    assert "no price is set" in bill(lab, TODAY).cost_note
    assert bill(lab, TODAY, price_per_kwh=0.5, currency="CHF").cost == pytest.approx(1.5)
    assert bill(lab, TODAY, price_per_hour=36.0).cost == pytest.approx(3.0)
    assert [(one.run, one.energy_kwh) for one in bill(lab, TODAY).by_run] == [("r1", pytest.approx(3.0))]
    assert bill(lab, TODAY).energy_note == "r1"
    assert bill(lab, TODAY, price_per_hour=36.0, currency="CHF").currency == "CHF"


def test_hours_on_a_processor_are_no_gpu_hours(lab: Any) -> None:
    for number, device in ((1, "cpu"), (2, "cuda:0")):
        run = Training(lab, number)
        run.start(1, MIDNIGHT + 1, device=device)
        run.steps(1, 8, since=MIDNIGHT + 5)
        run.enter()
    facts = report(lab, TODAY)
    assert facts.training_seconds == 8.0 and facts.gpu_hours == 4.0 / 3600
    assert facts.devices == "cpu, cuda:0"
