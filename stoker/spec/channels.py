"""What a channel of [alerts] may be: an apprise URL, `env:NAME` or `file:PATH` that hold one, or "desktop".

A URL carries its secret, so none is ever shown: `shown` is what people and programs may see of one, `redact` takes a
URL's parts out of other programs' words. References are resolved where a message is sent, never kept.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from stoker.errors import InvalidInput

DESKTOP = "desktop"
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,31}"
_REFERENCE = re.compile(r"(env|file):(?!//)(.*)", re.DOTALL)
_SCHEMA = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SEPARATORS = re.compile(r"[:/?&=@,#\s]+")
_SHORTEST_SECRET = 4
_EXAMPLE = 'for example "ntfys://my-topic", "env:ALERT_URL" or "file:alert.url"; see docs/alerts.md'


def check_channel(text: str) -> None:
    """Raise InvalidInput, which does not repeat the text, unless it is a reference or a URL that apprise takes."""
    if text == DESKTOP:
        return
    if reference := _REFERENCE.fullmatch(text):
        _check_reference(*reference.groups())
        return
    if not _SCHEMA.match(text):
        raise InvalidInput(
            "it is neither a URL nor a reference", "a channel is SERVICE://..., env:NAME or file:PATH", _EXAMPLE
        )
    if not is_apprise_url(text):
        why = (
            f"apprise does not take this {shown(text)} URL: the service or a part of it is not known, or one is missing"
        )
        raise InvalidInput("it does not parse", why, _EXAMPLE)


def is_apprise_url(url: str) -> bool:
    """Tell whether apprise can make a notifier of `url`; nothing is sent. The first call takes about a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its hundred plugins import what is deprecated
        import apprise  # not at the top: only a lab that has a channel pays for it

        silence_apprise()
        return apprise.Apprise.instantiate(url, suppress_exceptions=True) is not None


def silence_apprise() -> None:
    """Keep apprise's log from every handler: it repeats URLs. What it says of a message is read off its result."""
    log = logging.getLogger("apprise")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())


def resolve_channel(text: str, root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL that a channel means; InvalidInput names the variable or the file that gives none.

    A relative `file:` is below `root`, the lab; its first line counts.
    """
    reference = _REFERENCE.fullmatch(text)
    if reference is None:
        return text
    kind, name = reference.groups()
    if kind == "env":
        value = environment.get(name, "").strip()
        if not value:
            raise InvalidInput(
                f"{name} is not set", "the channel is env:" + name, f"export {name}=URL before stoker up"
            )
        return value
    path = root / Path(name).expanduser()
    try:
        value = path.read_text("utf-8").strip().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"{path} can't be read", str(why), "put the channel's URL into it") from None
    if not value:
        raise InvalidInput(f"{path} is empty", "", "put the channel's URL into it")
    return value


def shown(text: str) -> str:
    """Return what may be seen of a channel: a reference whole, of a URL its service alone."""
    if text == DESKTOP or _REFERENCE.fullmatch(text):
        return text
    schema = _SCHEMA.match(text)
    return f"{schema[1].lower()}://***" if schema else "***"


def redact(words: str, url: str) -> str:
    """Return `words` without the URL and without any part of it that may be secret."""
    rest = url.partition("://")[2]
    parts = {url, rest, unquote(rest)}
    for text in (rest, unquote(rest)):
        parts |= {part for part in _SEPARATORS.split(text) if len(part) >= _SHORTEST_SECRET}
    for part in sorted(parts, key=len, reverse=True):
        if part:
            words = words.replace(part, "***")
    return words


def _check_reference(kind: str, name: str) -> None:
    if kind == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise InvalidInput(
            "its variable has no name", "env: is followed by the name of an environment variable", _EXAMPLE
        )
    if kind == "file" and not name.strip():
        raise InvalidInput("its file has no path", "file: is followed by a path", _EXAMPLE)
