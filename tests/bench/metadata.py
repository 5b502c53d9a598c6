"""Series metadata of 200 instances, first and again, against nginx serving the same bytes from a file."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.bench import baselines
from tests.bench.asking import Question, compared
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig
from tests.bench.slices import SLICES, a_series, study_and_series
from tests.bench.stow import post_all

NAME = "metadata"
_TIMES = 60
_STATIC = "nginx, static file"


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Durations and requests per second."""
    nginx = baselines.nginx_program()
    if nginx is None:
        yield Skipped(NAME, _STATIC, "nginx is not installed")
        return
    number = rig.next_series()
    with rig.service() as site, baselines.nginx(rig, nginx) as (nginx_port, served):
        post_all(site.port, 20, a_series(number))
        path = site.url(*study_and_series(number), "/metadata")
        with Connection(site.port) as connection:
            answer = connection.get(path)
        if answer.status != 200:
            raise Failed(f"Metadata were answered {answer.status}.")
        (served / "metadata.json").write_bytes(answer.body)
        static = Question(nginx_port, "/metadata.json", len(answer.body))
        ours = Question(site.port, path, len(answer.body))
        folder = site.folder
        what = f"{SLICES} instances, {len(answer.body) / 1e6:.1f} MB"
        warm = compared(NAME, f"{what}, again", rounds, _TIMES, ours, _STATIC, static)
    values = in_turn(
        rounds,
        {
            "ours": partial(_first, rig, folder, ours),
            _STATIC: partial(_first_of_nginx, rig, nginx, static, answer.body),
        },
    )
    first = f"{what}, first of a process"
    yield Figure(NAME, first, MILLISECONDS, values["ours"], _STATIC, values[_STATIC])
    yield from warm


def _first(rig: Rig, folder: Path, question: Question) -> float:
    """The duration of the first request to a service that has just become ready."""
    with rig.service(folder) as site:
        return replace(question, port=site.port).first_ms()


def _first_of_nginx(rig: Rig, nginx: str, question: Question, body: bytes | memoryview) -> float:
    with baselines.nginx(rig, nginx) as (port, served):
        (served / "metadata.json").write_bytes(body)
        return replace(question, port=port).first_ms()
