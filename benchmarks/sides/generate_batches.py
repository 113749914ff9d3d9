"""transformers' own `generate`, greedy, 16 prompts at a time: what the server is measured against.

python benchmarks/sides/generate_batches.py MODEL THREADS MAX_TOKENS REQUESTS
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness
from serving import CONTENT


def main() -> None:
    """Print useful tokens a second: up to each answer's stop token."""
    folder, threads, max_tokens, num_requests = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    dtype = torch.bfloat16 if harness.precision() == "bf16" else torch.float32
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    chats = [[{"role": "user", "content": CONTENT.format(number)}] for number in range(num_requests)]
    texts = [str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)) for chat in chats]
    made, began = 0, 0.0
    with torch.inference_mode():
        for start in range(-16, num_requests, 16):
            if start == 0:
                made, began = 0, time.perf_counter()  # after one batch of warm-up
            chosen = texts[max(start, 0) : max(start, 0) + 16]
            batch = tokenizer(chosen, return_tensors="pt", padding=True, add_special_tokens=False)
            answers = model.generate(**batch, max_new_tokens=max_tokens, do_sample=False)
            for answer in answers[:, batch["input_ids"].shape[1] :].tolist():
                stop = tokenizer.eos_token_id
                made += answer.index(stop) + 1 if stop in answer else len(answer)
    sys.stdout.write(f"{made / (time.perf_counter() - began)}\n")


if __name__ == "__main__":
    main()
