"""A chat: the model stays loaded, and each conversation that is said is answered piece by piece.

The history is the asker's; here it is only cut to what the model can see, oldest exchange first, and that is told. The
process ends with whoever started it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from stoker.errors import UserError, WorkerExit
from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox
from stoker.model.device import resolve_hardware
from stoker.model.encoded import Ids
from stoker.model.generation import context_tokens, stream
from stoker.model.load import Loaded
from stoker.model.resident import Resident
from stoker.model.tokenizing import encode_prompt
from stoker.spec.jobs import ChatJob, Conversation, Sampling
from stoker.worker.asking import base_folder_of, prompt_ids

_POLL_SECONDS = 0.02
_ENDS = ("end", "pause", "stop")


def run_chat(job: ChatJob, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Answer until told to end, or until the process that started this one is gone."""
    control, starter = ControlInbox(folder), os.getppid()
    outbox.phase("load")
    loaded = resident.get(job.model, base_folder_of(job.model), resolve_hardware(job.train))
    outbox.send("ready", context=context_tokens(loaded))
    waiting: list[dict[str, Any]] = []
    while os.getppid() == starter:
        waiting += control.read()
        if any(asked["kind"] in _ENDS for asked in waiting):
            return WorkerExit.DONE
        if not waiting:
            time.sleep(_POLL_SECONDS)
            continue
        asked = waiting.pop(0)
        if asked["kind"] == "say":
            waiting += _answer(loaded, asked, outbox, control)
    return WorkerExit.DONE


def _answer(loaded: Loaded, asked: dict[str, Any], outbox: Outbox, control: ControlInbox) -> list[dict[str, Any]]:
    """Answer one conversation; return what else was asked meanwhile."""
    index, sampling = asked["id"], Sampling.model_validate(asked["sampling"])
    messages = tuple(asked["messages"])
    try:
        num_dropped, ids = fit_history(loaded, messages, sampling.max_new_tokens)
    except UserError as error:
        outbox.send("refused", index=index, what=error.what, why=error.why, remedy=error.remedy)
        return []
    if num_dropped:
        outbox.send("trimmed", index=index, messages=num_dropped)
    pieces = stream(
        loaded, ids, sampling.max_new_tokens, sampling.temperature, sampling.top_p, sampling.seed,
        top_k=sampling.top_k, stop=sampling.stop,
    )  # fmt: skip
    text, finish = "", "stopped"
    tokens_out: int | None = None
    meanwhile: list[dict[str, Any]] = []
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            finish, tokens_out = "stop" if end.value.finished else "length", len(end.value.token_ids)
            break
        text += piece
        outbox.send("text", index=index, text=piece)
        meanwhile += control.read()
        if meanwhile:
            pieces.close()
            break
    outbox.send("answer", index=index, text=text, finish=finish, tokens_in=len(ids), tokens_out=tokens_out)
    return [one for one in meanwhile if one["kind"] != "hush"]


def fit_history(loaded: Loaded, messages: Conversation, max_new_tokens: int) -> tuple[int, Ids]:
    """Return how many of the oldest messages were left out, and the prompt of the rest; InvalidInput when none fits.

    A system prompt stays. Room is kept for an answer, up to a quarter of what the model sees.
    """
    context = context_tokens(loaded)
    room = min(max_new_tokens, context // 4)
    num_kept = 1 if messages[0]["role"] == "system" else 0
    starts = [place for place, message in enumerate(messages) if message["role"] == "user" and place >= num_kept]
    for start in starts[:-1]:
        shown = (*messages[:num_kept], *messages[start:])
        ids = encode_prompt(shown, None, loaded.tokenizer)
        if len(ids) + room <= context:
            return start - num_kept, ids
    last = (*messages[:num_kept], *messages[starts[-1] :])
    return starts[-1] - num_kept, prompt_ids(loaded, last, "the question")
