"""What runs where: one process, several workers on one socket, or service and bridge together."""

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from service import companion, leash, probe
from service.access.settings import BASIC
from service.environment import SettingError, integer, shown, text
from service.settings import LOOPBACK, Settings
from service.supervisor import Child, Supervisor
from service.tls import https_contexts

_READY_WITHIN_S = 300.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5


def serve(
    settings: Settings,
    *,
    leashed_to: int | None,
    socket_fd: int | None,
    beside: tuple[str, int] | None,
    counters: tuple[int, int] | None = None,
    login: int | None = None,
) -> int:
    """Serve HTTP: in this process if it has a socket or needs no others, else in workers."""
    from service import serving

    if login is not None:
        settings = replace(settings, access=replace(settings.access, companion=companion.read(login)))

    if socket_fd is not None:
        listener = serving.inherited_socket(socket_fd)
    else:
        https_contexts(settings.tls)  # said here if it is no good, rather than by every worker
        try:
            listener = serving.listening_socket(settings)
        except OSError as error:
            raise SettingError(
                f"Nothing can listen on {settings.host}:{settings.port} (ISTHMUS_HOST, ISTHMUS_PORT): "
                f"{os.strerror(error.errno or 0)}."
            ) from error
    if socket_fd is not None or settings.workers == 1:
        serving.serve(settings, listener, leashed_to=leashed_to, beside=beside, counters=counters)
        return 0
    memory = serving.counting_memory(settings.workers)
    handed = () if login is None else ("--login", str(login))
    workers = [
        Child(
            f"worker-{place + 1}",
            [*serving.worker_command(listener, beside, (memory, place)), *handed],
            descriptors=[listener.fileno(), memory, *(() if login is None else (login,))],
        )
        for place in range(settings.workers)
    ]
    supervisor = Supervisor(workers, drain_s=settings.drain_s, together=True)
    if leashed_to is not None:
        leash.hold(leashed_to, supervisor.stop, grace_s=settings.drain_s + 2)
    return supervisor.run()


def up(settings: Settings, environ: Mapping[str, str]) -> int:
    """Run service and bridge as children until told to stop: the bridge is drained first."""
    https_contexts(settings.tls)
    dimse_host = text(environ, "ISTHMUS_DIMSE_HOST", "127.0.0.1")
    dimse_port = integer(environ, "ISTHMUS_DIMSE_PORT", 11112, most=65535)
    ae_title = text(environ, "ISTHMUS_AE_TITLE", "ISTHMUS")
    reached = "127.0.0.1" if dimse_host in ("0.0.0.0", "::") else dimse_host
    bridge_host = text(environ, "ISTHMUS_BRIDGE_HOST", "127.0.0.1")
    bridge_port = integer(environ, "ISTHMUS_BRIDGE_PORT", 8081, most=65535)
    _require_free(bridge_host, bridge_port)
    bridge = _url(settings, bridge_host, bridge_port)
    known_by = [companion.made()] if _is_own_archive(settings, environ) else []
    login = [word for descriptor in known_by for word in ("--login", str(descriptor))]
    python = [sys.executable, "-m"]
    children = [
        Child(
            "service",
            [*python, "service", "serve", "--beside", f"{reached}:{dimse_port}", *login],
            descriptors=known_by,
            variables=_with_bridge(environ, settings.host, bridge),
        ),
        Child(
            "bridge", [*python, "bridge", *login], descriptors=known_by, variables=_beside(settings, environ)
        ),
    ]
    # Each child has children of its own to end within the same time.
    supervisor = Supervisor(children, drain_s=settings.drain_s + 2)
    announcing = threading.Thread(
        target=_announce, args=(settings, _dimse(environ, ae_title, reached), bridge), daemon=True
    )
    announcing.start()
    return supervisor.run()


