"""Random changes of a run that goes on under a real `stoker up`, with a pause and a kill on its way, and its replay.

Each change is asked through the supervisor as `stoker run set` does. Two are asked while no worker has the run: while it is
paused, and right after its worker was killed. The last one ends the run, by early stopping. What [recover] would do is
only told here: every entry of the course is then a change that was asked for.
"""

from __future__ import annotations

import random
import signal
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos_lab import make_lab
from scene import Scene
from train_lab import final_losses, messages, train

from stoker.cli.lab import ask_supervisor
from stoker.errors import WorkerExit
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.spec.jobs import JOB, TrainJob
from stoker.spec.live import LIVE, check_changes
from stoker.store.reader import Reader
from stoker.train.course import COURSE

RUN = "r1"
NUM_ROWS = 300
TRAIN = "[train]\nepochs = 100\neval_every = 50\n"
RECOVER = '\n[recover]\ndivergence = "tell"\nloss_spike = "tell"\n'
ENDING = {"early_stopping": 1, "eval_every": 1, "min_delta": 10.0}
VALUES: dict[str, list[Any]] = {
    "learning_rate": [1e-3, 2e-3, 5e-3],
    "batch_tokens": [96, 128, 192, 256],
    "batch_size": [2, 3, 4, "auto"],
    "accumulation": [1, 2, 3],
    "max_grad_norm": [0.3, 1.0],
    "weight_decay": [0.0, 0.01, 0.1],
    "max_skipped_steps": [2, 3, 5],
    "checkpoint_steps": [10, 20, 40],
    "checkpoint_seconds": [1000.0, 2000.0],
    "layer_norms_every": [0, 5, 10],
    "eval_every": [50, 100, 200],
    "eval_rows": [4, 8, 16],
    "sample_every": [0, 100, 200],
    "sample_tokens": [4, 8],
    "watch_share": [0.01, 0.02, 0.05],
    "early_stopping": [0, 500],
    "min_delta": [0.0, 0.01],
}
assert VALUES.keys() == set(LIVE)


@dataclass(frozen=True)
class Effect:
    """How long a change took: steps that were still computed without it, and seconds; from when a worker had the run."""

    request: str
    state: str
    steps: int
    seconds: float

    @property
    def is_in_time(self) -> bool:
        return self.state == "applied" and (self.steps <= 1 or self.seconds <= 5.0)


def draw_changes(number: int, seed: int) -> list[dict[str, Any]]:
    """Return so many changes; every parameter comes before any comes again."""
    draw = random.Random(seed)
    names: list[str] = []
    while len(names) < number:
        names += draw.sample(LIVE, len(LIVE))
    return [{name: draw.choice(VALUES[name])} for name in names[:number]]


