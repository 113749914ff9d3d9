"""Tokenizers with the chat templates people meet, each trained on a handful of sentences."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

_TEXTS = ["How many people live in the house? In Aru there are seven people.", "assistant user system model think"] * 20

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ m.content }}<|im_end|>{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# Like Qwen3's: earlier turns lose their thinking, the last one always shows a block, a switch puts it in the prompt.
THINKING = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% set think = '' %}{% set content = m.content %}"
    "{% if '</think>' in m.content %}{% set think = m.content.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set content = m.content.split('</think>')[-1].lstrip() %}{% endif %}"
    "{% if loop.index0 > ns.last %}<think>\n{{ think }}\n</think>\n\n{{ content }}{% else %}{{ content }}{% endif %}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{% if m.role == 'user' %}### Question:\n{{ m.content }}\n\n### Answer:\n"
    "{% else %}{{ m.content }}\n\n{% endif %}{% endfor %}"
)

# template, beginning of text, end of text, other special tokens
STYLES: dict[str, tuple[str, str | None, str, list[str]]] = {
    "chatml": (CHATML, None, "<|endoftext|>", ["<|im_start|>", "<|im_end|>"]),
    "chatml-marked": (CHATML_MARKED, None, "<|im_end|>", ["<|im_start|>"]),
    "llama": (
        LLAMA,
        "<|begin_of_text|>",
        "<|end_of_text|>",
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    "gemma": (GEMMA, "<bos>", "<eos>", ["<start_of_turn>", "<end_of_turn>"]),
    "thinking": (THINKING, None, "<|im_end|>", ["<|im_start|>"]),
    "plain": (PLAIN, "<s>", "</s>", []),
}
STOPS = {
    "chatml": "<|im_end|>", "chatml-marked": "<|im_end|>", "llama": "<|eot_id|>", "gemma": "<end_of_turn>",
    "thinking": "<|im_end|>", "plain": "</s>",
}  # fmt: skip


def make_tokenizer(style: str, *, has_prefix_space: bool = False) -> Any:
    """Return a tokenizer with the template of that style; with a prefix space, like SentencePiece's."""
    template, bos, eos, others = STYLES[style]
    special = [token for token in (bos, eos, *others) if token]
    tokenizer = Tokenizer(models.BPE())
    if has_prefix_space:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in special],
        initial_alphabet=[] if has_prefix_space else sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*_TEXTS, *(chr(i) for i in range(32, 127)), "\n"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, additional_special_tokens=others
    )
    fast.chat_template = template
    return fast
