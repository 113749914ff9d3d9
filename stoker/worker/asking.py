"""The small tasks people ask for by hand: answer prompts with a model, or fold an adapter into plain weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stoker.errors import DataError, InvalidInput, WorkerExit
from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox
from stoker.model.base import ensure_base
from stoker.model.device import resolve_hardware
from stoker.model.encoded import Ids
from stoker.model.generation import Generated, context_tokens, generate, stream
from stoker.model.load import Loaded, merge
from stoker.model.resident import Resident
from stoker.model.tokenizing import encode_prompt
from stoker.spec.jobs import Conversation, GenerateJob, MergeJob, ModelRef, Sampling

_BATCHES_A_WINDOW = 8  # prompts of like length share a batch; answers come in the order asked, window by window


def run_generate(job: GenerateJob, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Answer each conversation: `answer` messages in order, with the text piece by piece before it when streamed.

    Everything that can be wrong with a prompt is found before the first is answered.
    """
    control = ControlInbox(folder)
    outbox.phase("load")
    loaded = resident.get(job.model, base_folder_of(job.model), resolve_hardware(job.train))
    prompts = [
        prompt_ids(loaded, messages, f"prompt {number}") for number, messages in enumerate(job.conversations, start=1)
    ]
    window = 1 if job.is_streamed else job.batch_size * _BATCHES_A_WINDOW
    for start in range(0, len(prompts), window):
        outbox.phase("answer", start, len(prompts))
        if control.read():
            return WorkerExit.PAUSED
        answers: Sequence[Generated | None]
        if job.is_streamed:
            answers = [_streamed(loaded, prompts[start], job.sampling, start, outbox, control)]
        else:
            answers = _many(loaded, prompts[start : start + window], job.sampling, job.batch_size)
        for index, answer in enumerate(answers, start):
            if answer is None:
                return WorkerExit.PAUSED
            tell_answer(outbox, index, answer, len(prompts[index]))
    return WorkerExit.DONE


def prompt_ids(loaded: Loaded, messages: Conversation, name: str) -> Ids:
    """Return a conversation's prompt as it is trained; InvalidInput when no answer fits behind it."""
    try:
        ids = encode_prompt(messages, None, loaded.tokenizer)
    except DataError as error:
        raise InvalidInput(f"{name}: {error.what}", error.why, error.remedy) from None
    context = context_tokens(loaded)
    if len(ids) >= context:
        raise InvalidInput(
            f"{name} has {len(ids):,} tokens", f"the model sees {context:,}, prompt and answer together",
            "shorten it",
        )  # fmt: skip
    return ids


def tell_answer(outbox: Outbox, index: int, answer: Generated, tokens_in: int, finish: str = "") -> None:
    """Send a whole answer."""
    outbox.send(
        "answer", index=index, text=answer.text, finish=finish or ("stop" if answer.finished else "length"),
        tokens_in=tokens_in, tokens_out=len(answer.token_ids),
    )  # fmt: skip


def _streamed(
    loaded: Loaded, ids: Ids, sampling: Sampling, index: int, outbox: Outbox, control: ControlInbox
) -> Generated | None:
    """Answer one prompt piece by piece; None when asked to end in between."""
    pieces = stream(loaded, ids, *_drawn(sampling), top_k=sampling.top_k, stop=sampling.stop)
    while True:
        try:
            outbox.send("text", index=index, text=next(pieces))
        except StopIteration as end:
            answer: Generated = end.value
            return answer
        if control.read():
            pieces.close()
            return None


def _many(loaded: Loaded, prompts: Sequence[Ids], sampling: Sampling, size: int) -> Sequence[Generated]:
    while True:
        try:
            drawn = _drawn(sampling)
            return generate(
                loaded, prompts, drawn[0], size, *drawn[1:], top_k=sampling.top_k, stop=sampling.stop
            )  # fmt: skip
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            torch.cuda.empty_cache()


def _drawn(sampling: Sampling) -> tuple[int, float, float, int]:
    return sampling.max_new_tokens, sampling.temperature, sampling.top_p, sampling.seed


def run_merge(job: MergeJob, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Publish plain weights of a version, checked against its own outputs."""
    outbox.phase("load")
    resident.clear()
    facts: dict[str, Any] = merge(job.model, base_folder_of(job.model), job.output, resolve_hardware(job.train))
    outbox.send("result", output=str(job.output), **facts)
    return WorkerExit.DONE


def base_folder_of(ref: ModelRef) -> Path:
    """Return the folder of a reference's base; InvalidInput for a tiny base that was never made."""
    if ref.base.folder is None and ref.base.name == "tiny":
        raise InvalidInput(
            f"the tiny base of {ref.label} has not been made yet",
            "its tokenizer is trained on the lab's first file",
            "run: stoker train FILE",
        )
    return ensure_base(ref.base, ref.base.folder or Path(), (), 0)
