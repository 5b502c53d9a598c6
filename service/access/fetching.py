"""Small JSON documents of the provider of identities, fetched with a deadline and a limit of size."""

import http.client
import ipaddress
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.tls import client_context

_MOST_BYTES = 1 << 20
_BLOCK = 16 << 10


class NotFetched(Exception):
    """There is no document to be had; the message says why, for the log."""


def is_safe(url: str) -> bool:
    """Whether what is at `url` can be trusted to come from there: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or not url.isascii() or any(c <= " " for c in url) or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def document(url: str, *, ca_file: Path | None, timeout_s: float) -> dict[str, Any]:
    """The object in JSON at `url`, of at most 1 MiB, within `timeout_s`; `NotFetched`.

    Redirections are not followed. `ca_file` holds authorities that are trusted beside the machine's own.
    """
    if not is_safe(url):
        raise NotFetched("it is no https URL")
    deadline = time.monotonic() + timeout_s
    try:
        content = _content(url, ca_file, deadline)
        found = json.loads(content)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise NotFetched(f"{type(error).__name__} {error}".strip()) from error
    except (ValueError, RecursionError):
        raise NotFetched("it is no JSON") from None
    if not isinstance(found, dict):
        raise NotFetched("it is no object in JSON")
    return found


def _content(url: str, ca_file: Path | None, deadline: float) -> bytes:
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, ca_file, _left(deadline))
    try:
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
        response = connection.getresponse()
        if response.status != 200:
            raise NotFetched(f"the answer is {response.status}")
        content = bytearray()
        while block := response.read1(_BLOCK):
            content += block
            if len(content) > _MOST_BYTES:
                raise NotFetched("it is larger than 1 MiB")
            _left(deadline)
        return bytes(content)
    finally:
        connection.close()


def _connection(
    scheme: str, host: str, port: int | None, ca_file: Path | None, timeout_s: float
) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = client_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it takes too long")
    return left


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
