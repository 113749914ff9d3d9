"""Which settings of a run may change while it runs, and what a change is checked against.

A change is refused here, before anything is written: an unknown name, a setting that is fixed for a run, a value out of
its range. The ranges are those of [train]; there is no second copy.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from stoker.errors import InvalidInput, UsageError
from stoker.spec.explain import explain
from stoker.spec.lab import LabSpec, TrainSpec

LIVE = (
    "learning_rate",
    "batch_tokens",
    "batch_size",
    "accumulation",
    "max_grad_norm",
    "weight_decay",
    "max_skipped_steps",
    "checkpoint_steps",
    "checkpoint_seconds",
    "layer_norms_every",
    "eval_every",
    "eval_rows",
    "sample_every",
    "sample_tokens",
    "watch_share",
    "early_stopping",
    "min_delta",
)
ALIASES = {"lr": "learning_rate"}

# What decides how a step is laid out and computed: a change of these is tried in memory before it holds.
SHAPE = ("batch_tokens", "batch_size", "accumulation")


def read_changes(words: Sequence[str]) -> dict[str, Any]:
    """Return the checked changes of words like "lr=5e-5". UsageError, InvalidInput: nothing may be changed."""
    changes: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        name = ALIASES.get(name, name)
        if not sign or not text:
            raise UsageError(f"{word!r} is no change", "a change is name=value", "for example: lr=5e-5 batch_size=8")
        if name in changes:
            raise UsageError(f"{name} is set twice", "a request sets a name once", "leave one of them out")
        changes[name] = _value(text)
    return check_changes(changes)


def check_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the changes come to, with what follows from them: a batch is counted in rows or in tokens."""
    if not changes:
        raise UsageError("nothing to set", "a change is name=value", "for example: lr=5e-5 batch_size=8")
    changes = {ALIASES.get(name, name): value for name, value in changes.items()}
    for name in changes:
        if name not in LIVE:
            raise _not_live(name)
    try:
        spec = LabSpec.model_validate({"train": changes}).train
    except ValidationError as error:
        found = explain(error, {"train": changes}, None)
        raise InvalidInput(found.what, found.why, "nothing was changed; see: stoker config schema") from None
    if changes.get("batch_tokens", "auto") != "auto" and changes.get("batch_size", "auto") != "auto":
        raise InvalidInput(
            "batch_tokens and batch_size were both given", "a step is counted in tokens or in rows", "set one of them"
        )
    checked = {name: getattr(spec, name) for name in changes}
    if "batch_tokens" in checked:
        checked["batch_size"] = "auto"
    return checked


def with_changes(spec: TrainSpec, changes: Mapping[str, Any]) -> TrainSpec:
    """Return the settings with changes that were checked."""
    return spec.model_copy(update=dict(changes))


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return float(text)  # "5E-5" and ".5" are numbers to a person, not to JSON
        except ValueError:
            return text


def _not_live(name: str) -> InvalidInput:
    if name in TrainSpec.model_fields:
        why = "it is fixed when a run begins; these can change: " + ", ".join(LIVE)
        return InvalidInput(
            f"{name} can't change while a run goes on", why, f"for the next run: stoker config set train.{name} ..."
        )
    close = difflib.get_close_matches(name, [*LIVE, *ALIASES], n=1, cutoff=0.5)
    remedy = f"did you mean {close[0]}?" if close else ""
    return InvalidInput(f"{name!r} is no parameter of a run", "these can change: " + ", ".join(LIVE), remedy)
