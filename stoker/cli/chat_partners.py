"""Whom a chat is with: a model in a worker that stays, or one behind an API. Both give an answer piece by piece.

An answer may be left in the middle: `hush` makes sure that the next one can be asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stoker.bench.endpoint import Endpoint
from stoker.cli.console import note
from stoker.cli.endpoints import sampling_body
from stoker.cli.task import LOOK_SECONDS, RunningTask
from stoker.errors import InvalidInput
from stoker.mailbox.control import send_control

if TYPE_CHECKING:
    from stoker.spec.jobs import EndpointRef, ModelRef, Sampling
    from stoker.spec.lab import TrainSpec
    from stoker.workspace import Workspace

Messages = Sequence[dict[str, Any]]


class Partner(Protocol):
    """One model to talk to."""

    def ask(self, messages: Messages, sampling: Sampling) -> Iterator[str]:
        """Yield the answer to a conversation; UserError when it can't be answered. What is left out of it is told."""
        ...

    def hush(self) -> None:
        """End the answer that was being given."""
        ...

    def close(self) -> None: ...


class LoadedPartner:
    """A model of this machine, loaded once."""

    def __init__(self, workspace: Workspace, model: ModelRef, train: TrainSpec) -> None:
        from stoker.spec.jobs import ChatJob

        self._task = RunningTask(workspace, ChatJob(model=model, train=train))
        self._number, self._num_left_out = 0, 0
        try:
            self.context = int(self._wait_for("ready")["context"])
        except BaseException:
            self.close()
            raise

    def ask(self, messages: Messages, sampling: Sampling) -> Iterator[str]:
        self._number += 1
        send_control(
            self._task.folder, "say", self._number, messages=list(messages), sampling=sampling.model_dump(mode="json")
        )
        while True:
            for message in self._task.read():
                if message.get("index") != self._number:
                    continue
                if message["kind"] == "text":
                    yield message["text"]
                elif message["kind"] == "answer":
                    return
                elif message["kind"] == "trimmed":
                    self._tell_trimmed(message["messages"])
                elif message["kind"] == "refused":
                    raise InvalidInput(message["what"], message["why"], message["remedy"])
            time.sleep(LOOK_SECONDS)

    def hush(self) -> None:
        send_control(self._task.folder, "hush", self._number)

    def close(self) -> None:
        self._task.__exit__(None, None, None)

    def _tell_trimmed(self, num_left_out: int) -> None:
        if num_left_out != self._num_left_out:
            self._num_left_out = num_left_out
            note(
                f"(the model sees {self.context:,} tokens: the oldest {num_left_out} messages are not shown to it; "
                "/reset begins anew)"
            )

    def _wait_for(self, kind: str) -> dict[str, Any]:
        while True:
            for message in self._task.read():
                if message["kind"] == kind:
                    return message
            time.sleep(LOOK_SECONDS)


class EndpointPartner:
    """A model behind an API. How much history it takes is its own affair; what it refuses is told."""

    def __init__(self, workspace: Workspace, ref: EndpointRef) -> None:
        self._endpoint = Endpoint(ref, workspace.root)

    def ask(self, messages: Messages, sampling: Sampling) -> Iterator[str]:
        yield from self._endpoint.stream(messages, sampling.max_new_tokens, **sampling_body(sampling))

    def hush(self) -> None:
        """Nothing to do: the connection went with the answer."""

    def close(self) -> None:
        self._endpoint.close()
