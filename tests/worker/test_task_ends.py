import errno

import pytest
from train_lab import messages

from stoker.errors import Damaged, DiskFull, MaskProofFailed, NonFinite, WorkerExit
from stoker.mailbox.journal import JournalReader, JournalWriter
from stoker.mailbox.messages import Outbox
from stoker.model.resident import Resident
from stoker.worker import tasks


@pytest.mark.parametrize(
    ("error", "exit", "field"),
    [
        (DiskFull("/x", 10, 3), WorkerExit.DISK_FULL, ("needed_bytes", 10)),
        (MaskProofFailed("a.jsonl, line 3: no token", "why", "do this"), WorkerExit.BAD_CONFIG, ("remedy", "do this")),
        (NonFinite("layer holds a NaN"), WorkerExit.NON_FINITE, ("reason", "layer holds a NaN")),
        (Damaged("/v1", "model.safetensors", "missing"), WorkerExit.CRASH, ("error", "Damaged")),
        (ZeroDivisionError("oh"), WorkerExit.CRASH, ("reason", "ZeroDivisionError: oh")),
    ],
)
def test_every_error_becomes_an_exit_with_its_words(tmp_path, error, exit, field):
    assert tasks._end(Outbox(tmp_path), error) is exit
    told = messages(tmp_path)[-1]
    assert told["kind"] == "finished" and told["exit"] == exit and told[field[0]] == field[1]


def test_a_folder_without_a_job_is_refused(tmp_path):
    assert tasks.work_on(tmp_path, Resident()) is WorkerExit.BAD_CONFIG
    assert "holds no job" in messages(tmp_path)[-1]["what"]


def test_the_end_is_told_once_there_is_space_again(tmp_path, monkeypatch):
    outbox = Outbox(tmp_path)
    finished, tries = outbox.finished, []

    def no_room_twice(exit, reason="", **fields):
        tries.append(exit)
        if len(tries) < 3:
            raise DiskFull(tmp_path, 100, 0)
        finished(exit, reason, **fields)

    monkeypatch.setattr(outbox, "finished", no_room_twice)
    monkeypatch.setattr(tasks, "_SPACE_POLL_SECONDS", 0.0)
    assert tasks._end(outbox, DiskFull(tmp_path, 100, 0)) is WorkerExit.DISK_FULL
    assert len(tries) == 3 and messages(tmp_path)[-1]["exit"] == 76


class NearlyFull:
    """A file that takes a few bytes of one write, as a nearly full disk does."""

    def __init__(self, file):
        self._file, self.is_full = file, True

    def write(self, data):
        return self._file.write(data[:5] if self.is_full else data)

    def close(self):
        self._file.close()


def test_half_a_line_on_a_full_disk_spoils_no_later_one(tmp_path):
    writer = JournalWriter(tmp_path / "j.jsonl")
    writer.append({"n": 1})
    writer._file = nearly_full = NearlyFull(writer._file)
    with pytest.raises(DiskFull) as told:
        writer.append({"n": 2})
    assert told.value.__cause__.errno == errno.ENOSPC
    nearly_full.is_full = False
    writer.append({"n": 3})
    writer.close()
    reader = JournalReader(tmp_path / "j.jsonl")
    assert [record["n"] for record in reader.read()] == [1, 3] and reader.num_unreadable == 1
