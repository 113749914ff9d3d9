"""`stoker generate`: answer prompts with a version or the base, in a worker of its own; no supervisor needed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stoker.cli.console import AsJson, note, print_json
from stoker.cli.lab import open_reader
from stoker.errors import UsageError


def generate(
    model: Annotated[
        str, typer.Option(help='A model (its champion), a version like main/v2, "@champion" or "base".')
    ] = "@champion",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; again for more. Default: standard input.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer (tokens).")] = 200,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: always the likeliest token.")] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens of this share.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Answer a prompt; the text comes as it is made."""
    from stoker.cli.references import model_ref
    from stoker.cli.task import run_task
    from stoker.spec.jobs import GenerateJob
    from stoker.spec.reading import read_settings

    reader = open_reader()
    prompts = tuple(prompt or [_from_stdin()])
    ref = model_ref(reader, model)
    job = GenerateJob(
        model=ref,
        prompts=prompts,
        system=system,
        max_new_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        train=read_settings(reader.workspace.settings).train,
    )
    note(f"loading {ref.label} ...")
    answers = [""] * len(prompts)
    shown = -1
    for message in run_task(reader.workspace, job):
        if message["kind"] != "text":
            continue
        answers[message["index"]] += message["text"]
        if not as_json:
            if message["index"] != shown and len(prompts) > 1:
                print(f"{chr(10) if shown >= 0 else ''}> {prompts[message['index']]}")
            shown = message["index"]
            print(message["text"], end="", flush=True)
    if as_json:
        print_json(
            {"model": ref.label, "answers": [{"prompt": p, "text": t} for p, t in zip(prompts, answers, strict=True)]}
        )
    else:
        print()


def _from_stdin() -> str:
    if sys.stdin.isatty():
        raise UsageError("no prompt", "", 'add: --prompt "..."')
    text = sys.stdin.read().strip("\n")
    if not text:
        raise UsageError("the prompt on standard input is empty", "", 'add: --prompt "..."')
    return text
