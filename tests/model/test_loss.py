from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM

from stoker.data.rows import Row
from stoker.model import loss as loss_module
from stoker.model.batches import IGNORED, collate
from stoker.model.device import Hardware
from stoker.model.encoded import Encoded
from stoker.model.load import load_for_training, load_tokenizer
from stoker.model.logits import is_short_way_sound, parts_of, states_at_labels
from stoker.model.loss import choose_loss, label_losses, own_loss, supervised_loss
from stoker.model.tokenizing import encode_rows
from stoker.spec.lab import ModelSpec

LORA = ModelSpec(method="lora", lora_rank=4, lora_alpha=8.0)
FULL = ModelSpec(method="full")


@pytest.fixture
def sequences(tiny_base: Path, tiny_rows: list[Row]) -> list[Encoded]:
    return [sequence for row in encode_rows(tiny_rows[:6], load_tokenizer(tiny_base)) for sequence in row]


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_a_padded_batch_labels_trained_tokens_alone(sequences: list[Encoded]) -> None:
    batch = collate(sequences, pad_id=0, packing=False)
    assert batch["input_ids"].shape == batch["labels"].shape == (6, max(len(s) for s in sequences))
    for row, sequence in enumerate(sequences):
        labels = batch["labels"][row, : len(sequence)].numpy()
        assert np.array_equal(labels != IGNORED, sequence.trained)
        assert np.array_equal(labels[sequence.trained], sequence.ids[sequence.trained])
        assert (batch["labels"][row, len(sequence) :] == IGNORED).all()
    flat_ids = batch["input_ids"].flatten()
    assert torch.equal(flat_ids[batch["positions"] + 1], batch["targets"])


def test_a_packed_batch_holds_no_padding_and_counts_positions_anew(sequences: list[Encoded]) -> None:
    batch = collate(sequences, pad_id=0, packing=True)
    assert batch["input_ids"].shape == (1, sum(len(s) for s in sequences))
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert starts == np.cumsum([0, *(len(s) for s in sequences[:-1])]).tolist()
    assert torch.equal(batch["input_ids"][0][batch["positions"] + 1], batch["targets"])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("packing", [False, True])
def test_rows_of_a_batch_do_not_see_each_other(
    attention: str, packing: bool, sequences: list[Encoded], tiny_base: Path
) -> None:
    hardware = Hardware(torch.device("cpu"), torch.float32, 1, attention, packing)
    model = load_for_training(tiny_base, None, FULL, hardware, seed=0).model.eval()
    parts = parts_of(model)
    assert parts is not None
    with torch.no_grad():
        together = states_at_labels(parts, collate(sequences, 0, packing))
        alone = torch.cat([states_at_labels(parts, collate([s], 0, False)) for s in sequences])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("packing", [False, True])
def test_loss_and_gradients_are_those_of_the_models_own_forward(
    spec: ModelSpec, packing: bool, sequences: list[Encoded], tiny_base: Path, fp32: Hardware
) -> None:
    model = load_for_training(tiny_base, None, spec, fp32, seed=0).model
    batch = collate(sequences, 0, packing)
    ours, own = supervised_loss(model, batch, 100), own_loss(model, batch, 100)
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-6)
    mine, theirs = gradients(model, ours), gradients(model, own)
    assert mine.keys() == theirs.keys() and mine
    for name, gradient in theirs.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1 << 29, 4096], ids=["whole", "chunks"])
