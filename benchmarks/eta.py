"""How often the 80 % intervals of remaining time hold, at recorded moments of real runs.

The runs are those that `benchmarks/traces.py` recorded (their steps' seconds, on a machine that other work shared), and
with --lab those of a lab, read from its runs' messages.

    python benchmarks/eta.py [--lab DIR]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import harness

from stoker.analysis.calibration import SHARES, Moment, moments_of_past, moments_of_steps, share_held
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.workspace import Workspace

TRACES = Path(__file__).parent.parent / "tests" / "analysis" / "detectors" / "traces"
Run = tuple[list[float], float]
"""Seconds of each step, and tokens in all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", type=Path, help="a lab whose runs are measured instead")
    lab = parser.parse_args().lab
    runs = lab_runs(lab) if lab else recorded_runs()
    from_steps = [moment for seconds, _ in runs for moment in moments_of_steps(seconds)]
    from_past = moments_of_past([(tokens, sum(seconds)) for seconds, tokens in runs])
    rows = [_row(f"own steps, at {100 * share:.0f} %", [m for m in from_steps if m.share == share]) for share in SHARES]
    rows += [_row("own steps, all", from_steps), _row("past runs, before the first step", from_past)]
    rows.append(_row("all", from_steps + from_past))
    body = harness.table(["from", "moments", "80 % interval held", "median error"], [row for row in rows if row])
    note = (
        f"{len(runs)} runs. Error: the estimate's distance from the truth, as a share of it. The two constants of the interval "
        "from own steps were chosen on these recorded runs; that from past runs has none that was."
    )
    harness.write_section("Remaining time", " ".join(["python benchmarks/eta.py", *sys.argv[1:]]), f"{body}\n\n{note}")


def recorded_runs() -> list[Run]:
    traces = [json.loads(path.read_bytes()) for path in sorted(TRACES.glob("*.json"))]
    return [(trace["seconds"], sum(trace["tokens"])) for trace in traces]


def lab_runs(lab: Path) -> list[Run]:
    runs = []
    for folder in sorted((Workspace(lab).state / "runs").iterdir()):
        journal, steps = JournalReader(folder / MESSAGES), {}
        while records := journal.read():
            steps |= {each["step"]: (each["seconds"], each["tokens"]) for each in records if each.get("kind") == "step"}
        if len(steps) > 20:
            runs.append(
                ([seconds for seconds, _ in steps.values()], float(sum(tokens for _, tokens in steps.values())))
            )
    return runs


def _row(name: str, moments: list[Moment]) -> list[str]:
    if not moments:
        return []
    error = statistics.median(moment.error for moment in moments)
    return [name, str(len(moments)), f"{100 * share_held(moments):.0f} %", f"{100 * error:.0f} %"]


if __name__ == "__main__":
    main()
