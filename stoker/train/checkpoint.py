"""Checkpoints of a run: written whole or not at all, verified on every load, damaged ones named and set aside.

A checkpoint is a published folder `step-00000123`: the trained weights, AdamW's moments, the random states and
state.json. No pickle. The newest that verifies is resumed. It never decides when to save, and never touches versions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
import transformers
from torch import Tensor

from stoker.durable import MANIFEST, publish_folder, require_free, retire, sweep, verify_folder, write_json
from stoker.errors import Damaged
from stoker.mailbox.checkpoints import CHECKPOINT_ROOM, CHECKPOINTS
from stoker.train.progress import Memory, Progress
from stoker.train.randomness import take_device_states, take_host_states
from stoker.train.tensors import Shapes, read_tensors, write_tensors

WEIGHTS, MOMENTS, RNG, STATE = "weights.safetensors", "moments.safetensors", "rng.safetensors", "state.json"
FORMAT = 1

OnDamaged = Callable[[Damaged], None]


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must have been made under to be resumed (`bound`), and what only a warning is due for."""

    run: str
    plan_sha256: str
    method: str
    base_sha256: str
    seed: int
    batch_tokens: int
    fence: int
    threads: int
    precision: str
    settings_sha256: str = ""

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says."""
        return {
            "format": FORMAT, "run": self.run, "plan_sha256": self.plan_sha256, "method": self.method,
            "base_sha256": self.base_sha256, "seed": self.seed, "batch_tokens": self.batch_tokens,
            "fence": self.fence, "threads": self.threads, "precision": self.precision,
            "settings_sha256": self.settings_sha256,
            "torch": torch.__version__, "transformers": transformers.__version__,
        }  # fmt: skip


_BOUND = ("format", "run", "plan_sha256", "method", "base_sha256", "seed", "batch_tokens")
_TOLERATED = ("threads", "precision", "settings_sha256", "torch", "transformers")


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds. `differences` lists facts that changed and may cost exactness in the last digits."""

    folder: Path
    step: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    rng: dict[str, Tensor]
    host_rng: dict[str, Any]
    progress: Progress
    memory: Memory
    differences: list[str]


@dataclass(frozen=True)
class Saved:
    folder: Path
    seconds: float
    bytes: int


