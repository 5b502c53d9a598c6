"""Single frames: a native one against nginx with the same bytes, the last of many against the first."""

from collections.abc import Iterator

from tests.bench import baselines
from tests.bench.asking import Question, compared
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig, Site
from tests.bench.slices import FRAME_BYTES, a_series, an_encapsulated_object, study_and_series
from tests.bench.stow import post_all

NAME = "frame"
_FRAMES = 2_000
_TIMES = 150
_STATIC = "nginx, static file"


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Durations and requests per second."""
    nginx = baselines.nginx_program()
    with rig.service() as site:
        native = _native(rig, site)
        first, last, codestream = _encapsulated(rig, site)
        if nginx is None:
            yield Skipped(NAME, _STATIC, "nginx is not installed")
        else:
            with baselines.nginx(rig, nginx) as (port, served):
                with Connection(site.port) as connection:
                    (served / "native").write_bytes(native.ask(connection))
                static = Question(port, "/native", FRAME_BYTES)
                yield from compared(NAME, "native, 524,288 bytes", rounds, _TIMES, native, _STATIC, static)
                (served / "small").write_bytes(codestream)
                static = Question(port, "/small", len(codestream))
                what = f"encapsulated, {len(codestream)} bytes"
                yield from compared(NAME, what, rounds, _TIMES, first, _STATIC, static)
        values = in_turn(
            rounds, {"last": lambda: last.median_ms(_TIMES), "first": lambda: first.median_ms(_TIMES)}
        )
    what = f"the last of {_FRAMES:,}, 1 client"
    yield Figure(NAME, what, MILLISECONDS, values["last"], "the first of them", values["first"])


def _native(rig: Rig, site: Site) -> Question:
    number = rig.next_series()
    post_all(site.port, 1, a_series(number)[:1])
    path = site.url(*study_and_series(number), f"/instances/2.25.77{number:08}0001/frames/1")
    return Question(site.port, path, FRAME_BYTES, "application/octet-stream")


def _encapsulated(rig: Rig, site: Site) -> tuple[Question, Question, bytes]:
    """Questions for the first and the last frame of a long object, and the bytes of the first."""
    number = rig.next_series()
    content, codestreams = an_encapsulated_object(number, _FRAMES)
    post_all(site.port, 1, [content])
    path = site.url(*study_and_series(number), f"/instances/2.25.77{number:08}0001/frames/")
    first = Question(site.port, f"{path}1", len(codestreams[0]), "image/jpeg")
    last = Question(site.port, f"{path}{_FRAMES}", len(codestreams[-1]), "image/jpeg")
    with Connection(site.port) as connection:
        if first.ask(connection) != codestreams[0] or last.ask(connection) != codestreams[-1]:
            raise Failed("A frame is not what was stored.")
    return first, last, codestreams[0]
