"""What runs where: one process, several workers on one socket, or service and bridge together."""

import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

from service import leash
from service.environment import SettingError, integer, shown, text
from service.settings import Settings
from service.supervisor import Child, Supervisor

_READY_WITHIN_S = 30.0
_POLL_S = 0.05


def serve(
    settings: Settings, *, leashed_to: int | None, socket_fd: int | None, beside: tuple[str, int] | None
) -> int:
    """Serve HTTP: in this process if it has a socket or needs no others, else in workers."""
    from service import serving

    if socket_fd is not None:
        listener = serving.inherited_socket(socket_fd)
    else:
        try:
            listener = serving.listening_socket(settings)
        except OSError as error:
            raise SettingError(
                f"Nothing can listen on {settings.host}:{settings.port} (ISTHMUS_HOST, ISTHMUS_PORT): "
                f"{os.strerror(error.errno or 0)}."
            ) from error
    if socket_fd is not None or settings.workers == 1:
        serving.serve(settings, listener, leashed_to=leashed_to, beside=beside)
        return 0
    command = serving.worker_command(listener, beside)
    workers = [
        Child(f"worker-{number}", command, descriptors=[listener.fileno()])
        for number in range(1, settings.workers + 1)
    ]
    supervisor = Supervisor(workers, drain_s=settings.drain_s, together=True)
    if leashed_to is not None:
        leash.hold(leashed_to, supervisor.stop, grace_s=settings.drain_s + 2)
    return supervisor.run()


def up(settings: Settings, environ: Mapping[str, str]) -> int:
    """Run service and bridge as children until told to stop: the bridge is drained first."""
    dimse_host = text(environ, "ISTHMUS_DIMSE_HOST", "127.0.0.1")
    dimse_port = integer(environ, "ISTHMUS_DIMSE_PORT", 11112, most=65535)
    ae_title = text(environ, "ISTHMUS_AE_TITLE", "ISTHMUS")
    reached = "127.0.0.1" if dimse_host in ("0.0.0.0", "::") else dimse_host
    python = [sys.executable, "-m"]
    children = [
        Child("service", [*python, "service", "serve", "--beside", f"{reached}:{dimse_port}"]),
        Child("bridge", [*python, "bridge"]),
    ]
    # Each child has children of its own to end within the same time.
    supervisor = Supervisor(children, drain_s=settings.drain_s + 2)
    announcing = threading.Thread(
        target=_announce, args=(settings, ae_title, reached, dimse_port), daemon=True
    )
    announcing.start()
    return supervisor.run()


def _announce(settings: Settings, ae_title: str, dimse_host: str, dimse_port: int) -> None:
    """Say where things are and what to try, once everything is ready."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    root = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    deadline = time.monotonic() + _READY_WITHIN_S
    while not _answers(f"{root}/readyz"):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)
    web = root + settings.prefix
    lines = (
        "",
        "Isthmus is ready.",
        f"  DICOMweb   {web}",
        f"  DIMSE      {ae_title} at {dimse_host}:{dimse_port}",
        f"  objects    {settings.store}",
        f"  index      {shown(settings.index)}",
        "",
        "Try:",
        f"  curl -H 'Content-Type: application/dicom' --data-binary @image.dcm {web}/studies",
        f"  storescu -aec {ae_title} {dimse_host} {dimse_port} image.dcm",
        f"  {web}/studies?includefield=all",
        "",
    )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False
