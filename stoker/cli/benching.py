"""Carrying out a bench: models that are loaded in a worker of their own, endpoints from here, results read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoker.cli.console import note
from stoker.cli.narration import Narrator

if TYPE_CHECKING:
    from stoker.mailbox.benches import BenchResult
    from stoker.spec.jobs import BenchJob, BenchModel
    from stoker.workspace import Workspace


def run_benches(workspace: Workspace, job: BenchJob) -> list[BenchResult]:
    """Return every model's result on every benchmark and suite, in the order asked, measuring what is missing.

    Everything that can be wrong with a benchmark is found before a model is loaded. Progress goes to stderr.
    """
    from stoker.bench.questions import question_set
    from stoker.bench.scorers import job_scorers

    for path in job.benchmarks:
        question_set(path, job.settings, job_scorers(job))
    loaded = tuple(model for model in job.models if model.endpoint is None)
    keys: dict[str, list[str]] = {}
    try:
        with Narrator() as narrator:
            if loaded:
                keys |= _in_worker(workspace, job.model_copy(update={"models": loaded}), narrator)
            for model in job.models:
                if model.endpoint is not None:
                    keys[model.label] = _at_endpoint(job, model, narrator)
            asked = tuple(model for model in job.models if model.endpoint is not None)
            if asked and job.suites:
                rest = job.model_copy(update={"models": asked, "benchmarks": ()})
                for label, more in _in_worker(workspace, rest, narrator).items():
                    keys[label] += more
    except KeyboardInterrupt:
        note("interrupted; what was answered is kept, and the same command goes on from there")
        raise
    return [_read(job, key) for model in job.models for key in keys.get(model.label, ())]


def _in_worker(workspace: Workspace, job: BenchJob, narrator: Narrator) -> dict[str, list[str]]:
    """Return the keys of each model's results, by its label."""
    from stoker.cli.task import run_task

    keys: dict[str, list[str]] = {}
    subject = job.models[0].label
    for message in run_task(workspace, job, variables=_variables(job)):
        if message["kind"] == "bench" and message["state"] == "begun":
            subject = f"{message['model']} on {message['benchmark']}"
        elif message["kind"] == "bench":
            keys.setdefault(message["model"], []).append(message["key"])
            narrator.say(f"{subject}: {'has a result' if message['is_kept'] else 'done'}")
        else:
            narrator.on_message(subject, message)
    return keys


def _variables(job: BenchJob) -> list[str]:
    """Return the names of the environment variables that hold keys of endpoints and of judges."""
    from stoker.data.benchmark_header import read_header

    references = [model.endpoint.key for model in job.models if model.endpoint is not None]
    references += [str(read_header(path).options.get("key", "")) for path in job.benchmarks]
    return [reference.removeprefix("env:") for reference in references if reference.startswith("env:")]


def _at_endpoint(job: BenchJob, model: BenchModel, narrator: Narrator) -> list[str]:
    from stoker.bench.endpoint_run import bench_endpoint

    def tell(benchmark: str, done: int, total: int) -> None:
        message = {"kind": "phase", "name": "answer", "done": done, "total": total}
        narrator.on_message(f"{model.label} on {benchmark}", message)

    keys = []
    for benchmark, key, is_kept in bench_endpoint(job, model, tell):
        keys.append(key)
        narrator.say(f"{model.label} on {benchmark}: {'has a result' if is_kept else 'done'}")
    return keys


def _read(job: BenchJob, key: str) -> BenchResult:
    from stoker.mailbox.benches import RESULT, BenchResult

    return BenchResult.model_validate_json((job.output / key / RESULT).read_bytes())
