"""Sends one message through apprise and says truthfully whether it left.

Nothing that apprise says passes unredacted: its words may hold the URL. Threads: mail gets a stable Message-ID, so that
a message sent twice after a crash is one for the reader, and later ones answer the first; webhooks get the thread's id;
everywhere else the incident's id is in the title.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stoker.errors import StokerError
from stoker.notify import desktop
from stoker.notify.wording import first_word
from stoker.spec.channels import DESKTOP, redact, silence_apprise

_TYPES = {"info": "info", "warn": "warning", "critical": "failure"}
_NOTHING_SAID = "the service did not take it"


@dataclass(frozen=True)
class Message:
    """`thread` is the same for all messages of an incident in a channel; `key` is the message's own and stays the same
    when it is sent again; `attachment` is a path."""

    alert: int
    kind: str
    severity: str
    title: str
    text: str
    thread: str
    key: str
    attachment: str | None = None

    @property
    def is_answer(self) -> bool:
        """Tell whether another message of the thread came before."""
        return self.kind in ("worse", "reopened", "reminder", "recovered")


class NotSent(StokerError):
    """The message did not leave; the words hold no secret."""


def send(url: str, message: Message, timeout_seconds: float) -> str:
    """Send a message and return who took it; NotSent otherwise."""
    if url == DESKTOP and desktop.apprise_url() is None:
        try:
            return desktop.show(_short_title(message), message.text, message.severity, message.thread)
        except StokerError as error:
            raise NotSent(str(error)) from None
    return _send_through_apprise(desktop.apprise_url() or url if url == DESKTOP else url, message, timeout_seconds)


def _send_through_apprise(url: str, message: Message, timeout_seconds: float) -> str:
    import apprise

    silence_apprise()
    notifier = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if notifier is None:
        raise NotSent("apprise does not take the channel's URL, or a system library for this service is missing")
    box = apprise.Apprise()
    if not box.add(notifier):
        raise NotSent("apprise does not take the channel's URL")
    is_mail = "Email" in type(notifier).__name__
    _mark_thread(notifier, message, is_mail)
    attach = message.attachment if getattr(notifier, "attachment_support", False) else None
    with _message_id(message) if is_mail else contextlib.nullcontext():
        result = box.notify(
            body=message.text,
            title=_mail_subject(message) if is_mail else _short_title(message),
            notify_type=_TYPES[message.severity],
            attach=attach,
            timeout=timeout_seconds,
        )
    if not result:  # false, none matched, or in part
        raise NotSent(redact(_reason(result), url))
    return str(getattr(notifier, "service_name", "") or "the service")


def _mark_thread(notifier: Any, message: Message, is_mail: bool) -> None:
    headers = getattr(notifier, "headers", None)
    if isinstance(headers, dict):
        if not is_mail:
            headers["Idempotency-Key"] = message.key
        elif message.is_answer:
            headers |= {"In-Reply-To": _mail_id(message.thread), "References": _mail_id(message.thread)}
    extras = getattr(notifier, "payload_extras", None)
    if isinstance(extras, dict):
        extras |= {"thread": message.thread, "key": message.key, "state": message.kind, "severity": message.severity}


@contextlib.contextmanager
def _message_id(message: Message) -> Iterator[None]:
    """Give the mail our own Message-ID: apprise makes a random one and takes no other."""
    from apprise.plugins.email import base

    chosen = _mail_id(message.key if message.is_answer else message.thread)
    own = base.make_msgid
    base.make_msgid = lambda **_: chosen
    try:
        yield
    finally:
        base.make_msgid = own


def _mail_id(name: str) -> str:
    return f"<{name}@stoker.invalid>"


def _mail_subject(message: Message) -> str:
    return f"Re: {message.title}" if message.is_answer else message.title


def _short_title(message: Message) -> str:
    return f"{first_word(message.kind, message.severity)}: {message.title}"


def _reason(result: Any) -> str:
    """Return what apprise said on the way, the gravest last words first."""
    try:
        words = [str(entry.message) for entry in result.logs()]
    except (AttributeError, TypeError):
        words = []
    status = getattr(getattr(result, "status", None), "name", "").lower()
    return "; ".join(words[-2:]) or (f"{_NOTHING_SAID} ({status})" if status else _NOTHING_SAID)
