"""Each setting of [serve] changes what serving does (beside_training and pause_seconds: test_beside)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from pydantic import ValidationError
from served_lab import ServedLab

from stoker.serve.engines.base import Target
from stoker.serve.engines.outside import OutsideEngine
from stoker.serve.engines.own import OwnEngine
from stoker.serve.errors import ApiError
from stoker.serve.reading import read_chat, read_completion, read_generate
from stoker.serve.references import References
from stoker.spec.engines import ENGINE_JOB
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import ModelSpec, TrainSpec
from stoker.spec.serving import ServeSpec

USER = [{"role": "user", "content": "x"}]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_the_command_line_serves_what_where_it_is_told(make_lab: Callable[..., ServedLab]) -> None:
    lab, port = make_lab(), free_port()
    lab.settings(models=("@champion",), host="127.0.0.1")
    command = [sys.executable, "-m", "stoker", "--lab", str(lab.workspace.root), "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--host", "127.0.0.2", "--model", "base", "--model", "main/v2"],
        stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        card = lab.workspace.serving / "gateway.json"
        while not card.exists():
            assert process.poll() is None
            time.sleep(0.05)
        assert orjson.loads(card.read_bytes()) | {"pid": 0, "started_at": 0} == {
            "host": "127.0.0.2", "port": port, "pid": 0, "started_at": 0,
        }  # fmt: skip
        again = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, timeout=120, check=False)
        assert again.returncode == 4 and "served already" in again.stderr
        import httpx2

        deadline = time.monotonic() + 60
        listed: list[str] = []
        while not listed and time.monotonic() < deadline:
            try:
                found = httpx2.get(f"http://127.0.0.2:{port}/v1/models", headers={"host": "localhost"}, trust_env=False)
                listed = [one["id"] for one in found.json()["data"]]
            except httpx2.TransportError:
                time.sleep(0.1)
        assert listed == ["base", "main/v2"]
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert not psutil.wait_procs(children, timeout=30)[1]
    assert b"Traceback" not in told


def test_a_port_that_is_taken_is_said_with_its_remedy(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab(0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lab.settings(port=taken.getsockname()[1])
        command = [sys.executable, "-m", "stoker", "--lab", str(lab.workspace.root), "serve"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "can't be listened on" in done.stderr and "--port" in done.stderr


@pytest.mark.parametrize("limit", [5, 500])
def test_max_tokens_is_the_longest_answer_that_may_be_asked_for(limit: int) -> None:
    spec = ServeSpec(max_tokens=limit)
    for read, body in (
        (read_chat, {"model": "m", "messages": USER}),
        (read_completion, {"model": "m", "prompt": "x"}),
        (read_generate, {"prompt": "x"}),
    ):
        assert read({**body, "max_tokens": limit}, spec).max_tokens == limit
        with pytest.raises(ApiError, match=f"between 1 and {limit} "):
            read({**body, "max_tokens": limit + 1}, spec)


def own_job(tmp_path: Path, spec: ServeSpec, **options: Any) -> dict[str, Any]:
    ref = ModelRef(label="m", base=BaseRef(name="nothing", folder=tmp_path), weights_sha256="")
    engine = OwnEngine(Target("m", "m", "m", ref), tmp_path / "engine", spec, TrainSpec(precision="fp32"), **options)
    engine.start()
    assert engine.process is not None and engine.process.child is not None
    engine.process.child.kill()
    engine.process.child.wait()
    job: dict[str, Any] = orjson.loads((tmp_path / "engine" / ENGINE_JOB).read_bytes())
    return job


def test_the_engine_is_told_its_share_and_its_places(tmp_path: Path) -> None:
    job = own_job(tmp_path, ServeSpec(memory_share=0.45, max_concurrent=3), device="cpu")
    assert (job["memory_share"], job["max_concurrent"], job["device"]) == (0.45, 3, "cpu")
    assert job["train"]["precision"] == "fp32"


def test_an_outside_server_is_started_as_the_command_says(tmp_path: Path) -> None:
    spec = ServeSpec(
        engine="outside", memory_share=0.45, max_concurrent=3,
        command="serve 'a b' {model} -p {port} -n {name} -m {memory_share} -c {max_concurrent} {other}",
    )  # fmt: skip
    model = tmp_path / "model.gguf"
    model.write_bytes(b"")
    engine = OutsideEngine(Target("m", "m.gguf", "m", file=model), tmp_path / "engine", spec)
    engine.start()
    assert engine.process is not None and engine.process.child is not None
    engine.process.child.wait(60)  # there is no program "serve"
    argv = orjson.loads((tmp_path / "engine" / "command.json").read_bytes())["argv"]
    assert argv[:4] == ["serve", "a b", str(model), "-p"] and argv[4].isdigit()
    assert argv[5:] == ["-n", "m.gguf", "-m", "0.45", "-c", "3", "{other}"]
    assert engine.prompts is None  # it makes its own


def test_an_outside_engine_needs_to_know_how_to_start() -> None:
    with pytest.raises(ValidationError, match="needs a command"):
        ServeSpec(engine="outside", command="vllm serve")
    with pytest.raises(ValidationError, match="each once"):
        ServeSpec(models=("base", "base"))


def test_an_engine_that_is_not_ready_in_time_is_given_up(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab()
    lab.settings(
        models=("@champion",), engine="outside", command=f"{sys.executable} -c 'import time; time.sleep(600)' {{port}}",
        start_seconds=1.0,
    )  # fmt: skip
    with lab.serving(is_ready=False) as gateway:
        gateway.until(
            lambda: "serve.start_seconds" in str(gateway.client.get(f"{gateway.url}/readyz").json()["problems"])
        )
        answer = gateway.post("/generate", {"prompt": "x"})
        assert answer.status_code == 503
        gateway.until(lambda: gateway.log.read_text().count("it is started again in") >= 2)
    waits = [
        line.rsplit(" ", 2)[1] for line in gateway.log.read_text().splitlines() if "it is started again in" in line
    ]
    assert waits[:2] == ["1", "2"]


def test_an_outside_server_answers_through_the_gateway(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab()
    program = f"{sys.executable} -m stoker.engine {{model}} --port {{port}} --name {{name}} --precision fp32"
    ask = {"prompt": "How many people live in Aru?", "max_tokens": 20}
    texts = []
    for settings in ({"engine": "transformers"}, {"engine": "outside", "command": program}):
        lab.settings(models=("@champion",), **settings)
        with lab.serving() as gateway:
            answer = gateway.post("/generate", ask)
            assert answer.status_code == 200, answer.text
            texts.append(answer.json()["text"])
            schema = {"model": "@champion", "messages": USER, "response_format": {"type": "json_object"}}
            refused = gateway.post("/v1/chat/completions", schema)
            assert refused.status_code == 400  # here by the gateway, there by the server to which it is passed on
    assert texts[0] == texts[1]


def test_names_mean_versions_folders_adapters_and_files(make_lab: Callable[..., ServedLab], tmp_path: Path) -> None:
    lab = make_lab()
    references = References(lab.workspace, ModelSpec(base="tiny"))
    champion = references.target("@champion")
    assert champion.label == "main/v1" and references.target("main/v1").key == champion.key
    lab.promote(2)
    assert references.target("@champion").label == "main/v2"
    assert references.target("base").ref is not None
    assert references.target(str(lab.base)).label == lab.base.name
    model = tmp_path / "m.gguf"
    model.write_bytes(b"x")
    assert references.target(str(model)).file == model
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(orjson.dumps({"base_model_name_or_path": str(lab.base)}).decode())
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    found = references.target(str(adapter)).ref
    assert found is not None and found.method == "lora" and found.base.folder == lab.base
