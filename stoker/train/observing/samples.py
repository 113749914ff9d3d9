"""Samples: the model in training answers a few sealed rows, the same ones each time, so that one sees it learn.

Greedy, short, and within a share of the steps' time: answers that do not fit wait for a later step, meanwhile the expected
answers' likelihood, which costs little, is taken alone, and a run says at its end how many answers never came. What the first ones
cost is guessed from the steps. Training is left as it was: mode, weights, random states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stoker.analysis.scorers import matches
from stoker.data.rows import Row
from stoker.mailbox.messages import Outbox
from stoker.model.encoded import Encoded, Ids
from stoker.model.generation import Generated, generate
from stoker.model.likelihood import mean_nll_that_fits, token_counts
from stoker.model.load import Loaded
from stoker.model.tokenizing import encode_row_prompt
from stoker.spec.lab import TrainSpec
from stoker.train.conductor import StepFacts
from stoker.train.observing.budget import Budget
from stoker.train.observing.sealed import SealedRow, rows_by_id
from stoker.train.randomness import undisturbed

_MOMENTS = 10  # samplings of a run when the interval is left open
_CHEAP = 0.25  # of what answers cost
# What the next token of all answers takes at least: a few milliseconds a layer, as long as kernels take to start, or as much as
# training on some tokens, since so small a batch leaves the processor waiting for weights.
_LAYER_SECONDS = 1.5e-3
_LAYERS_BESIDE = 2  # embedding, head and choosing
_LEAST_TOKENS = 16
_MARGIN_TOKENS = 16  # an answer that is this much longer than the longest expected one is cut: it can't be right


@dataclass(frozen=True)
class Probe:
    """A sealed row that is asked again and again; `sequences` hold the expected answer."""

    prompt: str
    expected: str
    prompt_ids: Ids
    sequences: list[Encoded]
    num_expected_tokens: int


def choose_probes(rows: Sequence[SealedRow], spec: TrainSpec, tokenizer: Any) -> list[Probe]:
    """Return the first `sample_rows` conversations; those come first whose expected answer fits into `sample_tokens`."""
    sizes = {row.id: int(sum(sequence.trained.sum() for sequence in row.sequences)) for row in rows}
    ordered = sorted(rows, key=lambda row: (sizes[row.id] > spec.sample_tokens, row.id))
    content = rows_by_id(ordered)
    probes: list[Probe] = []
    for sealed in ordered:
        row = content[sealed.id]
        if len(probes) == spec.sample_rows:
            break
        if row.messages is not None and row.answer().strip():
            prompt_ids = encode_row_prompt(row, tokenizer)
            probes.append(Probe(prompt_text(row), row.answer(), prompt_ids, sealed.sequences, sizes[row.id]))
    return probes


def prompt_text(row: Row) -> str:
    """Return what a row asks, as people read it: one question bare, a longer talk with its roles."""
    turns = row.prompt_messages()
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


class Samples:
    """Asks the probes when it is their time and the budget allows; `latest` holds the step and, of each answered probe, whether it
    was right and its NLL."""

    def __init__(
        self, probes: Sequence[Probe], spec: Callable[[], TrainSpec], total_steps: Callable[[], int], loaded: Loaded,
        batch_tokens: int, outbox: Outbox, budget: Budget,
    ) -> None:  # fmt: skip
        self._probes, self._spec, self._total_steps = probes, spec, total_steps
        self._loaded, self._batch_tokens, self._outbox, self._budget = loaded, batch_tokens, outbox, budget
        self._num_due = self._num_taken = 0
        self._is_waiting = False
        self._nll_took: float | None = None
        self._answers_took: float | None = None
        self.latest: tuple[int, list[tuple[bool, float]]] | None = None

    @property
    def is_left_out(self) -> bool:
        """Tell whether answers were due and none were taken."""
        return self._num_due > 0 and self._num_taken == 0

    def after_step(self, facts: StepFacts) -> None:
        spec, total_steps = self._spec(), self._total_steps()
        is_last = facts.step == total_steps
        every = math.ceil(total_steps / _MOMENTS) if spec.sample_every == "auto" else spec.sample_every
        if not every or not self._probes:
            return
        is_due = facts.step % every == 0 or is_last
        if is_due:
            self._num_due += 1
            self._is_waiting = True
        if not self._is_waiting:
            return
        nll, answers = self._nll_seconds(), self._answer_seconds(spec.sample_tokens)
        is_cheap = nll <= _CHEAP * answers  # else measuring alone would eat up what the answers wait for
        if self._budget.allows(nll + answers, spec.watch_share):
            self._take(facts.step, spec.sample_tokens)
        elif is_due and is_cheap and self._budget.allows(nll, spec.watch_share):
            self._take(facts.step, 0)
        if is_last:
            self._tell_postponed(spec.watch_share)

    def _take(self, step: int, num_tokens: int) -> None:
        """Measure every probe and have it answered in at most `num_tokens`; 0: measure only."""
        with self._budget.spending():
            with undisturbed():
                nlls = self._expected_nlls()
                answers = self._answers(num_tokens) if num_tokens else [None] * len(self._probes)
            self._tell(step, nlls, answers)

    def _tell(self, step: int, nlls: Sequence[float], answers: Sequence[Generated | None]) -> None:
        marks: list[tuple[bool, float]] = []
        for number, (probe, answer, nll) in enumerate(zip(self._probes, answers, nlls, strict=True), 1):
            is_match = None if answer is None else answer.finished and matches(probe.expected, answer.text)
            marks += [] if is_match is None else [(is_match, nll)]
            self._outbox.send(
                "sample", step=step, probe=number, prompt=probe.prompt, expected=probe.expected,
                answer=answer.text if answer else None, is_match=is_match, nll=nll,
            )  # fmt: skip
        if marks:
            self.latest = (step, marks)

    def _nll_seconds(self) -> float:
        """Return what measuring the probes took last; before that, what training on them would take."""
        if self._nll_took is not None:
            return self._nll_took
        num_tokens = sum(len(sequence) for probe in self._probes for sequence in probe.sequences)
        return num_tokens * self._budget.seconds_per_token

    def _answer_seconds(self, num_tokens: int) -> float:
        """Return what the answers took last; before that, a guess from the steps and the model's layers."""
        if self._answers_took is not None:
            return self._answers_took
        per_token = self._budget.seconds_per_token
        config = self._loaded.model.config.get_text_config()
        num_layers = int(config.num_hidden_layers) + _LAYERS_BESIDE
        step_seconds = max(_LAYER_SECONDS * num_layers, max(_LEAST_TOKENS, len(self._probes)) * per_token)
        num_prompt_tokens = sum(len(probe.prompt_ids) for probe in self._probes)
        return num_prompt_tokens * per_token + self._longest(num_tokens) * step_seconds

    def _longest(self, num_tokens: int) -> int:
        """Return how long an answer may be that is to have at most so many tokens."""
        return min(num_tokens, max(probe.num_expected_tokens for probe in self._probes) + _MARGIN_TOKENS)

    def _answers(self, num_tokens: int) -> list[Generated | None]:
        began = self._budget.clock()
        prompts = [probe.prompt_ids for probe in self._probes]
        answers = generate(self._loaded, prompts, self._longest(num_tokens), batch_size=len(prompts))
        self._answers_took = self._budget.clock() - began
        self._num_taken, self._is_waiting = self._num_taken + 1, False
        return [*answers]

    def _expected_nlls(self) -> list[float]:
        """Return each expected answer's NLL in nats per token."""
        began = self._budget.clock()
        sequences = [sequence for probe in self._probes for sequence in probe.sequences]
        owners = np.repeat(np.arange(len(self._probes)), [len(probe.sequences) for probe in self._probes])
        nlls = mean_nll_that_fits(self._loaded, sequences, self._batch_tokens, lambda done, total: None)
        self._nll_took = self._budget.clock() - began
        counts = token_counts(sequences)
        sums = np.bincount(owners, np.where(counts > 0, nlls * counts, 0.0))
        return [float(nll) for nll in sums / np.bincount(owners, counts)]

    def _tell_postponed(self, share: float) -> None:
        missing = self._num_due - self._num_taken
        if missing > 0 and self._num_taken:
            text = (
                f"the probes were answered {self._num_taken} times of {self._num_due}: more did not fit into {share:.1%} of "
                f"the time (train.watch_share)"
            )
            self._outbox.event("info", "samples.postponed", text, taken=self._num_taken, due=self._num_due)
