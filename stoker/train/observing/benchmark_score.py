"""A benchmark's score while a run trains, for early stopping by it (`train.early_stopping_on`).

The same items each time, answered greedily and marked by the benchmark's own scorer. Items near a trained row do not count,
as in an evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stoker.analysis.scorers import find_scorer
from stoker.data.benchmark_header import BY_RUNNING
from stoker.data.benchmarks import read_benchmark
from stoker.data.sealing.overlap import near_trained
from stoker.errors import InvalidInput
from stoker.model.generation import generate
from stoker.model.load import Loaded
from stoker.model.tokenizing import encode_row_prompt
from stoker.train.randomness import undisturbed

_BATCH_SIZE = 32


class BenchmarkScore:
    """At most `num_items` items of the benchmark in `path`; InvalidInput when it is not there or asks for no answer."""

    def __init__(self, path: Path, trained: Sequence[Path], loaded: Loaded, num_items: int) -> None:
        name = path.stem
        if not path.is_file():
            raise InvalidInput(
                f"train.early_stopping_on = {name!r} is no benchmark of this lab",
                f"{path} is not there",
                'put the file there, or set it to "heldout"',
            )
        benchmark = read_benchmark(path)
        if benchmark.scorer in BY_RUNNING:
            raise InvalidInput(
                f"train.early_stopping_on = {name!r} is marked by {benchmark.scorer!r}",
                "while a run trains, only scorers that compare texts are used",
                'choose another benchmark, or set it to "heldout"',
            )
        self.name, self._loaded = name, loaded
        self._scorer = find_scorer(benchmark.scorer, benchmark.header.options)
        if not self._scorer.needs_answer:
            raise InvalidInput(
                f"train.early_stopping_on = {name!r} has no score",
                "its scorer measures NLL alone",
                'set it to "heldout"',
            )
        near = near_trained([item.row for item in benchmark.items], trained)
        kept = sorted((item for item in benchmark.items if item.row.id not in near), key=lambda item: item.row.id)
        self._items = kept[:num_items]
        if not self._items:
            raise InvalidInput(
                f"train.early_stopping_on = {name!r} has no item to go by",
                "every item is near a trained row",
                'set it to "heldout"',
            )
        self._prompts = [encode_row_prompt(item.row, loaded.tokenizer) for item in self._items]

    def measure(self, num_tokens: int) -> float:
        """Return the mean primary score, between 0 and 1, of answers of at most `num_tokens`."""
        with undisturbed():
            answers = generate(self._loaded, self._prompts, num_tokens, _BATCH_SIZE)
        scores = [
            self._scorer.score(item.meta, item.answer, answer.text)[self._scorer.primary]
            for item, answer in zip(self._items, answers, strict=True)
        ]
        return sum(scores) / len(scores)
