"""The batch that requests join and leave: its answers are those of `stoker generate`, whoever else is in it."""

from __future__ import annotations

import copy
import queue
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stoker.engine.answering import Answering, Asked, Piece
from stoker.engine.choosing import Chooser, Sampling, choose, logprob_of
from stoker.engine.rows import Alone, Slots
from stoker.engine.text import GrowingText
from stoker.model.device import Hardware
from stoker.model.generation import generate
from stoker.model.load import Loaded, load_for_inference
from stoker.model.tokenizing import encode_prompt
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import ModelSpec

FP32 = Hardware(torch.device("cpu"), torch.float32, 1, "eager", False)


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> Loaded:
    return load_for_inference(ModelRef(label="base", base=BaseRef(name="tiny"), weights_sha256="b"), tiny_base, FP32)


@pytest.fixture
def answering(loaded: Loaded) -> Iterator[Answering]:
    made = Answering(loaded, 4)
    made.start()
    yield made
    made.end()


class Answer:
    """What is told of one request."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._told: queue.Queue[Piece] = queue.Queue()
        self.tell = self._told.put

    def next(self) -> Piece:
        self.pieces.append(self._told.get(timeout=120))
        return self.pieces[-1]

    def wait(self) -> Answer:
        while not (piece := self.next()).finish and piece.error is None:
            pass
        return self

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def prompts(loaded: Loaded, number: int) -> list[Any]:
    contents = [f"{'many ' * (i % 7)}people in house {i}?" for i in range(number)]
    return [encode_prompt([{"role": "user", "content": content}], None, loaded.tokenizer) for content in contents]


def ask(answering: Answering, prompt: Any, max_tokens: int = 40, **more: Any) -> Answer:
    answer = Answer()
    sampling = more.pop("sampling", Sampling())
    answering.ask(Asked(prompt, max_tokens, sampling, more.pop("stops", ()), answer.tell, **more))
    return answer


def test_answers_in_a_moving_batch_are_those_of_generate(loaded: Loaded, answering: Answering) -> None:
    asked = prompts(loaded, 18)
    limits = [random.Random(i).randint(1, 60) for i in range(18)]  # they leave at different times
    wanted = [generate(loaded, [prompt], limit, 1)[0] for prompt, limit in zip(asked, limits, strict=True)]
    answers = [ask(answering, prompt, limit) for prompt, limit in zip(asked, limits, strict=True)]
    for answer, one in zip(answers, wanted, strict=True):
        answer.wait()
        assert answer.text == one.text
        assert answer.pieces[-1].num_tokens == len(one.token_ids)
        assert answer.pieces[-1].finish == ("stop" if one.finished else "length")


def test_a_whole_answer_comes_in_one_piece_and_is_the_same(loaded: Loaded, answering: Answering) -> None:
    prompt = prompts(loaded, 3)[2]
    whole = ask(answering, prompt, is_streamed=False).wait()
    assert len(whole.pieces) == 1
    assert whole.text == ask(answering, prompt).wait().text


def test_one_at_a_time_gives_the_same_logits_as_slots(loaded: Loaded) -> None:
    asked = prompts(loaded, 3)
    with torch.inference_mode():
        slots, alone = Slots(loaded, 3, loaded.model.config.num_hidden_layers), Alone(loaded)
        together = slots.join(asked)
        for row, prompt in enumerate(asked):
            assert torch.allclose(alone.join([prompt])[0], together[row], atol=1e-4)
            alone.leave(0)
        slots.leave(0)  # the last row takes its place
        alone.join([asked[2]])
        for token in (5, 6, 7):
            assert torch.allclose(alone.step([token])[0], slots.step([token, 9])[0], atol=1e-4)
        assert (slots.count, alone.count) == (2, 1)


@pytest.mark.parametrize("kind", ["adapter", "sliding-window"])
def test_other_kinds_of_models_answer_as_generate_does(kind: str, loaded: Loaded) -> None:
    other = with_adapter(loaded) if kind == "adapter" else with_window(loaded)
    asked = prompts(loaded, 5)
    wanted = [one.text for one in generate(other, asked, 24, 1)]
    assert wanted != [one.text for one in generate(loaded, asked, 24, 1)]
    answering = Answering(other, 4)
    answering.start()
    answers = [ask(answering, prompt, 24) for prompt in asked]
    assert [answer.wait().text for answer in answers] == wanted
    answering.end()
    assert isinstance(answering._rows, Alone if kind == "sliding-window" else Slots)


def with_adapter(loaded: Loaded) -> Loaded:
    from stoker.model.adapters import add_adapter

    torch.manual_seed(4)
    model = add_adapter(copy.deepcopy(loaded.model), ModelSpec(method="lora"), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    return replace(loaded, model=model.eval(), method="lora")


def with_window(loaded: Loaded) -> Loaded:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=2048, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=6, max_position_embeddings=512, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(2)
    return replace(loaded, model=MistralForCausalLM(config).eval())


def test_a_cancelled_answer_gives_its_place_to_the_next(loaded: Loaded) -> None:
    answering = Answering(loaded, 1)
    answering.start()
    first = Answer()
    asked = Asked(prompts(loaded, 1)[0], 4000, Sampling(2.0, seed=1), (), first.tell)
    answering.ask(asked)
    first.next()
    second = ask(answering, prompts(loaded, 2)[1], 5)
    asked.is_cancelled = True
    assert second.wait().pieces[-1].error is None
    answering.end()


def test_a_draw_depends_on_its_seed_alone(loaded: Loaded, answering: Answering) -> None:
    prompt = prompts(loaded, 1)[0]
    drawn = Sampling(1.3, 0.9, seed=11)
    alone = ask(answering, prompt, sampling=drawn).wait().text
    others = [ask(answering, one, sampling=Sampling(1.3)) for one in prompts(loaded, 3)]
    assert ask(answering, prompt, sampling=drawn).wait().text == alone
    assert ask(answering, prompt, sampling=Sampling(1.3, 0.9, seed=12)).wait().text != alone
    for other in others:
        other.wait()


def test_a_request_that_breaks_the_model_ends_alone(loaded: Loaded, answering: Answering) -> None:
    broken = ask(answering, [10**7], 5).wait()
    assert broken.pieces[-1].error is not None
    assert ask(answering, prompts(loaded, 1)[0], 5).wait().pieces[-1].finish


def test_the_end_is_told_to_who_still_waits(loaded: Loaded) -> None:
    answering = Answering(loaded, 1)
    answering.start()
    answers = [ask(answering, one, 4000, sampling=Sampling(2.0, seed=i)) for i, one in enumerate(prompts(loaded, 3))]
    answers[0].next()
    answering.end()
    assert all(answer.wait().pieces[-1].error or answer.pieces[-1].finish for answer in answers)


def test_the_nucleus_holds_the_likeliest_tokens_alone() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    drawn = {choose(logits, [Chooser(Sampling(1.0, 0.6, seed=seed))])[0] for seed in range(200)}
    assert drawn == {0, 1}
    assert choose(logits, [Chooser(Sampling())]) == [0]
    assert {choose(logits, [Chooser(Sampling(1.0, 1e-9, seed=seed))])[0] for seed in range(20)} == {0}


def test_logprobs_are_the_models_own() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    found = logprob_of(logits, 1, 2)
    assert found.value == pytest.approx(torch.log(torch.tensor(0.3)).item())
    assert [token for token, _ in found.top] == [0, 1]


class Letters:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return bytes(ids).decode(errors="replace")


@pytest.mark.parametrize("read_every", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("text", "stops", "wanted"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "ne"), "o"),
        ("aaab", ("aab",), "a"),
        ("naïve 🙂 text", ("🙂",), "naïve "),
        ("half of a sto", ("stop",), "half of a sto"),
        ("nothing", (), "nothing"),
    ],
)
def test_text_grows_up_to_a_stop_string(text: str, stops: tuple[str, ...], wanted: str, read_every: int) -> None:
    growing, told = GrowingText(Letters(), stops), []
    for i, byte in enumerate(text.encode()):
        growing.add(byte)
        if i % read_every == 0:
            growing.read()
            told.append(growing.take())
        if growing.is_stopped:
            break
    growing.finish()
    told.append(growing.take(is_over=True))
    assert "".join(told) == wanted
    assert not any("\ufffd" in piece for piece in told)
