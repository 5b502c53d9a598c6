"""What we are measured against: nginx, bare file writes, DCMTK's storescp."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.rig import Rig, free_port, listens, program, running, until

NGINX = "nginx"
DCMTK_ENVIRON = {"TCP_NODELAY": "1"}
_NGINX_CONF = """\
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 1000000;
    client_max_body_size 64m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/unused; fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused; scgi_temp_path {folder}/unused;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        location / {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


def nginx_program() -> str | None:
    """The path of nginx, if it is installed."""
    return program(NGINX)


@contextlib.contextmanager
def nginx(rig: Rig, binary: str) -> Iterator[tuple[int, Path]]:
    """nginx that serves the files of a folder and takes PUTs into it: its port and that folder."""
    folder = rig.new_folder(NGINX)
    served = folder / "www"
    served.mkdir()
    port = free_port()
    # Started as root, its workers would be someone who may not enter the temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX_CONF.format(folder=folder, port=port, user=user))
    command = [binary, "-e", f"{folder}/error.log", "-c", str(configuration), "-g", "daemon off;"]
    with running(command, folder / "nginx.log") as process:
        until(lambda: listens(port), process, NGINX)
        yield port, served


@contextlib.contextmanager
def storescp(rig: Rig, binary: str, *options: str) -> Iterator[int]:
    """DCMTK's receiver with `options`, without Nagle's delays; its port."""
    port = free_port()
    command = [binary, *options, str(port)]
    with running(command, rig.folder / "storescp.log", DCMTK_ENVIRON) as process:
        until(lambda: listens(port), process, "storescp")
        yield port


def write_durably(folder: Path, files: Sequence[bytes]) -> None:
    """Each of `files` under a new name, durable with its name before the next one is begun."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number, content in enumerate(files):
            target = os.open(folder / f"{number}-{id(content)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(target, rest) :]
                os.fdatasync(target)
            finally:
                os.close(target)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
