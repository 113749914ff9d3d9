from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stoker.data.rows import Row
from stoker.model.device import Hardware
from stoker.model.encoded import Encoded
from stoker.model.generation import generate, stream
from stoker.model.likelihood import mean_nll, token_counts
from stoker.model.load import Loaded, load_for_training
from stoker.model.tokenizing import encode_row_prompt, encode_rows, stop_token_ids
from stoker.spec.lab import ModelSpec
from stoker.worker.asking import prompt_ids
from stoker.worker.chatting import fit_history

Load = Callable[[Hardware], Loaded]


def encoded_rows(loaded: Loaded, rows: list[Row]) -> list[Encoded]:
    return [sequence for row in encode_rows(rows, loaded.tokenizer) for sequence in row]


def test_mean_nll_is_that_of_each_sequence_alone_in_the_callers_order(
    load_base: Load, fp32: Hardware, tiny_rows: list[Row]
) -> None:
    loaded = load_base(fp32)
    sequences = encoded_rows(loaded, tiny_rows)
    told: list[tuple[int, int]] = []
    nll = mean_nll(
        loaded, sequences, max_tokens_per_batch=300, on_progress=lambda done, total: told.append((done, total))
    )
    assert nll.dtype == np.float64 and told[-1] == (len(sequences), len(sequences))
    for i in (0, 7, 64):
        ids = torch.from_numpy(sequences[i].ids).long()
        with torch.no_grad():
            logprobs = loaded.model(ids[None]).logits[0].double().log_softmax(-1)
        at = np.flatnonzero(sequences[i].trained)
        expected = -np.mean([float(logprobs[t - 1, ids[t]]) for t in at])
        assert nll[i] == pytest.approx(expected, rel=1e-4)
    assert token_counts(sequences).tolist() == [int(s.trained.sum()) for s in sequences]


def test_a_sequence_without_trained_tokens_has_no_nll(load_base: Load, fp32: Hardware, tiny_rows: list[Row]) -> None:
    loaded = load_base(fp32)
    one, two = encoded_rows(loaded, tiny_rows[:2])
    silent = Encoded(one.ids, np.zeros_like(one.trained), one.row_id, one.line)
    nll = mean_nll(loaded, [silent, two])
    assert np.isnan(nll[0]) and np.isfinite(nll[1])


def teach(loaded: Loaded, token: int, stop: int) -> None:
    """Make the model answer `token` and then stop, whatever it is asked."""
    model = loaded.model
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        embedding = model.model.embed_tokens.weight
        embedding[:, 0] = 1.0
        embedding[token, 1] = 50.0
        model.lm_head.weight[token, 0] = 1.0
        model.lm_head.weight[stop, 1] = 1.0


def test_an_answer_ends_at_the_stop_token_which_is_not_part_of_its_text(
    load_base: Load, fp32: Hardware, tiny_rows: list[Row]
) -> None:
    loaded = load_base(fp32)
    stop = stop_token_ids(loaded.tokenizer)[0]
    token = loaded.tokenizer.encode("people")[-1]
    teach(loaded, token, stop)
    prompts = [encode_row_prompt(row, loaded.tokenizer) for row in tiny_rows[:3]]
    for answer in generate(loaded, prompts, 50, batch_size=2):
        assert answer.finished and answer.token_ids.tolist() == [token, stop]
        assert answer.text == loaded.tokenizer.decode([token])


def test_greedy_answers_do_not_depend_on_the_batch(load_base: Load, fp32: Hardware, tiny_rows: list[Row]) -> None:
    loaded = load_base(fp32)
    prompts = [encode_row_prompt(row, loaded.tokenizer) for row in tiny_rows[:5]]
    together = generate(loaded, prompts, 40, batch_size=5)
    for prompt, answer in zip(prompts, together, strict=True):
        (alone,) = generate(loaded, [prompt], 40, batch_size=1)
        assert alone.token_ids.tolist() == answer.token_ids.tolist()
        ids = torch.from_numpy(np.concatenate([prompt, answer.token_ids[:-1]])).long()
        with torch.no_grad():
            best = loaded.model(ids[None]).logits[0, len(prompt) - 1 :].argmax(-1)
        assert best.tolist() == answer.token_ids.tolist()


