"""Hardware, tokenizers and a way to load the tiny base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_styles import STYLES, make_tokenizer

from stoker.model.device import Hardware
from stoker.model.load import Loaded, load_for_inference
from stoker.spec.jobs import BaseRef, ModelRef


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Any]:
    return {style: make_tokenizer(style) for style in STYLES}


@pytest.fixture(scope="session")
def fp32() -> Hardware:
    return Hardware(torch.device("cpu"), torch.float32, 1, "eager", False)


@pytest.fixture(scope="session")
def bf16() -> Hardware:
    return Hardware(torch.device("cpu"), torch.bfloat16, 1, "eager", False)


@pytest.fixture
def load_base(tiny_base: Path) -> Callable[[Hardware], Loaded]:
    """Load the tiny base to ask it."""

    def load(hardware: Hardware) -> Loaded:
        ref = ModelRef(label="base", base=BaseRef(name="tiny"), weights_sha256="base")
        return load_for_inference(ref, tiny_base, hardware)

    return load
