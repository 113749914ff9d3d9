"""From the store to the facts of a report. It reads, and changes nothing; a supervisor is not needed.

A window is read as of now: a report for an older day tells that day's events with today's knowledge of the runs, and the
queue, the disk and what waits for a person are those of now.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from stoker.analysis.costs import JOULES_PER_KWH, price, total
from stoker.analysis.eta import Eta
from stoker.analysis.forecast import queue_etas
from stoker.durable import disk_use
from stoker.mailbox import checkpoints
from stoker.mailbox.messages import MESSAGES
from stoker.report import daily
from stoker.report.advice import advise, find_needs
from stoker.report.daily import DailyFacts, RunPart, named
from stoker.report.window import Window
from stoker.spec.costs import CostSpec
from stoker.spec.guarding import GuardSpec
from stoker.spec.lab import LabSpec
from stoker.store import report_queries as ask
from stoker.store.reader import Reader
from stoker.workspace import Workspace

_HEAD_LINES = 50

Rows = list[dict[str, Any]]


def gather(reader: Reader, window: Window, now: float, spec: LabSpec) -> DailyFacts:
    """Return the facts of a window, as they are known now, at today's prices."""
    ends = (window.begins, window.ends)
    trained = reader.ask(ask.trained_files, *ends)
    files = reader.ask(ask.file_events, *ends)
    runs = _runs(reader, window)
    verdicts = _verdicts(reader, window)
    incidents = _incidents(reader, window)
    rejected = _rejected(files)
    status = reader.status()
    matters = reader.ask(ask.open_matters, window.begins)
    ends_of_jobs, queue_eta = queue_etas(reader, status["queue"])
    needed_bytes = _needed_bytes(reader.workspace, spec.guard, status["queue"])
    return advise(
        DailyFacts(
            window=window,
            made_at=now,
            lab=str(reader.workspace.root),
            state=status["state"],
            files_accepted=tuple(dict.fromkeys(str(row["name"]) for row in files if row["code"] == "file.accepted")),
            files_trained=_trained(trained),
            files_rejected=rejected,
            runs=runs,
            versions=_versions(reader, window),
            verdicts=verdicts,
            champions=_champions(reader, window),
            champion_changes=tuple(_change(row) for row in reader.ask(ask.champion_changes, *ends)),
            incidents=incidents,
            bill=_bill(reader, window, spec.cost),
            free_bytes=status["free_bytes"],
            used_bytes=_used(reader.workspace),
            needed_bytes=needed_bytes,
            queue=_queue(status["queue"], ends_of_jobs),
            queue_eta=queue_eta,
            evaluations_to_go=tuple(
                f"{one['id']} of {one['candidate']}"
                for one in reader.evaluations()
                if one["state"] in ("queued", "running")
            ),
            is_queue_paused=status["queue_paused"],
            needs=tuple(find_needs(matters, incidents, rejected, verdicts, status["free_bytes"], needed_bytes)),
        )
    )


def _trained(rows: Rows) -> tuple[daily.TrainedFile, ...]:
    """Return the files that were trained for their line; branches of trials are not among them."""
    counts = ("dataset", "name", "rows_in", "train", "held_out", "duplicate", "quarantined", "run")
    return tuple(
        daily.TrainedFile(
            **{name: row[name] for name in counts}, version=_label(row["model"], row["version"]), at=row["time"]
        )
        for row in rows
        if row["trial"] is None
    )


def _rejected(files: Rows) -> tuple[daily.RejectedFile, ...]:
    found = []
    for row in files:
        if row["code"] == "file.rejected":
            name, _, reason = str(row["text"]).partition(" was rejected: ")
            found.append(daily.RejectedFile(row["name"] or name, row["dataset"], reason or row["text"], row["time"]))
    return tuple(found)


