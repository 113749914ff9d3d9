"""The scorer of a benchmark, those included that need more than texts: a sandbox, a judge, a function of the user's own."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stoker.analysis.scorers import Scorer, find_scorer
from stoker.analysis.scorers.base import Meta
from stoker.bench.judging import PROMPT, Ask, Judge, judge_scorer, read_marked
from stoker.bench.sandbox import require_sandbox, run_code
from stoker.data.benchmark_header import Header
from stoker.errors import DataError, SettingError
from stoker.spec.lab import EvaluateSpec

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_PYTHON_OPTIONS = ("file", "function")
_JUDGE_OPTIONS = ("model", "key", "prompt", "calibration")
Connect = Callable[[str, str], Ask]
"""From an endpoint ("http://host/v1#model") and the reference of its key to a way to ask it."""


def scorer_of(path: Path, header: Header, evaluate: EvaluateSpec, answers: Path, connect: Connect) -> Scorer:
    """Return the scorer of the benchmark in `path`; `answers` is where a judge's marks are kept."""
    if header.scorer == "code":
        return _code_scorer(header, evaluate)
    if header.scorer == "python":
        return _python_scorer(path, header.options)
    if header.scorer == "judge":
        return _judge_scorer(path, header.options, answers, connect)
    return find_scorer(header.scorer, header.options)


def extract_code(answer: str) -> str:
    """Return the code of an answer: its last fenced block of Python, or the whole where there is none."""
    blocks = _FENCE.findall(answer)
    return str(blocks[-1]) if blocks else answer


def _code_scorer(header: Header, evaluate: EvaluateSpec) -> Scorer:
    _known(header.options, (), "code")
    if evaluate.run_code == "off":
        raise SettingError(
            'the scorer "code" runs what a model wrote, which is off',
            "evaluate.run_code",
            "to allow it, in a sandbox: stoker config set evaluate.run_code sandbox",
        )
    require_sandbox()

    def score(meta: Meta, expected: str, answer: str) -> dict[str, float]:
        tests = meta.get("tests")
        if not isinstance(tests, str) or not tests.strip():
            raise DataError('an item of the scorer "code" has no tests', "meta.tests is Python", "add meta.tests")
        before = str(meta.get("before") or "")
        outcome = run_code(
            before + "\n" + extract_code(answer), tests,
            seconds=evaluate.code_seconds, megabytes=evaluate.code_megabytes,
        )  # fmt: skip
        return {"code": float(outcome.is_passed)}

    return Scorer("code", {"code": True}, score)


def _python_scorer(path: Path, options: Mapping[str, Any]) -> Scorer:
    """Load `function` of `file`: it takes (expected, answer, meta) and gives a number from 0 to 1, or a name for each.

    A module may say what it gives by METRICS = {"name": is_mark}, the first being primary.
    """
    _known(options, _PYTHON_OPTIONS, "python")
    place = path.parent / str(options.get("file", ""))
    name = str(options.get("function", "score"))
    if not options.get("file") or not place.is_file():
        raise DataError(
            f"{path.stem}: options.file = {options.get('file')!r}: no such file", "it holds the scorer", "mend it"
        )
    module = _load(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise DataError(f"{place} has no function {name}", "the scorer calls it", "add it, or mend options.function")
    metrics = getattr(module, "METRICS", {"score": False})

    def score(meta: Meta, expected: str, answer: str) -> dict[str, float]:
        try:
            given = function(expected, answer, dict(meta))
        except Exception as error:
            raise DataError(
                f"{place}: {name} failed: {type(error).__name__}: {error}", f"on the answer {answer[:100]!r}", "mend it"
            ) from error
        scores = given if isinstance(given, dict) else {next(iter(metrics)): given}
        if set(scores) != set(metrics) or not all(_is_score(value) for value in scores.values()):
            raise DataError(
                f"{place}: {name} gave {given!r}"[:300], f"it must give {', '.join(metrics)}, from 0 to 1", "mend it"
            )
        return {key: float(scores[key]) for key in metrics}

    return Scorer("python", dict(metrics), score, is_proven=False)


def _judge_scorer(path: Path, options: Mapping[str, Any], answers: Path, connect: Connect) -> Scorer:
    _known(options, _JUDGE_OPTIONS, "judge")
    model = str(options.get("model", ""))
    if not model:
        raise DataError(
            f'{path.stem}: the scorer "judge" names no model',
            "who judges?",
            'set options.model = "http://host/v1#model"',
        )
    template = str(options.get("prompt", PROMPT))
    marked = read_marked(path.parent / str(options["calibration"])) if "calibration" in options else []
    judge = Judge(connect(model, str(options.get("key", ""))), model, template, answers / "judged.jsonl")
    return judge_scorer(judge, marked)


def _load(place: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"stoker_scorer_{place.stem}", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DataError(
            f"{place} can't be loaded: {type(error).__name__}: {error}", "it holds a scorer", "mend it"
        ) from error
    return module


def _known(options: Mapping[str, Any], known: tuple[str, ...], scorer: str) -> None:
    for key in options:
        if key not in known:
            names = ", ".join(known) or "it has none"
            raise DataError(f"scorer {scorer!r} has no option {key!r}", f"its options: {names}", "mend the .toml file")


def _is_score(value: Any) -> bool:
    return isinstance(value, bool | int | float) and 0 <= value <= 1
