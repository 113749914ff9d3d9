"""RELIABILITY.md, written from what the chaos harness recorded: `python tests/chaos/reliability.py`.

`reliability.json` holds one record for each fault, one for the chain kill and one for the changes of a run; every figure of the page is from there.
"""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import orjson

from stoker.durable import write_atomic

RESULTS = Path(__file__).with_name("reliability.json")
PAGE = Path(__file__).resolve().parents[2] / "RELIABILITY.md"
_HEAD = """\
# Reliability

Written by `make chaos` from the recorded results (`tests/chaos/reliability.json`); not edited by hand.

Each fault is injected once into a lab of two files under a real `stoker up` with the tiny model, which then has to come to its end without
a hand: every run done, every file trained exactly once, the store whole by SQLite's own check, every event told that the fault calls for
and none that it does not. "Same numbers": every loss, version and comparison is that of the undisturbed lab, bit for bit; otherwise the
final held-out loss has to be within 2 %. The table of faults is `tests/chaos/faults.py`.
"""


def page(results: dict[str, Any]) -> str:
    """Return the page of these results."""
    faults = results.get("faults", {})
    num_recovered = sum(record["is_recovered"] for record in faults.values())
    lines = [_HEAD, f"**{num_recovered} of {len(faults)} faults recovered without a hand.**\n"]
    lines += [
        "| fault | recovered | numbers | what was told | seconds | date | machine |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(name, record) for name, record in faults.items()]
    kills = results.get("kills")
    if kills is not None:
        lines += ["", "## Kills at random moments\n", f"{kills['text']}; {kills['date']}, {kills['machine']}.", ""]
        lines += ["The labs ended as the undisturbed one did, bit for bit: losses, versions, verdicts, rows."]
    changes = results.get("changes")
    if changes is not None:
        lines += ["", "## Changes while a run goes on\n", _of_changes(changes)]
    return "\n".join(lines) + "\n"


def record(section: str, name: str | None, facts: dict[str, Any]) -> None:
    """Put a result among those recorded, with the date and the class of this machine."""
    results = orjson.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
    facts = {**facts, "date": datetime.date.today().isoformat(), "machine": _machine()}
    if name is None:
        results[section] = facts
    else:
        results.setdefault(section, {})[name] = facts
    write_atomic(RESULTS, orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _of_changes(record: dict[str, Any]) -> str:
    """Return what is told of the run that was changed all the way."""
    losses = "the same losses, bit for bit" if record["is_same"] else "**other losses**"
    return f"""\
{record["num_changes"]} random changes of {record["num_names"]} parameters (every one that may change), asked one after the other of a run
under `stoker up` that was paused and resumed once and killed (`kill -9`) once, a change being asked each time before it went on;
{record["num_resumes"]} resumes, {record["num_steps"]:,} steps. Trained anew from its job and the changes written down, without a pause or a kill, it
came to {losses}, at every step.

| from the request to its effect | median | most |
|---|---|---|
| seconds | {record["median_seconds"]:g} | {record["most_seconds"]:g} |
| steps computed meanwhile | {record["median_steps"]:g} | {record["most_steps"]:g} |

{record["num_in_time"]} of {record["num_changes"]} took effect within one step or 5 s; {record["date"]}, {record["machine"]}."""


def _line(name: str, record: dict[str, Any]) -> str:
    numbers = "same" if record["is_exact"] else f"held-out loss {record['heldout_difference']:+.2%}"
    told = ", ".join(f"`{code}`" for code in record["events"]) or "nothing"
    recovered = "yes" if record["is_recovered"] else "**no**"
    return f"| {name} | {recovered} | {numbers} | {told} | {record['seconds']:g} | {record['date']} | {record['machine']} |"


if __name__ == "__main__":
    PAGE.write_text(page(orjson.loads(RESULTS.read_bytes())), "utf-8")