def _runs(reader: Reader, window: Window) -> tuple[RunPart, ...]:
    """Return what each run did. Steps beyond the run's own were made before it went back: they are not part of it."""
    found, refused = [], reader.ask(ask.refused_steps)
    for run in reader.ask(ask.runs_between, window.begins, window.ends):
        steps = reader.ask(ask.steps_between, run["id"], run["step"], window.begins, window.ends)
        if steps["step"]:
            device = _device(reader.workspace.run(run["id"]))
            found.append(daily.run_part(run, steps, device, refused.get(run["id"], frozenset())))
    return tuple(found)


def _device(folder: Path) -> str | None:
    """Return the device that a run's worker named at its first start."""
    try:
        with (folder / MESSAGES).open("rb") as file:
            for line in itertools.islice(file, _HEAD_LINES):
                message = orjson.loads(line)
                if message.get("kind") == "started":
                    return str(message.get("device") or "") or None
    except (OSError, orjson.JSONDecodeError):
        return None
    return None


def _versions(reader: Reader, window: Window) -> tuple[daily.VersionPart, ...]:
    rows = reader.ask(ask.versions_between, window.begins, window.ends)
    return tuple(
        daily.VersionPart(
            f"{row['model']}/v{row['version']}", _label(row["model"], row["parent"]), row["run"], row["outcome"]
        )
        for row in rows
    )


def _verdicts(reader: Reader, window: Window) -> tuple[daily.VerdictPart, ...]:
    names = daily.Score.__dataclass_fields__
    found = []
    for row in reader.ask(ask.verdicts_between, window.begins, window.ends):
        said, candidate = row["verdict"], f"{row['model']}/v{row['version']}"
        scores = [daily.Score(**{name: one[name] for name in names}) for one in row["comparisons"]]
        found.append(
            daily.VerdictPart(
                evaluation=row["id"],
                asked_by=row["run"] or row["trial"] or "hand",
                run=row["run"],
                candidate=candidate,
                promote=said["promote"],
                outcome=said["outcome"],
                reason=said["reason"],
                at=row["time"],
                # The opponent that decides, the parent, comes before the base; the target before the guards.
                scores=tuple(
                    sorted(
                        scores,
                        key=lambda one: (
                            one.against == "base",
                            one.benchmark != "heldout",
                            one.benchmark,
                            not one.is_primary,
                        ),
                    )
                ),
            )
        )
    return tuple(found)


def _champions(reader: Reader, window: Window) -> tuple[daily.Champion, ...]:
    found = []
    for row in reader.ask(ask.champions_at, window.ends):
        label = _label(row["model"], row["version"])
        scores = reader.ask(ask.scores_of, label, window.ends) if label else []
        standings = tuple(daily.Standing(**score) for score in scores)
        found.append(daily.Champion(row["model"], row["version"], row["run"], row["time"], row["reason"], standings))
    return tuple(found)


def _change(row: dict[str, Any]) -> str:
    before = "its base" if row["previous"] is None else f"v{row['previous']}"
    after = "its base" if row["version"] is None else f"v{row['version']}"
    return f"{row['model']}: {before} → {after}. {row['reason']}"


def _incidents(reader: Reader, window: Window) -> tuple[daily.IncidentPart, ...]:
    ends = (window.begins, window.ends)
    recoveries = reader.ask(ask.recoveries_between, *ends)
    told = [
        daily.IncidentPart(
            id=row["id"],
            kind=row["kind"],
            subject=row["subject"],
            severity=row["severity"],
            state=row["state"],
            title=row["title"],
            num_events=row["num_events"],
            opened_at=row["opened_at"],
            closed_at=row["closed_at"],
            done=row["outcome"] or _done_about(recoveries, row),
        )
        for row in reader.ask(ask.incidents_between, *ends)
    ]
    untold = [
        daily.IncidentPart(
            id=None,
            kind=row["code"],
            subject=row["subject"],
            severity=row["severity"],
            state="told",
            title=row["text"],
            num_events=row["num_events"],
            opened_at=row["opened_at"],
            closed_at=None,
            done=_done_about(recoveries, row),
        )
        for row in reader.ask(ask.troubles_between, *ends)
    ]
    return tuple(sorted((*told, *untold), key=lambda one: one.opened_at))