def _is_own_archive(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether the bridge has to sign in to the service beside it, and is told no other way."""
    told = (text(environ, name, "") for name in ("ISTHMUS_ARCHIVE_URL", "ISTHMUS_ARCHIVE_TOKEN_FILE"))
    return settings.access.asked and not any(told)


def _beside(settings: Settings, environ: Mapping[str, str]) -> Mapping[str, str]:
    """`environ`, in which the bridge is told to store by itself in what lies on this machine."""
    files = settings.store.startswith("file://") and settings.index.startswith("sqlite://")
    files = files and hasattr(os, "memfd_create")  # by which the bridge shares memory with its porter
    told = any(text(environ, name, "") for name in ("ISTHMUS_ARCHIVE_URL", "ISTHMUS_ARCHIVE_TOKEN_FILE"))
    if not files or told:  # whoever has the bridge sign in means it to do no more than that allows
        return environ
    by = text(environ, "ISTHMUS_BRIDGE_STORES_BY", "itself")
    return {**environ, "ISTHMUS_BRIDGE_STORES_BY": by}


def _with_bridge(environ: Mapping[str, str], host: str, bridge: str) -> Mapping[str, str]:
    """`environ`, in which the page is told of the bridge; those who reach both do so from this machine."""
    if host not in LOOPBACK or bridge.endswith(":0"):
        return environ
    return {**environ, "ISTHMUS_BRIDGE_URL": text(environ, "ISTHMUS_BRIDGE_URL", bridge)}


@dataclass(frozen=True, slots=True)
class _Dimse:
    """Where associations are taken: by title, at a host and port, and over TLS at an address if at all."""

    title: str
    host: str
    port: int
    over_tls: str


def _dimse(environ: Mapping[str, str], title: str, host: str) -> _Dimse:
    port = integer(environ, "ISTHMUS_DIMSE_PORT", 11112, most=65535)
    tls_port = integer(environ, "ISTHMUS_DIMSE_TLS_PORT", 2762, most=65535)
    tls_host = text(environ, "ISTHMUS_DIMSE_TLS_HOST", host)
    tls = f"{tls_host}:{tls_port}" if text(environ, "ISTHMUS_DIMSE_TLS_CERT", "") else ""
    return _Dimse(title, host, port, tls)


def _announce(settings: Settings, dimse: _Dimse, bridge: str) -> None:
    """Say where things are and what to try, once everything is ready."""
    root = _url(settings, settings.host, settings.port)
    deadline = time.monotonic() + _READY_WITHIN_S
    pause_s = _FIRST_PAUSE_S
    while not probe.ask(f"{root}/readyz", own=True).well:
        if time.monotonic() > deadline:
            return
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    web = root + settings.prefix
    lines = (
        "",
        "Isthmus is ready.",
        f"  page       {root}/",
        f"  DICOMweb   {web}",
        f"  DIMSE      {dimse.title} at {dimse.host}:{dimse.port}",
        *([f"  DIMSE/TLS  {dimse.title} at {dimse.over_tls}"] if dimse.over_tls else []),
        f"  bridge     {bridge}/peers",
        f"  objects    {settings.store}",
        f"  index      {shown(settings.index)}",
        "",
        "Try:",
        f"  curl {_signing_in(settings)}-H 'Content-Type: application/dicom' --data-binary @image.dcm "
        f"{web}/studies",
        f"  storescu -aec {dimse.title} {dimse.host} {dimse.port} image.dcm",
        f"  {web}/studies?includefield=all",
        "",
    )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _signing_in(settings: Settings) -> str:
    """What to tell curl where people have to sign in."""
    if BASIC in settings.access.ways:
        return "-u NAME "
    return '-H "Authorization: Bearer $TOKEN" ' if settings.access.asked else ""


def _require_free(host: str, port: int) -> None:
    """Say at once what the bridge would end of: its address is taken, or none of this machine."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "there is no such host"
        raise SettingError(
            f"The bridge cannot listen on {host}:{port} (ISTHMUS_BRIDGE_HOST, ISTHMUS_BRIDGE_PORT): {reason}."
        ) from error


def _url(settings: Settings, host: str, port: int) -> str:
    """The root of what listens on an address, as it is reached from this machine."""
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    scheme = "http" if settings.tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
