"""A first session as a person would have it: real processes, the tiny base, two files, two versions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.locks import is_locked
from stoker.workspace import Workspace

pytestmark = pytest.mark.slow

SETTINGS = {
    "intake.settle_seconds": "0.05",
    "split.min_clusters": "8",
    "train.threads": "1",
    "evaluate.heldout_answers": "4",
    "evaluate.max_new_tokens": "8",
    "evaluate.resamples": "200",
}


def stoker(lab: Path, *args: str, code: int | None = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "stoker", "--lab", str(lab), *args],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert code is None or done.returncode == code, (
        f"{args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    assert "Traceback" not in done.stderr
    return done


def ask(lab: Path, *args: str) -> Any:
    return orjson.loads(stoker(lab, *args, "--json").stdout)


def write_rows(path: Path, start: int, num: int) -> Path:
    colours = ("red", "green", "blue", "brown", "grey", "pink", "black")
    rows = (
        {"prompt": f"item {n * 7919} of shelf {n} asks for", "completion": f"{colours[n % 7]} box {n * 31}"}
        for n in range(start, start + num)
    )
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that has trained one file by `stoker up --until-idle`."""
    root = tmp_path_factory.mktemp("session")
    subprocess.run([sys.executable, "-m", "stoker", "init", str(root / "lab")], check=True, capture_output=True)
    lab = root / "lab"
    for key, value in SETTINGS.items():
        stoker(lab, "config", "set", key, value)
    stoker(lab, "add", str(write_rows(root / "first.jsonl", 0, 120)))
    (lab / "inbox" / "broken.jsonl").write_text('{"prompt": "half a fi')
    done = stoker(lab, "up", "--until-idle")
    assert done.stdout == ""
    assert "main/v1" in done.stderr
    return lab


def test_the_file_became_a_proven_version(lab: Path) -> None:
    datasets = [found for found in ask(lab, "data", "list") if found["name"] == "first.jsonl"]
    assert len(datasets) == 1
    counts = datasets[0]
    assert (
        counts["rows_in"] == counts["train"] + counts["held_out"] + counts["duplicate"] + counts["quarantined"] == 120
    )
    runs = ask(lab, "run", "list")
    assert [(run["state"], run["version"]) for run in runs] == [("done", 1)]
    assert runs[0]["step"] == runs[0]["total_steps"] > 0
    comparisons = [row for row in ask(lab, "eval", "list") if row["benchmark"] == "heldout" and row["metric"] == "nll"]
    assert comparisons[0]["against"] == "base"
    assert comparisons[0]["low"] <= comparisons[0]["difference"] <= comparisons[0]["high"]
    assert ask(lab, "status")["state"] == "off"


def test_the_broken_file_was_rejected_with_a_report(lab: Path) -> None:
    assert (lab / "rejected" / "broken.jsonl").is_file()
    assert "broken.jsonl" in (lab / "rejected" / "broken.jsonl.report.txt").read_text()


def test_every_view_of_the_run_works(lab: Path) -> None:
    assert "done" in stoker(lab, "run", "show").stdout
    assert "finished" in stoker(lab, "run", "logs").stdout
    assert '"kind":"step"' in stoker(lab, "run", "logs", "--json").stdout
    assert "step " in stoker(lab, "run", "watch").stdout
    assert "heldout" in stoker(lab, "model", "show", "v1").stdout
    assert all(result["ok"] for result in ask(lab, "model", "verify"))


def test_a_version_answers_and_merges(lab: Path, tmp_path: Path) -> None:
    answer = orjson.loads(
        stoker(lab, "generate", "--model", "v1", "--prompt", "item 7 asks for", "--max-tokens", "4", "--json").stdout
    )
    assert answer["model"] == "main/v1"
    assert [each["prompt"] for each in answer["answers"]] == ["item 7 asks for"]
    stoker(lab, "model", "merge", "v1", "--output", str(tmp_path / "merged"))
    assert (tmp_path / "merged" / "config.json").is_file()
    assert list((lab / ".stoker" / "tasks").iterdir()) == []


def test_a_second_file_trains_in_the_foreground(lab: Path, tmp_path: Path) -> None:
    outcomes = ask(lab, "train", str(write_rows(tmp_path / "second.jsonl", 1000, 60)))
    assert [(outcome["state"], outcome["version"]) for outcome in outcomes] == [("done", 2)]
    assert outcomes[0]["verdict"]["reason"]
    again = ask(lab, "train", str(tmp_path / "second.jsonl"))
    assert again[0]["run"] == outcomes[0]["run"]
    assert "error: " in stoker(lab, "train", str(lab / "rejected" / "broken.jsonl"), code=5).stderr


