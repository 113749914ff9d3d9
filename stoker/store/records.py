"""What the store's rows are called in code: one frozen dataclass per table that other packages work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from sqlalchemy import Row


def plain(row: Row[Any]) -> dict[str, Any]:
    """Return a row's columns under plain names: those of SQLAlchemy are a string type that JSON refuses as keys."""
    return {str(name): value for name, value in row._mapping.items()}


@dataclass(frozen=True)
class _Record:
    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Build from a row that holds at least the fields."""
        mapping = row._mapping
        return cls(**{field.name: mapping[field.name] for field in fields(cls)})


# Codes of a paused run that goes on by itself once there is room; any other pause waits for a person or for `up`.
WAITING_CODES = ("disk-full", "memory", "gpu-memory")


@dataclass(frozen=True)
class DatasetRecord(_Record):
    id: str
    number: int
    file_sha256: str
    name: str
    state: str
    train: int
    held_out: int
    refusal: str | None
    attempts: int
    priority: int


@dataclass(frozen=True)
class JobRecord(_Record):
    id: str
    number: int
    dataset: str
    priority: int
    position: int
    is_held: bool
    is_removed: bool
    trial: str | None


@dataclass(frozen=True)
class RunRecord(_Record):
    id: str
    number: int
    job: str
    dataset: str
    state: str
    model: str | None
    version: int | None
    parent: int | None
    step: int
    total_steps: int | None
    fence: int
    offset: int
    wanted: str | None
    attempts: int
    checkpoint_step: int
    progress: int
    not_before: float
    code: str | None
    reason: str | None
    needed_bytes: int | None


@dataclass(frozen=True)
class EvaluationRecord(_Record):
    id: str
    number: int
    run: str | None
    model: str
    version: int
    against: list[int]
    state: str
    fence: int
    offset: int
    attempts: int
    not_before: float
    trial: str | None

    @property
    def candidate(self) -> str:
        return f"{self.model}/v{self.version}"


@dataclass(frozen=True)
class AssignmentRecord(_Record):
    """A task given to a worker; `task_index` is its place in the worker's own list."""

    id: int
    worker: str
    task_index: int
    kind: str
    subject: str
    folder: str
    fence: int
    state: str


@dataclass(frozen=True)
class ModelRecord(_Record):
    name: str
    number: int
    family: str
    base: str
    revision: str
    base_sha256: str | None
    shape: dict[str, Any]
    champion: int | None


@dataclass(frozen=True)
class VersionRecord(_Record):
    model: str
    version: int
    parent: int | None
    run: str
    state: str
    method: str
    weights_sha256: str
    base_sha256: str
    steps: int
    datasets: list[str]
    is_pinned: bool
    outcome: str | None

    @property
    def label(self) -> str:
        return f"{self.model}/v{self.version}"


@dataclass(frozen=True)
class Event:
    """Something that happened; `data` holds what a program may want of it."""

    severity: str
    code: str
    text: str
    time: float
    dataset: str | None = None
    run: str | None = None
    evaluation: str | None = None
    version: str | None = None
    data: dict[str, Any] | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build from what a reader tells of it, which may be more."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})
