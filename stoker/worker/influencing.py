"""The task that finds which files help and which hurt: what evaluate.influence measures, put together and told.

The model is loaded for itself in fp32, moved in memory alone and let go; no file of it is written.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stoker.analysis.understanding.influence import FileEffect, Measured, effects
from stoker.data.dataset import Dataset
from stoker.data.replaced import is_counting
from stoker.data.rows import Row
from stoker.errors import InvalidInput, WorkerExit
from stoker.evaluate.influence import (
    NUM_STEPS,
    Example,
    Probe,
    RowEffect,
    clipped,
    common_rate,
    draw,
    encode,
    loss_changes,
    row_effects,
    without,
)
from stoker.evaluate.items import EvalSet, load_sets
from stoker.evaluate.measuring import resolve_max_length
from stoker.evaluate.progress import Paused, Progress
from stoker.mailbox.messages import Outbox
from stoker.model.device import resolve_hardware
from stoker.model.load import Loaded, load_for_inference
from stoker.model.resident import Resident
from stoker.spec.jobs import DatasetRef, InfluenceJob, ItemSet
from stoker.spec.lab import EvaluateSpec
from stoker.worker.asking import base_folder_of

LEAST_ITEMS = 6
_MOST_ROWS_TOLD = 10
_EXCERPT_CHARS = 400


def run_influence(job: InfluenceJob, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Measure every dataset on every target; `result` has the effects, the most harmful rows and what was moved."""
    progress = Progress(folder, outbox)
    outbox.phase("load")
    resident.clear()
    base_folder, hardware = base_folder_of(job.model), resolve_hardware(job.train)
    attention = "sdpa" if hardware.attention == "flash_attention_2" else hardware.attention  # that takes no fp32
    exact = replace(hardware, dtype=torch.float32, attention=attention, packing=False)
    loaded = load_for_inference(job.model, base_folder, exact)
    max_length = resolve_max_length(base_folder, job.train)
    targets = {name: _targets(job, each, loaded, max_length) for name, each in _item_sets(job)}
    files = {dataset.id: _rows(job, dataset, loaded, max_length) for dataset in job.datasets}
    probe = Probe(loaded)
    try:
        found = (_by_loss if job.method == "loss" else _by_gradient)(job, probe, files, targets, progress)
    except Paused:
        return WorkerExit.PAUSED
    outbox.send("result", method=job.method, model=job.model.label, moved=probe.scope, **found)
    return WorkerExit.DONE


def _item_sets(job: InfluenceJob) -> list[tuple[str, tuple[ItemSet, EvalSet]]]:
    found = []
    for wanted, each in zip(
        job.targets, load_sets(job.targets, job.trained, EvaluateSpec(heldout_answers=0)), strict=True
    ):
        if each.problem:
            raise InvalidInput(f"{each.name} can't be used as a target", each.problem, "mend it or choose another")
        found.append((each.name, (wanted, each)))
    return found


def _targets(job: InfluenceJob, pair: tuple[ItemSet, EvalSet], loaded: Loaded, max_length: int) -> list[Example]:
    wanted, each = pair
    origins: dict[str, set[str]] = {}
    for dataset in wanted.heldout:
        for row in Dataset(dataset.folder).heldout_rows():
            origins.setdefault(row.id, set()).add(dataset.id)
    rows = {item.row.id: item.row for item in each.items}
    examples = draw(encode([rows[id] for id in sorted(rows)], loaded, max_length), job.items, _rng(job, each.name))
    if len(examples) < LEAST_ITEMS:
        left_out = ", ".join(f"{num} {reason}" for reason, num in each.left_out.items())
        raise InvalidInput(
            f"{each.name} has {len(examples)} items that count{f' ({left_out})' if left_out else ''}",
            f"at least {LEAST_ITEMS} are needed to tell an effect from chance", "choose another benchmark",
        )  # fmt: skip
    return [replace(one, origins=frozenset(origins.get(one.id, ()))) for one in examples]


