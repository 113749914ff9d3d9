"""A lab with versions of random weights, and its gateway as a process: what the tests of serving drive."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import torch
from sqlalchemy import insert
from transformers import AutoModelForCausalLM

from stoker.durable import publish_folder, sha256_file
from stoker.locks import is_same_process
from stoker.registry import versions
from stoker.store import tables as t
from stoker.store.store import Store, Transaction
from stoker.workspace import Workspace

START_SECONDS = 240.0


class ServedLab:
    """A lab whose line `main` has versions v1, v2, ... that answer differently; v1 is the champion."""

    def __init__(self, root: Path, base: Path, num_versions: int = 2) -> None:
        self.workspace = Workspace(root)
        self.workspace.create()
        self.base = base
        self.settings()
        self.store = Store(self.workspace.store)
        self.store.claim()
        shutil.copytree(base, self.workspace.bases / "tiny")
        with self.store.transaction() as tx:
            tx.execute(
                insert(t.models).values(
                    name="main",
                    number=1,
                    family="main",
                    base="tiny",
                    revision="main",
                    shape={"method": "full"},
                    created=0.0,
                )
            )
            tx.put("model", "main")
        for number in range(1, num_versions + 1):
            self.publish(number)
        if num_versions:
            self.promote(1)

    def publish(self, number: int) -> None:
        """Add a version: the base's weights with noise of its own."""
        facts: dict[str, Any] = {
            "kind": "version", "model": "main", "version": number, "method": "full", "base": {"name": "tiny"},
        }  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(self.base, local_files_only=True)
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        folder = self.workspace.version("main", number)
        with publish_folder(folder, facts) as staging:
            model.save_pretrained(staging)
            for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
                if (self.base / file).exists():
                    shutil.copy(self.base / file, staging)
            facts["weights_sha256"] = sha256_file(staging / "model.safetensors")
        with self.store.transaction() as tx:
            self.run(tx, number, "done")
            tx.execute(
                insert(t.versions).values(
                    model="main", version=number, run=f"r{number}", state="published", method="full",
                    weights_sha256=facts["weights_sha256"], base_sha256="", steps=1, datasets=[], is_pinned=False, created=0.0,
                )
            )  # fmt: skip

    @staticmethod
    def run(tx: Transaction, number: int, state: str) -> None:
        """Enter a run with all that it needs."""
        file, dataset, job = f"{number:064x}", f"d{number}", f"j{number}"
        tx.execute(insert(t.files).values(sha256=file, name="f.jsonl", bytes=1, accepted_at=0.0))
        tx.execute(
            insert(t.datasets).values(
                id=dataset, number=number, file_sha256=file, name="f.jsonl", state="trained", created=0.0
            )
        )
        tx.execute(
            insert(t.jobs).values(id=job, number=number, dataset=dataset, position=number, priority=0, created=0.0)
        )
        tx.execute(
            insert(t.runs).values(
                id=f"r{number}", number=number, job=job, dataset=dataset, state=state, model="main", created=0.0
            )
        )

    def promote(self, number: int) -> None:
        with self.store.transaction() as tx:
            versions.promote(tx, "main", number, "for the test")

    def settings(self, train: str = 'precision = "fp32"\nthreads = 1', **serve: Any) -> None:
        """Write stoker.toml with these [serve] keys."""
        lines = [f"{key} = {_toml(value)}" for key, value in {"port": 0, "beside_training": "wait", **serve}.items()]
        text = '[model]\nbase = "tiny"\n[train]\n' + train + "\n[serve]\n" + "\n".join(lines) + "\n"
        self.workspace.settings.write_text(text)

    @contextlib.contextmanager
    def serving(self, *, is_ready: bool = True) -> Iterator[Gateway]:
        """Run `python -m stoker.serve` on the lab; it and its engines are gone afterwards."""
        log = self.workspace.state / "gateway.log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "stoker.serve", str(self.workspace.root)], stderr=output, env=environment
            )
        gateway = Gateway(self.workspace, process, log)
        try:
            gateway.wait(is_ready=is_ready)
            yield gateway
        finally:
            gateway.client.close()
            engines = gateway.engines()
            process.terminate()
            process.wait(60)
            assert not [one for one in engines if is_same_process(*one)], "an engine outlived its gateway"

    def close(self) -> None:
        self.store.close()


class Gateway:
    """A gateway process and a client of it."""

    def __init__(self, workspace: Workspace, process: subprocess.Popen[bytes], log: Path) -> None:
        self.workspace, self.process, self.log = workspace, process, log
        self.client = httpx2.Client(timeout=120.0, trust_env=False)

    @property
    def url(self) -> str:
        card = orjson.loads((self.workspace.serving / "gateway.json").read_bytes())
        return f"http://127.0.0.1:{card['port']}"

    def wait(self, *, is_ready: bool) -> None:
        path = "/readyz" if is_ready else "/healthz"
        self.until(lambda: self.client.get(self.url + path).status_code == 200)

    def until(self, is_so: Any, seconds: float = START_SECONDS) -> None:
        """Wait for something; fail with the log's end when it does not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, httpx2.TransportError, orjson.JSONDecodeError):
                if is_so():
                    return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-3000:])

    def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return self.client.post(self.url + path, content=content, **options)

    def engines(self) -> list[tuple[int, float]]:
        """Return (pid, start) of the processes below the gateway."""
        import psutil

        with contextlib.suppress(psutil.Error):
            return [(one.pid, one.create_time()) for one in psutil.Process(self.process.pid).children(recursive=True)]
        return []


def _toml(value: Any) -> str:
    return orjson.dumps(list(value) if isinstance(value, tuple) else value).decode()
