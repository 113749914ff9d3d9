"""How much must be free: the reserve, and room for checkpoints; the same for who saves and for who watches the disk."""

from __future__ import annotations

from pathlib import Path

from stoker.durable import publish_folder
from stoker.mailbox.checkpoints import CHECKPOINT_ROOM, CHECKPOINTS, needed_bytes, newest_checkpoint_bytes
from stoker.spec.guarding import GuardSpec


def test_the_reserve_stays_and_two_checkpoints_fit_with_a_tenth_beside_them() -> None:
    guard = GuardSpec(disk_reserve_megabytes=1)
    assert needed_bytes(guard, 0) == 1 << 20
    assert needed_bytes(guard, 1_000_000) == (1 << 20) + 2_200_000
    assert needed_bytes(GuardSpec(disk_reserve_megabytes=0), 10) == int(10 * CHECKPOINT_ROOM)


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    assert newest_checkpoint_bytes(tmp_path) == 0
    sizes = {1: 9_000_000, 2: 1_000_000}
    for step, size in sizes.items():
        with publish_folder(tmp_path / CHECKPOINTS / f"step-{step:08}", {}) as staging:
            (staging / "weights.safetensors").write_bytes(b"x" * size)
    half = tmp_path / CHECKPOINTS / "step-00000003"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"x" * 9_000_000)
    assert 1_000_000 <= newest_checkpoint_bytes(tmp_path) < 2_000_000
