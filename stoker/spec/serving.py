"""[serve]: the inference API, its engine, and how it shares one GPU with training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stoker.spec.base import Spec


class ServeSpec(Spec):
    """[serve]: answering requests over HTTP."""

    with_lab: bool = Field(False, description="stoker up serves too.")
    host: str = Field(
        "127.0.0.1", description="Address to listen on; others than loopback need a key for every request."
    )
    port: int = Field(9000, ge=0, le=65535, description="Port to listen on; 0: any free one.")
    models: tuple[str, ...] = Field(
        ("@champion",),
        description='What is served: versions, models, "@champion" (follows promotions), "base" or folders.',
    )
    engine: Literal["transformers", "outside"] = Field(
        "transformers", description='What answers: transformers\' continuous batching, or an "outside" server.'
    )
    command: str = Field(
        "",
        description="How an outside server is started; {model}, {port}, {name}, {memory_share} and {max_concurrent} are filled in. "
        'For example "vllm serve {model} --port {port} --served-model-name {name} --gpu-memory-utilization {memory_share}" '
        'or "llama-server -m {model} --port {port} --parallel {max_concurrent}".',
    )
    start_seconds: float = Field(
        300.0, gt=0, description="An engine that is not ready after this is given up (seconds)."
    )
    max_concurrent: int = Field(16, ge=1, le=4096, description="Requests answered at once by an engine.")
    max_waiting: int = Field(
        256, ge=0, description="Requests that may wait for a place; more are told to come back (429)."
    )
    max_tokens: int = Field(4096, ge=1, description="Longest answer a request may ask for (tokens).")
    beside_training: Literal["share", "wait", "cpu", "pause"] = Field(
        "share",
        description="While a run trains on the one GPU: share it within memory_share, let requests wait, answer on the CPU, "
        "or pause the run while requests come.",
    )
    pause_seconds: float = Field(
        60.0, ge=0, description="A run that was paused for requests goes on after so long without one (seconds)."
    )
    memory_share: float = Field(0.3, gt=0, le=1, description="Share of the GPU's memory an engine may take.")
    keys: Literal["auto", "always", "never"] = Field(
        "auto", description='Whether requests need a key; "auto": when one was made or the address is not loopback.'
    )
    keep_prompts: bool = Field(False, description="Keep prompts and answers with the log of requests.")
    log_days: int = Field(30, ge=0, description="Requests are forgotten after so many days; 0: never.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.engine == "outside" and "{port}" not in self.command:
            raise ValueError('engine = "outside" needs a command with {port} in it: it says how the server is started')
        if not self.models or len(set(self.models)) != len(self.models):
            raise ValueError("models names one model at least, and each once")
        return self