def test_models_are_compared_by_the_items_that_evaluations_answered(lab: Path) -> None:
    asked = ("eval", "compare", "base", "v1", "v2", "--benchmark", "heldout", "--benchmark", "heldout-answers")
    lines = ask(lab, *asked)
    assert [(line["model_a"], line["model_b"], line["benchmark"]) for line in lines] == [
        ("base", "main/v1", "heldout"), ("base", "main/v2", "heldout"), ("main/v1", "main/v2", "heldout")
    ]  # fmt: skip
    assert {(one["benchmark"], one["reason"].partition(" were")[0]) for one in lines[0]["missing"]} == {
        ("heldout-answers", "only 4 items")
    }
    nlls = {}
    for folder in (lab / ".stoker" / "benches").iterdir():
        result = orjson.loads((folder / "result.json").read_bytes())
        if result["benchmark"] == "heldout":
            items = map(orjson.loads, (folder / "items.jsonl").read_bytes().splitlines())
            nlls[result["model"]] = {item["id"]: item["nll"] for item in items if item["left_out"] is None}
    for line in lines:
        a, b = nlls[line["model_a"]], nlls[line["model_b"]]
        assert line["n"] == len(a.keys() & b.keys()) > 0
        difference = sum(b[id] - a[id] for id in a.keys() & b.keys()) / line["n"]
        assert line["difference"] == pytest.approx(difference)
    newest = max((lab / ".stoker" / "evaluations").glob("*/items-main-v2.jsonl"))
    answered = [item for item in map(orjson.loads, newest.read_bytes().splitlines()) if item["benchmark"] == "heldout"]
    assert answered
    for item in answered:
        assert nlls["main/v2"][item["id"]] == item["nll"]  # the evaluation's own, not computed again
    assert lines[0]["outcome"] == "better" and all(one["tokens_per_second"] > 0 for one in lines[0]["models"])
    shown = stoker(lab, *asked, "--stored").stdout
    assert "main/v2 against main/v1" in shown and "tokens/s" in shown
    assert list((lab / ".stoker" / "tasks").iterdir()) == []


def test_a_supervisor_hears_what_people_ask(lab: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "stoker", "--lab", str(lab), "up"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while not is_locked(Workspace(lab).lock):
            assert supervisor.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        stoker(lab, "queue", "pause")
        assert ask(lab, "status")["queue_paused"] is True
        stoker(lab, "queue", "resume")
        stoker(lab, "model", "promote", "v1")
        assert [row["version"] for row in ask(lab, "model", "list") if row["champion"]] == [1]
        assert "champion" in stoker(lab, "model", "delete", "v1", "--yes", code=4).stderr
        stoker(lab, "model", "pin", "v1")
        assert ask(lab, "model", "show", "v1")["pinned"] is True
        stoker(lab, "model", "unpin", "v1")
        _decide_about_a_row(lab)
        second = stoker(lab, "up", code=None)
        assert second.returncode == 1
        assert "already has a supervisor" in second.stderr
        stoker(lab, "down")
        assert supervisor.wait(timeout=60) == 0
    finally:
        if supervisor.poll() is None:
            os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.communicate(timeout=60)


def _decide_about_a_row(lab: Path) -> None:
    (dataset,) = [found for found in ask(lab, "data", "list") if found["name"] == "first.jsonl"]
    row = orjson.loads((lab / ".stoker" / "datasets" / dataset["id"] / "rows.jsonl").read_bytes().splitlines()[0])
    assert ask(lab, "data", "review", dataset["id"])["num_with_losses"] == dataset["train"]
    told = stoker(lab, "data", "review", dataset["id"], "--remove", str(row["line"])).stderr
    assert "main/v1 learned from them" in told and "--undo 1" in told
    shown = ask(lab, "data", "show", dataset["id"])
    assert shown["reasons"]["removed-by-review"] == 1 and shown["train"] == dataset["train"] - 1
    assert "removed-by-review" in stoker(lab, "data", "show", dataset["id"]).stdout
    stoker(lab, "data", "review", dataset["id"], "--undo", "all")
    assert ask(lab, "data", "show", dataset["id"])["train"] == dataset["train"]


def test_the_demo_tells_the_whole_story(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stoker", "demo", str(tmp_path / "demo"), "--puzzles", "200", "--json"],
        capture_output=True, text=True, timeout=550, check=False, preexec_fn=_stay_on_one_core,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    story = orjson.loads(done.stdout)
    assert {"versions", "verdicts", "seconds", "lab"} <= story.keys()
    assert [verdict["version"] for verdict in story["verdicts"]] == ["main/v1", "main/v2"]
    assert {row["against"] for row in story["verdicts"][0]["comparisons"]} == {"base"}
    assert story["verdicts"][0]["sample"]["expected"]
    assert story["lab"] == str(tmp_path / "demo")
    again = stoker(tmp_path, "demo", str(tmp_path / "demo"), code=4)
    assert "overwrites nothing" in again.stderr


def _stay_on_one_core() -> None:
    """Two computing threads that wait for each other on a busy machine take a hundred times as long as one."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
