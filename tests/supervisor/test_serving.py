"""The gateway beside the lab: started, watched and ended by the supervisor; its death is told and harms nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.locks import is_same_process
from stoker.supervisor import serving as serving_module
from stoker.supervisor.serving import Serving


@pytest.fixture
def serving(lab: Any) -> Iterator[Serving]:
    made = Serving(lab.context)
    yield made
    made.end()


def settings(lab: Any, **serve: object) -> None:
    lab.workspace.settings.write_text("[serve]\nport = 0\n")
    lab.spec(serve={"port": 0, **serve})


def wait(serving: Serving, is_so: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        serving.tick()
        time.sleep(0.05)


def card(lab: Any) -> Path:
    return lab.workspace.serving / "gateway.json"


def test_nothing_is_served_unless_asked_for(lab: Any, serving: Serving) -> None:
    settings(lab)
    serving.tick()
    assert serving.process is None


def test_the_gateway_is_started_and_ends_with_the_lab(lab: Any, serving: Serving) -> None:
    settings(lab, with_lab=True)
    wait(serving, card(lab).exists)
    process = serving.process
    assert process is not None and process.is_alive()
    assert orjson.loads(card(lab).read_bytes())["pid"] == process.pid
    serving.end()
    assert not is_same_process(process.pid, process.started_at)


def test_a_dead_gateway_is_told_and_started_again(lab: Any, serving: Serving) -> None:
    settings(lab, with_lab=True)
    wait(serving, card(lab).exists)
    first = serving.process
    assert first is not None and first.child is not None
    first.child.kill()
    first.child.wait()
    wait(serving, lambda: serving.process is not None and serving.process.pid != first.pid)
    assert lab.codes == ["serving.ended"]
    assert "again in 1 s" in lab.texts[0]


def test_the_wait_doubles_while_it_dies_at_once(lab: Any, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_module, "MODULE", "stoker.no_such_module")
    settings(lab, with_lab=True)
    wait(serving, lambda: len(lab.texts) == 3)
    assert [text.rsplit(" ", 2)[1] for text in lab.texts] == ["1", "2", "4"]


def test_a_supervisor_that_starts_keeps_the_gateway_of_the_last_one(lab: Any, serving: Serving) -> None:
    settings(lab, with_lab=True)
    wait(serving, card(lab).exists)
    assert serving.process is not None
    second = Serving(lab.context)
    second.tick()
    assert second.process is not None and second.process.pid == serving.process.pid


def test_switching_it_off_ends_it_and_a_new_port_starts_it_anew(lab: Any, serving: Serving) -> None:
    settings(lab, with_lab=True)
    wait(serving, card(lab).exists)
    first = serving.process
    assert first is not None
    settings(lab, with_lab=True, max_waiting=7)
    wait(serving, lambda: serving.process is not None and serving.process.pid != first.pid)
    settings(lab, with_lab=False)
    serving.tick()
    assert serving.process is None
