"""STOW-RS of a CT series, by one client and by four, against what the disk and nginx do with its files."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from tests.bench import baselines
from tests.bench.client import Connection
from tests.bench.figures import PER_SECOND, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig, seconds_of
from tests.bench.slices import SLICES, a_series

NAME = "stow"
_CLIENTS = (1, 4)
_PER_REQUEST = (20, 1)
_BARE = "bare write, fdatasync, fsync"
_PUT = "nginx PUT, not synced"
_BOUNDARY = "a-boundary-long-enough-to-be-looked-for-quickly-in-large-bodies"


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Instances per second."""
    nginx = baselines.nginx_program()
    with ExitStack() as stack:
        site = stack.enter_context(rig.service())
        put_to = stack.enter_context(baselines.nginx(rig, nginx)) if nginx else None
        post_all(site.port, 20, a_series(rig.next_series())[:20])  # each side's first use is not measured
        sides: dict[str, Callable[[], float]] = {}
        for clients in _CLIENTS:
            sides[f"{_BARE} ×{clients}"] = partial(_bare, rig, clients)
            if put_to is not None:
                sides[f"{_PUT} ×{clients}"] = partial(_nginx, rig, put_to[0], clients)
            for per_request in _PER_REQUEST:
                sides[f"{per_request} ×{clients}"] = partial(_ours, rig, site.port, clients, per_request)
        values = in_turn(rounds, sides)
    if nginx is None:
        yield Skipped(NAME, _PUT, "nginx is not installed")
    for clients in _CLIENTS:
        for per_request in _PER_REQUEST:
            what = f"{per_request} a request, {clients} client{'s' * (clients > 1)}"
            for baseline in (_BARE, _PUT):
                if f"{baseline} ×{clients}" in values:
                    yield Figure(
                        NAME,
                        what,
                        PER_SECOND,
                        values[f"{per_request} ×{clients}"],
                        f"{baseline} ×{clients}",
                        values[f"{baseline} ×{clients}"],
                    )


def _ours(rig: Rig, port: int, clients: int, per_request: int) -> float:
    shares = _shares(rig, clients)
    return SLICES / seconds_of(*(partial(post_all, port, per_request, share) for share in shares))


def post_all(port: int, per_request: int, files: Sequence[bytes]) -> None:
    """Store `files` over one connection, `per_request` in each request. `Failed` unless all are stored."""
    with Connection(port) as connection:
        for first in range(0, len(files), per_request):
            some = files[first : first + per_request]
            media_type = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
            head = f"\r\n--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            body = [block for content in some for block in (head, content)]
            body.append(f"\r\n--{_BOUNDARY}--\r\n".encode())
            answer = connection.send("POST", "/dicom-web/studies", media_type, body)
            if answer.status != 200:
                raise Failed(f"STOW-RS was answered {answer.status}: {bytes(answer.body)[:500]!r}")


def _bare(rig: Rig, clients: int) -> float:
    folder = rig.new_folder("bare")
    writers = (partial(baselines.write_durably, folder, share) for share in _shares(rig, clients))
    rate = SLICES / seconds_of(*writers)
    shutil.rmtree(folder)
    return rate


def _nginx(rig: Rig, port: int, clients: int) -> float:
    shares = _shares(rig, clients)
    number = rig.next_series()

    def put_all(client: int, files: Sequence[bytes]) -> None:
        with Connection(port) as connection:
            for place, content in enumerate(files):
                path = f"/{number}/{client}/{place}"
                answer = connection.send("PUT", path, "application/dicom", [content])
                if answer.status != 201:
                    raise Failed(f"nginx answered a PUT with {answer.status}.")

    return SLICES / seconds_of(*(partial(put_all, client, share) for client, share in enumerate(shares)))


def _shares(rig: Rig, clients: int) -> list[list[bytes]]:
    files = a_series(rig.next_series())
    return [files[client::clients] for client in range(clients)]
