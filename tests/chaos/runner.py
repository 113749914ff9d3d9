"""Carries out one fault and says what is wrong with how it ended; nothing, if all is well.

For every fault: the lab ends by itself with every file trained exactly once, every run done, the verdicts of the
undisturbed lab (promoted or not), and a store that SQLite finds whole. Where nothing numeric was changed each loss is the same bit for bit,
elsewhere the final held-out loss is within 2 % of the undisturbed one.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos_lab import integrity, make_lab, observe, put_aside
from faults import TMPFS_BYTES, Fault, memory_group
from scene import Scene
from test_chain_kill import differences

NUM_FILES = 2
TOLERANCE = 0.02


@dataclass(frozen=True)
class Outcome:
    """What came of a fault. `heldout_difference`: of the final held-out loss, as a share of the undisturbed one."""

    name: str
    problems: list[str]
    seconds: float
    events: list[str]
    heldout_difference: float | None
    is_exact: bool

    def facts(self) -> dict[str, Any]:
        """Return what the page tells of it."""
        return {
            "is_recovered": not self.problems, "seconds": round(self.seconds, 1), "events": self.events,
            "is_exact": self.is_exact, "heldout_difference": self.heldout_difference,
        }  # fmt: skip


@functools.cache
def undisturbed(num_rows: int) -> dict[str, Any]:
    """Return what the lab comes to when nothing happens to it."""
    fault = Fault("nothing", num_rows=num_rows)
    with tempfile.TemporaryDirectory() as folder:
        return _undisturbed(fault, Path(folder) / "lab")


def _undisturbed(fault: Fault, root: Path) -> dict[str, Any]:
    found, codes, _ = _run(fault, root)
    assert not _common(found) + _events(fault, codes), (found, codes)
    return found


def carry_out(fault: Fault, root: Path) -> Outcome:
    """Run a lab with the fault and compare it with the undisturbed one."""
    found, codes, seconds = _run(fault, root)
    expected = undisturbed(fault.num_rows)
    problems = _common(found) + _events(fault, codes) + _put_aside(fault, found)
    if _verdicts(found) != _verdicts(expected):
        problems.append(f"the versions are {_verdicts(found)} instead of {_verdicts(expected)}")
    names = [name for name in expected if not (fault.may_reject and name in ("rejected", "datasets"))]
    exact = differences({name: expected[name] for name in names}, found)
    problems += exact if fault.is_exact else []
    difference = _heldout(found) / _heldout(expected) - 1
    if abs(difference) > TOLERANCE:
        problems.append(f"the final held-out loss differs by {difference:+.2%}")
    told = [code for code in codes if code in fault.events or code.startswith("recovery.")]
    return Outcome(fault.name, problems, seconds, list(dict.fromkeys(told)), difference, not exact)


def _run(fault: Fault, root: Path) -> tuple[dict[str, Any], list[str], float]:
    """Let a lab work with the fault until it is idle; return what it came to, its events, and the seconds."""
    began = time.monotonic()
    with _place(fault, root):
        workspace = make_lab(root, NUM_FILES, fault.num_rows, fault.settings)
        scene = Scene(workspace, fault.environment)
        try:
            fault.disturb(scene)
            status = scene.wait_for_end()
        finally:
            scene.end_all()
        found = observe(workspace) | {
            "status": status,
            "integrity": integrity(workspace),
            "put_aside": put_aside(workspace),
        }
        return found, scene.codes(), time.monotonic() - began


@contextlib.contextmanager
def _place(fault: Fault, root: Path) -> Iterator[None]:
    """Make the lab's folder, on a small file system of its own where the fault needs one."""
    root.mkdir(parents=True)
    if not fault.needs_tmpfs:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(root)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


def can_mount(folder: Path) -> bool:
    """Tell whether this user may mount a tmpfs."""
    folder.mkdir(exist_ok=True)
    is_done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, check=False)
    if is_done.returncode == 0:
        subprocess.run(["umount", str(folder)], check=True)
    return is_done.returncode == 0


def can_limit_memory() -> bool:
    """Tell whether this user may make a memory control group."""
    try:
        with memory_group():
            return True
    except OSError:
        return False


def _common(found: dict[str, Any]) -> list[str]:
    problems = [] if found["integrity"] == "ok" else [f"the store: {found['integrity']}"]
    if found["status"] != 0:
        problems.append(f"stoker up ended with {found['status']}")
    states = [run["state"] for run in found["runs"]]
    if states != ["done"] * NUM_FILES:
        problems.append(f"runs are {states}")
    counts = list(found["trained"].values())
    if found["inbox"] or sorted(counts) != [1] * NUM_FILES:
        problems.append(f"files were lost or trained twice: inbox {found['inbox']}, trained {found['trained']}")
    return problems


def _events(fault: Fault, codes: list[str]) -> list[str]:
    """Return what was not told, in the order in which it should be, and what was told without cause."""
    rest = iter(codes)
    missing = [code for code in fault.events if code not in rest]
    problems = [f"never told: {', '.join(missing)}; told: {' '.join(codes)}"] if missing else []
    false = [code for code in fault.absent if code in codes]
    return problems + ([f"told without cause: {', '.join(false)}"] if false else [])


def _put_aside(fault: Fault, found: dict[str, Any]) -> list[str]:
    missing = sorted({*fault.put_aside} - {*found["put_aside"]})
    return [f"lines {missing} were trained; quarantined in training: {found['put_aside']}"] if missing else []


def _verdicts(found: dict[str, Any]) -> list[str]:
    return [str(version["outcome"]) for version in found["versions"]]


def _heldout(found: dict[str, Any]) -> float:
    """Return the last version's loss on the held-out set."""
    scores = [row for row in found["comparisons"] if row["benchmark"] == "heldout" and row["metric"] == "nll"]
    last = max(scores, key=lambda row: str(row["candidate"]))
    return float(last["candidate_score"])
