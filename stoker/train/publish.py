"""Publishing a run's version: weights, tokenizer, moments and the facts of the run in one sealed folder."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stoker.durable import publish_folder, require_free, verify_folder
from stoker.errors import Damaged, NotAllowed
from stoker.mailbox.messages import Outbox
from stoker.model.device import Hardware
from stoker.model.load import Loaded, save_weights
from stoker.model.token_cache import tokenizer_sha256
from stoker.spec.jobs import ModelRef, TrainJob
from stoker.train.checkpoint import MOMENTS
from stoker.train.optimizer import GuardedAdamW, Moments, moment_shapes, trainable
from stoker.train.plan import Plan
from stoker.train.progress import Progress
from stoker.train.resolve import Settings
from stoker.train.tensors import read_tensors, write_tensors

_PACKAGES = ("stoker", "torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors", "numpy")
_SPACE_FACTOR = 1.2


def published(job: TrainJob, outbox: Outbox) -> dict[str, Any] | None:
    """Return the facts of this run's version when it is already there and whole: a crash may have come after it.

    A damaged one is told and will be published again. NotAllowed: the folder holds another run's version.
    """
    if not job.output.exists():
        return None
    try:
        facts = verify_folder(job.output)
    except Damaged as damage:
        outbox.send("damaged", folder=str(damage.folder), file=damage.file, reason=damage.reason)
        return None
    if facts.get("run") != job.run:
        raise NotAllowed(
            f"{job.model_name}/v{job.version} was already published by {facts.get('run')}",
            "a version is never replaced by another run's",
            "queue the file again: it gets a number of its own",
        )
    return facts


def publish_version(
    job: TrainJob,
    loaded: Loaded,
    optimizer: GuardedAdamW,
    *,
    settings: Settings,
    hardware: Hardware,
    plan: Plan,
    progress: Progress,
    base_sha256: str,
    finished_early: dict[str, Any] | None,
) -> dict[str, Any]:
    """Publish the version and return its facts. Nothing non-finite is ever written."""
    moments = optimizer.moments()
    num_bytes = sum(p.numel() * p.element_size() for p in optimizer.named.values())
    require_free(job.output, int(_SPACE_FACTOR * 3 * num_bytes))
    facts = _facts(job, settings, hardware, plan, progress, base_sha256) | {"finished_early": finished_early}
    with publish_folder(job.output, facts, fault="version") as staging:
        write_tensors(staging / MOMENTS, moments, {"kind": "moments", "run": job.run})
        facts["weights_sha256"] = save_weights(loaded, staging, settings.method)
        facts["tokenizer_sha256"] = tokenizer_sha256(loaded.tokenizer)
    return facts


def parent_moments(parent: ModelRef | None, loaded: Loaded, outbox: Outbox) -> Moments | None:
    """Return the optimizer moments that the parent was published with; None (told) when they do not fit."""
    if parent is None or parent.folder is None:
        return None
    path: Path = parent.folder / MOMENTS
    try:
        moments = read_tensors(path, {"kind": "moments"}, moment_shapes(trainable(loaded.model).items()))
    except Damaged as damage:
        text = f"the optimizer starts afresh: {parent.label}'s moments do not fit ({damage.reason})"
        outbox.event("warn", "moments.fresh", text)
        return None
    outbox.event("info", "moments.kept", f"the optimizer goes on with {parent.label}'s moments")
    return moments


def _facts(
    job: TrainJob, settings: Settings, hardware: Hardware, plan: Plan, progress: Progress, base_sha256: str
) -> dict[str, Any]:
    return {
        "kind": "version",
        "model": job.model_name,
        "version": job.version,
        "parent": job.parent.label if job.parent else None,
        "parent_weights_sha256": job.parent.weights_sha256 if job.parent else None,
        "run": job.run,
        "fence": job.fence,
        "base": {"name": job.base.name, "revision": job.base.revision, "sha256": base_sha256},
        "method": settings.method,
        "datasets": [ref.id for ref in job.new],
        "replay": [ref.id for ref in job.replay] if job.train.replay else [],
        "settings": settings.facts(hardware),
        "plan_sha256": plan.sha256(),
        "steps": progress.step,
        "skipped_steps": progress.num_skipped,
        "rows": int(plan.rows[: progress.step].sum()),
        "replay_rows": int(plan.replay_rows[: progress.step].sum()),
        "tokens": int(plan.tokens[: progress.step].sum()),
        "fill": round(plan.fill, 4),
        "final_loss": progress.last_losses[-1] if progress.last_losses else None,
        "versions": {"python": platform.python_version(), **_package_versions()},
    }


def _package_versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
