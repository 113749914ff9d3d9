"""What is known of checkpoints without training: where a run has them, how large they are, how much room one needs."""

from __future__ import annotations

from pathlib import Path

from stoker.durable import MANIFEST, disk_use
from stoker.spec.guarding import GuardSpec

CHECKPOINTS = "checkpoints"
CHECKPOINT_ROOM = 2.2
"""Free space that a run needs before a checkpoint is written, in checkpoints.

One for the new checkpoint, since an older one goes only after it is whole. One for what follows it before anything else goes: the
version, no larger than that (the weights without the moments), or the checkpoint after it. A tenth of the two for what is
beside the tensors: random states, state.json, manifests, whole blocks of the file system.
"""


def newest_checkpoint_bytes(run_folder: Path) -> int:
    """Return the size of a run's newest whole checkpoint; 0 when it has none."""
    whole = [path.parent for path in (run_folder / CHECKPOINTS).glob(f"*/{MANIFEST}")]
    newest = max(whole, key=lambda folder: folder.name, default=None)
    return disk_use(newest) if newest is not None else 0


def needed_bytes(guard: GuardSpec, checkpoint_bytes: int) -> int:
    """Return how much must be free for a run with checkpoints of this size to go on; 0: it has none yet."""
    return int((guard.disk_reserve_megabytes << 20) + CHECKPOINT_ROOM * checkpoint_bytes)
