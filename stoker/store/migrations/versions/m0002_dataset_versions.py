"""Dataset versions: which datasets follow one another, and what each model version trained on.

Datasets that are there already become versions of the first one of their name; what a version trained on is taken from
its run and its lineage.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("relation", sa.String(), nullable=False),
        sa.Column("is_rolled_back", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"]),
        sa.ForeignKeyConstraint(["family"], ["datasets.id"]),
        sa.PrimaryKeyConstraint("dataset"),
        sa.UniqueConstraint("family", "version", name="one_dataset_per_version"),
    )
    op.create_table(
        "version_datasets",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"]),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
        sa.PrimaryKeyConstraint("model", "version", "dataset"),
    )
    op.create_index(op.f("ix_version_datasets_dataset"), "version_datasets", ["dataset"], unique=False)
    _enter_datasets()
    _enter_lineage()


def _enter_datasets() -> None:
    connection = op.get_bind()
    families: dict[str, list[str]] = {}
    for row in connection.execute(sa.text("SELECT id, name FROM datasets ORDER BY number")).all():
        family = families.setdefault(row.name, [])
        family.append(row.id)
        connection.execute(
            sa.text("INSERT INTO dataset_versions VALUES (:dataset, :family, :version, :relation, 0)"),
            {
                "dataset": row.id, "family": family[0], "version": len(family),
                "relation": "extends" if len(family) > 1 else "first",
            },
        )  # fmt: skip


def _enter_lineage() -> None:
    connection = op.get_bind()
    versions = sa.table(
        "versions", *(sa.column(name) for name in ("model", "version", "run")), sa.column("datasets", sa.JSON)
    )
    runs = sa.table("runs", sa.column("id"), sa.column("dataset"))
    found = sa.select(versions, runs.c.dataset).join_from(versions, runs, runs.c.id == versions.c.run)
    for row in connection.execute(found).all():
        for dataset in row.datasets:
            connection.execute(
                sa.text("INSERT INTO version_datasets VALUES (:model, :version, :dataset, :role)"),
                {
                    "model": row.model, "version": row.version, "dataset": dataset,
                    "role": "new" if dataset == row.dataset else "replay",
                },
            )  # fmt: skip
