"""The seam: every engine passes the same tests, on real processes. The outside server is the engine program by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from stoker.serve.engines.base import Engine, EngineFailed, EngineGone, EngineRequest, Part, Target
from stoker.serve.engines.outside import OutsideEngine
from stoker.serve.engines.own import OwnEngine
from stoker.serve.errors import ApiError
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import TrainSpec
from stoker.spec.serving import ServeSpec

PROGRAM = f"{sys.executable} -m stoker.engine {{model}} --port {{port}} --name {{name}} --precision fp32"
TRAIN = TrainSpec(precision="fp32", threads=1)
Make = Callable[..., Engine]


def target(folder: Path) -> Target:
    ref = ModelRef(label="tiny", base=BaseRef(name=str(folder), folder=folder), weights_sha256="")
    return Target("tiny", "tiny", "tiny", ref)


def make_own(base: Path, folder: Path) -> Engine:
    return OwnEngine(target(base), folder, ServeSpec(), TRAIN)


def make_outside(base: Path, folder: Path, command: str = PROGRAM) -> Engine:
    return OutsideEngine(target(base), folder, ServeSpec(engine="outside", command=command))


async def ready(engine: Engine) -> None:
    for _ in range(4000):
        if await engine.is_ready():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the engine is not ready")


@asynccontextmanager
async def started(engine: Engine) -> AsyncIterator[Engine]:
    engine.start()
    try:
        await ready(engine)
        yield engine
    finally:
        await engine.stop()


async def whole(engine: Engine, request: EngineRequest) -> list[Part]:
    return [part async for part in engine.answer(request)]


def asked(engine: Engine, content: str = "How many?", **more: Any) -> EngineRequest:
    assert engine.prompts is not None
    prompt = engine.prompts.of_messages([{"role": "user", "content": content}], None)
    return EngineRequest(**{"prompt": prompt, "max_tokens": 24, "temperature": 0.0, **more})


def text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts)


class TestEngines:
    """What the gateway relies on."""

    @pytest.fixture(params=[make_own, make_outside], ids=["own", "outside"])
    def make(self, request: pytest.FixtureRequest, tiny_base: Path, tmp_path: Path) -> Callable[[], Engine]:
        return lambda: request.param(tiny_base, tmp_path / "engine")

    def test_it_answers_many_at_once_and_tells_what_it_used(self, make: Callable[[], Engine]) -> None:
        async def run() -> None:
            async with started(make()) as engine:
                assert engine.is_alive and engine.context_tokens == 4096
                requests = [asked(engine, f"How many in house {i}?") for i in range(12)]
                alone = [text(await whole(engine, one)) for one in requests]
                together = await asyncio.gather(*(whole(engine, one) for one in requests))
                assert [text(parts) for parts in together] == alone
                last = together[0][-1]
                assert last.tokens_in == len(requests[0].prompt or ()) and 1 <= (last.tokens_out or 0) <= 24
                assert [part.finish for part in together[0] if part.finish] in (["stop"], ["length"])
                drawn = [
                    text(await whole(engine, asked(engine, temperature=1.2, seed=s, top_p=0.9))) for s in (1, 1, 2)
                ]
                assert drawn[0] == drawn[1] != drawn[2]
                found = await whole(engine, asked(engine, num_logprobs=2, max_tokens=5))
                assert all(len(one.top) == 2 for part in found for one in part.logprobs)
                await self.refusals(engine)
                await self.cancelling(engine)

        asyncio.run(run())

    async def refusals(self, engine: Engine) -> None:
        with pytest.raises(ApiError) as refused:
            await whole(engine, EngineRequest(prompt=[10**8], max_tokens=4))
        assert refused.value.status == 400

    async def cancelling(self, engine: Engine) -> None:
        """A long answer that is left gives its place back: the engine computes nothing afterwards."""
        async for _ in (answer := engine.answer(asked(engine, max_tokens=4000, temperature=2.0, seed=3))):
            break
        await answer.aclose()  # type: ignore[attr-defined]
        process = engine.process  # type: ignore[attr-defined]
        members = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]

        def used() -> float:
            return sum(one.cpu_times().user for one in members)

        for _ in range(200):
            before = used()
            await asyncio.sleep(0.3)
            if used() - before < 0.05:
                return
        raise AssertionError("the engine goes on with an answer that nobody waits for")

    def test_it_dies_with_its_process_and_says_so(self, make: Callable[[], Engine]) -> None:
        async def run() -> None:
            async with started(make()) as engine:
                process = engine.process  # type: ignore[attr-defined]
                victims = psutil.Process(process.pid).children(recursive=True) or [psutil.Process(process.pid)]
                answer = engine.answer(asked(engine, max_tokens=4000, temperature=2.0, seed=3))
                with pytest.raises(EngineGone):
                    async for _ in answer:
                        for victim in victims:
                            victim.kill()
                while engine.is_alive:
                    await asyncio.sleep(0.05)
                with pytest.raises(EngineFailed):
                    await engine.is_ready()

        asyncio.run(run())

    def test_it_ends_when_the_gateway_is_killed(
        self, make: Callable[[], Engine], tmp_path: Path, tiny_base: Path
    ) -> None:
        kind = type(make()).__name__
        script = (
            "import asyncio, sys\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path\n"
            "from test_engines import make_own, make_outside, ready\n"
            f"make = make_own if {kind!r} == 'OwnEngine' else make_outside\n"
            f"engine = make(Path({str(tiny_base)!r}), Path({str(tmp_path / 'other')!r}))\n"
            "engine.start()\n"
            "asyncio.run(ready(engine))\n"
            "sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
            "import time; time.sleep(600)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
        engines = psutil.Process(parent.pid).children(recursive=True)
        assert engines
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        _, alive = psutil.wait_procs(engines, timeout=60)
        assert not alive

    def test_a_model_that_is_not_there_fails_its_start(
        self, request: pytest.FixtureRequest, tmp_path: Path, make: Callable[[], Engine]
    ) -> None:
        async def run() -> None:
            kind = make_own if isinstance(make(), OwnEngine) else make_outside
            engine = kind(tmp_path / "nothing", tmp_path / "engine")
            engine.start()
            with pytest.raises(EngineFailed, match="nothing"):
                await ready(engine)
            await engine.stop()

        asyncio.run(run())


def test_a_program_that_is_not_there_is_named(tmp_path: Path, tiny_base: Path) -> None:
    async def run() -> None:
        engine = make_outside(tiny_base, tmp_path / "engine", "no-such-program {model} --port {port}")
        engine.start()
        with pytest.raises(EngineFailed, match="no-such-program"):
            await ready(engine)
        await engine.stop()

    asyncio.run(run())
