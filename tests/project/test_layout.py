"""The shape of the code: file and function length, names, import contracts, what the command line loads."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("stoker", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
TRAINING_STACK = ("torch", "transformers", "peft", "accelerate", "tokenizers")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_file_is_longer_than_500_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 500


def test_no_function_of_the_package_is_longer_than_60_lines() -> None:
    long = []
    for path in SOURCES:
        if not path.is_relative_to(ROOT / "stoker") or "migrations" in path.parts:  # tables, written once
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if num_lines > 60:
                    long.append(f"{name(path)}:{node.lineno} {node.name} has {num_lines} lines")
    assert not long


def test_no_name_says_nothing_about_what_lives_there() -> None:
    vague = [name(path) for path in SOURCES if VAGUE & {path.stem, *path.relative_to(ROOT).parts}]
    assert not vague


def test_every_module_of_the_package_opens_with_its_purpose() -> None:
    silent = [
        name(path)
        for path in SOURCES
        if path.is_relative_to(ROOT / "stoker") and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent


def test_only_the_command_line_prints() -> None:
    loud = []
    for path in SOURCES:
        if not path.is_relative_to(ROOT / "stoker") or path.is_relative_to(ROOT / "stoker" / "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                loud.append(f"{name(path)}:{node.lineno}")
    assert not loud


def test_the_import_contracts_hold() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("args", [["--help"], ["status"], ["run", "list", "--json"], ["doctor"]], ids=" ".join)
def test_the_command_line_loads_no_training_stack(args: list[str], tmp_path: Path) -> None:
    (tmp_path / "stoker.toml").write_text("")
    script = (
        "import sys\n"
        "from stoker.cli import run\n"
        f"code = run({args!r})\n"
        f"loaded = [name for name in {TRAINING_STACK!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "assert code == 0, code\n"
    )
    environment = {**os.environ, "STOKER_LAB": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from stoker.cli import run\n"
        "run(['--help'])\n"
        "heavy = ('torch', 'sqlalchemy', 'scipy', 'numpy', 'pydantic', 'alembic', 'rich.console')\n"
        "loaded = [name for name in heavy if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
