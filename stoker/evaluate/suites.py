"""Tasks of lm-evaluation-harness (Gao et al., github.com/EleutherAI/lm-evaluation-harness) run on a model of the lab.

The harness asks, marks and aggregates; a loaded model answers through the harness's own class for Hugging Face models,
so its numbers are the harness's. What has been answered is kept request by request and used again. Only the folder
given is searched for tasks. A task may run Python code of its folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from stoker.bench.endpoint import Endpoint
from stoker.errors import DataError, InvalidInput, UserError
from stoker.evaluate.progress import Beat
from stoker.mailbox.journal import JournalReader, JournalWriter
from stoker.model.load import Loaded
from stoker.spec.jobs import BenchSettings, Suite

_HARNESS_SEED = 1234  # its own default; ours is added to it, so that seed 0 gives the numbers it gives
_AT_ONCE = 8
_MOST_TOKENS = 256  # the harness's limit where a task sets none

Found = dict[str, Any]


def run_suite(suite: Suite, settings: BenchSettings, model: Any) -> Found:
    """Return what the harness found of the task, with every sample; InvalidInput when the folder has no such task."""
    evaluator, manager = _harness(suite)
    try:
        found = evaluator.simple_evaluate(
            model,
            tasks=[suite.task],
            num_fewshot=settings.shots or None,
            limit=settings.limit,
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=True,
            fewshot_random_seed=_HARNESS_SEED + settings.seed,
        )
    except (KeyError, ValueError, TypeError, AttributeError, FileNotFoundError) as error:
        raise DataError(
            f"the task {suite.task!r} of {suite.folder} can't be run: {type(error).__name__}: {error}",
            "lm-evaluation-harness refuses its definition or its data",
            "mend its YAML; data_files are relative to where the command is run",
        ) from error
    assert found is not None, "only other ranks get nothing"
    return dict(found)


def check_suite(suite: Suite) -> None:
    """Raise unless the harness is installed and the folder defines the task."""
    _harness(suite)


def harness_version() -> str:
    """Return the harness's version, which its results depend on."""
    from importlib.metadata import version

    return version("lm_eval")


def local_model(loaded: Loaded, batch_size: int, kept: Kept, beat: Beat) -> Any:
    """Return the harness's model for weights that are loaded already."""
    from lm_eval.models.huggingface import HFLM

    class Resident(_answering(HFLM)):  # type: ignore[misc]
        """The loaded model, in its own precision."""

    model = Resident(
        pretrained=loaded.model, tokenizer=loaded.tokenizer, backend="causal", batch_size=batch_size,
        device=str(loaded.hardware.device),
    )  # fmt: skip
    model.keep(kept, beat)
    return model


def endpoint_model(endpoint: Endpoint, kept: Kept, beat: Beat) -> Any:
    """Return the harness's model for an endpoint: plain completions, and likelihoods where it echoes them."""
    from lm_eval.api.model import LM

    class Remote(LM):  # type: ignore[misc]
        """Asks several requests at once."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            def ask(request: Any) -> tuple[float, bool]:
                scored = endpoint.score(*request.args)
                return scored.log_probability, scored.is_greedy

            return self._ask_all("loglikelihood", requests, ask)

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            raise InvalidInput(
                "this task measures the likelihood of whole texts", "an endpoint tells that of an answer alone",
                "run it on a version or a folder",
            )  # fmt: skip

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            def ask(request: Any) -> str:
                context, options = request.args
                stops = options.get("until") or []
                stops = [stops] if isinstance(stops, str) else list(stops)
                text = endpoint.complete(
                    context, int(options.get("max_gen_toks", _MOST_TOKENS)), stops[:4], **_sampling(options)
                )
                return _cut(text, stops)

            return self._ask_all("generate_until", requests, ask)

        def _ask_all(self, kind: str, requests: Sequence[Any], ask: Callable[[Any], Any]) -> list[Any]:
            answers = []
            with ThreadPoolExecutor(_AT_ONCE) as executor:
                for request, answer in zip(requests, executor.map(ask, requests), strict=True):
                    self.cache_hook.add_partial(kind, request.args, answer)
                    answers.append(answer)
            return answers

    class Asking(_answering(Remote)):  # type: ignore[misc]
        """The endpoint, what it answered kept."""

    model = Asking()
    model.keep(kept, beat)
    return model


class Kept:
    """Responses to the harness's requests by weights and conditions, one journal for each weights."""

    def __init__(self, folder: Path, weights_sha256: str, conditions: str) -> None:
        self._path, self._conditions = folder / f"{weights_sha256}.suites.jsonl", conditions
        self._known: dict[str, Any] = {}
        self._writer: JournalWriter | None = None
        reader = JournalReader(self._path)
        while records := reader.read():
            for record in records:
                if isinstance(record, dict) and record.get("conditions") == conditions and "request" in record:
                    self._known[str(record["request"])] = record.get("response")

    def get(self, kind: str, arguments: Any) -> Any:
        """Return the response, None when there is none."""
        return self._known.get(_request_key(kind, arguments))

    def put(self, kind: str, arguments: Any, response: Any) -> bool:
        """Keep a response; return whether it is new."""
        key = _request_key(kind, arguments)
        if key in self._known:
            return False
        self._known[key] = response
        if self._writer is None:
            self._writer = JournalWriter(self._path)
        self._writer.append({"request": key, "conditions": self._conditions, "response": response})
        return True

    def forget(self) -> None:
        """Drop everything kept of these weights."""
        self._path.unlink(missing_ok=True)
        self._known.clear()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.sync()
            self._writer.close()
            self._writer = None


