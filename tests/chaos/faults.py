"""The table of faults: each is switched on once while a lab works, and must be over without a hand.

A row says how the fault is made (settings, environment of the worker, what happens from outside), which events must tell
it, in this order, and whether the numbers must be those of the undisturbed lab bit for bit. A fault of training is one
row with STOKER_FAULT in its environment. `runner` carries a row out and checks what holds for all.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from scene import Scene

from stoker.supervisor.memory import CGROUPS

HANG = "\n[guard]\nhang_seconds = 6.0\ncheck_seconds = 0.5\n"
RESERVE_BYTES = 8 << 20
FEW_ROWS, MANY_ROWS = 96, 1200  # of a file; a run of the many is long enough for a baseline and for going back
TMPFS_BYTES = 192 << 20
NUM_POISONED = 2

Harm = Callable[[Scene], object]


@dataclass(frozen=True)
class Fault:
    """`disturb` starts the lab and does the harm. `absent`: events that would be a false alarm or a second harm.

    `put_aside`: lines of the second file that training must have quarantined for review.

    `needs_tmpfs`: the lab lies on a small file system of its own; `needs_memory_group`: the kernel limits the worker's
    memory. Both take root.
    """

    name: str
    disturb: Harm = Scene.start
    events: tuple[str, ...] = ()
    settings: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    is_exact: bool = True
    needs_tmpfs: bool = False
    needs_memory_group: bool = False
    is_in_short_version: bool = False
    may_reject: bool = False
    num_rows: int = FEW_ROWS
    put_aside: tuple[int, ...] = ()


def at_step(step: int, *harms: Harm) -> Harm:
    """Return what starts the lab and does these harms, in order, once its first run has told the step."""
    return when(lambda scene: scene.await_step(step), *harms)


def when(await_it: Harm, *harms: Harm) -> Harm:
    """Return what starts the lab and does these harms, in order, once something has come."""

    def disturb(scene: Scene) -> None:
        scene.start()
        for do in (await_it, *harms):
            do(scene)

    return disturb


def is_evaluating(scene: Scene) -> None:
    scene.await_phase("answer", scene.workspace.evaluation("e1"))


def is_loading(scene: Scene) -> None:
    scene.await_phase("load", scene.workspace.run("r1"))


def stop_worker(scene: Scene) -> None:
    scene.signal_worker(signal.SIGSTOP)


def stop_reading(scene: Scene) -> None:
    os.kill(scene.reader_process().pid, signal.SIGSTOP)


def kill_worker(scene: Scene) -> None:
    scene.signal_worker(signal.SIGKILL)


def kill_supervisor(scene: Scene) -> None:
    scene.signal_supervisor(signal.SIGKILL)


def end_supervisor(scene: Scene) -> None:
    scene.signal_supervisor(signal.SIGTERM)


def sleep_together(scene: Scene) -> None:
    """Everything of the lab stands still for longer than the limit, as when a lid is closed."""
    worker = scene.worker()
    scene.signal_supervisor(signal.SIGSTOP)
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(10.0)
    os.kill(worker.pid, signal.SIGCONT)
    scene.signal_supervisor(signal.SIGCONT)


def set_rate(rate: float) -> Harm:
    """Return what sets a rate at which every run of this model diverges, as a slip of the keyboard would."""
    return lambda scene: scene.command("run", "set", "r1", f"lr={rate}")


def is_going_back(scene: Scene) -> None:
    scene.await_event("recovery.rolled-back")


def poison(scene: Scene) -> None:
    """Add rows that are like none of the others to the second file: their letters are new to the model.

    The first file makes the tiny base with its tokenizer: with the rows in it, losses could not be compared.
    """
    draw = random.Random(NUM_POISONED)
    with (scene.workspace.inbox / "file-1.jsonl").open("ab") as file:
        for line in range(NUM_POISONED):
            words = ["".join(draw.choices("QXZJVW#%&", k=draw.randint(3, 6))) for _ in range(24)]
            file.write(orjson.dumps({"prompt": f"And line {line}?", "answer": " ".join(words)}) + b"\n")
    scene.start()


def truncate_checkpoint(scene: Scene) -> None:
    scene.signal_worker(signal.SIGSTOP)
    newest = scene.newest_checkpoint()
    weights = max(newest.iterdir(), key=lambda path: path.stat().st_size)
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    scene.signal_worker(signal.SIGKILL)


def fill_disk(scene: Scene) -> None:
    with scene.ballast(0):
        time.sleep(8.0)


def fill_disk_before_intake(scene: Scene) -> None:
    with scene.ballast(0):
        scene.start()
        time.sleep(8.0)


def nearly_fill_disk(scene: Scene) -> None:
    with scene.ballast(RESERVE_BYTES // 2):
        scene.await_event("recovery.paused")


def fill_memory(scene: Scene) -> None:
    """Simulated: the marks are set below what is in use."""
    scene.change_settings("guard", check_seconds=0.2, memory_share=0.001, memory_resume_share=0.001)
    scene.await_event("recovery.paused")
    scene.change_settings("guard", check_seconds=0.2)


def starve_worker(scene: Scene) -> None:
    """Let the kernel's own killer end the worker: nothing new may be allocated."""
    with memory_group() as group:
        limit = group / "memory.limit_in_bytes"
        (limit if limit.exists() else group / "memory.max").write_text("2M")
        (group / "cgroup.procs").write_text(str(scene.worker().pid))
        scene.await_event("recovery.memory-tightened")


