"""`stoker run samples`: what the model in training answered to the same sealed rows, and when it learned or forgot them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_facts, print_json, print_table
from stoker.cli.lab import open_reader
from stoker.data.visible import visible
from stoker.errors import NotFound

_WIDTH = 40

Probe = dict[str, Any]


def samples(
    run: Annotated[str, typer.Argument(metavar="ID", help="A run's id, a prefix of it, @latest or @best.")] = "@latest",
    step: Annotated[int | None, typer.Option("--step", min=1, help="Only the answers of this step.")] = None,
    probe: Annotated[int | None, typer.Option("--probe", min=1, help="One probe's answers over the steps.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a run's answers to the same held-out rows changed, with the steps at which each was learned or forgotten."""
    reader = open_reader()
    run_id = reader.resolve("run", run)
    probes = [_with_evolution(found) for found in reader.samples(run_id)]
    chosen = _chosen(probes, step, probe)
    if as_json:
        print_json({"run": run_id, "probes": chosen})
    elif not probes:
        note(
            f"{run_id} has no samples: none was due yet, the run is too short for them, nothing is held out, or train.sample_every is 0"
        )
    elif probe is not None:
        _print_probe(chosen[0])
    else:
        _print_probes(chosen)


def _with_evolution(found: Probe) -> Probe:
    from stoker.analysis.evolution import evolution

    answered = [sample for sample in found["samples"] if sample["is_match"] is not None]
    marks = [(sample["step"], sample["is_match"]) for sample in answered]
    return {**asdict(evolution(marks)), **found}


def _chosen(probes: list[Probe], step: int | None, probe: int | None) -> list[Probe]:
    """Return the probes and steps asked for; NotFound names those there are."""
    if probe is not None:
        numbers = [each["probe"] for each in probes]
        if probe not in numbers:
            raise NotFound(f"no probe {probe} in this run", _there_are("probes", numbers), "run: stoker run samples")
        probes = [each for each in probes if each["probe"] == probe]
    if step is None:
        return probes
    steps = sorted({sample["step"] for each in probes for sample in each["samples"]})
    if step not in steps:
        raise NotFound(f"no samples of step {step} in this run", _there_are("steps", steps), "name one of them")
    return [each | {"samples": [sample for sample in each["samples"] if sample["step"] == step]} for each in probes]


def _there_are(what: str, numbers: list[int]) -> str:
    return f"there are {what} {', '.join(map(str, numbers))}" if numbers else f"there are no {what} yet"


def _print_probes(probes: list[Probe]) -> None:
    rows = []
    for each in probes:
        answered = [sample for sample in each["samples"] if sample["answer"] is not None]
        last: dict[str, Any] = answered[-1] if answered else {}
        nlls = [sample["nll"] for sample in each["samples"] if sample["nll"] is not None]
        rows.append(
            (
                each["probe"], last.get("step"), _mark(last.get("is_match")), each["learned_at"], each["forgot_at"],
                f"{units.loss(nlls[0])} > {units.loss(nlls[-1])}" if nlls else None,
                _line(each["expected"], _WIDTH), _line(last.get("answer"), _WIDTH),
            )
        )  # fmt: skip
    header = ("probe", "answered at", "right", "learned at", "forgot at", "NLL, first > last", "expected", "answer")
    print_table(header, rows, numbers=("probe", "answered at", "learned at", "forgot at"))


def _print_probe(probe: Probe) -> None:
    print_facts(
        [
            ("probe", probe["probe"]),
            ("prompt", _line(probe["prompt"])),
            ("expected", _line(probe["expected"])),
            ("learned at", f"step {probe['learned_at']}" if probe["learned_at"] else None),
            ("forgot at", f"step {probe['forgot_at']}" if probe["forgot_at"] else None),
        ]
    )
    rows = [
        (sample["step"], _mark(sample["is_match"]), units.loss(sample["nll"]), _line(sample["answer"]))
        for sample in probe["samples"]
    ]
    print_table(("step", "right", "NLL", "answer"), rows, numbers=("step", "NLL"))


def _mark(is_match: bool | None) -> str | None:
    return None if is_match is None else "yes" if is_match else "no"


def _line(text: str | None, width: int | None = None) -> str | None:
    """Return a text as one line that is safe to show, cut to `width`."""
    if text is None:
        return None
    line = visible(" ".join(text.split()))
    return line if width is None or len(line) <= width else line[: width - 3] + "..."
