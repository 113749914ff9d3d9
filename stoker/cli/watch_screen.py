"""The screen of `stoker run watch`: one picture of a run for a terminal of any size. It only draws what `Seen` holds.

From the top: how far it is, the loss with its trend and the held-out loss, rate, gradient norm, speed, the machine, the last
samples, live changes and events. What is not there takes no room; the chart gets what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.machine import gpu_line, host_line
from stoker.cli.narration import event_line
from stoker.cli.pace import Pace
from stoker.cli.plot import Curve, chart, trend
from stoker.data.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

CURVES = ("loss", "heldout_loss", "grad_norm", "learning_rate")
_LEAST_CHART = 6
_ROOM_FOR_TWO = 20
"""From so many lines on the gradient norm has a chart of its own."""


@dataclass(frozen=True)
class Seen:
    """What is known of a run at one moment, as the reader tells it."""

    detail: Mapping[str, Any]
    last: Mapping[str, Any]
    pace: Pace
    curves: Mapping[str, Mapping[str, Any]]
    machine: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]
    changes: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]


def screen(seen: Seen, width: int, height: int) -> RenderableType:
    """Return the picture, at most `height` lines."""
    from rich.console import Group

    head = [_title(seen), _progress(seen, width)]
    facts = _facts(seen, width)[: max(height - 4, 0)]
    spare = max(height - len(head) - len(facts) - _LEAST_CHART - 1, 0)
    events = _events(seen, min(len(seen.events), 8, max(spare // 2, min(spare, 2))))
    changes = [_change(change) for change in seen.changes[len(seen.changes) - min(len(seen.changes), spare // 4) :]]
    samples = [_sample(sample) for sample in seen.samples[: max((spare - len(events) - len(changes)) // 3, 0)]]
    foot = [*facts, *_block("samples", samples), *_block("changes", changes), *_block("events", events)]
    room = height - len(head) - len(foot) - 1
    return Group(*head, *_charts(seen, width, room), *foot)


def _title(seen: Seen) -> Text:
    detail = seen.detail
    version = f"  {detail['model']}/v{detail['version']}" if detail["version"] else ""
    phase = f" ({detail['phase']})" if detail["phase"] and detail["phase"] != "train" else ""
    text = _line((f"{detail['id']}", "bold"), f"{version}  ", (detail["state"] + phase, _state_style(detail["state"])))
    return text.append(f": {detail['reason']}", "dim") if detail["reason"] else text


def _progress(seen: Seen, width: int) -> Text:
    step, total = seen.detail["step"], seen.detail["total_steps"]
    words = f"  step {step:,} of {total:,}" if total else f"  step {step:,}"
    if seen.last.get("epoch") is not None:
        words += f"  epoch {seen.last['epoch']:.2f}"
    if seen.detail["state"] == "running":
        words += f"  ETA {units.eta(seen.pace.eta)}"
    room = min(max(width - len(words), 0), 40)
    done = round(room * step / total) if total else 0
    return _line(("━" * done, "cyan"), ("━" * (room - done), "dim"), words)


def _charts(seen: Seen, width: int, room: int) -> list[RenderableType]:
    loss, norm = _points(seen, "loss"), _points(seen, "grad_norm")
    if not loss.at or room < _LEAST_CHART:
        return [_line(("no step yet", "dim"))]
    first, last = loss.at[0], max(seen.detail["step"], loss.at[-1])
    smooth = trend(loss.value)
    heldout = _points(seen, "heldout_loss")
    heading = _line(("loss ", "bold"), f"{units.loss(seen.last.get('loss'))}  ", ("trend ", "bold cyan"), _last(smooth))
    curves = [Curve(loss.at, loss.value, "bright_black"), Curve(loss.at, smooth, "cyan")]
    if heldout.at:
        heading.append("  held-out ", "bold yellow").append(f"{_last(heldout.value)} at step {heldout.at[-1]:,}")
        curves.append(Curve(heldout.at, heldout.value, "yellow"))
    below = room // 4 if room >= _ROOM_FOR_TWO and norm.at else 0
    drawn: list[RenderableType] = [heading, chart(curves, width, room - 1 - below, first, last)]
    if below:
        drawn += [
            _line(("gradient norm ", "bold"), f"{units.number(seen.last.get('grad_norm'))} before clipping"),
            chart([Curve(norm.at, norm.value, "green")], width, below - 1, first, last),
        ]
    return drawn


def _facts(seen: Seen, width: int) -> list[Text]:
    now, facts = seen.machine["now"], seen.machine["facts"]
    spark = max(min(width - 40, 60), 8)
    rows = [
        ("rate", f"{units.number(seen.last.get('learning_rate')):<11} {_spark(seen, 'learning_rate', spark)}"),
        ("gradient norm", f"{units.number(seen.last.get('grad_norm')):<11} {_spark(seen, 'grad_norm', spark)}"),
        (
            "speed",
            f"{units.count(seen.pace.tokens_per_second)} tokens/s, {units.number(seen.pace.rows_per_second)} examples/s",
        ),
        ("GPU", gpu_line(now, facts)),
        ("machine", host_line(now, facts)),
    ]
    return [_line((f"{name:<14} ", "dim"), text) for name, text in rows if text]


def _events(seen: Seen, limit: int) -> list[Text]:
    styles = {"critical": "bold red", "warn": "yellow"}
    return [
        _line((_shown(event_line(event["time"], event["severity"], event["text"])), styles.get(event["severity"], "")))
        for event in seen.events[len(seen.events) - limit :]
    ]


def _sample(sample: Mapping[str, Any]) -> Text:
    mark, style = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}[sample["is_match"]]
    answer = "no answer" if sample["answer"] is None else _shown(sample["answer"])
    nll = "" if sample["nll"] is None else f"  {sample['nll']:.2f} nats"
    asked = f"{_shown(sample['prompt'])[-60:]} → "
    return _line(
        (f"{mark} ", style), (asked, "dim"), answer, (f"  (expected {_shown(sample['expected'])}){nll}", "dim")
    )


def _change(change: Mapping[str, Any]) -> Text:
    where = f" at step {change['step']:,}" if change["step"] is not None else ""
    reason = f": {change['reason']}" if change["reason"] else ""
    text = f"{change['name']} {change['old']} → {change['new']}, {change['state']}{where}{reason}"
    return _line((_shown(text), "red" if change["state"] == "rejected" else ""))


def _shown(text: str) -> str:
    """Someone else's text on one line, its control characters as numbers."""
    return visible(" ".join(text.split()))


def _block(name: str, lines: Sequence[Text]) -> list[Text]:
    """Return lines under one another, the first one named."""
    from rich.text import Text

    named = []
    for index, line in enumerate(lines):
        text = Text(f"{name if index == 0 else '':<14} ", style="dim", no_wrap=True, overflow="ellipsis")
        named.append(Text.assemble(text, line, no_wrap=True, overflow="ellipsis"))
    return named


def _line(*parts: str | tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _points(seen: Seen, name: str) -> Curve:
    found = seen.curves.get(name, {"at": [], "value": []})
    return Curve(found["at"], found["value"], "")


def _spark(seen: Seen, name: str, width: int) -> str:
    return units.sparkline([value for value in _points(seen, name).value if value is not None], width)


def _last(values: Sequence[float | None]) -> str:
    return units.loss(next((value for value in reversed(values) if value is not None), None))


def _state_style(state: str) -> str:
    return {"running": "cyan", "done": "green", "failed": "bold red", "parked": "bold red"}.get(state, "yellow")