def _rows(job: InfluenceJob, dataset: DatasetRef, loaded: Loaded, max_length: int) -> list[Example]:
    rows = [row for row in Dataset(dataset.folder).train_rows() if row.id not in set(dataset.removed)]
    if dataset.kept_by is not None:
        counting = is_counting([row.id for row in rows], dataset.kept_by).tolist()
        rows = [row for row, counts in zip(rows, counting, strict=True) if counts]
    most = job.rows * (2 * job.draws if job.method == "loss" else 2)  # some will not fit
    picked = sorted(rows, key=lambda row: hashlib.sha256(f"{job.seed}-{row.id}".encode()).digest())[:most]
    found = encode(picked, loaded, max_length)
    if len(found) < LEAST_ITEMS:
        raise InvalidInput(
            f"{dataset.name} ({dataset.id}) has {len(found)} rows that can be trained",
            f"at least {LEAST_ITEMS} are needed to tell an effect from chance", "leave it out: --dataset names the others",
        )  # fmt: skip
    return found


def _by_loss(
    job: InfluenceJob, probe: Probe, files: dict[str, list[Example]], targets: dict[str, list[Example]],
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    drawn = {
        id: [draw(examples, job.rows, _rng(job, f"{id}-{number}")) for number in range(job.draws)]
        for id, examples in files.items()
    }
    progress.begin(len(files) * (1 + job.draws * NUM_STEPS))
    rate = common_rate(probe, [draws[0] for draws in drawn.values()], progress.beat)
    everything = [(name, example) for name, examples in targets.items() for example in examples]
    before = probe.nlls([example for _, example in everything])
    measured: dict[str, list[Measured]] = {name: [] for name in targets}
    for dataset in job.datasets:
        changes = loss_changes(
            probe, drawn[dataset.id], rate, [example for _, example in everything], before, progress.beat
        )
        for name in targets:
            kept = [
                place
                for place, (of, example) in enumerate(everything)
                if of == name and dataset.id not in example.origins
            ]
            means = tuple(float(change[kept].mean()) for change in changes) if kept else ()
            by_item = {everything[place][1].id: float(np.mean([change[place] for change in changes])) for place in kept}
            measured[name].append(Measured(dataset.id, dataset.name, by_item, means))
    return {"effects": _effects(job, measured, is_paired=True), "rows": [], "rate": rate}


def _by_gradient(
    job: InfluenceJob, probe: Probe, files: dict[str, list[Example]], targets: dict[str, list[Example]],
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    drawn = {id: draw(examples, job.rows, _rng(job, id)) for id, examples in files.items()}
    progress.begin(len(targets) * sum(map(len, drawn.values())))
    measured: dict[str, list[Measured]] = {name: [] for name in targets}
    rows: list[dict[str, Any]] = []
    for name, examples in targets.items():
        of_all = probe.even_gradient(examples)
        found: list[tuple[DatasetRef, list[RowEffect]]] = []
        for dataset in job.datasets:
            foreign = without(examples, dataset.id)
            if len(foreign) >= LEAST_ITEMS:
                target = of_all if len(foreign) == len(examples) else probe.even_gradient(foreign)
                found.append((dataset, list(row_effects(probe, drawn[dataset.id], target, progress.beat))))
        middle = float(np.median([one.length for _, some in found for one in some])) if found else 0.0
        for dataset, some in found:
            even = clipped(some, middle)
            measured[name].append(Measured(dataset.id, dataset.name, {one.row.id: one.effect for one in even}))
            rows += [_told(name, dataset, one) for one in even if one.effect > 0]
    rows.sort(key=lambda row: -row["effect"])
    return {"effects": _effects(job, measured, is_paired=False), "rows": rows[:_MOST_ROWS_TOLD], "rate": None}


def _effects(job: InfluenceJob, measured: dict[str, list[Measured]], *, is_paired: bool) -> list[dict[str, Any]]:
    found: list[FileEffect] = []
    for name, files in measured.items():
        found += effects(name, files, job.evaluate.confidence, job.evaluate.resamples, is_paired=is_paired)
    return [one.to_json() for one in found]


def _told(target: str, dataset: DatasetRef, one: RowEffect) -> dict[str, Any]:
    return {
        "target": target, "dataset": dataset.id, "name": dataset.name, "line": one.row.line, "row": one.row.id,
        "effect": one.effect, "cosine": one.cosine, **_excerpt(one.row),
    }  # fmt: skip


def _excerpt(row: Row) -> dict[str, str]:
    if row.messages is None:
        return {"prompt": "", "answer": (row.text or "")[:_EXCERPT_CHARS]}
    messages = row.prompt_messages()
    prompt = str(messages[-1].get("content") or "") if messages else ""
    return {"prompt": prompt[:_EXCERPT_CHARS], "answer": row.answer()[:_EXCERPT_CHARS]}


def _rng(job: InfluenceJob, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{job.seed}-{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
