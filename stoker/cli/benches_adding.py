"""A file made into a benchmark of the lab: copied as it is, with a header, and read once to see that it can be used."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stoker.errors import InvalidInput, NotAllowed
from stoker.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


def add_benchmark(
    workspace: Workspace, file: Path, *, name: str, scorer: str, options: dict[str, str], system: str | None, replace: bool
) -> dict[str, Any]:  # fmt: skip
    """Publish `file` as benchmark `name`, once it reads without a mistake; return what it is."""
    import orjson

    from stoker.data.benchmarks import read_benchmark
    from stoker.durable import write_atomic

    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no name of a benchmark", "letters, digits, -, _ and .", "choose another --name"
        )
    target = workspace.benchmarks / f"{name}.jsonl"
    if target.exists() and not replace:
        raise NotAllowed(f"there is a benchmark {name}", "a benchmark is frozen", "choose another --name, or --replace")
    lines = [f"scorer = {orjson.dumps(scorer).decode()}"]
    lines += [f"system = {orjson.dumps(system).decode()}"] if system else []
    lines += ["[options]", *(f"{key} = {orjson.dumps(value).decode()}" for key, value in options.items())]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / target.name
        shutil.copyfile(file, copy)
        copy.with_suffix(".toml").write_text("\n".join(lines) + "\n", "utf-8")
        benchmark = read_benchmark(copy)
        workspace.benchmarks.mkdir(parents=True, exist_ok=True)
        write_atomic(target.with_suffix(".toml"), copy.with_suffix(".toml").read_bytes())
        write_atomic(target, copy.read_bytes())
    return {"name": name, "items": len(benchmark.items), "scorer": benchmark.scorer, "sha256": benchmark.sha256}
