"""The scorers that a bench or an evaluation needs, a judge among them asked over its own endpoint."""

from __future__ import annotations

import functools
from pathlib import Path

from stoker.analysis.scorers import Scorer
from stoker.bench.address import endpoint_ref
from stoker.bench.judging import Ask
from stoker.bench.questions import Scorers
from stoker.bench.scoring import scorer_of
from stoker.data.benchmark_header import Header
from stoker.spec.jobs import BenchJob, EvaluateJob
from stoker.spec.lab import EvaluateSpec

_JUDGE_TOKENS = 64


def job_scorers(job: BenchJob | EvaluateJob) -> Scorers:
    """Return how a job's benchmarks get their scorers."""

    def scorer(path: Path, header: Header) -> Scorer:
        return scorer_for(path, header, job.evaluate, job.answers, job.root)

    return scorer


def scorer_for(path: Path, header: Header, evaluate: EvaluateSpec, answers: Path, root: Path) -> Scorer:
    """Return the scorer of the benchmark in `path`; see `scorer_of`."""
    return scorer_of(path, header, evaluate, answers, functools.partial(connect, root=root))


def connect(model: str, key: str, *, root: Path) -> Ask:
    """Return a way to ask "http://host/v1#model", whose key is where `key` says; relative files are below `root`."""
    from stoker.bench.endpoint import Endpoint  # an HTTP client, for the few that have a judge

    endpoint = Endpoint(endpoint_ref(model, key), root)
    return lambda prompt: endpoint.chat([{"role": "user", "content": prompt}], _JUDGE_TOKENS).text
