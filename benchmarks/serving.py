"""Serving under load: real clients, the gateway, its engines, hot swaps, on loopback.

Three figures: failed requests of 64 clients over --seconds with a promotion every minute; what the gateway adds to a request over
asking its engine directly, at the median (interleaved, one client); and the useful tokens a second of 16 clients at once through
the server against Hugging Face `generate` in batches of 16, same prompts, same precision, same number of threads.

    python benchmarks/serving.py [--seconds 600] [--swap-seconds 60] [--clients 64] [--sizes 5m] [--threads 1] [--requests 200]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import httpx2
import models
import orjson
from sqlalchemy import insert

from stoker.durable import publish_folder, sha256_file
from stoker.registry import versions
from stoker.spec.engines import ENGINE_CARD, ENGINE_JOB
from stoker.store import tables as t
from stoker.store.store import Store
from stoker.workspace import Workspace

MAX_TOKENS = 64
CONTENT = "How many people live in house number {}? Say it in one short sentence."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--swap-seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--sizes", nargs="+", default=["5m", "30m"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--requests", type=int, default=200)
    args = parser.parse_args()
    lines = []
    for number, size in enumerate(args.sizes):
        with tempfile.TemporaryDirectory() as folder:
            lab = _Lab(Path(folder), size, args.threads)
            with lab:
                asyncio.run(_measure(lab, args, size, lines, has_load=number == 0))
    body = "\n".join(lines)
    harness.write_section("Serving", " ".join(["python benchmarks/serving.py", *sys.argv[1:]]), body)


async def _measure(lab: _Lab, args: argparse.Namespace, size: str, lines: list[str], *, has_load: bool) -> None:
    added = await _added(lab, args.requests)
    lines.append(
        f"- {size}: the gateway adds {statistics.median(added) * 1e3:.2f} ms to a request of one token at the median "
        f"of {len(added)} (limit 5 ms)."
    )
    await _together(lab, 16, 16)
    served, _ = await _together(lab, 16, 64)
    batched = await asyncio.to_thread(_batches_of_16, lab)
    lines.append(
        f"- {size}: 16 concurrent requests {served:,.0f} tokens/s, Hugging Face generate in batches of 16 "
        f"{batched:,.0f} tokens/s on the same {args.threads} thread(s): {served / batched:.2f} (limit 1.2)."
    )
    if has_load:
        facts = await _load(lab, args)
        lines.append(
            f"- {size}: {args.clients} clients for {args.seconds:g} s with a hot swap every {args.swap_seconds:g} s: {facts['asked']:,} requests, "
            f"{facts['failed']} failed (limit 0), {facts['swaps']} swaps; median {facts['median']:.2f} s, 95th percentile "
            f"{facts['p95']:.2f} s a request of {MAX_TOKENS} tokens at most."
        )


class _Lab:
    """A served lab with two versions of the size's model."""

    def __init__(self, folder: Path, size: str, threads: int) -> None:
        self.workspace = Workspace(folder / "lab")
        self.threads = threads
        self.workspace.create()
        self.model = folder / "model"
        models.make_model(self.model, size)
        lines = [
            f'[train]\nthreads = {threads}\n[model]\nbase = "{self.model}"',
            '[serve]\nport = 0\nbeside_training = "wait"',
        ]
        self.workspace.settings.write_text("\n".join(lines) + "\n")
        self.store = Store(self.workspace.store)
        self.store.claim()
        with self.store.transaction() as tx:
            row = {
                "name": "main",
                "family": "main",
                "base": str(self.model),
                "revision": "main",
                "shape": {"method": "full"},
            }
            tx.execute(insert(t.models).values(number=1, created=0.0, **row))
            tx.put("model", "main")
        for number in (1, 2):
            self._publish(number)
        self.promote(1)

    def __enter__(self) -> _Lab:
        self._log = (self.workspace.state / "gateway.log").open("ab")
        command = [sys.executable, "-m", "stoker.serve", str(self.workspace.root)]
        self._process = subprocess.Popen(
            command, stderr=self._log, env={**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        )
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return self
            except (OSError, httpx2.TransportError):
                pass
            time.sleep(0.2)
        raise SystemExit((self.workspace.state / "gateway.log").read_text()[-2000:])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()
        self.store.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{orjson.loads((self.workspace.serving / 'gateway.json').read_bytes())['port']}"

    def engine(self) -> tuple[str, str]:
        """Return the address and the secret of the engine at work."""
        folder = next(path.parent for path in self.workspace.serving.glob(f"engines/*/{ENGINE_CARD}"))
        port = orjson.loads((folder / ENGINE_CARD).read_bytes())["port"]
        return f"http://127.0.0.1:{port}", orjson.loads((folder / ENGINE_JOB).read_bytes())["secret"]

    def promote(self, number: int) -> None:
        with self.store.transaction() as tx:
            versions.promote(tx, "main", number, "benchmark")

    def _publish(self, number: int) -> None:
        facts: dict[str, Any] = {"base": {"name": str(self.model)}, "method": "full"}
        with publish_folder(self.workspace.version("main", number), facts) as staging:
            for path in self.model.iterdir():
                shutil.copy(path, staging)
            facts["weights_sha256"] = sha256_file(staging / "model.safetensors")
        key, dataset = f"{number:064x}", f"d{number}"
        with self.store.transaction() as tx:
            tx.execute(insert(t.files).values(sha256=key, name="f", bytes=1, accepted_at=0.0))
            tx.execute(
                insert(t.datasets).values(
                    id=dataset, number=number, file_sha256=key, name="f", state="trained", created=0.0
                )
            )
            tx.execute(
                insert(t.jobs).values(id=f"j{number}", number=number, dataset=dataset, position=number, created=0.0)
            )
            run = {"id": f"r{number}", "job": f"j{number}", "dataset": dataset, "state": "done"}
            tx.execute(insert(t.runs).values(number=number, created=0.0, **run))
            tx.execute(
                insert(t.versions).values(
                    model="main", version=number, run=f"r{number}", state="published", method="full", base_sha256="",
                    weights_sha256=facts["weights_sha256"], steps=1, datasets=[], is_pinned=False, created=0.0,
                )
            )  # fmt: skip


async def _added(lab: _Lab, num_requests: int) -> list[float]:
    """Seconds that the gateway adds: the same one-token completion through it and at its engine, in turn."""
    address, secret = lab.engine()
    body = {"prompt": list(range(5, 45)), "max_tokens": 1, "temperature": 0}
    added = []
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        for _ in range(num_requests + 10):
            began = time.perf_counter()
            (await client.post(f"{lab.url}/v1/completions", json={"model": "@champion", **body})).raise_for_status()
            middle = time.perf_counter()
            headers = {"authorization": f"Bearer {secret}"}
            (await client.post(f"{address}/v1/completions", json=body, headers=headers)).raise_for_status()
            added.append((middle - began) - (time.perf_counter() - middle))
    return added[10:]


async def _together(lab: _Lab, num_clients: int, num_requests: int) -> tuple[float, int]:
    """Return tokens a second of so many clients at once, and the tokens made."""
    numbers, made = iter(range(num_requests)), 0
    began = time.perf_counter()
    async with httpx2.AsyncClient(trust_env=False, timeout=600) as client:

        async def ask() -> None:
            nonlocal made
            for number in numbers:
                body = {"prompt": CONTENT.format(number), "max_tokens": MAX_TOKENS}
                answer = await client.post(f"{lab.url}/generate", json=body)
                made += answer.raise_for_status().json()["usage"]["completion_tokens"]

        await asyncio.gather(*(ask() for _ in range(num_clients)))
    return made / (time.perf_counter() - began), made


def _batches_of_16(lab: _Lab) -> float:
    """Return tokens a second of transformers' generate, 16 prompts at a time, in a process of its own."""
    script = Path(__file__).parent / "sides" / "generate_batches.py"
    arguments = [str(lab.model), str(lab.threads), str(MAX_TOKENS), "64"]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


async def _load(lab: _Lab, args: argparse.Namespace) -> dict[str, Any]:
    """Ask with many clients at once while the champion changes."""
    seconds: list[float] = []
    failed = swaps = 0
    until = time.monotonic() + args.seconds
    async with httpx2.AsyncClient(trust_env=False, timeout=600, limits=httpx2.Limits(max_connections=None)) as client:

        async def ask(number: int) -> None:
            nonlocal failed
            while time.monotonic() < until:
                body = {
                    "model": "@champion", "messages": [{"role": "user", "content": CONTENT.format(number)}],
                    "max_tokens": MAX_TOKENS, "temperature": 0, "stream": number % 2 == 0,
                }  # fmt: skip
                began = time.perf_counter()
                try:
                    answer = await client.post(f"{lab.url}/v1/chat/completions", json=body)
                    is_whole = answer.status_code == 200 and (not body["stream"] or "data: [DONE]" in answer.text)
                except httpx2.TransportError:
                    is_whole = False
                failed += not is_whole
                seconds.append(time.perf_counter() - began)

        async def swap() -> None:
            nonlocal swaps
            while time.monotonic() + args.swap_seconds < until:
                await asyncio.sleep(args.swap_seconds)
                lab.promote(2 - swaps % 2)
                swaps += 1

        await asyncio.gather(swap(), *(ask(number) for number in range(args.clients)))
    ordered = sorted(seconds)
    return {
        "asked": len(seconds), "failed": failed, "swaps": swaps, "median": statistics.median(seconds),
        "p95": ordered[int(0.95 * len(ordered))],
    }  # fmt: skip


if __name__ == "__main__":
    main()
