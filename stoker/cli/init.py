"""`stoker init`: a folder becomes a lab."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from stoker.cli.console import note, say
from stoker.errors import InvalidInput, NotAllowed, UsageError
from stoker.workspace import SETTINGS, Workspace

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make into a lab.")],
    base: Annotated[str, typer.Option(help='Base model: a hub id, a model folder, or "tiny" (offline).')] = "tiny",
    model_name: Annotated[str, typer.Option(help="Name of the model line.")] = "main",
    preset: Annotated[str, typer.Option(help="fast, balanced or thorough.")] = "balanced",
) -> None:
    """Make a lab: settings, inbox, benchmarks, reports."""
    workspace = create_lab(folder, base=base, model_name=model_name, preset=preset)
    say(str(workspace.root))
    note(f"a lab with base {base}; next: put a file into {workspace.inbox}, then: cd {folder} && stoker up")


def create_lab(folder: Path, *, base: str, model_name: str = "main", preset: str = "balanced") -> Workspace:
    """Make the folders and the settings file; NotAllowed where a lab already is."""
    from stoker.durable import write_atomic
    from stoker.spec.writing import new_settings

    root = folder.resolve()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{folder} is a file", "a lab is a folder", "choose another name")
    workspace = Workspace(root)
    if workspace.settings.exists():
        raise NotAllowed(
            f"{folder} already is a lab", f"it has a {SETTINGS}", "run: stoker config set model.base ..., or choose another folder"
        )  # fmt: skip
    settings = new_settings(base=check_base(base), model_name=model_name, preset=preset)
    root.mkdir(parents=True, exist_ok=True)
    workspace.create()
    write_atomic(workspace.settings, settings)
    return workspace


def check_base(base: str) -> str:
    """Return the base as it goes into the settings: "tiny", a hub id, or the absolute path of a model folder."""
    if base == "tiny":
        return base
    path = Path(base).expanduser()
    if path.is_dir():
        _check_model_folder(path)
        return str(path.resolve())
    if _HUB_ID.fullmatch(base) and not base.startswith((".", "/", "~")):
        return base
    raise InvalidInput(
        f"base {base!r} is not there",
        'a base is a model folder, a hub id like Qwen/Qwen3-0.6B, or "tiny"',
        "check the path, or use --base tiny to try things offline",
    )


def _check_model_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise InvalidInput(
            f"{path} holds no model", "a model folder has a config.json", "give the folder of the weights"
        )
    if not any(path.glob("*.safetensors")):
        raise InvalidInput(
            f"{path} has no *.safetensors",
            "other weight files can run code when they are loaded",
            "convert it to safetensors first",
        )
