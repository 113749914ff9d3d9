"""`stoker model`: the versions of each line, and which one is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, Yes, confirm, note, print_facts, print_json, print_table, say
from stoker.cli.evaluations import print_comparisons
from stoker.cli.lab import ask_supervisor, current_lab, open_reader

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Versions: list, show, promote, verify, merge.")

Version = Annotated[str, typer.Argument(metavar="VERSION", help="main/v3, v3, @champion, @latest or @best.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the versions of every line."""
    versions = open_reader().versions()
    if as_json:
        print_json(versions)
        return
    rows = [
        (
            found["model"],
            f"v{found['version']}",
            f"v{found['parent']}" if found["parent"] else "base",
            found["run"],
            "champion" if found["champion"] else found["outcome"],
            "pinned" if found["pinned"] else "",
            found["weights_sha256"][:12],
        )
        for found in versions
    ]
    print_table(("model", "version", "parent", "run", "state", "", "weights"), rows)
    if not versions:
        note("no version yet; a run makes one: stoker train FILE")


@app.command()
def show(version: Version = "@champion", as_json: AsJson = False) -> None:
    """Show one version: parent, run, data, base, and the verdict on it."""
    reader = open_reader()
    model, number = reader.resolve_version(version)
    found = reader.version_detail(model, number)
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("version", f"{model}/v{number}" + (", the champion" if found["champion"] else "")),
            ("parent", f"v{found['parent']}" if found["parent"] else "the base"),
            ("run", f"{found['run']}, {found['steps']} steps, {units.ago(found['created'])}"),
            ("method", found["method"]),
            *((f"data ({one['role']})", f"{one['dataset']} {one['name']}") for one in found["lineage"]),
            ("weights", found["weights_sha256"]),
            ("base", found["base_sha256"]),
            ("pinned", "yes" if found["pinned"] else None),
            ("branch of", f"{found['trial']}; see: stoker eval compare {found['trial']}" if found["trial"] else None),
            ("verdict", found["verdict"]["reason"] if found["verdict"] else "not evaluated yet"),
            ("folder", reader.workspace.version(model, number)),
        ]
    )
    if found["comparisons"]:
        say()
        print_comparisons(found["comparisons"])


@app.command()
def promote(version: Version) -> None:
    """Make a version the champion by hand: the next run continues it."""
    model, number = open_reader().resolve_version(version)
    ask_supervisor(current_lab(), "model.promote", model=model, version=number)
    note(f"{model}/v{number} is the champion")


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="The line; default: the one last worked on.")] = "",
    yes: Yes = False,
) -> None:
    """Make the champion before the present one the champion again."""
    name, number = open_reader().resolve_version(model or "@champion")
    confirm(f"{name}/v{number} is the champion; put the one before it in its place?", yes)
    reply = ask_supervisor(current_lab(), "model.rollback", model=name)
    note(f"{name}/v{reply['version']} is the champion again" if "version" in reply else f"{name} rolls back")


@app.command()
def pin(version: Version) -> None:
    """Keep a version from being deleted."""
    _pin(version, is_pinned=True)


@app.command()
def unpin(version: Version) -> None:
    """Let a pinned version be deleted again."""
    _pin(version, is_pinned=False)


@app.command()
def delete(version: Version, yes: Yes = False) -> None:
    """Delete a version for good; never the champion, a pinned one, or the last."""
    model, number = open_reader().resolve_version(version)
    confirm(f"delete {model}/v{number} for good?", yes)
    ask_supervisor(current_lab(), "model.delete", model=model, version=number, is_confirmed=True)
    note(f"{model}/v{number} is deleted")


@app.command()
def verify(
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="A version; default: all of them.")] = "",
    as_json: AsJson = False,
) -> None:
    """Check every byte of a version against its manifest and the store's record."""
    from stoker.errors import Damaged
    from stoker.registry.versions import verify as verify_version

    reader = open_reader()
    chosen = [reader.resolve_version(version)] if version else [(v["model"], v["version"]) for v in reader.versions()]
    results = []
    for model, number in chosen:
        detail = reader.version_detail(model, number)
        reason = None
        try:
            verify_version(reader.workspace, model, number, detail["weights_sha256"])
        except Damaged as error:
            reason = f"{error.file}: {error.reason}"
        results.append({"model": model, "version": number, "ok": reason is None, "reason": reason})
    if as_json:
        print_json(results)
    for result in results if not as_json else []:
        say(f"{result['model']}/v{result['version']}  {'ok' if result['ok'] else 'damaged: ' + str(result['reason'])}")
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


@app.command()
def merge(
    version: Version,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; it must not exist.")],
) -> None:
    """Write a version as plain weights. An adapter is folded into its base and the outputs of both are compared."""
    from stoker.cli.references import model_ref
    from stoker.cli.task import run_task
    from stoker.errors import NotAllowed
    from stoker.spec.jobs import MergeJob
    from stoker.spec.reading import read_settings

    if output.exists():
        raise NotAllowed(f"{output} exists", "merging overwrites nothing", "choose another folder")
    reader = open_reader()
    ref = model_ref(reader, version)
    settings = read_settings(reader.workspace.settings)
    job = MergeJob(model=ref, output=output.resolve(), train=settings.train)
    note(f"merging {ref.label} ...")
    for message in run_task(reader.workspace, job):
        if message["kind"] == "result":
            facts = {name: value for name, value in message.items() if name not in ("kind", "time", "fence")}
            note(", ".join(f"{name} {value}" for name, value in facts.items()))
    say(str(output))


def _pin(version: str, *, is_pinned: bool) -> None:
    model, number = open_reader().resolve_version(version)
    ask_supervisor(current_lab(), "model.pin", model=model, version=number, is_pinned=is_pinned)
    note(f"{model}/v{number} is {'pinned' if is_pinned else 'no longer pinned'}")
