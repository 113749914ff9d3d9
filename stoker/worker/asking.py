"""The small tasks people ask for by hand: answer prompts with a model, or fold an adapter into plain weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoker.errors import InvalidInput, WorkerExit
from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox
from stoker.model.base import ensure_base
from stoker.model.device import resolve_hardware
from stoker.model.generation import stream
from stoker.model.load import merge
from stoker.model.resident import Resident
from stoker.model.tokenizing import encode_prompt
from stoker.spec.jobs import GenerateJob, MergeJob, ModelRef


def run_generate(job: GenerateJob, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Answer each prompt, its text told piece by piece in `text` messages."""
    control = ControlInbox(folder)
    outbox.phase("load")
    loaded = resident.get(job.model, base_folder_of(job.model), resolve_hardware(job.train))
    answers = []
    for index, prompt in enumerate(job.prompts):
        outbox.phase("answer", index, len(job.prompts))
        messages = [{"role": "system", "content": job.system}] if job.system else []
        ids = encode_prompt([*messages, {"role": "user", "content": prompt}], None, loaded.tokenizer)
        pieces = []
        for piece in stream(loaded, ids, job.max_new_tokens, job.temperature, job.top_p, job.seed):
            pieces.append(piece)
            outbox.send("text", index=index, text=piece)
            if control.read():
                return WorkerExit.PAUSED
        answers.append("".join(pieces))
    outbox.send("result", answers=answers)
    return WorkerExit.DONE


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