class _Hook:
    """What the harness's models call with each response."""

    def __init__(self, kept: Kept, beat: Beat) -> None:
        self._kept, self._beat = kept, beat

    def add_partial(self, kind: str, arguments: Any, response: Any) -> None:
        self._kept.put(kind, arguments, response)
        self._beat(1)


def _answering(parent: type) -> type:
    """Return the harness's model class, asked only what is not kept."""

    class Answering(parent):  # type: ignore[misc]
        _kept: Kept

        def keep(self, kept: Kept, beat: Beat) -> None:
            self._kept = kept
            self.cache_hook = _Hook(kept, beat)

        def set_cache_hook(self, cache_hook: Any) -> None:
            """The hook stays ours."""

        def loglikelihood(self, requests: Sequence[Any], *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
            pairs = self._all("loglikelihood", requests, super().loglikelihood, *args, **kwargs)
            return [(float(value), bool(is_greedy)) for value, is_greedy in pairs]

        def loglikelihood_rolling(self, requests: Sequence[Any], *args: Any, **kwargs: Any) -> list[float]:
            return self._all("loglikelihood_rolling", requests, super().loglikelihood_rolling, *args, **kwargs)

        def generate_until(self, requests: Sequence[Any], *args: Any, **kwargs: Any) -> list[str]:
            return self._all("generate_until", requests, super().generate_until, *args, **kwargs)

        def _all(self, kind: str, requests: Sequence[Any], ask: Callable[..., list[Any]], *args: Any, **kwargs: Any) -> list[Any]:  # fmt: skip
            is_drawn = [kind == "generate_until" and bool(one.args[1].get("do_sample")) for one in requests]
            answers = [
                None if drawn else self._kept.get(kind, one.args) for one, drawn in zip(requests, is_drawn, strict=True)
            ]
            lacking = [place for place, answer in enumerate(answers) if answer is None]
            if lacking:
                for place, answer in zip(lacking, ask([requests[i] for i in lacking], *args, **kwargs), strict=True):
                    answers[place] = answer
                    if not is_drawn[place]:
                        self._kept.put(kind, requests[place].args, answer)
            return answers

    return Answering


def _harness(suite: Suite) -> tuple[Any, Any]:
    try:
        from lm_eval import evaluator
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(
            f"--suite {suite.task} needs lm-evaluation-harness", f"it is not installed ({error})",
            "run: pip install 'stoker[suites]'",
        ) from None  # fmt: skip
    manager = TaskManager(include_path=str(suite.folder), include_defaults=False)
    if suite.task not in manager.task_index:
        there = ", ".join(sorted(manager.all_tasks)) or "none"
        raise InvalidInput(
            f"no task {suite.task!r} in {suite.folder}",
            f"its YAML files define: {there}",
            "check --suite and --suite-path",
        )
    return evaluator, manager


def _request_key(kind: str, arguments: Any) -> str:
    return hashlib.sha256(orjson.dumps([kind, list(arguments)], option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


def _sampling(options: Mapping[str, Any]) -> dict[str, Any]:
    if not options.get("do_sample"):
        return {}
    return {name: options[name] for name in ("temperature", "top_p") if name in options}


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.partition(stop)[0] if stop else text
    return text
