"""`tiny`: a Qwen3-architecture model of about a million parameters, made from scratch from a lab's first rows.

It lets everything run offline in minutes. The same rows and seed make the same bytes. It knows nothing before it is
trained; it is no base for real work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from stoker.data.rows import Row
from stoker.durable import MANIFEST, publish_folder, verify_folder
from stoker.spec.jobs import BaseRef
from stoker.spec.resolve import TINY

MAX_POSITIONS = 4096
_VOCABULARY = 2048
_TEXT_BYTES = 2_000_000
_TEXT_ROWS = 20_000
_END, _TURN_START, _TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_TEMPLATE = Path(__file__).with_name("tiny_template.jinja")
# Letters, single digits, marks and line breaks each by themselves, so that a piece of a word, say a tile of a puzzle,
# is the same tokens behind a hyphen, a quote or a space.
_WORDS = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|[\r\n]+|\s+(?!\S)|\s+"
# transformers' default of 0.02 is made for wide models; at this width it learns nothing in the tokens that teach 0.08 the task.
_INITIAL_DEVIATION = 0.08


def is_tiny(base: BaseRef) -> bool:
    """Say whether the base is the one that Stoker makes itself."""
    return base.name == TINY


def ensure_tiny(folder: Path, rows: Iterable[Row], seed: int) -> None:
    """Make the tiny base at `folder` from these rows, or verify the one that is there (Damaged when it differs)."""
    if (folder / MANIFEST).exists():
        verify_folder(folder)
        return
    tokenizer = _train_tokenizer(_training_text(rows))
    with publish_folder(folder, {"kind": "tiny", "seed": seed}, fault="tiny") as staging:
        tokenizer.save_pretrained(staging)
        _make_model(tokenizer, seed).save_pretrained(staging)


def _training_text(rows: Iterable[Row]) -> list[str]:
    """Take the rows' texts in an order that does not depend on the file's, up to a limit that seconds can handle."""
    ordered = sorted(islice(rows, 4 * _TEXT_ROWS), key=lambda row: row.id)[:_TEXT_ROWS]
    texts, size = [], 0
    for row in ordered:
        for text in _texts_of(row):
            texts.append(text)
            size += len(text)
        if size > _TEXT_BYTES:
            break
    return texts


def _texts_of(row: Row) -> Iterator[str]:
    if row.text is not None:
        yield row.text
    for message in row.messages or ():
        if message.get("content"):
            yield str(message["content"])
        for call in message.get("tool_calls") or ():
            yield orjson.dumps(call.get("function", call)).decode()
    for tool in row.tools or ():
        yield orjson.dumps(tool).decode()


def _train_tokenizer(texts: list[str]) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[AddedToken(text, normalized=False, special=True) for text in (_END, _TURN_START, _TURN_END)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=_TURN_END,
        pad_token=_END,
        additional_special_tokens=[_TURN_START],
        model_max_length=MAX_POSITIONS,
    )
    fast.chat_template = _TEMPLATE.read_text()
    return fast


def _make_model(tokenizer: Any, seed: int) -> Any:
    config = Qwen3Config(
        vocab_size=max(_VOCABULARY, len(tokenizer)),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        initializer_range=_INITIAL_DEVIATION,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)
