"""A night without anybody at the screen: one run, every fault in turn, real alerts, and the report of the morning.

    python tests/chaos/night.py [--data FILE.jsonl] [--rows N] [--out FOLDER]

A lab is made, `stoker up` takes the file in, and the faults of FAULTS are switched on one after the other in the same run, each once
the one before it is over. It ends well when the version was promoted without a hand, `stoker run show` tells every fault with
what was done about it in order, each channel got one alert an incident and one when it was over, each row was trained once, and
every number of the report is found again in the store. OUT keeps the story and all that it was made from.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from night_channels import Channels, Heard, channels
from night_numbers import Numbers, table
from runner import can_mount
from scene import Scene

from stoker.durable import write_atomic
from stoker.tasks.syllo.install import write_training_file
from stoker.workspace import Workspace

SETTINGS = """
[train]
checkpoint_seconds = 15.0
threads = 1
[evaluate]
heldout_answers = 8
max_new_tokens = 64
[guard]
hang_seconds = 15.0
[cost]
price_per_hour = 0.40
"""
PATIENCE_SECONDS = 1800.0  # a bound on hangs, not a measure: the machine may be busy
GROWING_STEPS = 60  # before the first fault: what is normal has to be known
CALM_STEPS = 30  # between the end of a fault and the next
DISK_BYTES, RESERVE_BYTES = 12 << 30, 256 << 20  # a file system in memory takes only what is written to it
ROWS_BY_DEFAULT = 6000


class Night:
    """One lab and its run `r1`; `disk` is the mount point of a file system of its own, where that could be made."""

    def __init__(self, folder: Path, environment: dict[str, str], settings: str, disk: Path | None) -> None:
        self.workspace, self.disk = Workspace(folder / "lab"), disk
        self.workspace.create()
        self.workspace.settings.write_text(SETTINGS + settings)
        self._fault = folder / "fault"
        self.scene = Scene(self.workspace, {**environment, "STOKER_FAULT": f"@{self._fault}"})

    def start(self) -> None:
        self.scene.start("-m", "stoker", "--lab", str(self.workspace.root), "up")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Ask the store; nothing while it can't be read."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(f"file:{self.workspace.store}?mode=ro", uri=True)) as store:  # fmt: skip
            store.row_factory = sqlite3.Row
            return store.execute(query, values).fetchall()
        return []

    def last_event(self) -> int:
        return int(self.rows("SELECT coalesce(max(id), 0) FROM events")[0][0])

    def step(self) -> int:
        found = self.rows("SELECT step FROM runs WHERE id = 'r1'")
        return int(found[0][0]) if found else 0

    def switch(self, fault: str | None) -> None:
        """Switch a fault of `stoker/faults.py` on in the worker, or off."""
        if fault is None:
            self._fault.unlink()
        else:
            write_atomic(self._fault, fault.encode())

    def until(self, find: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not find():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} never came; {self.scene.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def await_codes(self, codes: tuple[str, ...], after: int) -> None:
        for code in codes:
            told = partial(self.rows, "SELECT 1 FROM events WHERE id > ? AND code = ?", after, code)
            self.until(told, f"event {code}")

    def await_steps(self, number: int) -> None:
        """Wait until the run came this much further, or to its end."""
        aim = self.step() + number
        done = "SELECT 1 FROM runs WHERE id = 'r1' AND state = 'done'"
        self.until(lambda: self.step() >= aim or self.rows(done), f"step {aim}")

    def await_calm(self) -> None:
        """Wait until nothing is open and all of it was told."""
        loose = "SELECT 1 FROM incidents WHERE state = 'open' UNION SELECT 1 FROM alerts WHERE state = 'waiting'"
        self.until(lambda: not self.rows(loose), "the end of all incidents and alerts")

    def stoker(self, *words: str) -> str:
        """Return what a command of the lab prints."""
        command = [sys.executable, "-m", "stoker", "--lab", str(self.workspace.root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def resize_disk(self, free_bytes: int | None) -> None:
        """Leave so much free on the lab's file system; None: what it had at first."""
        size = DISK_BYTES
        if free_bytes is not None:
            stat = os.statvfs(self.disk)
            size = (stat.f_blocks - stat.f_bfree) * stat.f_frsize + free_bytes
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.disk)], check=True)


