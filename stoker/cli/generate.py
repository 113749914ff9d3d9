"""`stoker generate`: answer prompts with any model; a loaded one in a worker of its own. No supervisor needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli.console import AsJson, note, print_json
from stoker.cli.lab import open_reader
from stoker.errors import NotAllowed, UsageError

if TYPE_CHECKING:
    from stoker.cli.prompts import Prompt
    from stoker.spec.jobs import BenchModel, Sampling
    from stoker.workspace import Workspace

MAX_TOKENS = 131_072

Model = Annotated[
    str,
    typer.Option(
        help='A model (its champion), a version like main/v2, "@champion", "base", a model\'s or adapter\'s folder, or '
        "http://HOST:PORT/v1#NAME."
    ),
]
MaxTokens = Annotated[int, typer.Option(min=1, max=MAX_TOKENS, help="Longest answer (tokens).")]
System = Annotated[str, typer.Option(help="A system prompt.")]
Temperature = Annotated[float, typer.Option(min=0.0, max=100.0, help="0: always the likeliest token.")]
TopP = Annotated[float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens of this share.")]
TopK = Annotated[int, typer.Option(min=0, help="Draw from so many of the likeliest tokens; 0: all.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the draw.")]
Stop = Annotated[list[str] | None, typer.Option(help="A text before which an answer ends; again for more.")]
Key = Annotated[str, typer.Option(help="Where an endpoint's API key is: env:NAME or file:PATH.")]


def generate(
    model: Model = "@champion",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; again for more. Default: standard input.")] = None,
    file: Annotated[
        Path | None, typer.Option(help='Prompts: a text file with one a line, or JSON lines; "-": standard input.')
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answers to this file, as JSON lines.")] = None,
    max_tokens: MaxTokens = 200,
    system: System = "",
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    seed: Seed = 0,
    stop: Stop = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts answered at once.")] = 32,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Answer prompts; the text of a single one comes as it is made."""
    from stoker.cli import prompts
    from stoker.cli.references import bench_model

    if prompt and file is not None:
        raise UsageError("--prompt together with --file", "both say what is asked", "leave one out")
    if out is not None and out.exists():
        raise NotAllowed(f"{out} exists", "nothing is overwritten", "choose another name with --out")
    sampling = make_sampling(max_tokens, temperature, top_p, top_k, seed, stop)
    if prompt:
        asked = prompts.from_options(prompt, system)
    else:
        asked = prompts.from_stdin(system) if file is None else prompts.from_file(file, system)
    reader = open_reader()
    found = bench_model(reader, model, key)
    is_streamed = len(asked) == 1 and not as_json and out is None and found.endpoint is None
    answers = _answers(reader.workspace, found, asked, sampling, batch_size, is_streamed)
    if as_json and out is None:
        told = [{**one.given, **answer} for one, answer in zip(asked, answers, strict=True)]
        print_json({"model": found.label, "answers": told})
    elif out is not None:
        facts = _write(out, asked, answers)
        if as_json:
            print_json({"model": found.label, "out": str(out), "answers": facts})
        else:
            note(f"{facts:,} answers in {out}")
    else:
        _print(asked, answers, is_streamed=is_streamed)


def make_sampling(
    max_tokens: int, temperature: float, top_p: float, top_k: int, seed: int, stop: list[str] | None
) -> Sampling:
    """Return how answers are made; what can change nothing is told."""
    from stoker.spec.jobs import Sampling

    if not temperature and (top_p != 1.0 or top_k or seed):
        note("at temperature 0 nothing is drawn: --top-p, --top-k and --seed change nothing; add --temperature 0.7")
    if any(not text for text in stop or []):
        raise UsageError('--stop ""', "every answer would be empty", "name a text")
    return Sampling(
        max_new_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed, stop=tuple(stop or ())
    )


def _answers(
    workspace: Workspace, model: BenchModel, asked: list[Prompt], sampling: Sampling, batch_size: int, is_streamed: bool
) -> Iterator[dict[str, Any]]:
    """Yield the answers in order (text, finish, tokens_in, tokens_out); the text of a streamed one is printed on its way."""
    if model.endpoint is not None:
        from stoker.cli.endpoints import answer_all

        yield from answer_all(model.endpoint, workspace, asked, sampling)
        return
    from stoker.cli.task import run_task
    from stoker.spec.jobs import GenerateJob
    from stoker.spec.reading import read_settings

    assert model.model is not None
    job = GenerateJob(
        model=model.model,
        conversations=tuple(one.messages for one in asked),
        sampling=sampling,
        is_streamed=is_streamed,
        batch_size=batch_size,
        train=read_settings(workspace.settings).train,
    )
    note(f"loading {model.label} ...")
    for message in run_task(workspace, job):
        if message["kind"] == "text":
            print(message["text"], end="", flush=True)
        elif message["kind"] == "phase" and message["name"] == "answer" and message["done"]:
            note(f"{message['done']:,} of {message['total']:,} answered")
        elif message["kind"] == "answer":
            yield {name: message[name] for name in ("text", "finish", "tokens_in", "tokens_out")}


def _print(asked: list[Prompt], answers: Iterator[dict[str, Any]], *, is_streamed: bool) -> None:
    for number, (one, answer) in enumerate(zip(asked, answers, strict=True)):
        if len(asked) > 1:
            print(f"{chr(10) if number else ''}> {one.shown}")
        print("" if is_streamed else answer["text"])


def _write(out: Path, asked: list[Prompt], answers: Iterator[dict[str, Any]]) -> int:
    """Write a line an answer, in the order asked, and give the file its name when it is whole."""
    import orjson

    unfinished = out.with_name(f"{out.name}.part")
    number = 0
    try:
        with unfinished.open("wb") as lines:
            for one, answer in zip(asked, answers, strict=True):
                lines.write(orjson.dumps({**one.given, **answer}) + b"\n")
                lines.flush()
                number += 1
    except BaseException:
        if number:
            note(f"{number:,} of {len(asked):,} answers are in {unfinished}")
        else:
            unfinished.unlink(missing_ok=True)
        raise
    unfinished.rename(out)
    return number
