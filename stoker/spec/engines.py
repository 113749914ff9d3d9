"""What an engine process starts from: `engine.json` in its folder, written by the gateway, read once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stoker.spec.base import Spec
from stoker.spec.jobs import ModelRef
from stoker.spec.lab import TrainSpec

ENGINE_JOB = "engine.json"
ENGINE_CARD = "ready.json"


class EngineJob(Spec):
    """Answer requests with one model over HTTP on loopback. Runs as `python -m stoker.engine FOLDER`."""

    name: str = Field(description="What requests call the model.")
    model: ModelRef
    train: TrainSpec = Field(description="Precision and threads, as in training.")
    device: Literal["auto", "cpu"] = "auto"
    memory_share: float | None = Field(None, gt=0, le=1, description="Most of the GPU's memory it may take.")
    max_concurrent: int = Field(16, ge=1)
    port: int = Field(0, ge=0, le=65535, description="0: any free one; the card says which.")
    secret: str | None = Field(None, description="What every request has to carry as its bearer token.")
    parent: int | None = Field(None, description="Ends with this process ...")
    parent_started_at: float = Field(0.0, description="... which started then.")


class EngineCard(Spec):
    """`ready.json`: the engine answers, here."""

    port: int
    pid: int
    context_tokens: int = Field(description="Longest prompt and answer together.")
    tokenizer: Path = Field(description="Folder of the tokenizer that prompts are made with.")
