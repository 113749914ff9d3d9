"""Intake measures rows as training tokenises them, without transformers: same templates, same tokens, same lengths."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from chat_styles import STYLES, make_tokenizer
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import _compile_jinja_template

from stoker.data.intake import take_in
from stoker.data.rows import Content, Row
from stoker.data.tokens import shapes
from stoker.data.tokens.encoders import CheckedEncoder, ReferenceEncoder
from stoker.data.tokens.folder import longest_row, read_chat
from stoker.data.tokens.lengths import RowLengths, histogram
from stoker.data.tokens.template import compile_template
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.model import tiny
from stoker.model.chat import chat_of
from stoker.model.load import load_tokenizer
from stoker.model.tokenizing import encode_rows
from stoker.spec.jobs import DatasetRef, IntakeJob, TokenizerRef

WORDS = [
    "how",
    "many",
    "people",
    "live",
    "in",
    "the",
    "house",
    "seven",
    "Aru",
    "über",
    "今日",
    "😀",
    "don't",
    "<think>",
    "</think>",
    "12",
    "3.5",
    "\n",
    "-",
    "A",
]


def rows(num: int = 400, seed: int = 0) -> list[Row]:
    """Conversations of many shapes, plain text, tools, thinking, odd white space."""
    draw = random.Random(seed)

    def words(most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    def turns(number: int) -> list[dict[str, Any]]:
        roles = ("user", "assistant")
        return [{"role": roles[i % 2], "content": words(30)} for i in range(2 * number)]

    made = [
        Row.from_content(1, [{"role": "system", "content": words(9)}, *turns(1)]),
        Row.from_content(1, text=words(90)),
        Row.from_content(1, [*turns(1), {"role": "user", "content": "  "}, {"role": "assistant", "content": " x "}]),
        Row.from_content(
            1,
            [turns(1)[0], {"role": "assistant", "content": "<think>\nwell\n</think>\n\nseven", "weight": 0}, *turns(1)],
        ),
        Row.from_content(1, [turns(1)[0], {"role": "assistant", "content": "<think>\nwell\n</think>\n\nseven"}]),
    ]
    for _ in range(num):
        made.append(Row.from_content(1, turns(draw.choice((1, 1, 1, 2, 3)))))
    return made


def longest(found: Any) -> list[int]:
    return [max((len(one) for one in sequences), default=0) for sequences in found]


def measured(folder: Path, given: list[Row]) -> RowLengths:
    lengths = RowLengths(TokenizerRef(name="base", folder=folder))
    for start in range(0, len(given), 150):
        lengths.add(given[start : start + 150])
    return lengths


@pytest.mark.parametrize("has_prefix_space", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_lengths_are_those_of_training(style: str, has_prefix_space: bool, tmp_path: Path) -> None:
    make_tokenizer(style, has_prefix_space=has_prefix_space).save_pretrained(tmp_path)
    given = rows()
    refused: dict[str, str] = {}
    encoded = encode_rows(given, load_tokenizer(tmp_path), refused)
    lengths = measured(tmp_path, given)
    assert lengths.longest.tolist() == longest(encoded)
    assert lengths.num_tokens == sum(len(one) for sequences in encoded for one in sequences)
    assert {given[place].id for place, _ in lengths.refused} == set(refused)
    if lengths.is_doubted:
        lengths = lengths.measured_anew(given)
        assert lengths.longest.tolist() == longest(encoded)


def test_lengths_are_those_of_training_for_tiny_with_tools(tiny_base: Path) -> None:
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "über", "n": [1, 2]}}}
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    with_tools = [
        {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "7"}, {"role": "assistant", "content": "Seven."},
    ]  # fmt: skip
    given = [*rows(), Row.from_content(1, with_tools, tools=[tool])]
    assert measured(tiny_base, given).longest.tolist() == longest(encode_rows(given, load_tokenizer(tiny_base)))


def test_a_pair_is_as_long_as_its_longer_answer(tiny_base: Path) -> None:
    prompt = ({"role": "user", "content": "How many?"},)
    short, long = (
        ({"role": "assistant", "content": "Seven."},),
        ({"role": "assistant", "content": "Seven or so. " * 9},),
    )
    whole = Row.from_content(1, [*prompt, *long])
    expected = longest(encode_rows([whole], load_tokenizer(tiny_base)))
    for chosen, rejected in ((short, long), (long, short)):
        pair = Row.of(1, Content(prompt, chosen=chosen, rejected=rejected))
        assert measured(tiny_base, [pair]).longest.tolist() == expected


@pytest.mark.parametrize("style", STYLES)
def test_a_folder_says_of_its_template_what_transformers_says(style: str, tmp_path: Path) -> None:
    make_tokenizer(style).save_pretrained(tmp_path)
    ours, theirs = read_chat(tmp_path), chat_of(load_tokenizer(tmp_path))
    assert (ours.stop_text, ours.appends_stop) == (theirs.stop_text, theirs.appends_stop)
    assert ours.vocabulary.named == theirs.vocabulary.named
    assert sorted(ours.vocabulary.added) == sorted(theirs.vocabulary.added)


SOURCES = [
    "{% for m in messages %}\n  {% if m.role == 'user' %}\n<b>{{ m.content }}</b>\n  {% endif %}\n{% endfor %}\n",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m | tojson }}{% break %}{% endfor %}",
    "{{ messages | tojson(indent=2, sort_keys=true) }}{{ {'é': '<&>'} | tojson }}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ dict(a=1) }}",
    "{% generation %}{{ messages[0].content | trim }}\n{% endgeneration %}\nx",
    "{{ raise_exception('no') }}", "{{ messages.append(1) }}", "{{ ''.__class__ }}", "{% set _x = namespace(_y=1) %}",
    "{{ strftime_now('%Y') }}", tiny._TEMPLATE.read_text(),
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=range(len(SOURCES)))
def test_templates_mean_what_they_mean_to_transformers(source: str) -> None:
    given = {"messages": [{"role": "user", "content": " a <b> "}, {"role": "assistant", "content": "c"}], "tools": None}

    def rendered(template: Any) -> str:
        try:
            return str(template.render(**given))
        except TemplateError as error:
            return type(error).__name__

    assert rendered(compile_template(source)) == rendered(_compile_jinja_template(source))


def test_a_template_that_looks_into_words_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer("chatml")
    looking = "{{ m.content if m.content | length < 40 else 'too long' }}"
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ m.content }}", looking)
    tokenizer.save_pretrained(tmp_path)
    given = [Row.from_content(1, [{"role": "user", "content": "How"}, {"role": "assistant", "content": "So."}])] * 40
    given += rows(100)
    monkeypatch.setattr(shapes, "SAMPLE_EVERY", 16)
    lengths = measured(tmp_path, given)
    assert lengths.is_doubted, "the first rows are short, so only a later sample can tell"
    assert lengths.measured_anew(given).longest.tolist() == longest(encode_rows(given, load_tokenizer(tmp_path)))


class _Wrong:
    """A fast library that is right at first."""

    def __init__(self, folder: Path) -> None:
        self._right, self._num_calls = ReferenceEncoder(folder), 0

    def encode_batch_flat(self, texts: list[str], add_special_tokens: bool) -> tuple[bytes, bytes]:
        self._num_calls += 1
        found = self._right.encode(texts, with_special=add_special_tokens)
        ids = found.ids + 1 if self._num_calls > 2 else found.ids
        return ids.tobytes(), found.offsets.astype(np.uint64).tobytes()


def test_a_fast_library_that_differs_is_left_and_doubted(tiny_base: Path) -> None:
    encoder = CheckedEncoder(tiny_base)
    assert encoder._fast is not None, "the fast library reads the tiny base's tokenizer"
    encoder._fast = _Wrong(tiny_base)
    texts = [f"How many people live in house {i}?" for i in range(600)]
    for _ in range(2):
        encoder.encode(texts)
    assert not encoder.is_doubted
    right = ReferenceEncoder(tiny_base).encode(texts)
    assert np.array_equal(encoder.encode(texts).ids, right.ids) and encoder.is_doubted
    assert np.array_equal(encoder.encode(texts).ids, right.ids)


def taken_in(tmp_path: Path, given: list[dict[str, Any]], tokenizer: TokenizerRef | None) -> dict[str, Any]:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in given))
    dataset = DatasetRef(id="d1", folder=tmp_path / "d1", name=file.name)
    outbox = Outbox(tmp_path)
    try:
        return take_in(IntakeJob(dataset=dataset, file=file, file_sha256="", tokenizer=tokenizer), tmp_path, outbox)
    finally:
        outbox.finished(WorkerExit.DONE)


def test_intake_says_how_long_rows_are_and_which_are_too_long(tmp_path: Path, tiny_base: Path) -> None:
    given = [{"prompt": f"How many people live in house {i}?", "completion": f"There are {i * 7}."} for i in range(60)]
    given[8]["completion"] = "There are many. " * 300
    summary = taken_in(tmp_path, given, TokenizerRef(name="tiny", folder=tiny_base, max_length=512))
    tokens = summary["tokens"]
    assert (tokens["tokenizer"], tokens["max_length"]) == ("tiny", 512)
    assert tokens["quantiles"]["p50"] < 512 < tokens["quantiles"]["max"] < tokens["total"]
    assert tokens["lost"][:3] == [[256, 1], [512, 1], [1024, int(tokens["quantiles"]["max"] > 1024)]]
    assert tokens["lost"][-1] == [32768, 0] and sum(number for _, _, number in tokens["histogram"]) == 60
    (found,) = [one for one in summary["findings"] if one["code"] == "too-long"]
    assert (found["line"], found["severity"]) == (9, "warn") and "at most 512 fit" in found["excerpt"]
    assert [one["code"] for one in summary["deductions"]] == ["too-long"]


def test_rows_that_the_template_refuses_are_found(tmp_path: Path) -> None:
    make_tokenizer("gemma").save_pretrained(tmp_path / "base")
    given = [{"prompt": f"How many people live in house {i}?", "completion": f"There are {i * 7}."} for i in range(60)]
    given[4]["system"] = "Be brief."
    summary = taken_in(tmp_path, given, TokenizerRef(name="gemma", folder=tmp_path / "base"))
    (found,) = [one for one in summary["findings"] if one["code"] == "template"]
    assert found["line"] == 5 and "System role not supported" in found["excerpt"]


def test_a_template_that_fails_keeps_no_file_out(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template += "{% if 'house 44?' in messages[0].content %}{{ 1 // 0 }}{% endif %}"
    tokenizer.save_pretrained(tmp_path / "base")
    given = [{"prompt": f"How many people live in house {i}?", "completion": f"There are {i * 7}."} for i in range(60)]
    summary = taken_in(tmp_path, given, TokenizerRef(name="odd", folder=tmp_path / "base"))
    assert summary["tokens"] is None and summary["rows_in"] == 60
    assert any("ZeroDivisionError" in note for note in summary["notes"])


def test_intake_goes_on_without_a_tokenizer_and_says_so(tmp_path: Path) -> None:
    given = [{"prompt": f"How many people live in house {i}?", "completion": f"There are {i * 7}."} for i in range(60)]
    (tmp_path / "broken").mkdir()
    for name, ref, said in (
        ("none", None, ""),
        ("later", TokenizerRef(name="tiny"), "measured in tokens when the first run starts"),
        ("broken", TokenizerRef(name="odd", folder=tmp_path / "broken"), "the tokenizer of odd can't be read"),
    ):
        (tmp_path / name).mkdir(exist_ok=True)
        summary = taken_in(tmp_path / name, given, ref)
        assert summary["tokens"] is None
        assert any(said in note for note in summary["notes"]) == bool(said)


def test_the_longest_row_is_at_most_the_context(tmp_path: Path) -> None:
    def with_config(text: str) -> Path:
        (tmp_path / "config.json").write_text(text)
        return tmp_path

    base = with_config('{"max_position_embeddings": 32768}')
    assert longest_row("auto", base) == 4096 and longest_row(50_000, base) == 32768 and longest_row(99, base) == 99
    assert longest_row("auto", with_config('{"text_config": {"max_position_embeddings": 1000}}')) == 1000
    assert longest_row("auto", with_config("{}")) == 4096


def test_the_histogram_counts_every_row_once() -> None:
    for lengths in ([7], [5, 5, 6], list(range(1, 5000)), [10] * 50 + [32_000]):
        bins = histogram(np.array(lengths))
        assert sum(number for _, _, number in bins) == len(lengths) and len(bins) <= 20
        assert bins[0][0] == min(lengths) and bins[-1][1] >= max(lengths)
        assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(bins))
    assert histogram(np.array([], np.int64)) == []
