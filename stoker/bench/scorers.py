"""The scorers that a bench needs, a judge among them asked over its own endpoint."""

from __future__ import annotations

import functools
from pathlib import Path

from stoker.analysis.scorers import Scorer
from stoker.bench.address import endpoint_ref
from stoker.bench.judging import Ask
from stoker.bench.questions import Scorers
from stoker.bench.scoring import scorer_of
from stoker.data.benchmark_header import Header
from stoker.spec.jobs import BenchJob

_JUDGE_TOKENS = 64


def job_scorers(job: BenchJob) -> Scorers:
    """Return how a job's benchmarks get their scorers."""

    def scorer(path: Path, header: Header) -> Scorer:
        return scorer_of(path, header, job.evaluate, job.answers, functools.partial(connect, root=job.root))

    return scorer


def connect(model: str, key: str, *, root: Path) -> Ask:
    """Return a way to ask "http://host/v1#model", whose key is where `key` says; relative files are below `root`."""
    from stoker.bench.endpoint import Endpoint  # an HTTP client, for the few that have a judge

    endpoint = Endpoint(endpoint_ref(model, key), root)
    return lambda prompt: endpoint.chat([{"role": "user", "content": prompt}], _JUDGE_TOKENS).text
