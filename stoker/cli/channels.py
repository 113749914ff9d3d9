"""Whether each channel of [alerts] could be used from here: its reference resolves, its URL is one, a desktop is there.

Nothing is sent, and nothing of a URL but its service is shown: `stoker alert test CHANNEL` sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stoker.cli.finding import Finding
from stoker.errors import UserError

if TYPE_CHECKING:
    from stoker.spec.alerting import AlertsSpec


def check_channels(spec: AlertsSpec, root: Path) -> Iterator[Finding]:
    """Yield a finding for each channel, and one for the desktop, which is always a channel."""
    from stoker.spec.channels import DESKTOP

    secrets = {name: secret.get_secret_value() for name, secret in spec.channels.items()}
    for name, secret in secrets.items():
        yield _channel(f"channel {name}", name, secret, root, is_used=_is_used(spec, name))
    is_used = any(DESKTOP in route.to for route in spec.routes)
    yield _desktop("desktop", is_used=is_used)
    if not spec.channels and not spec.routes:
        yield Finding("alerts", "ok", "nobody is told of incidents: there is no channel; docs/alerts.md has recipes")


def _is_used(spec: AlertsSpec, name: str) -> bool:
    return not spec.routes or any(name in route.to for route in spec.routes)


def _channel(title: str, name: str, secret: str, root: Path, *, is_used: bool) -> Finding:
    from stoker.spec.channels import DESKTOP, is_apprise_url, resolve_channel, shown

    try:
        url = resolve_channel(secret, root)
    except UserError as error:
        return Finding(
            title, "warn", f"{shown(secret)}: {error.what}{f', {error.why}' if error.why else ''}", error.remedy
        )
    if url == DESKTOP:
        return _desktop(title, is_used=is_used)
    where = shown(secret) if shown(secret) == shown(url) else f"{shown(secret)}, {shown(url)}"
    if not is_apprise_url(url):
        return Finding(title, "warn", f"{where}: apprise does not take this URL", "docs/alerts.md has recipes")
    if not is_used:
        return Finding(title, "warn", f"{where}: no route leads to it", f'add "{name}" to a route of alerts.routes')
    return Finding(title, "ok", f"{where}; it was not tried, nothing is sent: stoker alert test {name}")


def _desktop(title: str, *, is_used: bool) -> Finding:
    from stoker.notify import desktop

    try:
        return Finding(title, "ok", f"notifications are shown by {desktop.find()}")
    except UserError as error:
        detail = f"{error.what}: {error.why}"
        if is_used:
            return Finding(title, "warn", detail, error.remedy)
        return Finding(title, "ok", f"{detail}; no route leads to it")
