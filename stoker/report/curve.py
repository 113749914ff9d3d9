"""The page about a run's learning curve: what `templates/curve.html` shows, from plain facts and the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stoker.analysis.curve import Analysis, Curve, smoothed
from stoker.report.curves import Plot, plot
from stoker.report.page import render_page

_TABLE_ROWS = 20
_GRADES = {
    "good": "good", "plateau": "good", "underfitted": "warn", "rising": "warn", "overfitted": "warn", "memorising": "warn", "diverged": "bad", "too-short": "faint",
}  # fmt: skip


@dataclass(frozen=True)
class CurveFacts:
    """A run in numbers: raw losses, held-out losses, learning rates and gradient norms by step."""

    name: str
    facts: Sequence[tuple[str, str]]
    losses: Curve
    heldout: Curve
    rates: Curve
    norms: Curve


def curve_page(about: CurveFacts, analysis: Analysis) -> str:
    """Return the HTML of the page."""
    level = smoothed(about.losses) if analysis.state != "too-short" else []
    marks = [("best", float(analysis.best_step))] if analysis.best_step is not None else []
    plots = [
        plot(
            "Loss (nats per token)",
            [("each step", "pale", about.losses), ("smoothed", "one", level), ("held-out", "three", about.heldout)],
            marks,
        ),
        plot("Learning rate", [("learning rate", "one", about.rates)]),
        plot("Gradient norm before clipping", [("gradient norm", "one", about.norms)]),
    ]
    return render_page(
        "curve.html",
        about=about,
        analysis=analysis,
        grade=_GRADES[analysis.state],
        plots=[each for each in plots if isinstance(each, Plot)],
        rows=_rows(level, about.heldout),
    )


def _rows(level: Sequence[tuple[float, float]], heldout: Curve) -> list[tuple[int, float, float | None]]:
    """Return step, smoothed loss and the held-out loss last seen, for about twenty steps."""
    stride = max(1, len(level) // _TABLE_ROWS)
    rows = []
    for step, loss in [*level[::stride], *level[-1:]]:
        seen = [value for at, value in heldout if at <= step]
        rows.append((int(step), loss, seen[-1] if seen else None))
    return list(dict.fromkeys(rows))
