"""Serving sends the tokens that training had before each answer, and loads nothing of the training stack for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stoker.data.rows import Row
from stoker.serve.errors import ApiError
from stoker.serve.prompts import Prompts, prompts_of


def test_the_prompt_sent_is_the_prompt_trained(tiny_base: Path, tiny_rows: list[Row]) -> None:
    from stoker.model.load import load_tokenizer
    from stoker.model.tokenizing import encode_prompt, encode_row

    tokenizer, prompts = load_tokenizer(tiny_base), Prompts(tiny_base)
    for row in tiny_rows:
        assert row.messages is not None
        for i in row.trained_turns():
            sent = prompts.of_messages(row.messages[:i], row.tools)
            assert sent == encode_prompt(row.messages[:i], row.tools, tokenizer).tolist()
        first = row.trained_turns()[0]
        trained = encode_row(row, tokenizer)[0]
        begin = int(trained.trained.argmax())
        assert prompts.of_messages(row.messages[:first], row.tools) == trained.ids[:begin].tolist()


def test_a_text_is_gone_on_with_as_the_tokenizer_begins_it(tiny_base: Path) -> None:
    from stoker.model.load import load_tokenizer

    tokenizer = load_tokenizer(tiny_base)
    for text in ("How many", "In Aru<|im_end|>", "naïve 🙂 text"):
        assert Prompts(tiny_base).of_text(text) == tokenizer(text)["input_ids"]


def test_a_template_that_refuses_is_the_clients_error(tiny_base: Path, tmp_path: Path) -> None:
    for file in tiny_base.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    source = (tiny_base / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + source
    )
    with pytest.raises(ApiError, match="no system here") as refused:
        Prompts(tmp_path).of_messages([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], None)
    assert refused.value.status == 400


def test_a_folder_without_a_tokenizer_has_no_prompts(tmp_path: Path) -> None:
    assert prompts_of(tmp_path) is None


def test_the_gateway_loads_no_training_stack(tiny_base: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import stoker.serve.__main__, stoker.serve.gateway\n"
        "from stoker.serve.prompts import Prompts\n"
        f"Prompts(Path({str(tiny_base)!r})).of_messages([{{'role': 'user', 'content': 'x'}}], None)\n"
        "heavy = [name for name in ('torch', 'transformers', 'peft', 'accelerate') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