class ChangingRun:
    """One run that is changed all the way, paused once and killed once."""

    def __init__(self, root: Path, number: int, seed: int) -> None:
        self.workspace = make_lab(root, 1, NUM_ROWS, RECOVER)
        text = self.workspace.settings.read_text().replace("[train]\n", TRAIN).replace("steps = 2\n", "steps = 20\n")
        self.workspace.settings.write_text(text)
        self.changes = draw_changes(number, seed)
        self.asked: dict[str, float] = {}
        self._scene = Scene(self.workspace, {})
        self._draw = random.Random(seed)
        self._said = JournalReader(self.folder / MESSAGES)
        self._num_steps, self._answered = 0, set[str]()

    @property
    def folder(self) -> Path:
        return self.workspace.run(RUN)

    def go_through(self) -> None:
        """Ask for every change, each once the one before holds, until the run is done."""
        scene, third = self._scene, len(self.changes) // 3
        try:
            scene.start("-m", "stoker", "--lab", str(self.workspace.root), "up")
            scene.await_step(3)
            for number, changes in enumerate(self.changes):
                if number == third:
                    self._change_while_paused(changes)
                elif number == 2 * third:
                    self._change_while_killed(changes)
                else:
                    self._await_answer(self._ask(changes))
                self._await_more_steps(self._draw.randint(1, 3))
            self._await_answer(self._ask(ENDING))
            scene.until(lambda: self._state() == "done", "the run's end")
            scene.signal_supervisor(signal.SIGTERM)
        finally:
            scene.end_all()

    def effects(self) -> list[Effect]:
        """Return what became of each change, from what the worker said and when."""
        said = messages(self.folder)
        starts = [message["time"] for message in said if message["kind"] == "started"]
        found = []
        for request, asked in self.asked.items():
            place, answer = next(
                (place, message)
                for place, message in enumerate(said)
                if message["kind"] == "change" and message["request"] == request
            )
            since = max([asked, *(start for start in starts if start <= answer["time"])])
            steps = sum(message["kind"] == "step" and message["time"] > since for message in said[:place])
            found.append(Effect(request, answer["state"], steps, max(0.0, answer["time"] - since)))
        return found

    def num_resumes(self) -> int:
        return sum(message["resumed_from"] is not None for message in messages(self.folder, "started"))

    def told(self) -> dict[str, str]:
        """Return what the store has of each request: its state."""
        return {change["request"]: change["state"] for change in Reader(self.workspace).run_detail(RUN)["changes"]}

    def losses(self) -> dict[int, float]:
        """Return the loss of every step as the store has it."""
        return {row["step"]: row["loss"] for row in Reader(self.workspace).metrics(RUN)}

    def replay(self, root: Path) -> dict[int, float]:
        """Train the same job anew by the run's course alone; return the loss of every step."""
        folder = root / "run"
        folder.mkdir(parents=True)
        (folder / COURSE).write_bytes((self.folder / COURSE).read_bytes())
        job = TrainJob.model_validate_json((self.folder / JOB).read_bytes())
        job = job.model_copy(update={"output": root / "models" / "v1", "asked": ()})
        assert train(job, folder) is WorkerExit.DONE
        return final_losses(folder)

    def facts(self) -> dict[str, Any]:
        """Return what the page tells of it."""
        effects = self.effects()
        seconds = [effect.seconds for effect in effects]
        return {
            "num_changes": len(self.changes), "num_names": len({name for changes in self.changes for name in changes}),
            "num_resumes": self.num_resumes(), "num_steps": max(self.losses()),
            "num_in_time": sum(effect.is_in_time for effect in effects[:-1]),
            "most_steps": max(effect.steps for effect in effects), "median_steps": statistics.median(e.steps for e in effects),
            "most_seconds": round(max(seconds), 2), "median_seconds": round(statistics.median(seconds), 2),
        }  # fmt: skip

    def _change_while_paused(self, changes: dict[str, Any]) -> None:
        ask_supervisor(self.workspace, "run.pause", run=RUN)
        self._scene.until(lambda: self._state() == "paused", "the pause")
        request = self._ask(changes)
        ask_supervisor(self.workspace, "run.resume", run=RUN)
        self._await_answer(request)

    def _change_while_killed(self, changes: dict[str, Any]) -> None:
        self._scene.signal_worker(signal.SIGKILL)
        self._await_answer(self._ask(changes))

    def _ask(self, changes: dict[str, Any]) -> str:
        now = time.time()
        reply = ask_supervisor(self.workspace, "run.set", run=RUN, changes=check_changes(changes))
        request = str(reply["request"])
        self.asked[request] = now
        return request

    def _await_answer(self, request: str) -> None:
        self._scene.until(lambda: self._listen() or request in self._answered, f"an answer to {request}")

    def _await_more_steps(self, number: int) -> None:
        self._listen()
        wanted = self._num_steps + number
        self._scene.until(lambda: self._listen() or self._num_steps >= wanted, "more steps")

    def _listen(self) -> None:
        """Hear what the worker has said since."""
        for message in self._said.read():
            self._num_steps += message["kind"] == "step"
            if message["kind"] == "change":
                self._answered.add(message["request"])

    def _state(self) -> str:
        return str(Reader(self.workspace).run_detail(RUN)["state"])
