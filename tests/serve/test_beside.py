"""What serving does while the lab trains: serve.beside_training, with the lab's state told by the test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stoker.mailbox.intents import pending_intents
from stoker.serve.beside import Beside
from stoker.serve.errors import ApiError
from stoker.spec.serving import ServeSpec

TRAINING, IDLE = {"state": "training", "run": "r1"}, {"state": "idle", "run": None}
PAUSED = {"state": "paused", "run": "r1"}


class LabState:
    def __init__(self, folder: Path, status: dict[str, Any], **serve: Any) -> None:
        self.status, self.folder = status, folder
        (folder / "intents").mkdir(exist_ok=True)
        self.beside = Beside(ServeSpec(**serve), folder / "intents", folder / "paused.json", lambda: self.status)

    def intents(self) -> list[tuple[str, str]]:
        return [(one.kind, one.fields["run"]) for one in pending_intents(self.folder / "intents")]

    async def waits(self) -> bool:
        """Tell whether a request has to wait now."""
        await self.beside.look()
        try:
            async with asyncio.timeout(0.05):
                await self.beside.enter()
        except TimeoutError:
            return True
        self.beside.leave()
        return False


def test_sharing_lets_requests_in_at_any_time(tmp_path: Path) -> None:
    async def run() -> None:
        lab = LabState(tmp_path, TRAINING, beside_training="share")
        assert not await lab.waits()
        assert not lab.beside.is_yielding and lab.beside.device == "auto"
        assert not lab.intents()

    asyncio.run(run())


@pytest.mark.parametrize("state", ["training", "evaluating"])
def test_waiting_holds_requests_and_gives_the_memory_back(state: str, tmp_path: Path) -> None:
    async def run() -> None:
        lab = LabState(tmp_path, {"state": state, "run": "r1"}, beside_training="wait")
        assert await lab.waits() and lab.beside.is_yielding
        entering = asyncio.create_task(lab.beside.enter())
        await asyncio.sleep(0)
        lab.status = IDLE
        await lab.beside.look()
        await entering
        assert not lab.beside.is_yielding

    asyncio.run(run())


def test_the_cpu_answers_for_as_long_as_the_lab_computes(tmp_path: Path) -> None:
    async def run() -> None:
        lab = LabState(tmp_path, TRAINING, beside_training="cpu")
        assert not await lab.waits()
        assert lab.beside.device == "cpu"
        lab.status = IDLE
        await lab.beside.look()
        assert lab.beside.device == "auto"

    asyncio.run(run())


def test_a_run_is_paused_for_requests_and_goes_on_afterwards(tmp_path: Path) -> None:
    async def run() -> None:
        lab = LabState(tmp_path, TRAINING, beside_training="pause", pause_seconds=0.0)
        await lab.beside.look()
        entering = asyncio.create_task(lab.beside.enter())
        await asyncio.sleep(0)
        assert lab.intents() == [("run.pause", "r1")]
        lab.status = PAUSED
        await lab.beside.look()
        await entering
        await lab.beside.look()
        assert lab.intents() == [("run.pause", "r1")], "it goes on only after the last answer"
        lab.beside.leave()
        await lab.beside.look()
        assert lab.intents() == [("run.pause", "r1"), ("run.resume", "r1")]
        assert not (tmp_path / "paused.json").exists()

    asyncio.run(run())


def test_a_run_that_a_killed_gateway_paused_goes_on_too(tmp_path: Path) -> None:
    async def run() -> None:
        first = LabState(tmp_path, TRAINING, beside_training="pause", pause_seconds=1000.0)
        assert await first.waits()
        second = LabState(tmp_path, PAUSED, beside_training="pause", pause_seconds=0.0)
        await second.beside.look()
        assert second.intents()[-1] == ("run.resume", "r1")

    asyncio.run(run())


def test_a_run_that_a_person_paused_is_left_alone(tmp_path: Path) -> None:
    async def run() -> None:
        lab = LabState(tmp_path, PAUSED, beside_training="pause", pause_seconds=0.0)
        assert not await lab.waits()
        await lab.beside.look()
        assert not lab.intents()

    asyncio.run(run())


def test_a_run_that_is_not_paused_in_time_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        lab = LabState(tmp_path, TRAINING, beside_training="pause", start_seconds=0.05)
        await lab.beside.look()
        with pytest.raises(ApiError, match="r1 trains") as refused:
            await lab.beside.enter()
        assert refused.value.status == 503

    asyncio.run(run())


def test_a_store_that_can_not_be_read_changes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        lab = LabState(tmp_path, TRAINING, beside_training="wait")
        await lab.beside.look()
        lab.status = {}  # reading it fails
        lab.beside._status = lambda: (_ for _ in ()).throw(OSError("locked"))
        await lab.beside.look()
        assert lab.beside.is_busy

    asyncio.run(run())
