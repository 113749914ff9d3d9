"""The words for a model behind an API: "http://host:port/v1#name", and for where its key is. Nothing is asked here."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from stoker.errors import UsageError
from stoker.spec.jobs import EndpointRef


def is_endpoint(reference: str) -> bool:
    """Tell whether these are the words for a model behind an API."""
    return re.match(r"https?://", reference, re.IGNORECASE) is not None


def endpoint_ref(reference: str, key: str = "") -> EndpointRef:
    """Return the endpoint that "http://host:port/v1#name" means; UsageError when a part is missing or a secret is in it."""
    address, _, name = reference.partition("#")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{address} is no address ({error})", "", "write http://HOST:PORT/v1#MODEL") from None
    if parts.password or parts.username or parts.query:
        raise UsageError(
            f"the address of {host} holds a name, a password or a query", "results are filed under the address",
            "leave it out and give the key with --key env:NAME",
        )  # fmt: skip
    if not host:
        raise UsageError(f"{reference} names no host", "", "write http://HOST:PORT/v1#MODEL")
    if not name:
        raise UsageError(
            f"{reference} names no model", "an endpoint may serve several",
            f"add #NAME; the names are at {address.rstrip('/')}/models",
        )  # fmt: skip
    if key and not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+", key):
        raise UsageError(
            "the key is not a reference", "a key on a command line is seen by every user of the machine",
            "put it into a variable and write --key env:NAME, or into a file and write --key file:PATH",
        )  # fmt: skip
    url = address.rstrip("/")
    netloc = f"{host}:{port}" if port else host
    label = f"{parts.scheme.lower()}://{netloc}{urlsplit(url).path}#{name}"
    return EndpointRef(label=label, url=url, model=name, key=key)