def _done_about(recoveries: Rows, row: dict[str, Any]) -> str | None:
    """Return the last thing that was done for an incident, or for the subject of an open one since it began."""
    incident = row.get("id")
    of_it = [done for done in recoveries if incident is not None and done["incident"] == incident]
    is_over = row.get("state") not in (None, "open")
    of_subject = [done for done in recoveries if done["subject"] == row["subject"] and done["time"] >= row["opened_at"]]
    found = of_it or ([] if is_over else of_subject)
    return str(found[-1]["text"]) if found else None


def _bill(reader: Reader, window: Window, prices: CostSpec) -> daily.Bill:
    """Return energy and cost of the window: of each run the share of its worker's time that lies in it, at today's prices."""
    records = []
    for row in reader.ask(ask.run_costs, window.begins, window.ends):
        share = row["seconds_within"] / sum(end - begin for _, begin, end in row["stretches"])
        joules = None if row["joules"] is None else row["joules"] * share
        records.append(
            {"run": row["run"], "joules": joules, "occupied_seconds": row["seconds_within"], "rows": row["rows"]}
        )
    if not records:
        return daily.Bill()
    priced = [price(record, prices) for record in records]
    found = total([record | {"step_seconds": 0.0} for record in records], priced)
    by_run = tuple(
        daily.RunBill(record["run"], _kwh(record["joules"]), one["amount"])
        for record, one in zip(records, priced, strict=True)
    )
    why = next((one["unknown"] for one in priced if one["unknown"]), None)
    return daily.Bill(
        energy_kwh=_kwh(found["joules"]),
        energy_note=_known_of({one.run: one.energy_kwh for one in by_run}, "it was not measured"),
        cost=found["amount"],
        cost_note=_known_of({one.run: one.cost for one in by_run}, str(why)),
        currency=prices.currency,
        by_run=by_run,
    )


def _kwh(joules: float | None) -> float | None:
    return None if joules is None else joules / JOULES_PER_KWH


def _known_of(values: Mapping[str, float | None], why_not: str) -> str:
    """Return the runs whose values are known, and why those of the others are not."""
    known = [run for run, value in values.items() if value is not None]
    unknown = [run for run, value in values.items() if value is None]
    if not known:
        return why_not
    return f"{named(known)}; not known of {named(unknown)}: {why_not}" if unknown else named(known)


def _used(workspace: Workspace) -> tuple[tuple[str, int], ...]:
    """Return the bytes that the lab takes on the disk, by what they are for, the most first."""
    places = {
        "checkpoints and messages of runs": (workspace.runs,),
        "versions": (workspace.models,),
        "base models": (workspace.bases,),
        "files as they came": (workspace.files,),
        "datasets": (workspace.datasets, workspace.tokens),
        "evaluations": (workspace.evaluations, workspace.answers),
    }
    sizes = [(name, sum(disk_use(folder) for folder in folders)) for name, folders in places.items()]
    rest = disk_use(workspace.root) - sum(size for _, size in sizes)
    return tuple(sorted([*sizes, ("everything else", max(0, rest))], key=lambda pair: -pair[1]))


def _queue(jobs: Rows, ends: Sequence[Eta | None]) -> tuple[daily.QueuedJob, ...]:
    """Return the jobs, each with the time until its run is judged."""
    return tuple(
        daily.QueuedJob(job["id"], job["run"], job["name"], job["state"], job["reason"], end)
        for job, end in zip(jobs, ends, strict=True)
    )


def _needed_bytes(workspace: Workspace, guard: GuardSpec, jobs: Rows) -> int:
    """Return what must be free for every run that is not over to go on, as the supervisor reckons it."""
    sizes = (checkpoints.newest_checkpoint_bytes(workspace.run(job["run"])) for job in jobs)
    return checkpoints.needed_bytes(guard, max(sizes, default=0))


def _label(model: str | None, version: int | None) -> str | None:
    return None if model is None or version is None else f"{model}/v{version}"
