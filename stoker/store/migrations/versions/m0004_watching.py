"""What a night needs: series of measurements, samples, live changes, incidents and their alerts, reports, costs."""

from __future__ import annotations

from array import array
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BLOCK = 4096
_STEP = ("loss", "learning_rate", "grad_norm", "tokens", "rows", "seconds", "epoch", "time")


def upgrade() -> None:
    _make_series()
    _move_metrics()
    _make_samples()
    _make_changes()
    _make_incidents()
    _make_reports()


def _make_series() -> None:
    op.create_table(
        "points",
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("at", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("series", "name", "at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blocks",
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("ats", sa.LargeBinary(), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series", "name", "number"),
    )
    op.create_table(
        "run_costs",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("threads", sa.Integer(), nullable=True),
        sa.Column("gpu_seconds", sa.Float(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("stretches", sa.JSON(), nullable=False),
        sa.Column("joules", sa.Float(), nullable=True),
        sa.Column("measured_to", sa.Float(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run"),
    )


def _move_metrics() -> None:
    """Bring every step's values into series, and what its run cost as far as the steps tell it."""
    connection = op.get_bind()
    for (run,) in connection.execute(sa.text("SELECT DISTINCT run FROM metrics ORDER BY run")).all():
        for name in _STEP:
            found = sa.text(f"SELECT step, {name} FROM metrics WHERE run = :run ORDER BY step")
            _put_series(
                connection, run, name, [(step, value) for step, value in connection.execute(found, {"run": run})]
            )
    connection.execute(
        sa.text(
            "INSERT INTO run_costs (run, gpu_seconds, rows, tokens, stretches, measured_to, source) "
            "SELECT run, sum(gpu_seconds), sum(rows), sum(tokens), "
            "json_group_array(json_array(fence, started, ended)), 0.0, 'none' FROM ("
            "SELECT run, fence, coalesce(sum(seconds), 0.0) AS gpu_seconds, coalesce(sum(rows), 0) AS rows, "
            "coalesce(sum(tokens), 0) AS tokens, min(time - coalesce(seconds, 0.0)) AS started, max(time) AS ended "
            "FROM metrics GROUP BY run, fence ORDER BY run, fence) GROUP BY run"
        )
    )
    op.drop_table("metrics")


def _put_series(connection: sa.Connection, run: str, name: str, values: list[tuple[int, float | None]]) -> None:
    """Write whole blocks of 4,096 steps as blobs, the last one as points."""
    if not any(value is not None for _, value in values) and name not in ("loss", "grad_norm"):
        return
    for number, group in groupby(values, key=lambda pair: pair[0] // _BLOCK):
        pairs = list(group)
        if number == values[-1][0] // _BLOCK:
            connection.execute(
                sa.text("INSERT INTO points (series, name, at, value) VALUES (:series, :name, :at, :value)"),
                [{"series": run, "name": name, "at": at, "value": value} for at, value in pairs],
            )
            return
        block = {
            "ats": array("q", (at for at, _ in pairs)).tobytes(),
            "points": array("d", (float("nan") if value is None else value for _, value in pairs)).tobytes(),
        }
        connection.execute(
            sa.text(
                "INSERT INTO blocks (series, name, number, ats, points) VALUES (:series, :name, :number, :ats, :points)"
            ),
            {"series": run, "name": name, "number": number, **block},
        )


def _make_samples() -> None:
    op.create_table(
        "samples",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("probe", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("is_match", sa.Boolean(), nullable=True),
        sa.Column("nll", sa.Float(), nullable=True),
        sa.Column("time", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run", "step", "probe"),
    )


def _make_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("old", sa.JSON(), nullable=True),
        sa.Column("new", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run", "request", "name", name="one_change_per_request"),
    )


def _make_incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index(op.f("ix_incidents_state"), "incidents", ["state"], unique=False)
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("incident", sa.String(), nullable=True),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("held", sa.String(), nullable=True),
        sa.Column("digest", sa.Integer(), nullable=True),
        sa.Column("attachment", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_alerts_state"), "alerts", ["state"], unique=False)
    op.add_column("events", sa.Column("incident", sa.String(), nullable=True))
    # What happened before incidents existed makes none: they begin after the last event.
    op.execute(
        "INSERT INTO lab (key, value) SELECT 'incidents_read_to', CAST(COALESCE(MAX(id), 0) AS TEXT) FROM events"
    )


def _make_reports() -> None:
    op.create_table(
        "reports",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("begins", sa.Float(), nullable=False),
        sa.Column("ends", sa.Float(), nullable=False),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