def test_each_labels_loss_is_a_by_product_that_changes_no_bit(
    packing: bool,
    chunk_bytes: int,
    sequences: list[Encoded],
    tiny_base: Path,
    fp32: Hardware,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load_for_training(tiny_base, None, FULL, fp32, seed=0).model
    batch = collate(sequences, 0, packing)
    monkeypatch.setattr(loss_module, "_CHUNK_BYTES", chunk_bytes)
    loss = choose_loss(model, batch)
    mine = loss(model, batch, 100)
    each_nll = label_losses(loss)
    my_gradients = gradients(model, mine)
    monkeypatch.setattr(
        loss_module, "_cross_entropy",
        lambda head, states, targets: (functional.cross_entropy(head(states).float(), targets, reduction="sum"), targets),
    )  # fmt: skip
    plain = loss(model, batch, 100)
    assert torch.equal(mine, plain)
    assert all(torch.equal(my_gradients[name], gradient) for name, gradient in gradients(model, plain).items())
    assert each_nll is not None and len(each_nll) == len(batch["targets"]) and not each_nll.requires_grad
    torch.testing.assert_close(each_nll.sum() / 100, mine.detach(), rtol=1e-5, atol=0)
    parts = parts_of(model)
    assert parts is not None
    with torch.no_grad():
        each = functional.cross_entropy(parts.head(states_at_labels(parts, batch)), batch["targets"], reduction="none")
    torch.testing.assert_close(each_nll, each, rtol=1e-3, atol=1e-4)


def test_the_loss_is_a_sum_over_the_whole_steps_labels(
    sequences: list[Encoded], tiny_base: Path, fp32: Hardware
) -> None:
    model = load_for_training(tiny_base, None, FULL, fp32, seed=0).model
    whole = collate(sequences, 0, False)
    num_items = len(whole["targets"])
    parts = [collate(some, 0, False) for some in (sequences[:2], sequences[2:])]
    losses = [float(supervised_loss(model, part, num_items).detach()) for part in parts]
    assert sum(losses) == pytest.approx(float(supervised_loss(model, whole, num_items).detach()), rel=1e-5)


def test_bf16_is_entered_explicitly(sequences: list[Encoded], tiny_base: Path, bf16: Hardware) -> None:
    model = load_for_training(tiny_base, None, FULL, bf16, seed=0).model
    batch = collate(sequences, 0, False)
    loss = choose_loss(model, batch, bf16)
    with_bf16, without = loss(model, batch, 100).detach(), supervised_loss(model, batch, 100).detach()
    assert with_bf16.dtype is torch.float32
    assert float(with_bf16) != float(without)
    assert float(with_bf16) == pytest.approx(float(without), rel=2e-2)


def test_gradient_checkpointing_changes_no_gradient(sequences: list[Encoded], tiny_base: Path, fp32: Hardware) -> None:
    model = load_for_training(tiny_base, None, FULL, fp32, seed=0).model
    batch = collate(sequences, 0, False)
    plain = gradients(model, supervised_loss(model, batch, 100))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for name, gradient in gradients(model, supervised_loss(model, batch, 100)).items():
        torch.testing.assert_close(plain[name], gradient)


def test_logits_made_in_chunks_give_the_same_loss_and_gradients(
    sequences: list[Encoded], tiny_base: Path, fp32: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_for_training(tiny_base, None, FULL, fp32, seed=0).model
    batch = collate(sequences, 0, False)
    whole = supervised_loss(model, batch, 100)
    expected = gradients(model, whole)
    monkeypatch.setattr("stoker.model.loss._CHUNK_BYTES", 1 << 18)
    chunked = supervised_loss(model, batch, 100)
    torch.testing.assert_close(whole, chunked)
    for name, gradient in gradients(model, chunked).items():
        torch.testing.assert_close(expected[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_model_that_caps_its_logits_is_trained_through_its_own_forward(
    sequences: list[Encoded], caplog: pytest.LogCaptureFixture
) -> None:
    config = Gemma2Config(
        vocab_size=2048, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=2.0, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(config)
    batch = collate(sequences, 0, False)
    with caplog.at_level(logging.INFO):
        loss = choose_loss(model, batch)
    assert "own forward" in caplog.text
    num_items = len(batch["targets"])
    own = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    torch.testing.assert_close(loss(model, batch, num_items), own)


def test_a_short_way_that_differs_from_the_models_forward_is_not_taken(
    sequences: list[Encoded], tiny_base: Path, fp32: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_for_training(tiny_base, None, FULL, fp32, seed=0).model
    own_forward: Callable[..., Any] = type(model).forward

    def scaled(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = own_forward(self, *args, **{**kwargs, "labels": None})
        labels = functional.pad(kwargs["labels"], (0, 1), value=IGNORED)[:, 1:]
        output.loss = functional.cross_entropy(output.logits.flatten(0, 1) * 3, labels.flatten())
        return output

    batch = collate(sequences, 0, False)
    monkeypatch.setattr(type(model), "forward", scaled)
    assert not is_short_way_sound(model, batch)
