"""Files of the inbox: whole ones only, each content once, nothing lost in a crash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from stoker.errors import DiskFull
from stoker.store import tables as t
from stoker.supervisor import inbox as inbox_module
from stoker.supervisor.inbox import Inbox, forget_gone, retire_orphans
from stoker.supervisor.settling import Seen, Settling, scan


def drop(lab: Any, name: str, content: bytes = b"{}\n") -> Path:
    path: Path = lab.workspace.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def settle(lab: Any, inbox: Inbox) -> None:
    """Look, wait the settling time, look again."""
    inbox.tick()
    lab.clock.now += lab.context.spec.intake.settle_seconds + 0.5
    inbox.tick()


def datasets(lab: Any) -> list[tuple[str, str]]:
    with lab.store.transaction() as tx:
        d = t.datasets
        return [(row.name, row.state) for row in tx.rows(select(d).order_by(d.c.number))]


def seen(name: str, size: int = 1, modified_ns: int = 0) -> Seen:
    return Seen(Path(name), size, modified_ns)


def test_a_file_is_whole_once_size_and_time_stood_still() -> None:
    settling = Settling()
    assert settling.whole([seen("a", 1)], 0.0, 2.0) == []
    assert settling.whole([seen("a", 2)], 1.5, 2.0) == []
    assert settling.whole([seen("a", 2)], 3.0, 2.0) == []
    assert settling.whole([seen("a", 2, 1)], 3.4, 2.0) == []
    assert settling.whole([seen("a", 2, 1)], 5.4, 2.0) == [Path("a")]


def test_files_that_arrive_together_are_taken_together_by_name() -> None:
    settling = Settling()
    settling.whole([seen("b")], 0.0, 2.0)
    assert settling.whole([seen("b"), seen("a")], 0.5, 2.0) == []
    assert settling.whole([seen("b"), seen("a")], 2.1, 2.0) == []
    assert settling.whole([seen("b"), seen("a")], 2.6, 2.0) == [Path("a"), Path("b")]


def test_a_long_copy_does_not_hold_back_what_is_whole() -> None:
    settling = Settling()
    for second in range(6):
        whole = settling.whole([seen("small"), seen("large", second)], float(second), 2.0)
    assert whole == [Path("small")]


def test_hidden_temporary_and_partial_names_are_left_alone(lab: Any) -> None:
    for name in (
        ".hidden",
        "a.part",
        "b.tmp",
        "c~",
        ".git/config",
        "d.crdownload",
        "sub/deep/good.jsonl",
        "good.jsonl",
    ):
        drop(lab, name)
    found, unreadable = scan(lab.workspace.inbox)
    assert [file.path.name for file in found] == ["good.jsonl", "good.jsonl"]
    assert unreadable == {}


def test_a_settled_file_is_copied_recorded_and_leaves_the_inbox(lab: Any) -> None:
    path = drop(lab, "sub/orders.jsonl", b'{"a": 1}\n')
    settle(lab, Inbox(lab.context))
    assert not path.exists()
    assert datasets(lab) == [("orders.jsonl", "accepted")]
    with lab.store.transaction() as tx:
        row = tx.first(select(t.files))
    assert row is not None and row.inbox_path is None
    assert (lab.workspace.file(row.sha256) / "content").read_bytes() == b'{"a": 1}\n'
    assert "file.accepted" in lab.codes


def test_the_settling_time_is_a_setting(lab: Any) -> None:
    lab.spec(intake={"settle_seconds": 100.0})
    drop(lab, "a.jsonl")
    inbox = Inbox(lab.context)
    inbox.tick()
    lab.clock.now += 50.0
    inbox.tick()
    assert datasets(lab) == []


def test_the_same_content_under_another_name_is_recognised_and_removed(lab: Any) -> None:
    inbox = Inbox(lab.context)
    drop(lab, "a.jsonl")
    settle(lab, inbox)
    again = drop(lab, "b.jsonl")
    lab.clock.now += inbox_module.SAFETY_SCAN_SECONDS
    settle(lab, inbox)
    assert not again.exists() and datasets(lab) == [("a.jsonl", "accepted")]
    assert "already accepted as d" in lab.texts[-1]


def test_a_batch_is_accepted_in_the_order_of_names(lab: Any) -> None:
    for name in ("c.jsonl", "a.jsonl", "b.jsonl"):
        drop(lab, name, name.encode())
    settle(lab, Inbox(lab.context))
    assert [name for name, _ in datasets(lab)] == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_a_crash_after_the_commit_and_before_the_removal_says_nothing_twice(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, unlink = drop(lab, "a.jsonl"), Path.unlink

    def crash_at_the_original(path: Path, missing_ok: bool = False) -> None:
        if path == original:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash_at_the_original)
        with pytest.raises(KeyboardInterrupt):
            settle(lab, Inbox(lab.context))
    assert (lab.workspace.inbox / "a.jsonl").exists() and datasets(lab) == [("a.jsonl", "accepted")]
    settle(lab, Inbox(lab.context))
    assert not (lab.workspace.inbox / "a.jsonl").exists()
    assert lab.codes == ["file.accepted"]


def test_a_crash_before_the_commit_leaves_the_file_in_the_inbox_and_the_copy_is_swept(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(lab, "a.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(inbox_module, "_record", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            settle(lab, Inbox(lab.context))
    assert path.exists() and len(list(lab.workspace.files.iterdir())) == 1
    with lab.store.transaction() as tx:
        retire_orphans(tx, lab.workspace.files)
        forget_gone(tx)
    assert list(lab.workspace.files.iterdir()) == []
    settle(lab, Inbox(lab.context))
    assert datasets(lab) == [("a.jsonl", "accepted")]


def test_a_link_is_rejected_with_a_report_and_its_target_stays(lab: Any, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.jsonl"
    target.write_text("{}")
    link = lab.workspace.inbox / "link.jsonl"
    link.symlink_to(target)
    settle(lab, Inbox(lab.context))
    assert not link.is_symlink() and target.exists()
    assert "is a link" in (lab.workspace.rejected / "link.jsonl.report.txt").read_text()


def test_a_full_disk_leaves_the_file_waiting_in_the_inbox(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(lab, "a.jsonl")
    inbox = Inbox(lab.context)

    def full(source: Path, files: Path) -> None:
        raise DiskFull(files, 10, 0)

    with monkeypatch.context() as patch:
        patch.setattr(inbox_module, "accept_file", full)
        settle(lab, inbox)
    assert path.exists() and "inbox.disk-full" in lab.codes
    lab.clock.now += inbox_module.RETRY_SECONDS + inbox_module.SAFETY_SCAN_SECONDS
    settle(lab, inbox)
    settle(lab, inbox)
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_can_not_be_read_is_told_once_and_left(lab: Any) -> None:
    folder = lab.workspace.inbox / "closed"
    folder.mkdir(mode=0o000)
    try:
        inbox = Inbox(lab.context)
        settle(lab, inbox)
        settle(lab, inbox)
        assert lab.codes == ["inbox.unreadable"]
        assert "chmod" in (lab.workspace.rejected / "closed.report.txt").read_text()
    finally:
        folder.chmod(0o700)


def test_a_pipe_in_the_inbox_is_told_and_blocks_nothing(lab: Any) -> None:
    os.mkfifo(lab.workspace.inbox / "pipe")
    drop(lab, "a.jsonl")
    inbox = Inbox(lab.context)
    settle(lab, inbox)
    assert datasets(lab) == [("a.jsonl", "accepted")]
    assert "inbox.unreadable" in lab.codes
    (lab.workspace.inbox / "pipe").unlink()
    lab.clock.now += 100.0
    inbox.tick()
    assert not (lab.workspace.rejected / "pipe.report.txt").exists()


def test_polling_looks_every_poll_seconds_and_starts_no_thread(lab: Any) -> None:
    lab.spec(intake={"force_polling": True, "poll_seconds": 7.0, "settle_seconds": 0.0})
    inbox = Inbox(lab.context)
    inbox.start()
    assert inbox._thread is None
    inbox.tick()
    drop(lab, "a.jsonl")
    lab.clock.now += 6.0
    assert not inbox.tick()
    lab.clock.now += 1.5
    assert inbox.tick()
    assert [state for _, state in datasets(lab)] == ["accepted"]


def test_a_file_event_wakes_the_loop(lab: Any) -> None:
    inbox = Inbox(lab.context)
    inbox.start()
    try:
        for attempt in range(50):
            drop(lab, f"a{attempt}.jsonl")
            if lab.context.wake.wait(0.2):
                break
        assert lab.context.wake.is_set()
    finally:
        inbox.stop()
