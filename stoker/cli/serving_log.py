"""`stoker serve log`: who asked what when, how long it took, and totals by key and model."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table, say
from stoker.cli.durations import moment
from stoker.cli.lab import current_lab
from stoker.data.visible import visible

_LATENCY = ("first p50", "first p95", "p50", "p95")
_NUMBERS = ("requests", "failed", "tokens in", "tokens out", *_LATENCY)


def log(
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="Only this key or link: its id or name.")] = "",
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Only this version, or model.")] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="From then on: 24h, 7d, 2026-11-20 or 2026-11-20T07:00.")
    ] = "24h",
    most: Annotated[int, typer.Option("--most", min=0, help="At most so many requests, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show requests, and totals of all that match with the median and 95th percentile of their latencies."""
    from stoker.serve import log_queries

    folder = current_lab().serving
    begins = _since(since)
    names = _names()
    chosen: dict[str, Any] = {"since": begins, "passes": _passes(key, names), "model": model or None}
    requests = [{**one, "name": names.get(one["key"])} for one in log_queries.requests(folder, **chosen, most=most)]
    totals = log_queries.totals(folder, **chosen)
    totals["by_key"] = [{**one, "name": names.get(one["key"])} for one in totals["by_key"]]
    lost = log_queries.lost_lines(folder, since=begins)
    if as_json:
        print_json({"since": begins, "requests": requests, "totals": totals, "lost": lost})
        return
    _print(requests, totals)
    if lost:
        note(f"{lost:,} requests are not in the log: it could not be written, the disk was full perhaps")
    if not totals["all"]["requests"]:
        note(f"no requests since {units.date_time(begins)}")


def _print(requests: list[dict[str, Any]], totals: dict[str, Any]) -> None:
    rows = [
        (units.date_time(one["time"])[5:], visible(one["name"] or one["key"] or "-"), visible(one["model"]),
         one["endpoint"].removeprefix("/v1/"), one["status"], one["tokens_in"], one["tokens_out"], _brief(one["first_token_seconds"]),
         _brief(one["seconds"]), visible(one["error"] or "")[:60])
        for one in requests
    ]  # fmt: skip
    numbers = ("status", "in", "out", "first", "took")
    print_table(("time", "key", "model", "endpoint", *numbers, "error"), rows, numbers=numbers)
    if len(requests) < totals["all"]["requests"]:
        note(f"the newest {len(requests):,} of {totals['all']['requests']:,} requests")
    for title in ("key", "model"):
        groups = totals[f"by_{title}"]
        if groups:
            say()
            shown = [(visible(one.get("name") or one[title]), *_total(one)) for one in groups]
            if title == "model" and len(groups) > 1:
                shown.append(("all", *_total(totals["all"])))
            print_table((title, *_NUMBERS), shown, numbers=_NUMBERS)


def _total(one: dict[str, Any]) -> tuple[str, ...]:
    counts = (units.count(one[name]) for name in ("requests", "failed", "tokens_in", "tokens_out"))
    latencies = (f"{name}_{share}" for name in ("first_token_seconds", "seconds") for share in ("p50", "p95"))
    return (*counts, *(_brief(one[name]) for name in latencies))


def _brief(seconds: float | None) -> str:
    """0.0123 -> "12 ms"."""
    return f"{1000 * seconds:.0f} ms" if seconds is not None and seconds < 0.9995 else units.duration(seconds)


def _names() -> dict[str, str]:
    from stoker.cli.serving_keys import keyring

    return {one.id: one.name for one in keyring().passes()}


def _passes(reference: str, names: dict[str, str]) -> list[str]:
    from stoker.errors import NotFound

    found = [id for id, name in names.items() if reference in (id, name)]
    if reference and not found:
        raise NotFound(
            f"no key or link {visible(reference)!r}", "", "run: stoker serve key list, or: stoker serve link list"
        )
    return found if reference else []


def _since(text: str) -> float:
    from stoker.spec.reading import read_settings

    return moment("--since", text, time.time(), read_settings(current_lab().settings).lab.zone)
