"""Every error Stoker raises on purpose.

    StokerError
      UserError               what, why, remedy; the person can mend it
        UsageError            exit 2: the command's words are off
        NotFound              exit 3: no such file, id, model
        NotAllowed            exit 4: refused by a rule (the champion is not deleted)
          StoreLost           the store is gone, replaced or damaged
        InvalidInput          exit 5: a setting, row or file breaks a rule
          SettingError
          DataError
          MaskProofFailed
        NoSupervisor          exit 7
      TemporaryError          may pass by itself; carries retry_after_seconds
        Busy                  a lock is held by someone else
        DiskFull              worker exit 76
      PermanentError          will not pass by itself
        Damaged               a published folder does not match its manifest
        NonFinite             worker exit 77: three steps in a row were not finite
        WorkerFailed          exit 6: a worker process ended in failure

A message names the value, the rule and the remedy.
"""

from __future__ import annotations

import enum
from pathlib import Path


class WorkerExit(enum.IntEnum):
    """What a worker says with the end of a task (and, run alone, with its exit status)."""

    DONE = 0
    CRASH = 1
    PAUSED = 75
    DISK_FULL = 76
    NON_FINITE = 77
    BAD_CONFIG = 78


class StokerError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1


class UserError(StokerError):
    """Something the person can mend: `what` happened, `why` (the rule), `remedy` (what to do)."""

    def __init__(self, what: str, why: str = "", remedy: str = "") -> None:
        self.what, self.why, self.remedy = what, why, remedy
        super().__init__("; ".join(part for part in (what, why, remedy) if part))


class UsageError(UserError):
    exit_code = 2


class NotFound(UserError):
    exit_code = 3


class NotAllowed(UserError):
    exit_code = 4


class StoreLost(NotAllowed):
    pass


class InvalidInput(UserError):
    exit_code = 5


class SettingError(InvalidInput):
    pass


class DataError(InvalidInput):
    pass


class MaskProofFailed(InvalidInput):
    pass


class NoSupervisor(UserError):
    exit_code = 7

    def __init__(self) -> None:
        super().__init__("no supervisor is running in this lab", "", "run: stoker up")


class TemporaryError(StokerError):
    """May pass by itself; try again after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: float = 5.0) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Busy(TemporaryError):
    pass


class DiskFull(TemporaryError):
    """A write found no space: names the path, what was needed and what is free, in bytes."""

    def __init__(self, path: Path, needed_bytes: int, free_bytes: int) -> None:
        self.path, self.needed_bytes, self.free_bytes = path, needed_bytes, free_bytes
        super().__init__(
            f"disk full at {path}: {needed_bytes:,} bytes needed, {free_bytes:,} free; "
            "free some space and the work goes on where it stopped",
            retry_after_seconds=30.0,
        )


class PermanentError(StokerError):
    pass


class Damaged(PermanentError):
    """A published folder does not match its manifest; names the folder, the file and the reason."""

    def __init__(self, folder: Path, file: str, reason: str) -> None:
        self.folder, self.file, self.reason = folder, file, reason
        super().__init__(f"{folder}: {file}: {reason}")


class NonFinite(PermanentError):
    pass


class WorkerFailed(PermanentError):
    exit_code = 6
