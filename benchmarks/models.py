"""Random Qwen3 models of given sizes, with a byte-level tokenizer, and chats of given lengths to train them on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

_TEMPLATE = Path(__file__).parent.parent / "stoker" / "model" / "tiny_template.jinja"
_SHAPES: dict[str, dict[str, int]] = {
    "5m": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4},
    "30m": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8},
    "600m": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
}
_VOCABULARY = {"5m": 8_000, "30m": 16_000, "600m": 16_000}


def chats(num: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield prompt and answer pairs of about 20 to 400 tokens in all, drawn from a Zipf vocabulary with some order in it."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("bcdfghlmnprstvwaeiou", k=rng.randint(2, 7))) for _ in range(6000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    follow = [rng.sample(range(len(words)), 4) for _ in words]
    for _ in range(num):
        length = rng.randint(8, 160)
        at = rng.choices(range(len(words)), weights)[0]
        text = []
        for _ in range(length):
            text.append(words[at])
            at = rng.choice(follow[at]) if rng.random() < 0.6 else rng.choices(range(len(words)), weights)[0]
        cut = rng.randint(5, max(6, length // 2))
        yield {"prompt": " ".join(text[:cut]), "answer": " ".join(text[cut:])}


def write_chats(path: Path, num: int, seed: int) -> None:
    path.write_bytes(b"".join(orjson.dumps(chat) + b"\n" for chat in chats(num, seed)))


def mean_tokens(model: Path, file: Path) -> int:
    """Return the mean number of tokens of a file's chats, template included."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = []
    for line in file.read_bytes().splitlines():
        chat = orjson.loads(line)
        messages = [{"role": "user", "content": chat["prompt"]}, {"role": "assistant", "content": chat["answer"]}]
        lengths.append(len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]))
    return round(sum(lengths) / len(lengths))


def make_model(folder: Path, size: str, seed: int = 0) -> Path:
    """Write a randomly initialised Qwen3 of `size` with its tokenizer and chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = [
        AddedToken(text, normalized=False, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY[size], special_tokens=specials, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator((text for chat in chats(2000, 1) for text in chat.values()), trainer)
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=4096
    )
    fast.chat_template = _TEMPLATE.read_text()
    shape = _SHAPES[size]
    config = Qwen3Config(
        vocab_size=_VOCABULARY[size],
        num_key_value_heads=shape["num_attention_heads"] // 2,
        head_dim=64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        **shape,
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
