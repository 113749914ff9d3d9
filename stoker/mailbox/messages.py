"""Messages: what a worker says of a task, in `messages.jsonl` of the task's folder.

Each has `kind`, `time` (seconds since the epoch), `fence` and the fields below. Workers never open the store;
the supervisor ingests these, and a folder's messages alone can rebuild its part of the store.

    started     pid, started_at, device, threads, precision, resumed_from (step or null)
    phase       name ("load", "tokenize", "proof", "fit", "train", "measure", "save", "answer", "verdict"), done, total
    plan        total_steps, start_step, rows, replay_rows, tokens, max_length, batch_tokens, accumulation
    quarantined dataset, rows: [{row, line, code, reason}]        rows that training can't take
    step        step, total_steps, loss, learning_rate, grad_norm (null when not finite), tokens, rows, seconds, epoch
    skipped     step, reason, loss, grad_norm                     a non-finite step that was not applied
    layers      step, norms: {layer: norm}                        gradient norms before clipping; null when not finite
    evaluation  step, heldout_loss (nats per token), rows, seconds  sealed rows measured while the run trains;
                benchmark, score too where the run stops early by a benchmark
    sample      step, probe, prompt, expected, answer, is_match, nll  a sealed row, answered while the run trains
    checkpoint  step, folder, seconds, bytes, is_best, loss
    damaged     folder, file, reason                              a checkpoint set aside
    change      request, name, old, new, state (applied, rejected), step, reason   a parameter, from that step on; may come again
    rollback    request, from_step, to_step, leg, reason          the run goes on from `to_step`
    event       severity (info, warn, critical), code, text, data
    result      the evaluation's comparisons and verdict, or a task's own output
    text        index, text                                      a piece of generated text
    bench       state (loading, begun, done), model, benchmark or key, is_kept   a benchmark's result (mailbox/benches), or that it is asked
    answer      index, text, finish ("stop", "length", "stopped" by request), tokens_in, tokens_out   a whole answer
    ready       context                                          a chat's model is loaded; the tokens it can see
    trimmed     index, messages                                  so many of the oldest messages no longer fit the context
    refused     index, what, why, remedy                         a conversation that can't be answered
    row         row                                              a previewed row with its segments
    finished    exit (WorkerExit), reason, step, output           always the last
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from stoker.errors import WorkerExit
from stoker.mailbox.journal import JournalWriter

MESSAGES = "messages.jsonl"
Severity = Literal["info", "warn", "critical"]


class Outbox:
    """A worker's end: appends messages to the task folder."""

    def __init__(self, folder: Path, fence: int = 0) -> None:
        self.folder, self.fence = folder, fence
        self.is_finished = False
        self._journal = JournalWriter(folder / MESSAGES)

    def send(self, kind: str, **fields: Any) -> None:
        """Append one message. Fields are JSON values or numpy scalars; NaN and infinities become null."""
        self._journal.append({"kind": kind, "time": time.time(), "fence": self.fence, **fields})

    def event(self, severity: Severity, code: str, text: str, **data: Any) -> None:
        """Tell something that happened, for the event list."""
        self.send("event", severity=severity, code=code, text=text, data=data)

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        """Tell how far a stretch of work other than steps has come; it is the heartbeat there."""
        self.send("phase", name=name, done=done, total=total)

    def finished(self, exit: WorkerExit, reason: str = "", **fields: Any) -> None:
        """End the task; nothing may follow."""
        self.send("finished", exit=int(exit), reason=reason, **fields)
        self.is_finished = True
        self._journal.sync()
        self._journal.close()