@contextlib.contextmanager
def memory_group() -> Iterator[Path]:
    """Make a memory control group; OSError where this user may not."""
    first = CGROUPS / "memory"
    group = (first if first.is_dir() else CGROUPS) / f"stoker-chaos-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        group.rmdir()


def lock_store(scene: Scene) -> None:
    connection = sqlite3.connect(scene.workspace.store, isolation_level=None, timeout=60)
    connection.execute("BEGIN EXCLUSIVE")
    time.sleep(35.0)
    connection.execute("ROLLBACK")
    connection.close()


def delete_store(scene: Scene) -> None:
    scene.workspace.store.unlink()


def drop_garbage(scene: Scene) -> None:
    (scene.workspace.inbox / "garbage.jsonl").write_bytes(os.urandom(4096))


def jump(seconds: float) -> Harm:
    def disturb(scene: Scene) -> None:
        scene.start(str(Path(__file__).with_name("scene.py")), str(scene.workspace.root), str(seconds))

    return disturb


ENDED = ("hang", "recovery.worker-ended")
LITTLE_RESERVE = "\n[guard]\ndisk_reserve_megabytes = 1\n"
QUARANTINED = ("recovery.batch-quarantined", "recovery.rate-halved")
TOO_HIGH = ("run.changed", "recovery.rolled-back")


def spoiled(name: str, how: str, *events: str, is_in_short_version: bool = False) -> Fault:
    """Return a fault of the numbers: what a step computes is spoiled once, in the worker."""
    environment = {"STOKER_FAULT": f"step.loss:{how}"}
    return Fault(
        name,
        events=events,
        environment=environment,
        is_exact=False,
        num_rows=MANY_ROWS,
        is_in_short_version=is_in_short_version,
    )


