"""When requests join a batch: together where they come one by one, at once where nothing is won by waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import stoker.engine.answering as engine
from stoker.engine.answering import Answering, Asked
from stoker.engine.choosing import Sampling
from stoker.model.device import Hardware
from stoker.model.load import Loaded, load_for_inference
from stoker.model.tokenizing import encode_prompt
from stoker.spec.jobs import BaseRef, ModelRef


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> Loaded:
    hardware = Hardware(torch.device("cpu"), torch.float32, 1, "eager", False)
    return load_for_inference(
        ModelRef(label="base", base=BaseRef(name="tiny"), weights_sha256="b"), tiny_base, hardware
    )


@pytest.fixture(autouse=True)
def _asking() -> Iterator[None]:
    with torch.inference_mode():
        yield


def ask(answering: Answering, loaded: Loaded, told: list[Any] | None = None, max_tokens: int = 50) -> None:
    prompt = encode_prompt([{"role": "user", "content": "how many people?"}], None, loaded.tokenizer)
    tell = (told if told is not None else []).append
    answering.ask(Asked(prompt, max_tokens, Sampling(), (), tell, is_streamed=False))


def test_those_who_come_while_others_are_answered_join_together_after_a_few_tokens(loaded: Loaded) -> None:
    answering = Answering(loaded, 8)
    ask(answering, loaded)
    answering._advance()
    counts = []
    for _ in range(6):
        ask(answering, loaded)
        answering._advance()
        counts.append(answering.num_running)
    assert counts == [1, 1, 1, 1, 6, 6]


def test_a_batch_that_would_be_full_is_filled_at_once(loaded: Loaded) -> None:
    answering = Answering(loaded, 2)
    for wanted in (1, 2):
        ask(answering, loaded)
        answering._advance()
        assert answering.num_running == wanted


def test_after_many_at_once_the_next_ones_are_waited_for_and_after_one_alone_they_are_not(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = Answering(loaded, 8)
    told: list[Any] = []
    for _ in range(2):
        ask(answering, loaded, told, max_tokens=1)
    answering._advance()
    assert len(told) == 2 and answering.num_running == 0
    monkeypatch.setattr(engine, "_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(engine, "_GATHER_SECONDS", 60.0)
    later = threading.Timer(0.05, ask, (answering, loaded))
    later.start()
    ask(answering, loaded, told, max_tokens=1)
    answering._advance()
    later.join()
    assert answering.num_running == 1 and len(told) == 3, "both joined, and one had a token to make"
    while answering.num_running:
        answering._advance()
    answering._num_lately = 1
    ask(answering, loaded, told, max_tokens=1)
    answering._advance()  # would wait for a minute
    assert len(told) == 4
