"""Every number of a daily report found again in the store, by queries that share nothing with those that made it.

The store is read with sqlite3 alone. Each number of the report's JSON is a line: where it stands, the query, what it
found. Text is a match when it stands in the store word for word; each other number of the headline and of the Markdown page
must be one of the numbers found, rounded as people read it.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import shutil
import sqlite3
import struct
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.spec.reading import read_settings

_DISK_SHARE, _DISK_BYTES = 0.02, 500_000  # the lab goes on writing after the report was made
_WORDS, _ROUNDED = "text of the store, word for word", "one of the numbers above, rounded"
_LEAST_TEXT = 12  # characters: what is shorter could stand in the store by chance
_SCALES = (1.0, 100.0, 1 / 3600, 1e-3, 1e-6, 1e-9)
_UNITS = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
_TOKEN = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_DURATION = re.compile(r"\b(?:(\d+) d )?(?:(\d+) h ?)?(?:(\d+) min ?)?(?:(\d+(?:\.\d+)?) s\b)?")
Series = dict[int, float]


@dataclass(frozen=True)
class Line:
    """A number of the report (`where`, `told`) and what the store holds (`query`, `found`)."""

    where: str
    told: Any
    query: str
    found: Any

    @property
    def is_match(self) -> bool:
        if self.query in (_WORDS, _ROUNDED):
            return self.found is not None
        if not isinstance(self.told, int | float) or not isinstance(self.found, int | float):
            return bool(self.told == self.found)
        if self.query.startswith("disk:"):
            return math.isclose(self.told, self.found, rel_tol=_DISK_SHARE, abs_tol=_DISK_BYTES)
        return math.isclose(self.told, self.found, rel_tol=1e-9, abs_tol=1e-9)


class Numbers:
    """The numbers of one report, looked up one after the other."""

    def __init__(self, root: Path, report: dict[str, Any], price_per_hour: float) -> None:
        self.lines: list[Line] = []
        self._root, self._report, self._price = root, report, price_per_hour
        self._store = sqlite3.connect(f"file:{root}/.stoker/store.db?mode=ro", uri=True)
        self._store.row_factory = sqlite3.Row
        self._window = (report["begins"], report["ends"])

    def look_up(self, markdown: str) -> list[Line]:
        """Return a line for every number of the report and of its page."""
        for part in (
            self._files,
            self._runs,
            self._totals,
            self._verdicts,
            self._champions,
            self._incidents,
            self._disk,
        ):
            part()
        looked_up = {line.where for line in self.lines}
        texts = self._texts()
        for where, told in _leaves(self._report):
            if isinstance(told, str):
                self._text(where, told, texts)
            elif where not in looked_up and not isinstance(told, bool):
                self.lines.append(Line(where, told, "no query", None))
        self._page(markdown, texts)
        return self.lines

    def _one(self, where: str, told: Any, query: str, *values: Any) -> None:
        row = self._store.execute(query, values).fetchone()
        self.lines.append(Line(where, told, _filled(query, values), None if row is None else row[0]))

    def _columns(self, where: str, told: dict[str, Any], names: str, rest: str, *values: Any) -> None:
        for name in names.split():
            alias, _, key = name.partition("=")
            self._one(f"{where}.{key or alias}", told[key or alias], f"SELECT {alias} {rest}", *values)

    def _files(self) -> None:
        for place, file in enumerate(self._report["files_trained"]):
            where, dataset = f"files_trained[{place}]", file["dataset"]
            names = "rows_in train held_out duplicate quarantined"
            self._columns(where, file, names, "FROM datasets WHERE id = ?", dataset)
            self._one(
                f"{where}.at",
                file["at"],
                "SELECT max(time) FROM events WHERE code = 'run.done' AND run = ?",
                file["run"],
            )
        for place, file in enumerate(self._report["files_rejected"]):
            query = "SELECT max(time) FROM events WHERE code = 'file.rejected' AND dataset = ?"
            self._one(f"files_rejected[{place}].at", file["at"], query, file["dataset"])

    def _series(self, run: str, name: str) -> Series:
        """Read a series: single points, and packed blocks of int64 and float64."""
        query = "SELECT at, value FROM points WHERE series = ? AND name = ?"
        found = {at: math.nan if value is None else value for at, value in self._store.execute(query, (run, name))}
        for ats, values in self._store.execute(
            "SELECT ats, points FROM blocks WHERE series = ? AND name = ?", (run, name)
        ):
            found |= zip(
                struct.unpack(f"{len(ats) // 8}q", ats), struct.unpack(f"{len(values) // 8}d", values), strict=True
            )
        return dict(sorted(found.items()))

    def _runs(self) -> None:
        for place, run in enumerate(self._report["runs"]):
            where, name = f"runs[{place}]", run["run"]
            self._one(f"{where}.total_steps", run["total_steps"], "SELECT total_steps FROM runs WHERE id = ?", name)
            last = self._store.execute("SELECT step FROM runs WHERE id = ?", (name,)).fetchone()[0]
            begins, ends = self._window
            steps = [at for at, time in self._series(name, "time").items() if begins <= time < ends and at <= last]
            query = "SELECT json_extract(data, '$.step') FROM events WHERE code = 'step.refused' AND run = ?"
            counting = set(steps) - {row[0] for row in self._store.execute(query, (name,))}
            losses = {
                at: loss for at, loss in self._series(name, "loss").items() if at in counting and math.isfinite(loss)
            }
            num = max(1, min(20, len(losses) // 10))
            sums = {
                key: math.fsum(self._series(name, key).get(at, 0.0) for at in steps)
                for key in ("rows", "tokens", "seconds")
            }
            of = f"points and blocks of {name}, steps with a time in the window"
            expected = {
                "num_steps": (len(steps), f"count of {of}"),
                "steps[0]": (steps[0], f"first of {of}"),
                "steps[1]": (steps[-1], f"last of {of}"),
                **{key: (value, f"sum of '{key}' in {of}") for key, value in sums.items()},
                **_ends("first", dict(list(losses.items())[:num]), f"mean of the first {num} finite losses in {of}"),
                **_ends("last", dict(list(losses.items())[-num:]), f"mean of the last {num} finite losses in {of}"),
                **_curve(losses, f"means of equal stretches of the losses in {of}"),
            }  # fmt: skip
            told = dict(_leaves(run))
            self.lines += [
                Line(f"{where}.{key}", told.get(key), query, found) for key, (found, query) in expected.items()
            ]

    def _totals(self) -> None:
        report, found = self._report, {line.where: line.found for line in self.lines}
        num_runs = len(report["runs"])
        for name, key in (
            ("steps", "num_steps"),
            ("rows", "rows"),
            ("tokens", "tokens"),
            ("training_seconds", "seconds"),
        ):
            total = math.fsum(found[f"runs[{place}].{key}"] for place in range(num_runs))
            self.lines.append(Line(name, report[name], f"sum of the {key} of all runs", total))
        gpu = "SELECT coalesce(sum(gpu_seconds), 0) / 3600 FROM run_costs WHERE device LIKE 'cuda%'"
        self._one("gpu_hours", report["gpu_hours"], gpu)
        joules = "SELECT sum(joules) / 3.6e6 FROM run_costs WHERE joules IS NOT NULL"
        self._one("energy_kwh", report["energy_kwh"], joules)
        query = (
            "SELECT ? * sum(min(json_extract(s.value, '$[2]'), ?) - max(json_extract(s.value, '$[1]'), ?)) / 3600"
            " FROM run_costs, json_each(stretches) AS s"
        )
        begins, ends = self._window
        self._one("cost", report["cost"], query, self._price, ends, begins)
        self._one("bill.cost", report["bill"]["cost"], query, self._price, ends, begins)
        self._one("bill.energy_kwh", report["bill"]["energy_kwh"], joules)
        for place, one in enumerate(report["bill"]["by_run"]):
            of_run = f"{query} WHERE run = ?"
            self._one(f"bill.by_run[{place}].cost", one["cost"], of_run, self._price, ends, begins, one["run"])
        waiting = "SELECT count(*) FROM runs WHERE state IN ('running', 'queued')"
        self._one("queue", len(report["queue"]), waiting)
        self._one("queue_eta", report["queue_eta"], f"SELECT NULL WHERE ({waiting}) = 0")
        last = "FROM reports ORDER BY number DESC LIMIT 1"
        self._columns("", report, "begins ends created=made_at (ends-begins)/3600.0=hours", last)
        self.lines[-4:] = [
            Line(line.where.removeprefix("."), line.told, line.query, line.found) for line in self.lines[-4:]
        ]

    def _verdicts(self) -> None:
        where = (
            "FROM comparisons WHERE evaluation = ? AND candidate = ? AND against = ? AND benchmark = ? AND metric = ?"
        )
        names = "n candidate_score against_score difference low high minimum_detectable_effect"
        for place, verdict in enumerate(self._report["verdicts"]):
            query = "SELECT time FROM verdicts WHERE evaluation = ?"
            self._one(f"verdicts[{place}].at", verdict["at"], query, verdict["evaluation"])
            for number, score in enumerate(verdict["scores"]):
                key = (
                    verdict["evaluation"],
                    *(score[name] for name in ("candidate", "against", "benchmark", "metric")),
                )
                self._columns(f"verdicts[{place}].scores[{number}]", score, names, where, *key)

    def _champions(self) -> None:
        for place, champion in enumerate(self._report["champions"]):
            last = "FROM champions WHERE model = ? ORDER BY id DESC LIMIT 1"
            self._columns(f"champions[{place}]", champion, "version time=since", last, champion["model"])
            label = f"{champion['model']}/v{champion['version']}"
            for number, one in enumerate(champion["standings"]):
                rest = "FROM comparisons WHERE candidate = ? AND evaluation = ? AND benchmark = ? AND metric = ?"
                key = (label, one["evaluation"], one["benchmark"], one["metric"])
                self._columns(f"champions[{place}].standings[{number}]", one, "candidate_score=score n", rest, *key)

    def _incidents(self) -> None:
        for place, one in enumerate(self._report["incidents"]):
            where = f"incidents[{place}]"
            if one["id"] is not None:
                self._one(
                    f"{where}.num_events",
                    one["num_events"],
                    "SELECT count(*) FROM events WHERE incident = ?",
                    one["id"],
                )
                first = "SELECT min(time) FROM events WHERE incident = ?"
                self._one(f"{where}.opened_at", one["opened_at"], first, one["id"])
                self._one(
                    f"{where}.closed_at", one["closed_at"], "SELECT closed_at FROM incidents WHERE id = ?", one["id"]
                )
                continue
            rest = "FROM events WHERE incident IS NULL AND severity <> 'info' AND code = ? AND coalesce(run, evaluation, dataset, 'lab') = ?"
            self._columns(where, one, "count(*)=num_events min(time)=opened_at", rest, one["kind"], one["subject"])
            self.lines.append(Line(f"{where}.closed_at", one["closed_at"], "an event has no end", None))

    def _disk(self) -> None:
        self.lines.append(
            Line("free_bytes", self._report["free_bytes"], "disk: free now", shutil.disk_usage(self._root).free)
        )
        settings = read_settings(self._root / "stoker.toml")
        reserve = settings.guard.disk_reserve_megabytes << 20  # no run is left that would need room for a checkpoint
        self.lines += [
            Line("needed_bytes", self._report["needed_bytes"], "stoker.toml: guard.disk_reserve_megabytes", reserve),
            Line("(level of intervals, %)", 95, "stoker.toml: evaluate.confidence", 100 * settings.evaluate.confidence),
        ]
        state = self._root / ".stoker"
        places = {
            "checkpoints and messages of runs": [state / "runs"], "versions": [state / "models"], "base models": [state / "bases"],
            "files as they came": [state / "files"], "datasets": [state / "datasets", state / "tokens"],
            "evaluations": [state / "evaluations", state / "answers"],
        }  # fmt: skip
        sizes = {name: sum(map(_blocks, folders)) for name, folders in places.items()}
        sizes["everything else"] = _blocks(self._root) - sum(sizes.values())
        for name, told in self._report["used_bytes"].items():
            self.lines.append(Line(f"used_bytes.{name}", told, "disk: st_blocks of its folders now", sizes.get(name)))

    def _texts(self) -> list[str]:
        """Return every text of the store, the longest first."""
        tables = [row[0] for row in self._store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        wanted = [name for name in tables if name not in ("points", "blocks")]
        rows = (tuple(row) for name in wanted for row in self._store.execute(f'SELECT * FROM "{name}"'))
        return sorted({value for row in rows for value in row if isinstance(value, str)}, key=len, reverse=True)

    def _text(self, where: str, told: str, texts: list[str]) -> None:
        if not re.search(r"\d", told) or where in ("lab", "path", "timezone"):
            return
        if told in texts or any(told in text for text in texts):
            self.lines.append(Line(where, told, _WORDS, "it is there"))
            return
        self.lines += [Line(f"{where}: {token}", token, _ROUNDED, found) for token, found in self._loose(told, texts)]

    def _page(self, markdown: str, texts: list[str]) -> None:
        """Look up what the page says: what is no text of the store, number by number."""
        for number, line in enumerate(markdown.splitlines(), 1):
            for cell in line.strip("| ").split(" | "):
                cell = re.sub(r"\\([\\`*_\[\]<>|#~])", r"\1", cell).strip(" #-")
                if cell not in texts:
                    found = self._loose(cell, texts)
                    self.lines += [
                        Line(f"page, line {number}: {token}", token, _ROUNDED, value) for token, value in found
                    ]

    def _loose(self, text: str, texts: list[str]) -> Iterator[tuple[str, Any]]:
        """Yield each number of a text, but for texts of the store in it, with the looked-up number that it is, or None."""
        known = self._known()
        for value in texts:
            if len(value) >= _LEAST_TEXT and value in text:
                text = text.replace(value, " ")
        text = self._without_moments(_without_names(text, texts), known)
        for match in _DURATION.finditer(text):
            if match.group().strip():
                parts = [
                    (unit, float(part)) for unit, part in zip(_UNITS.values(), match.groups(), strict=True) if part
                ]
                seconds, coarse = math.fsum(unit * part for unit, part in parts), 0.5 * min(unit for unit, _ in parts)
                yield match.group().strip(), next((one for one in known if abs(one - seconds) <= coarse), None)
        for match in _TOKEN.finditer(
            _DURATION.sub(lambda found: " " if found.group().strip() else found.group(), text)
        ):
            yield match.group(), _rounded(match.group(), known)

    def _known(self) -> list[float]:
        """Return the numbers looked up so far, and the counts of what the report lists."""
        report = self._report
        known = [line.told if line.query.startswith("disk:") and line.is_match else line.found for line in self.lines]
        known = [one for one in known if isinstance(one, int | float)]
        counts = [len(value) for value in report.values() if isinstance(value, list)]
        counts += [len([one for one in report["incidents"] if one["done"] is not None])]
        counts += [len(one["scores"]) for one in report["verdicts"]]
        counts += [
            len(one["scores"]) - len([s for s in one["scores"] if s["is_primary"]]) for one in report["verdicts"]
        ]
        counts += [
            row[0]
            for row in self._store.execute(
                "SELECT count(*) FROM run_costs UNION ALL SELECT count(joules) FROM run_costs"
            )
        ]
        return [*known, *counts, 3600 * report["hours"], sum(report["used_bytes"].values())]

    def _without_moments(self, text: str, known: list[float]) -> str:
        zone = zoneinfo.ZoneInfo(self._report["timezone"]) if "/" in str(self._report["timezone"]) else None
        moments = [datetime.datetime.fromtimestamp(one, zone) for one in known if one > 1e9]
        for pattern in ("%Y-%m-%d %H:%M", "%m-%d %H:%M"):
            for words in {moment.strftime(pattern) for moment in moments}:
                text = text.replace(words, " ")
        return text


def _without_names(text: str, texts: list[str]) -> str:
    """Take out names that hold digits, as r1 or main/v1: those that the store holds."""
    names = re.findall(r"[A-Za-z][\w./-]*\d[\w./-]*", text)
    for name in sorted(names, key=len, reverse=True):
        if any(name.rstrip(".") in value for value in texts) or re.fullmatch(r"[a-z-]+/v\d+", name.rstrip(".")):
            text = text.replace(name, " ")
    return text


def _rounded(token: str, known: list[float]) -> float | None:
    plain = token.replace(",", "").replace("−", "-")
    digits = len(plain.partition(".")[2].partition("e")[0])
    told = float(plain)
    for one in known:
        for scale in _SCALES:
            is_near = abs(abs(one * scale) - abs(told)) <= 0.5000001 * 10**-digits
            if is_near or (told and float(f"{one * scale:.3g}") == told) or float(f"{one * scale:.4g}") == told:
                return one
    return None


def _ends(which: str, losses: Series, query: str) -> dict[str, tuple[Any, str]]:
    steps = list(losses)
    return {
        f"{which}_loss": (math.fsum(losses.values()) / len(losses), query),
        f"{which}_steps[0]": (steps[0], query),
        f"{which}_steps[1]": (steps[-1], query),
    }


def _curve(losses: Series, query: str) -> dict[str, tuple[Any, str]]:
    steps, values, found = list(losses), list(losses.values()), {}
    num = min(120, len(values))
    for place in range(num):
        first, last = round(place * len(values) / num), round((place + 1) * len(values) / num)
        found[f"curve[{place}][0]"] = (steps[last - 1 if place else 0], query)
        found[f"curve[{place}][1]"] = (math.fsum(values[first:last]) / (last - first), query)
    return found


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{place}]")
    elif value is not None:
        yield where, value


def _blocks(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_dir())


def _filled(query: str, values: tuple[Any, ...]) -> str:
    for value in values:
        query = query.replace("?", repr(value), 1)
    return query


def table(lines: list[Line], is_short: Callable[[Line], bool] = lambda line: "curve[" in line.where) -> str:
    """Return the lines as Markdown; those of a curve are counted, not listed."""
    shown = ["| number | report | store | match | query |", "|---|---|---|---|---|"]
    for line in lines:
        if not (is_short(line) and line.is_match):
            cells = (line.where, line.told, line.found, "yes" if line.is_match else "NO", line.query)
            shown.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    num_short = sum(is_short(line) and line.is_match for line in lines)
    num_matches = sum(line.is_match for line in lines)
    return "\n".join([*shown, "", f"{num_matches} of {len(lines)} match; {num_short} points of curves are not listed."])


def _cell(value: Any) -> str:
    text = (
        f"{value:.6g}"
        if isinstance(value, float) and abs(value) < 1e6
        else json.dumps(value)
        if not isinstance(value, str)
        else value
    )
    return (text if len(text) <= 160 else text[:157] + "...").replace("|", "\\|").replace("\n", " ")
