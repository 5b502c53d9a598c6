"""Whether the programs are well, asked from outside of them, as containers and clusters do now and then."""

import http.client
import json
import runpy
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.environment import SettingError, integer, text

_ANSWER_S = 4.0
_ANSWER_BYTES = 4096
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Health:
    """What one program said; `absent` if nothing listens where it should."""

    well: bool
    told: str
    absent: bool = False


def health(target: str | None, environ: Mapping[str, str]) -> list[Health]:
    """How `target` is: `serve`, `bridge` or a URL; without one, each of the two programs that listens.

    What does not listen does not run here, as in the containers of the other program; where neither
    does, both are told. `SettingError` for a target that is none of these.
    """
    if target == "bridge":
        return [_bridge(environ)]
    if target not in (None, "serve"):
        return [ask(target)]
    service = ask(_service_url(environ), own=True)
    if target == "serve":
        return [service]
    asked = [service, _bridge(environ)]
    return [one for one in asked if not one.absent] or asked


def _service_url(environ: Mapping[str, str]) -> str:
    host = _reached(text(environ, "ISTHMUS_HOST", "127.0.0.1"))
    port = integer(environ, "ISTHMUS_PORT", 8080, most=65535)
    scheme = "https" if text(environ, "ISTHMUS_TLS_CERT", "") else "http"
    return f"{scheme}://{_address(host, port)}/readyz"


def _bridge(environ: Mapping[str, str]) -> Health:
    """Whether the bridge answers a C-ECHO, if anything listens where it should."""
    host = _reached(text(environ, "ISTHMUS_DIMSE_HOST", "127.0.0.1"))
    port = integer(environ, "ISTHMUS_DIMSE_PORT", 11112, most=65535)
    try:
        socket.create_connection((host, port), _ANSWER_S).close()
    except ConnectionRefusedError:
        return Health(False, f"Nothing listens at {_address(host, port)}.", absent=True)
    except OSError as error:
        return Health(False, f"{_address(host, port)} takes no connection: {error}.")
    # The bridge knows the service, never the other way round: it is run by its name.
    echo = runpy.run_module("bridge.probe")["echo"]
    answered, told = echo(host, port, text(environ, "ISTHMUS_AE_TITLE", "ISTHMUS"))
    return Health(answered, f"{_address(host, port)} {told}.")


def ask(url: str, *, own: bool = False) -> Health:
    """GET `url`, past all proxies and without following it elsewhere: well is what answers 200.

    The certificate of a server on the loopback is believed, and of our `own`: it is in another name.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingError(f"health cannot ask {url!r}: it is no URL.") from None
    if parts.scheme not in ("http", "https") or host is None:
        raise SettingError(f"health asks 'serve', 'bridge' or an http or https URL, not {url!r}.")
    if parts.scheme == "http":
        connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
    else:
        connection = http.client.HTTPSConnection(
            host, port, timeout=_ANSWER_S, context=_believing(own or host in _LOOPBACK)
        )
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(_ANSWER_BYTES)
    except ConnectionRefusedError:
        return Health(False, f"Nothing listens at {parts.netloc}.", absent=True)
    except UnicodeError:
        raise SettingError(f"health cannot ask {url!r}: it is no URL.") from None
    except (OSError, http.client.HTTPException) as error:
        return Health(False, f"{url} gives no answer: {error or type(error).__name__}.")
    finally:
        connection.close()
    return Health(response.status == 200, f"{url} answers {response.status}{_said(body)}.")


def _believing(anything: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if anything:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _said(body: bytes) -> str:
    """What the service says of itself, on one line."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(answer, dict):
        return ""
    words = [str(answer[name]) for name in ("status", "because") if name in answer]
    return ", " + ": ".join(words).rstrip(".") if words else ""


def _reached(host: str) -> str:
    """Where on this machine to find what listens at `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