FAULTS = (
    spoiled("a loss that is NaN", "nan@60", "step.skipped"),
    spoiled("a loss that is infinite", "inf@60", "step.skipped"),
    spoiled("three NaN in a row", "nan@60-62", "step.skipped", "recovery.rolled-back"),
    spoiled("a loss a hundred times too high", "x100@60", "loss-spike", *QUARANTINED),
    spoiled("three such losses in a row", "x100@60-62", "loss-spike", "recovery.rolled-back"),
    spoiled("out of memory in a step", "oom@60", "memory.tight"),
    Fault("rows of another kind (poison)", poison, ("loss-spike", *QUARANTINED), is_exact=False, num_rows=MANY_ROWS,
          put_aside=tuple(range(MANY_ROWS + 1, MANY_ROWS + NUM_POISONED + 1))),
    Fault("a learning rate fifty times too high", at_step(60, set_rate(0.25)), TOO_HIGH, is_exact=False, num_rows=MANY_ROWS),
    Fault("a learning rate a hundred times too high", at_step(60, set_rate(0.5)), TOO_HIGH, is_exact=False, num_rows=MANY_ROWS),
    Fault("a rate fifty times too high, and the worker killed on the way back",
          at_step(60, set_rate(0.25), is_going_back, kill_worker), (*TOO_HIGH, "run.crashed"), is_exact=False,
          num_rows=MANY_ROWS),
    Fault("worker stopped (SIGSTOP) while training", at_step(5, stop_worker), (*ENDED, "run.crashed", "run.resumed"), HANG,
          is_in_short_version=True),
    Fault("worker stopped while evaluating", when(is_evaluating, stop_worker), (*ENDED, "evaluation.crashed"), HANG),
    Fault("worker stopped while loading", when(is_loading, stop_worker), (*ENDED, "run.crashed"), HANG),
    Fault("reading process stopped", when(stop_reading), ("hang", "intake.crashed"), HANG),
    Fault("worker killed (kill -9)", at_step(5, kill_worker), ("run.crashed", "run.resumed")),
    Fault("supervisor killed", at_step(5, kill_supervisor, Scene.start), absent=("run.crashed", "hang")),
    Fault("worker and supervisor killed", at_step(5, kill_worker, kill_supervisor, Scene.start), ("run.resumed",)),
    Fault("supervisor ended and started again", at_step(5, end_supervisor, Scene.start), ("run.paused", "run.resumed"),
          absent=("run.crashed",)),
    Fault("everything stood still, as in a sleep", at_step(5, sleep_together), settings=HANG, absent=("hang", "run.crashed")),
    Fault("clock set back by an hour", jump(-3600.0), settings=HANG, absent=("hang", "run.crashed")),
    Fault("clock set forward by a day", jump(86_400.0), settings=HANG, absent=("hang", "run.crashed")),
    Fault("newest checkpoint cut short", at_step(7, truncate_checkpoint), ("run.crashed", "checkpoint.damaged")),
    Fault("no space for a checkpoint", events=("disk-full",), environment={"STOKER_FAULT": "checkpoint.filled:enospc"}),
    Fault("disk full while training", at_step(3, fill_disk), ("disk.free",), LITTLE_RESERVE, needs_tmpfs=True),
    Fault("disk full while taking a file in", fill_disk_before_intake, settings=LITTLE_RESERVE, needs_tmpfs=True),
    Fault("disk nearly full", at_step(3, nearly_fill_disk), ("disk-low", "recovery.paused", "disk.free"),
          f"\n[guard]\ncheck_seconds = 0.2\ndisk_reserve_megabytes = {RESERVE_BYTES >> 20}\n", needs_tmpfs=True),
    Fault("memory nearly full (simulated)", at_step(3, fill_memory),
          ("memory-trend", "recovery.paused", "recovery.resumed"), "\n[guard]\ncheck_seconds = 0.2\n", is_in_short_version=True),
    Fault("worker ended by the kernel for memory", at_step(3, starve_worker),
          ("recovery.memory-tightened", "run.crashed", "run.resumed"), is_exact=False, needs_memory_group=True),
    Fault("store locked by another process", at_step(3, lock_store), ("store.back",), absent=("run.crashed",)),
    Fault("store deleted", at_step(3, delete_store), ("store.put-back",), absent=("run.crashed",)),
    Fault("garbage in the inbox", at_step(3, drop_garbage), ("file.rejected",), absent=("run.crashed",), may_reject=True),
)  # fmt: skip
