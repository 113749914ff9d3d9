"""Renders a template of `templates/` into one HTML file that needs nothing else.

Whatever comes from a file is hostile: every value is escaped, what would hide or turn words around is shown as a sign, and
a policy in the page forbids scripts, images and every connection even if that should fail.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stoker import __version__
from stoker.data.visible import visible


def render_page(template: str, **facts: Any) -> str:
    """Return the page; StrictUndefined makes a fact that the template lacks an error."""
    made = time.strftime("%Y-%m-%d %H:%M %Z").strip()
    return _environment().get_template(template).render(version=__version__, made=made, **facts)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stoker.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["count"] = _count
    return environment


def _shown(value: Any) -> Any:
    """Make every text safe to look at; what a template itself wrote (Markup) is left as it is."""
    return visible(value) if type(value) is str else value


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
