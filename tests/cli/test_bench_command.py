"""`stoker eval bench`: what it prints, what it refuses, and a real worker that is killed in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.cli.bench_table import short_names
from stoker.cli.lab import open_reader
from stoker.cli.references import bench_model, model_ref
from stoker.data.benchmarks import read_benchmark
from stoker.errors import DataError, InvalidInput, NotFound
from stoker.mailbox.benches import read_benches
from stoker.workspace import Workspace

Stoker = Callable[..., Any]
BENCH_TESTS = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [str(BENCH_TESTS), *sys.path])
    from api_server import ApiServer

    made = ApiServer()
    yield made
    made.close()


def put(lab: Workspace, name: str = "words", num: int = 8, records: list[Any] | None = None) -> None:
    records = records or [
        {"id": f"w{n}", "prompt": f"Say the word w{n}", "answer": f"w{n if n % 4 else 'x'}", "category": f"c{n % 2}"}
        for n in range(num)
    ]
    path = lab.benchmarks / f"{name}.jsonl"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    path.with_suffix(".toml").write_text('scorer = "exact"\ndescription = "say it"\n')


def test_an_endpoint_is_benched_and_shown(lab: Workspace, stoker: Stoker, server: Any) -> None:
    put(lab)
    shown = stoker("eval", "bench", "--model", f"{server.url}#parrot", "--categories")
    assert shown.code == 0, shown.err
    header, row, *categories = shown.out.splitlines()
    assert header.split() == ["benchmark", "model", "metric", "n", "out", "score", "interval", "nll", "tokens/s"]
    assert row.split()[:7] == ["words", "parrot", "exact", "8", "0", "75.0", "%"] and " to " in row
    assert all(len(line.rstrip()) <= 100 for line in shown.out.splitlines())
    assert [line.split() for line in categories[-2:]] == [
        ["words", "c0", "parrot", "4", "50.0", "%"],
        ["words", "c1", "parrot", "4", "100.0", "%"],
    ]
    asked = len(server.asked)
    again = stoker("eval", "bench", "--model", f"{server.url}#parrot", "--json")
    (result,) = again.json()
    assert len(server.asked) == asked and "has a result" in again.err
    assert (result["benchmark"], result["n"], result["scores"]["exact"]) == ("words", 8, 0.75)
    assert result["model"] == f"{server.url}#parrot"


def test_several_benchmarks_and_left_out_items_are_told(lab: Workspace, stoker: Stoker, server: Any) -> None:
    put(lab)
    put(lab, "more", 6)
    only = stoker("eval", "bench", "--model", f"{server.url}#parrot", "--benchmark", "more", "--shots", "2", "--json")
    (result,) = only.json()
    assert (result["benchmark"], result["n"], result["settings"]["shots"]) == ("more", 4, 2)
    both = stoker("eval", "bench", "--model", f"{server.url}#parrot", "--shots", "2")
    assert [line.split()[0] for line in both.out.splitlines()[1:]] == ["more", "words"]
    assert "more, parrot: 2 items do not count: shown as an example" in both.err


def test_benchmarks_are_added_and_listed(lab: Workspace, stoker: Stoker, tmp_path: Path) -> None:
    assert "no benchmarks yet" in stoker("eval", "bench", "--list").err
    file = tmp_path / "sums.jsonl"
    file.write_bytes(orjson.dumps({"prompt": "1 and 1?", "answer": "2", "category": "easy"}) + b"\n")
    added = stoker("eval", "bench", "--add", file, "--name", "sums", "--scorer", "number", "--json")
    assert added.code == 0, added.err
    assert (added.json()["name"], added.json()["items"], added.json()["scorer"]) == ("sums", 1, "number")
    (listed,) = stoker("eval", "bench", "--list", "--json").json()
    wanted = {"name": "sums", "items": 1, "scorer": "number", "method": "generation", "categories": ["easy"]}
    assert {key: listed[key] for key in wanted} == wanted and len(listed["sha256"]) == 64
    assert stoker("eval", "bench", "--list").out.split()[:3] == ["benchmark", "items", "scorer"]
    assert stoker("eval", "bench", "--add", file, "--name", "sums", "--scorer", "number").code != 0
    assert stoker("eval", "bench", "--add", tmp_path / "none.jsonl", "--name", "x").code == 3
    assert stoker("eval", "bench", "--add", file, "--name", "x", "--option", "tolerance").code == 2


def test_an_added_benchmark_is_frozen_keeps_its_scorers_options_and_takes_any_format(
    lab: Workspace, stoker: Stoker, tmp_path: Path
) -> None:
    table = tmp_path / "sums.csv"
    table.write_text("prompt,answer\n1 and 1?,2\n2 and 2?,four\n")
    words = ["--scorer", "number", "--option", "tolerance=0.1", "--system", 'say "so"']
    added = stoker("eval", "bench", "--add", table, *words)
    assert added.code == 0, added.err
    assert "benchmark sums: 2 items" in added.err and "1 items do not count: the scorer would not take" in added.err
    benchmark = read_benchmark(lab.benchmarks / "sums.jsonl")
    assert benchmark.header.options == {"tolerance": 0.1} and benchmark.header.system == 'say "so"'
    (lab.benchmarks / "sums.jsonl").write_text('{"prompt": "1 and 1?", "answer": "3"}\n')
    with pytest.raises(DataError, match="not what was frozen"):
        read_benchmark(lab.benchmarks / "sums.jsonl")
    assert stoker("eval", "bench", "--add", table, *words, "--replace").code == 0
    assert len(read_benchmark(lab.benchmarks / "sums.jsonl").items) == 2
    refused = stoker("eval", "bench", "--add", table, "--name", "x", "--scorer", "number", "--option", "tolerence=1")
    assert refused.code == 5 and "no option 'tolerence'" in refused.err and not (lab.benchmarks / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--model", "main/v9"], 3, "no model 'main'"),
        (["--model", "./nowhere"], 3, "there is no folder ./nowhere"),
        (["--model", "."], 5, "holds no model"),
        (["--model", "base"], 3, "the base is not made yet"),
        (["--model", "http://127.0.0.1:9/v1"], 2, "names no model"),
        (["--model", "http://me:pw@host/v1#m"], 2, "holds a name, a password or a query"),
        (["--model", "http://host:port/v1#m"], 2, "is no address"),
        (["--model", "http://host/v1#m", "--key", "sk-1234"], 2, "--key env:NAME"),
        (["--benchmark", "other"], 3, "no benchmark 'other'"),
        (["--limit", "0"], 2, "--limit 0"),
        (["--shots", "-1"], 2, "--shots -1"),
        (["--max-tokens", "0"], 2, "--max-tokens 0"),
        (["--max-tokens", "10000000"], 2, "--max-tokens 10000000"),
        (["--suite", "mmlu"], 2, "--suite mmlu without --suite-path"),
        (["--suite", "mmlu", "--suite-path", "nowhere"], 3, "there is no folder nowhere"),
        (["--suite-path", "."], 2, "--suite-path without --suite"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_benched_is_refused_with_a_reason(
    lab: Workspace, stoker: Stoker, words: list[str], code: int, told: str
) -> None:
    put(lab)
    answer = stoker("eval", "bench", *words)
    assert answer.code == code and told in answer.err and "Traceback" not in answer.err
    assert answer.out == "" and "1234" not in answer.err and "pw@" not in answer.err


@pytest.mark.parametrize(
    ("records", "words", "told"),
    [
        ([{"prompt": "a", "answer": "b"}, {"prompt": "c"}], [], "line 2: no-answer"),
        ([{"id": 1, "prompt": "a", "answer": "b"}, {"id": 1, "prompt": "c", "answer": "d"}], [], "is on line 1 too"),
        ([{"prompt": "a", "answer": "b"}], ["--shots", "1"], "1 shots, but benchmark words has 1 items"),
    ],
    ids=["missing answer", "duplicate id", "too many shots"],
)
def test_a_benchmark_that_can_not_be_used_stops_the_command_before_anything_is_asked(
    lab: Workspace, stoker: Stoker, server: Any, records: list[Any], words: list[str], told: str
) -> None:
    put(lab, records=records)
    answer = stoker("eval", "bench", "--model", f"{server.url}#parrot", *words)
    assert answer.code == 5 and told in answer.err and server.asked == []


def test_an_endpoint_that_is_not_there_or_talks_nonsense_is_told(lab: Workspace, stoker: Stoker, server: Any) -> None:
    put(lab)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        answer = stoker("eval", "bench", "--model", f"{url}#m")
    assert answer.code == 1 and f"error: {url} is not there" in answer.err
    server.chat = lambda path, body: (200, b"<html>")
    answer = stoker("eval", "bench", "--model", f"{server.url}#m")
    assert answer.code == 1 and "answers no JSON" in answer.err and not read_benches(lab.benches)


def test_a_lab_without_benchmarks_says_how_to_make_one(lab: Workspace, stoker: Stoker, server: Any) -> None:
    answer = stoker("eval", "bench", "--model", f"{server.url}#parrot")
    assert answer.code == 3 and "stoker eval bench --add FILE" in answer.err


def test_asking_an_endpoint_loads_no_training_stack(lab: Workspace, server: Any) -> None:
    put(lab)
    script = (
        "import sys\nfrom stoker.cli import run\n"
        f"code = run(['eval', 'bench', '--model', '{server.url}#parrot', '--json'])\n"
        "assert code == 0, code\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=lab.root, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_folders_and_adapters_are_found(lab: Workspace, tmp_path: Path) -> None:
    whole, adapter = tmp_path / "whole", tmp_path / "adapter"
    for folder in (whole, adapter):
        folder.mkdir()
    (whole / "config.json").write_text("{}")
    reader = open_reader()
    found = bench_model(reader, str(whole))
    assert (found.source, found.label) == ("folder", str(whole)) and found.model is not None
    assert found.model.folder is None and found.model.base.folder == whole
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "../whole"}')
    with pytest.raises(InvalidInput, match=r"has no adapter_model\.safetensors"):
        model_ref(reader, str(adapter))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    found = bench_model(reader, str(adapter))
    assert found.source == "adapter" and found.model is not None
    assert (found.model.folder, found.model.method, found.model.base.folder) == (adapter, "lora", whole)
    for content, told in (
        ('{"base_model_name_or_path": "some/base"}', "the base 'some/base' of the adapter"),
        ("{}", "names no base"),
        ("{", "is not JSON"),
    ):
        (adapter / "adapter_config.json").write_text(content)
        with pytest.raises((InvalidInput, NotFound), match=told):
            model_ref(reader, str(adapter))


def test_a_version_brings_the_datasets_that_it_was_trained_on(history: Workspace) -> None:
    folder = history.version("main", 1)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(orjson.dumps({"files": {}, "base": {"name": "tiny"}}))
    found = bench_model(open_reader(), "@champion")
    assert (found.source, found.label) == ("version", "main/v1") and found.model is not None
    assert found.model.folder == folder
    assert [(one.id, one.folder) for one in found.trained] == [
        ("d0123456789ab", history.dataset("d0123456789ab"))
    ]  # fmt: skip


def test_labels_are_short_where_that_is_clear() -> None:
    assert short_names(["main/v1", "/a/m", "/b/m", "http://h/v1#m2"]) == {
        "main/v1": "main/v1", "/a/m": "/a/m", "/b/m": "/b/m", "http://h/v1#m2": "m2"
    }  # fmt: skip


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_that_was_answered(
    lab: Workspace, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_base, folder)
    places = ["Aru", "Belm", "Coro", "Dunwick", "Elsa", "Farr", "Gant", "Hoyle"]
    put(lab, records=[
        {"id": f"q{n}", "prompt": f"How many people live in {places[n % 8]} house number {n}?", "answer": f"{n} people"}
        for n in range(400)
    ])  # fmt: skip
    (lab.root / "stoker.toml").write_text(
        '[model]\nbase = "tiny"\n[train]\nthreads = 1\nprecision = "fp32"\n[evaluate]\nbatch_size = 4\nresamples = 200\n'
    )
    command = [sys.executable, "-m", "stoker", "eval", "bench", "--model", str(folder), "--max-tokens", "24", "--json"]
    first = subprocess.Popen(command, cwd=lab.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    answered = _wait_for_answers(lab, first, 20)
    (card,) = lab.tasks.glob("bench-*/worker/worker.json")
    os.kill(orjson.loads(card.read_bytes())["pid"], signal.SIGKILL)
    _, told = first.communicate(timeout=120)
    assert first.returncode == 6 and b"the worker ended before its task was done" in told
    assert not read_benches(lab.benches) and 20 <= answered < 400
    done = subprocess.run(command, cwd=lab.root, capture_output=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = orjson.loads(done.stdout)
    assert (result["n"], result["source"], result["model"]) == (400, "folder", str(folder))
    (book,) = lab.answers.iterdir()
    records = [orjson.loads(line) for line in book.read_bytes().splitlines() if line]
    rows = [record["row"] for record in records if record["kind"] == "answer"]
    assert len(rows) == len(set(rows)) == 400, "no question was answered twice"


@pytest.mark.slow
def test_an_interrupted_bench_says_that_it_can_go_on(lab: Workspace, tiny_base: Path) -> None:
    put(lab, records=[{"prompt": f"How many live in house number {n}?", "answer": f"{n} people"} for n in range(400)])
    (lab.root / "stoker.toml").write_text('[model]\nbase = "tiny"\n[train]\nthreads = 1\n[evaluate]\nbatch_size = 4\n')
    command = [sys.executable, "-m", "stoker", "eval", "bench", "--model", str(tiny_base), "--max-tokens", "24"]
    process = subprocess.Popen(
        command, cwd=lab.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip
    _wait_for_answers(lab, process, 8)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130 and b"what was answered is kept" in told
    assert not list(lab.tasks.iterdir()) and not read_benches(lab.benches)


def _wait_for_answers(lab: Workspace, process: subprocess.Popen[bytes], num: int) -> int:
    """Return how many answers are kept once there are `num`."""
    while process.poll() is None:
        found = sum(path.read_bytes().count(b'"kind":"answer"') for path in lab.answers.glob("*.jsonl"))
        if found >= num:
            return found
        time.sleep(0.05)
    raise AssertionError(process.communicate())