class Checkpoints:
    """The checkpoints of one run, in its folder. Only the holder of the run's lock may use it."""

    def __init__(self, run_folder: Path, identity: Identity, num_kept: int) -> None:
        self.folder = run_folder / CHECKPOINTS
        self.identity = identity
        self._num_kept = num_kept
        self._verified: set[str] = set()
        sweep(self.folder)

    def save(
        self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], progress: Progress, memory: Memory
    ) -> Saved:
        """Publish a checkpoint of the present state. DiskFull or NonFinite publish nothing."""
        started, step = time.perf_counter(), progress.step
        num_bytes = sum(t.numel() * t.element_size() for t in (*weights.values(), *moments.values()))
        require_free(self.folder, int(CHECKPOINT_ROOM * num_bytes))
        destination = self.folder / step_name(step)
        with publish_folder(destination, {**self.identity.facts(), "step": step}, fault="checkpoint") as staging:
            header = {"run": self.identity.run, "step": str(step)}
            write_tensors(staging / WEIGHTS, weights, {**header, "kind": "weights"})
            write_tensors(staging / MOMENTS, moments, {**header, "kind": "moments"})
            write_tensors(staging / RNG, take_device_states(), {**header, "kind": "rng"})
            state = {"step": step, "progress": progress.to_json(), "memory": memory.to_json()}
            write_json(staging / STATE, {**state, "host_rng": take_host_states()})
        size = sum(path.stat().st_size for path in destination.iterdir())
        return Saved(destination, time.perf_counter() - started, size)

    def newest(self, weights: Shapes, moments: Shapes, on_damaged: OnDamaged) -> Snapshot | None:
        """Return the newest checkpoint that verifies; set the damaged ones aside and tell each."""
        for folder in reversed(self.folders()):
            try:
                snapshot = self.load(folder, weights, moments)
            except Damaged as damage:
                set_aside(folder)
                on_damaged(damage)
            else:
                self._verified.add(folder.name)
                return snapshot
        return None

    def load(self, folder: Path, weights: Shapes, moments: Shapes) -> Snapshot:
        """Read a checkpoint whole; Damaged names the file and the reason when anything is not as it must be."""
        facts = _verified_manifest(folder)
        differences = self._compare(folder, facts)
        header = {"run": self.identity.run, "step": str(facts["step"])}
        state = _read_state(folder, facts["step"])
        rng = read_tensors(folder / RNG, {**header, "kind": "rng"})
        if "cpu" not in rng:
            raise Damaged(folder, RNG, "tensor cpu is missing")
        return Snapshot(
            folder,
            facts["step"],
            read_tensors(folder / WEIGHTS, {**header, "kind": "weights"}, weights),
            read_tensors(folder / MOMENTS, {**header, "kind": "moments"}, moments),
            rng,
            state["host_rng"],
            state["progress"],
            state["memory"],
            differences,
        )

    def folders(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*"))

    def retain(self, best_step: int | None) -> None:
        """Delete all but the last valid ones and the best, once those that stay were verified."""
        kept: list[Path] = []
        for folder in reversed(self.folders()):
            is_wanted = len(kept) < self._num_kept or (best_step is not None and folder.name == step_name(best_step))
            if is_wanted and self._verifies(folder):
                kept.append(folder)
        if len(kept) >= min(self._num_kept, len(self.folders())):
            for folder in set(self.folders()) - set(kept):
                retire(folder)

    def verified_steps(self) -> list[int]:
        """Return the steps of the checkpoints that verify, in order."""
        return [int(folder.name.removeprefix("step-")) for folder in self.folders() if self._verifies(folder)]

    def retire_abandoned(self, is_abandoned: Callable[[int, int], bool]) -> None:
        """Delete the checkpoints whose (leg, step) lies on a way that the run went back from."""
        for folder in self.folders():
            try:
                progress = _read_state(folder, _verified_manifest(folder)["step"])["progress"]
            except Damaged:
                continue  # whoever looks for the newest names it
            if is_abandoned(progress.leg, progress.step):
                self._verified.discard(folder.name)
                retire(folder)

    def drop_spares(self) -> None:
        """Delete all but the newest that verifies: room for the next one."""
        folders = self.folders()
        newest = next((folder for folder in reversed(folders) if self._verifies(folder)), None)
        for folder in folders:
            if newest is not None and folder != newest:
                retire(folder)

    def _verifies(self, folder: Path) -> bool:
        if folder.name not in self._verified:
            try:
                _verified_manifest(folder)
            except Damaged:
                return False
            self._verified.add(folder.name)
        return True

    def _compare(self, folder: Path, facts: dict[str, Any]) -> list[str]:
        mine = self.identity.facts()
        for key in _BOUND:
            if facts.get(key) != mine[key]:
                raise Damaged(folder, MANIFEST, f"{key} is {facts.get(key)}, this run's is {mine[key]}")
        return [f"{k} was {facts.get(k)}, now {mine[k]}" for k in _TOLERATED if facts.get(k) != mine[k]]


def step_name(step: int) -> str:
    return f"step-{step:08d}"


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that nothing takes it for one; it stays for a person to look at."""
    for number in _numbers():
        aside = folder.with_name(f"damaged-{folder.name}{number}")
        if not aside.exists():
            folder.rename(aside)
            return aside
    raise AssertionError("unreachable")


def _numbers() -> Iterator[str]:
    yield ""
    count = 2
    while True:
        yield f"-{count}"
        count += 1


def _verified_manifest(folder: Path) -> dict[str, Any]:
    try:
        facts = verify_folder(folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise Damaged(folder, MANIFEST, f"its list of files is malformed ({error!r})") from None
    except OSError as error:
        raise Damaged(folder, MANIFEST, f"can't be read ({error.strerror})") from None
    if not isinstance(facts.get("step"), int) or folder.name != step_name(facts["step"]):
        raise Damaged(folder, MANIFEST, f"is of step {facts.get('step')}")
    return facts


def _read_state(folder: Path, step: int) -> dict[str, Any]:
    try:
        state = orjson.loads((folder / STATE).read_bytes())
    except FileNotFoundError:
        raise Damaged(folder, STATE, "missing") from None
    except orjson.JSONDecodeError as error:
        raise Damaged(folder, STATE, f"not JSON ({error})") from None
    if not isinstance(state, dict) or state.get("step") != step:
        raise Damaged(folder, STATE, f"is not the state of step {step}")
    try:
        progress, memory = Progress.from_json(state["progress"]), Memory.from_json(state["memory"])
        host_rng = {name: state["host_rng"][name] for name in ("python", "numpy")}
    except (KeyError, TypeError) as error:
        raise Damaged(folder, STATE, f"lacks or misnames an entry ({error})") from None
    if progress.step != step:
        raise Damaged(folder, STATE, f"its progress is of step {progress.step}")
    return {"progress": progress, "memory": memory, "host_rng": host_rng}