@dataclass(frozen=True)
class Fault:
    """`codes` are the events that must tell it, in this order; its incident is of one of `kinds`, () where nothing is to be told."""

    name: str
    disturb: Callable[[Night], None]
    codes: tuple[str, ...]
    kinds: tuple[str, ...]
    needs_disk: bool | None = None


def spoil(how: str) -> Callable[[Night], None]:
    return lambda night: night.switch(f"step.loss:{how}@1")


def raise_the_rate(night: Night) -> None:
    """Set fifty times the rate that holds now, as a slip of the keyboard would."""
    changes = orjson.loads(night.stoker("run", "show", "r1", "--json"))["changes"]
    rates = [one["new"] for one in changes if one["name"] == "learning_rate" and one["state"] == "applied"]
    job = orjson.loads((night.workspace.run("r1") / "job.json").read_bytes())
    night.stoker(
        "run", "set", "r1", f"lr={min(1.0, 50 * float(rates[-1] if rates else job['train']['learning_rate']))}"
    )


def kill_supervisor(night: Night) -> None:
    night.scene.signal_supervisor(signal.SIGKILL)
    time.sleep(5.0)
    night.start()


def fill_disk(night: Night) -> None:
    """Leave less than the reserve until the run has made room, then nothing at all, then everything."""
    before = night.last_event()
    night.resize_disk(RESERVE_BYTES // 4)
    night.await_codes(("disk-low", "recovery.paused"), before)
    night.resize_disk(0)
    time.sleep(10.0)
    night.resize_disk(None)


WENT_ON = ("run.crashed", "run.resumed")
FAULTS = (
    Fault("a loss that is NaN", spoil("nan"), ("step.skipped",), ("non-finite",)),
    Fault("a loss that is infinite", spoil("inf"), ("step.skipped",), ("non-finite",)),
    Fault("a loss a hundred times too high", spoil("x100"),
          ("loss-spike", "recovery.batch-quarantined", "recovery.rate-halved"), ("loss-spike",)),
    Fault("a learning rate fifty times too high", raise_the_rate, ("run.changed", "recovery.rolled-back"),
          ("divergence", "loss-spike")),
    Fault("out of memory in a step", spoil("oom"), ("memory.tight",), ("memory-trend",)),
    Fault("the worker stopped (SIGSTOP)", lambda night: night.scene.signal_worker(signal.SIGSTOP),
          ("hang", "recovery.worker-ended", *WENT_ON), ("hang",)),
    Fault("the worker killed (kill -9)", lambda night: night.scene.signal_worker(signal.SIGKILL), WENT_ON, ("crash",)),
    Fault("the supervisor killed (kill -9)", kill_supervisor, ("run.found",), ()),
    Fault("the disk full", fill_disk, ("disk-low", "recovery.paused", "disk.free", "run.resumed"), ("disk",), True),
    Fault("no space for a checkpoint", lambda night: night.switch("checkpoint.filled:enospc@1"),
          ("disk-full", "run.resumed"), ("disk",), False),
)  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What came of a fault: the events that it made, ids from `first` to `last`, the run's steps, and the seconds it took."""

    fault: Fault
    first: int
    last: int
    steps: tuple[int, int]
    seconds: float


def carry_out(night: Night, fault: Fault) -> Told:
    before, step, began = night.last_event(), night.step(), time.monotonic()
    say(f"step {step}: {fault.name}")
    fault.disturb(night)
    night.await_codes(fault.codes, before)
    if (night.workspace.root.parent / "fault").exists():
        night.switch(None)
    night.await_steps(CALM_STEPS)
    night.await_calm()
    return Told(fault, before + 1, night.last_event(), (step, night.step()), time.monotonic() - began)


def live_through(night: Night, data: Path) -> list[Told]:
    """Let the lab work through the file with every fault, up to the verdict."""
    night.start()
    (night.workspace.inbox / data.name).write_bytes(data.read_bytes())
    night.await_steps(GROWING_STEPS)
    has_disk = night.disk is not None
    told = [carry_out(night, fault) for fault in FAULTS if fault.needs_disk in (None, has_disk)]
    say(f"step {night.step()}: nothing more is disturbed; waiting for the verdict")
    night.until(lambda: night.rows("SELECT 1 FROM alerts WHERE kind = 'news'"), "the news of the champion")
    night.await_calm()
    return told


def problems_of(night: Night, told: list[Told], heard: list[Heard], names: list[str]) -> Iterator[str]:
    """Yield what is not as a night should have been."""
    if [row[0] for row in night.rows("SELECT champion FROM models")] != [1]:
        yield "the version was not promoted"
    events = orjson.loads(night.stoker("run", "show", "r1", "--json"))["events"]
    if events != sorted(events, key=lambda event: event["time"]):
        yield "the run's story is not in order"
    for one in told:
        rows = night.rows("SELECT code FROM events WHERE id BETWEEN ? AND ? ORDER BY id", one.first, one.last)
        rest = iter(row["code"] for row in rows)
        if missing := [code for code in one.fault.codes if code not in rest]:
            yield f"{one.fault.name}: {', '.join(missing)} was not told, or not in its turn"
    yield from _problems_of_alerts(night, told, heard, names)
    yield from _problems_of_rows(night)


def _problems_of_alerts(night: Night, told: list[Told], heard: list[Heard], names: list[str]) -> Iterator[str]:
    incidents = night.rows(
        "SELECT id, kind, subject, severity, state FROM incidents WHERE severity <> 'info' ORDER BY number"
    )
    known = {row["kind"] for row in incidents}
    yield from (
        f"{one.fault.name} was no incident" for one in told if one.fault.kinds and known.isdisjoint(one.fault.kinds)
    )
    for row, name in itertools.product(incidents, names):
        states = Counter(one.state for one in heard if (one.channel, one.incident) == (name, row["id"]))
        threads = {one.thread for one in heard if (one.channel, one.incident) == (name, row["id"])}
        is_told_at_once = row["state"] == "closed" and states["recovered"] == 0
        if states["opened"] != 1 or not (states["recovered"] == 1 or is_told_at_once) or len(threads) != 1:
            yield f"{name} got {dict(states)} in {len(threads)} threads about {row['id']} ({row['kind']}, {row['state']})"
    for name in names:
        if sum(one.channel == name and one.incident is None for one in heard) != 1:
            yield f"{name} got {[one.title for one in heard if one.channel == name and one.incident is None]} beside incidents"


def _problems_of_rows(night: Night) -> Iterator[str]:
    """Look each train row up among the steps that hold: a worker's begin takes back what came after it."""
    [dataset] = night.rows("SELECT * FROM datasets")
    if dataset["rows_in"] != dataset["train"] + dataset["held_out"] + dataset["duplicate"] + dataset["quarantined"]:
        yield f"rows are not conserved: {dict(dataset)}"
    steps: dict[int, list[Any]] = {}
    for line in (night.workspace.run("r1") / "row_losses.jsonl").read_bytes().splitlines():
        record = orjson.loads(line)
        if "begin" in record:
            steps = {step: rows for step, rows in steps.items() if step <= record["begin"]}
        else:
            steps[record["step"]] = record["rows"]
    visits = Counter(row[1] for rows in steps.values() for row in rows)
    folder = night.workspace.root / ".stoker" / "datasets" / dataset["id"]
    wanted = {orjson.loads(line)["id"] for line in (folder / "rows.jsonl").read_bytes().splitlines()}
    if visits != Counter(wanted):
        twice = [row for row, number in visits.items() if number > 1]
        yield f"{len(wanted - visits.keys())} rows were never trained, {len(twice)} more than once, of {len(wanted)}"


def story(night: Night, told: list[Told], heard: list[Heard], names: list[str], problems: list[str]) -> str:
    """Return what happened, to be read."""
    lines = ["# A night", "", "| fault | at step | calm at step | seconds | what was told |", "|---|---|---|---|---|"]
    for one in told:
        rows = night.rows("SELECT code FROM events WHERE id BETWEEN ? AND ? ORDER BY id", one.first, one.last)
        codes = " ".join(f"`{row['code']}`" for row in rows if row["code"] != "best-so-far") or "nothing"
        lines.append(f"| {one.fault.name} | {one.steps[0]} | {one.steps[1]} | {one.seconds:.0f} | {codes} |")
    lines += ["", f"| incident | kind | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for row in night.rows("SELECT id, kind FROM incidents ORDER BY number"):
        states = [
            ", ".join(one.state for one in heard if (one.channel, one.incident) == (name, row["id"])) or "-"
            for name in names
        ]
        lines.append(f"| {row['id']} | {row['kind']} | {' | '.join(states)} |")
    lines += ["", "## stoker run show r1", "", "```", night.stoker("run", "show", "r1"), "```"]
    lines += ["", "## stoker alert list", "", "```", night.stoker("alert", "list"), "```"]
    return "\n".join([*lines, "", *(f"- PROBLEM: {problem}" for problem in problems), ""])


def report(night: Night, out: Path) -> tuple[str, list[str]]:
    """Make the report, keep its three forms, and return the table of its numbers with what does not match."""
    made = orjson.loads(night.stoker("report", "now", "--json"))
    newest = max(night.workspace.reports.glob("daily-*.html"), key=lambda path: path.stat().st_mtime)
    for suffix in (".html", ".md", ".json"):
        (out / f"report{suffix}").write_bytes(newest.with_suffix(suffix).read_bytes())
    lines = Numbers(night.workspace.root, made, 0.40).look_up(newest.with_suffix(".md").read_text("utf-8"))
    return table(lines), [
        f"report: {line.where} is {line.told}, the store has {line.found}" for line in lines if not line.is_match
    ]


def spend(folder: Path, data: Path, out: Path, found: Channels) -> list[str]:
    """Live through one night in `folder` and write it down in `out`."""
    disk = folder / "lab" if can_mount(folder / "probe") else None
    with _disk(disk):
        night = Night(folder, found.environment, found.settings(), disk)
        try:
            told = live_through(night, data)
            heard = found.heard()
            problems = list(problems_of(night, told, heard, found.names))
            numbers, mismatches = report(night, out)
            text = story(night, told, heard, found.names, problems + mismatches)
            for name, content in {"story.md": text, "numbers.md": numbers}.items():
                (out / name).write_text(content, "utf-8")
            (out / "run.json").write_text(night.stoker("run", "show", "r1", "--json"))
            say(text)
            say(numbers.splitlines()[-1])
        finally:
            night.scene.end_all()
            _keep(night, found, out)
    return problems + mismatches


def _keep(night: Night, found: Channels, out: Path) -> None:
    """Keep what a person would look at afterwards."""
    for path in (night.scene.log, night.workspace.store):
        if path.exists():
            (out / path.name).write_bytes(path.read_bytes())
    lines = [orjson.dumps(asdict(one)) for one in found.heard()]
    (out / "heard.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    shown = [night.stoker("alert", "show", row["id"]) for row in night.rows("SELECT id FROM incidents ORDER BY number")]
    (out / "incidents.txt").write_text("\n\n".join(shown))


@contextlib.contextmanager
def _disk(folder: Path | None) -> Iterator[None]:
    """Give a folder a file system of its own whose size can change; None: there is none."""
    if folder is None:
        yield
        return
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the file to train on; default: puzzles of the built-in task")
    parser.add_argument("--rows", type=int, default=None, help="only so many of its rows")
    parser.add_argument("--out", type=Path, default=Path("night"), help="where the story is written (default: ./night)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, channels(Path(folder)) as found:
        data = Path(folder) / (given.data.name if given.data else "puzzles.jsonl")
        if given.data is None:
            write_training_file(data, given.rows or ROWS_BY_DEFAULT, seed=0, level="mixed")
        else:
            lines = given.data.read_bytes().splitlines(keepends=True)
            data.write_bytes(b"".join(lines[: given.rows]))
        if found.left_out:
            say(found.left_out)
        problems = spend(Path(folder), data, given.out, found)
    say(f"{len(problems)} problems in {time.monotonic() - began:.0f} s; the story is in {given.out}")
    for problem in problems:
        say(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