def test_answers_that_ended_leave_the_batch_and_the_others_go_on(
    load_base: Load, fp32: Hardware, tiny_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(fp32)
    prompts = [encode_row_prompt(row, loaded.tokenizer) for row in tiny_rows[:4]]
    before = generate(loaded, prompts, 24, batch_size=4)
    early = int(before[1].token_ids[2])
    monkeypatch.setattr("stoker.model.generation.stop_token_ids", lambda tokenizer: [early])
    monkeypatch.setattr("stoker.model.generation._ROUND_TOKENS", 4)
    for old, new in zip(before, generate(loaded, prompts, 24, batch_size=4), strict=True):
        ids = old.token_ids.tolist()
        assert new.finished == (early in ids)
        assert new.token_ids.tolist() == (ids[: ids.index(early) + 1] if early in ids else ids)


def test_streamed_pieces_make_the_same_text(load_base: Load, fp32: Hardware, tiny_rows: list[Row]) -> None:
    loaded = load_base(fp32)
    prompt = encode_row_prompt(tiny_rows[0], loaded.tokenizer)
    pieces = list(stream(loaded, prompt, 30))
    assert len(pieces) > 1 and "".join(pieces) == generate(loaded, [prompt], 30, 1)[0].text


def test_sampling_depends_on_the_seed_alone(load_base: Load, fp32: Hardware, tiny_rows: list[Row]) -> None:
    loaded = load_base(fp32)
    prompts = [encode_row_prompt(row, loaded.tokenizer) for row in tiny_rows[:2]]
    one, again, other = (
        [a.token_ids.tolist() for a in generate(loaded, prompts, 20, 2, temperature=1.0, top_p=0.9, seed=seed)]
        for seed in (1, 1, 2)
    )
    greedy = [a.token_ids.tolist() for a in generate(loaded, prompts, 20, 2)]
    assert one == again and one != other and one != greedy


def test_an_answer_ends_before_a_stop_text_alone_in_a_batch_and_streamed(
    load_base: Load, fp32: Hardware, tiny_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(fp32)
    prompts = [encode_row_prompt(row, loaded.tokenizer) for row in tiny_rows[:3]]
    whole = [answer.text for answer in generate(loaded, prompts, 40, 3)]
    stop = whole[0][len(whole[0]) // 2 :][:3]
    assert stop.strip()
    monkeypatch.setattr("stoker.model.generation._ROUND_TOKENS", 5)
    for text, answer in zip(whole, generate(loaded, prompts, 40, 3, stop=["never this", stop]), strict=True):
        assert answer.text == text.partition(stop)[0]
        assert answer.finished or stop not in text
        if stop in text:
            assert stop in loaded.tokenizer.decode(answer.token_ids)
    pieces = list(stream(loaded, prompts[0], 40, stop=[stop]))
    assert "".join(pieces) == whole[0].partition(stop)[0]


def test_top_k_1_is_greedy_at_any_temperature(load_base: Load, fp32: Hardware, tiny_rows: list[Row]) -> None:
    loaded = load_base(fp32)
    prompts = [encode_row_prompt(tiny_rows[0], loaded.tokenizer)]
    greedy = generate(loaded, prompts, 20, 1)[0].text
    assert generate(loaded, prompts, 20, 1, temperature=5.0, top_k=1)[0].text == greedy
    assert generate(loaded, prompts, 20, 1, temperature=5.0)[0].text != greedy


def test_what_is_asked_by_hand_are_the_tokens_that_training_puts_before_the_answer(
    load_base: Load, fp32: Hardware, tiny_rows: list[Row]
) -> None:
    loaded = load_base(fp32)
    for row in tiny_rows[:20]:
        (trained,) = encode_rows([row], loaded.tokenizer)[0]
        asked = prompt_ids(loaded, tuple(row.prompt_messages()), "it")
        start = int(np.flatnonzero(np.diff(trained.trained.astype(int)) == 1)[-1]) + 1
        assert trained.ids[:start].tolist() == asked.tolist()


def test_a_history_is_cut_from_its_oldest_exchange_and_the_system_prompt_stays(
    load_base: Load, fp32: Hardware, tiny_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(fp32)
    turns = [
        ({"role": "user", "content": f"place {n}"}, {"role": "assistant", "content": f"it is {n}"}) for n in range(8)
    ]
    system, last = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "and now?"}
    history = (system, *(message for turn in turns for message in turn), last)
    dropped, whole = fit_history(loaded, history, 10)
    assert dropped == 0 and whole.tolist() == prompt_ids(loaded, history, "it").tolist()
    monkeypatch.setattr("stoker.worker.chatting.context_tokens", lambda loaded: len(whole) + 9)
    dropped, ids = fit_history(loaded, history, 10)
    assert dropped == 2 and ids.tolist() == prompt_ids(loaded, (system, *history[3:]), "it").tolist()


def test_a_models_own_generation_settings_are_not_used(load_base: Load, fp32: Hardware, tiny_rows: list[Row]) -> None:
    loaded = load_base(fp32)
    prompts = [encode_row_prompt(tiny_rows[0], loaded.tokenizer)]
    plain = generate(loaded, prompts, 20, 1)[0].token_ids.tolist()
    loaded.model.generation_config.repetition_penalty = 5.0
    loaded.model.generation_config.do_sample = True
    assert generate(loaded, prompts, 20, 1)[0].token_ids.tolist() == plain
    assert loaded.model.generation_config.repetition_penalty == 5.0


def test_asking_a_model_in_training_leaves_it_in_training(
    tiny_base: Path, bf16: Hardware, tiny_rows: list[Row]
) -> None:
    loaded = load_for_training(tiny_base, None, ModelSpec(method="full"), bf16, seed=0)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    prompts = [encode_row_prompt(tiny_rows[0], loaded.tokenizer)]
    generate(loaded, prompts, 5, 1, temperature=1.0)
    mean_nll(loaded, encoded_rows(loaded, tiny_rows[:3]))
    assert loaded.model.training and loaded.model.config._attn_implementation == "eager"
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.requires_grad and p.dtype is torch.float32 for p in loaded.model.parameters())


def test_a_prompt_that_fills_the_context_gets_an_empty_answer(load_base: Load, fp32: Hardware) -> None:
    loaded = load_base(fp32)
    loaded.model.config.max_position_embeddings = 32
    (answer,) = generate(loaded, [np.full(32, 7, dtype=np.int32)], 5, 1)
    assert answer.text == "" and not answer.finished
