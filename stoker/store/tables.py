"""The tables of a lab's store, as SQLAlchemy Core sees them; `migrations/` makes them.

The row identity (rows in = train + held out + duplicate + quarantined) is a CHECK of the table itself, and an at of a
series is a primary key: neither can be broken by any code above. Times are seconds since the epoch. No logic here.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA: Final = "0004"
"""The newest migration; a test compares it with the migrations folder."""

REMOVED_BY_REVIEW: Final = "removed-by-review"
"""The code of a row in `row_quarantines` that a person took out; the others are rows that training can't take."""

metadata = MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s"})

lab = Table("lab", metadata, Column("key", String, primary_key=True), Column("value", JSON, nullable=False))

files = Table(
    "files",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("inbox_path", String),  # set until the original has left the inbox
    Column("accepted_at", Float, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),  # order of acceptance
    Column("file_sha256", String, ForeignKey("files.sha256"), nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),  # accepted, reading, ready, empty, kept, waiting, trained, rejected
    Column("format", String),
    Column("rows_in", Integer, nullable=False, default=0),
    Column("train", Integer, nullable=False, default=0),
    Column("held_out", Integer, nullable=False, default=0),
    Column("duplicate", Integer, nullable=False, default=0),
    Column("quarantined", Integer, nullable=False, default=0),
    Column("reasons", JSON, nullable=False, default=dict),
    Column("notes", JSON, nullable=False, default=list),
    Column("refusal", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("priority", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
    CheckConstraint("rows_in = train + held_out + duplicate + quarantined", name="rows_conserved"),
    CheckConstraint("train >= 0", name="train_not_negative"),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("dataset", String, ForeignKey("datasets.id"), primary_key=True),
    Column("family", String, ForeignKey("datasets.id"), nullable=False),  # its first dataset
    Column("version", Integer, nullable=False),
    Column("relation", String, nullable=False),  # first; extends or replaces the versions before it
    Column("is_rolled_back", Boolean, nullable=False, default=False),
    UniqueConstraint("family", "version", name="one_dataset_per_version"),
)

row_quarantines = Table(
    "row_quarantines",
    metadata,
    Column("dataset", String, ForeignKey("datasets.id"), primary_key=True),
    Column("row", String, primary_key=True),
    Column("line", Integer),
    Column("code", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("run", String),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("dataset", String, ForeignKey("datasets.id"), nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("position", Integer, nullable=False),
    Column("is_held", Boolean, nullable=False, default=False),
    Column("is_removed", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
    Column("trial", String),  # the trial that its run is a branch of
)

trials = Table(
    "trials",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("intent", String, nullable=False, unique=True),  # asked twice is one trial
    Column("datasets", JSON, nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("state", String, nullable=False),  # reading, training, evaluating, done, failed
    Column("model", String),
    Column("parent", Integer),  # what every branch continues; null: the base
    Column("settings", JSON, nullable=False),
    Column("evaluation", String),
    Column("reason", Text),
    Column("created", Float, nullable=False),
    Column("ended_at", Float),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("job", String, ForeignKey("jobs.id"), nullable=False),
    Column("dataset", String, ForeignKey("datasets.id"), nullable=False),
    Column("state", String, nullable=False),  # queued, running, paused, done, failed, stopped, parked
    Column("model", String),
    Column("version", Integer),
    Column("parent", Integer),
    Column("step", Integer, nullable=False, default=0),
    Column("total_steps", Integer),
    Column("loss", Float),
    Column("phase", String),
    Column("fence", Integer, nullable=False, default=0),  # grows with each start of a worker on this run
    Column("offset", Integer, nullable=False, default=0),  # bytes of messages.jsonl that are in this store
    Column("wanted", String),  # pause, stop, down, or what it makes room for, once asked
    Column("attempts", Integer, nullable=False, default=0),  # crashes since the last progress
    Column("checkpoint_step", Integer, nullable=False, default=0),
    Column("progress", Integer, nullable=False, default=0),  # furthest step at the last crash
    Column("not_before", Float, nullable=False, default=0.0),
    Column(
        "code", String
    ),  # why it is paused, parked or failed: asked, down, disk-full, memory, gpu-memory, crash, non-finite, bad-config
    Column("reason", Text),
    Column("needed_bytes", Integer),
    Column("created", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    UniqueConstraint("model", "version", name="one_run_per_version"),
    Index(None, "state"),
    Index(None, "job"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("state", String, nullable=False),  # alive, ended
    Column("pid", Integer),
    Column("started_at", Float),
    Column("created", Float, nullable=False),
    Column("ended_at", Float),
    Column("exit", Integer),
)

assignments = Table(
    "assignments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("worker", String, ForeignKey("workers.id"), nullable=False),
    Column("task_index", Integer, nullable=False),  # how many tasks the worker had been given before this one
    Column("kind", String, nullable=False),  # train, evaluate, prepare
    Column("subject", String, nullable=False),  # id of the run or the evaluation
    Column("folder", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("state", String, nullable=False),  # given, finished, lost
    Column("exit", Integer),
    Column("time", Float, nullable=False),
    UniqueConstraint("worker", "task_index", name="one_task_per_index"),
    Index(None, "state"),
    Index(None, "subject"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("severity", String, nullable=False),
    Column("code", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("dataset", String),
    Column("run", String),
    Column("evaluation", String),
    Column("version", String),
    Column("data", JSON, nullable=False, default=dict),
    Column("incident", String),  # of which cause it is a part
    Index(None, "run"),
    Index(None, "dataset"),
)

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("family", String, nullable=False),  # the name in the settings; main-2 is of the family main
    Column("base", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("base_sha256", String),
    Column("shape", JSON, nullable=False),  # method and adapter settings that a line can't change
    Column("champion", Integer),
    Column("created", Float, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String, ForeignKey("models.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("parent", Integer),
    Column("run", String, ForeignKey("runs.id"), nullable=False, unique=True),
    Column("state", String, nullable=False),  # published, deleted
    Column("method", String, nullable=False),
    Column("weights_sha256", String, nullable=False),
    Column("base_sha256", String, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("datasets", JSON, nullable=False),  # trained by this run and by its ancestors, oldest first
    Column("is_pinned", Boolean, nullable=False, default=False),
    Column("outcome", String),  # promoted, kept-back
    Column("created", Float, nullable=False),
)

version_datasets = Table(
    "version_datasets",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("dataset", String, ForeignKey("datasets.id"), primary_key=True),
    Column("role", String, nullable=False),  # new, replay, or inherited: trained by an ancestor alone
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
    Index(None, "dataset"),
)

champions = Table(
    "champions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String, ForeignKey("models.name"), nullable=False),
    Column("version", Integer),
    Column("previous", Integer),
    Column("reason", Text, nullable=False),
    Column("time", Float, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("run", String, ForeignKey("runs.id")),  # null: asked for by hand, promotes nothing
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("against", JSON, nullable=False, default=list),  # version numbers asked for by hand
    Column("state", String, nullable=False),  # queued, running, done, failed
    Column("phase", String),
    Column("fence", Integer, nullable=False, default=0),
    Column("offset", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("reason", Text),
    Column("created", Float, nullable=False),
    Column("ended_at", Float),
    Column("trial", String),  # the trial whose branches it compares
    Index(None, "state"),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("evaluation", String, ForeignKey("evaluations.id"), primary_key=True),
    Column("candidate", String, primary_key=True),
    Column("against", String, primary_key=True),
    Column("benchmark", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("candidate_score", Float),
    Column("against_score", Float),
    Column("difference", Float),
    Column("low", Float),
    Column("high", Float),
    Column("p_value", Float),
    Column("outcome", String, nullable=False),
    Column("minimum_detectable_effect", Float),
    Column("p_value_corrected", Float),
    Column("is_primary", Boolean, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("evaluation", String, ForeignKey("evaluations.id"), primary_key=True),
    Column("promote", Boolean, nullable=False),
    Column("outcome", String),
    Column("reason", Text, nullable=False),
    Column("notes", JSON, nullable=False, default=list),
    Column("time", Float, nullable=False),
)

points = Table(
    "points",
    metadata,
    Column("series", String, primary_key=True),  # a run's id, or "machine"
    Column("name", String, primary_key=True),
    Column("at", Integer, primary_key=True),  # of a run its step, of the machine the second since the epoch
    Column("value", Float),  # null: not finite
    sqlite_with_rowid=False,
)

blocks = Table(
    "blocks",
    metadata,
    Column("series", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("number", Integer, primary_key=True),  # at // 4096
    Column("ats", LargeBinary, nullable=False),  # int64, ascending
    Column("points", LargeBinary, nullable=False),  # float64, NaN where not finite
)

run_costs = Table(
    "run_costs",
    metadata,
    Column("run", String, ForeignKey("runs.id"), primary_key=True),
    Column("device", String),  # "cpu", "cuda:0"; null: not recorded
    Column("threads", Integer),
    Column("gpu_seconds", Float, nullable=False, default=0.0),  # of steps on the device, those done again too
    Column("rows", Integer, nullable=False, default=0),  # examples in those steps
    Column("tokens", Integer, nullable=False, default=0),
    Column("stretches", JSON, nullable=False, default=list),  # [fence, begin, end] of each stretch of a worker on it
    Column("joules", Float),  # null: not known
    Column("measured_to", Float, nullable=False, default=0.0),  # joules cover the stretches up to this moment
    Column(
        "source", String, nullable=False, default="none"
    ),  # counter: the card's own; power: integrated; gap: readings are missing; none
)

samples = Table(
    "samples",
    metadata,
    Column("run", String, ForeignKey("runs.id"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("probe", Integer, primary_key=True),  # the same number is the same held-out row at every step
    Column("prompt", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("answer", Text),
    Column("is_match", Boolean),
    Column("nll", Float),  # nats per token of the expected answer
    Column("time", Float, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", String, ForeignKey("runs.id"), nullable=False),
    Column("request", String, nullable=False),  # what is asked together is applied together
    Column("name", String, nullable=False),
    Column("old", JSON),
    Column("new", JSON),
    Column("state", String, nullable=False),  # requested, applied, rejected
    Column("step", Integer),  # the first step that it held for
    Column("reason", Text),
    Column("asked_at", Float, nullable=False),
    Column("at", Float),
    UniqueConstraint("run", "request", "name", name="one_change_per_request"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),  # id of a run, a dataset or an evaluation, or "lab"
    Column("severity", String, nullable=False),
    Column("state", String, nullable=False),  # open, recovered, closed
    Column("title", Text, nullable=False),
    Column("outcome", Text),
    Column("num_events", Integer, nullable=False, default=0),
    Column("step", Integer),  # the furthest of its run at which it was seen
    Column("opened_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("closed_at", Float),  # stays when it is opened again
    Index(None, "state"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident", String, ForeignKey("incidents.id")),
    Column("channel", String, nullable=False),
    Column("kind", String, nullable=False),  # opened, worse, reopened, reminder, recovered, news, digest
    Column("severity", String, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", String, nullable=False),  # waiting, sent, failed, muted, gathered (in a digest)
    Column("attempts", Integer, nullable=False, default=0),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("held", String),  # why it waits: quiet hours, digest, too many
    Column("digest", Integer),  # the alert that it was gathered into
    Column("attachment", Text),  # path of a file that goes with it
    Column("error", Text),
    Column("created", Float, nullable=False),
    Column("sent_at", Float),
    Index(None, "state"),
)

reports = Table(
    "reports",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("begins", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("headline", Text, nullable=False),
    Column("path", Text, nullable=False),  # of the HTML page; the Markdown lies beside it
    Column("created", Float, nullable=False),
)
