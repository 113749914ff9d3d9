"""`python -m stoker.engine FOLDER`: answer requests with one model until the gateway that asked for it is gone.

FOLDER holds an `engine.json` (stoker/spec/engines.py); `ready.json` appears in it once requests are answered. A plain
model folder is served too, by itself: `python -m stoker.engine MODEL_FOLDER --port 8000 --name my-model`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.durable import write_json
from stoker.errors import StokerError
from stoker.locks import is_same_process
from stoker.spec.engines import ENGINE_CARD, ENGINE_JOB, EngineCard, EngineJob
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import TrainSpec

if TYPE_CHECKING:
    from stoker.model.load import Loaded

log = logging.getLogger("stoker.engine")

_LOOK_SECONDS = 0.5
_END_SECONDS = 5


def main(arguments: list[str] | None = None) -> int:
    """Load the model, answer, end."""
    parser = argparse.ArgumentParser(prog="python -m stoker.engine")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", default=None)
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    folder = options.folder.absolute()
    try:
        is_told = (folder / ENGINE_JOB).is_file()
        job = _job(folder) if is_told else _plain_job(folder, options)
        _serve(job, folder if is_told else None)
    except StokerError as error:
        log.error("%s", error)
        return 1
    return 0


def _job(folder: Path) -> EngineJob:
    return EngineJob.model_validate_json((folder / ENGINE_JOB).read_bytes())


def _plain_job(folder: Path, options: argparse.Namespace) -> EngineJob:
    name = options.name or folder.name
    model = ModelRef(label=name, base=BaseRef(name=str(folder), folder=folder), weights_sha256="")
    return EngineJob(name=name, model=model, train=TrainSpec(precision=options.precision), port=options.port)


def _serve(job: EngineJob, folder: Path | None) -> None:
    if job.parent is not None:
        threading.Thread(target=_end_with, args=(job.parent, job.parent_started_at), daemon=True).start()
    if job.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks
    listening = socket.create_server(("127.0.0.1", job.port))
    # asyncio sets this for sockets it makes itself alone; without it each further piece of an answer waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    loaded, context_tokens = _load(job)
    card = EngineCard(
        port=listening.getsockname()[1], pid=os.getpid(), context_tokens=context_tokens, tokenizer=loaded.folder
    )
    asyncio.run(_answer(job, loaded, card, listening, folder))


def _load(job: EngineJob) -> tuple[Loaded, int]:
    import torch

    from stoker.model.base import ensure_base
    from stoker.model.device import resolve_hardware
    from stoker.model.load import load_for_inference

    hardware = resolve_hardware(job.train)
    if hardware.is_cuda and job.memory_share is not None:
        torch.cuda.set_per_process_memory_fraction(job.memory_share)
    base_folder = ensure_base(job.model.base, job.model.base.folder or Path(), (), 0)
    loaded = load_for_inference(job.model, base_folder, hardware)
    causal: Any = loaded.model.get_base_model() if hasattr(loaded.model, "get_base_model") else loaded.model
    return loaded, int(getattr(causal.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)


async def _answer(
    job: EngineJob, loaded: Loaded, card: EngineCard, listening: socket.socket, folder: Path | None
) -> None:
    import uvicorn

    from stoker.engine.answering import Answering
    from stoker.engine.app import EngineApp

    answering = Answering(loaded, job.max_concurrent)
    answering.start()
    app = EngineApp(loaded, answering, name=job.name, context_tokens=card.context_tokens, secret=job.secret)
    config = uvicorn.Config(
        app.starlette, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_END_SECONDS
    )
    if folder is not None:
        write_json(folder / ENGINE_CARD, card.model_dump(mode="json"))
    log.info("%s answers on port %d", job.name, card.port)
    await uvicorn.Server(config).serve(sockets=[listening])
    answering.end()


def _end_with(parent: int, started_at: float) -> None:
    """End this process once its parent is gone: a pid may be another process's by then, so its start counts too."""
    while is_same_process(parent, started_at):
        time.sleep(_LOOK_SECONDS)
    log.warning("the gateway %d is gone; the engine ends", parent)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
