"""One path asked for again and again, by one client or by several."""

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, PER_SECOND, Figure, in_turn
from tests.bench.rig import Failed, seconds_of

_UNMEASURED = 10


@dataclass(frozen=True, slots=True)
class Question:
    """A path of a server, and the size in bytes of the answer that is right."""

    port: int
    path: str
    size: int
    accept: str = "*/*"

    def ask(self, connection: Connection) -> bytes | memoryview:
        """The body of the answer. `Failed` if it is not the right one."""
        answer = connection.get(self.path, self.accept)
        if answer.status != 200 or len(answer.body) != self.size:
            raise Failed(f"{self.path} was answered {answer.status} with {len(answer.body)} bytes.")
        return answer.body

    def first_ms(self) -> float:
        """The duration of one request, its connection included."""
        begun = time.perf_counter()
        with Connection(self.port) as connection:
            self.ask(connection)
        return 1000 * (time.perf_counter() - begun)

    def median_ms(self, times: int) -> float:
        """The median duration of `times` requests on one kept connection."""
        durations: list[float] = []
        with Connection(self.port) as connection:
            for _ in range(_UNMEASURED):
                self.ask(connection)
            for _ in range(times):
                begun = time.perf_counter()
                self.ask(connection)
                durations.append(1000 * (time.perf_counter() - begun))
        return statistics.median(durations)

    def rate(self, clients: int, times: int) -> float:
        """Requests per second of `clients` kept connections, each asking `times` times."""
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(self.port)) for _ in range(clients)]
            for connection in connections:
                for _ in range(_UNMEASURED):
                    self.ask(connection)
            return (
                clients
                * times
                / seconds_of(*(partial(self._ask_often, connection, times) for connection in connections))
            )

    def _ask_often(self, connection: Connection, times: int) -> None:
        for _ in range(times):
            self.ask(connection)


def compared(
    scenario: str, what: str, rounds: int, times: int, ours: Question, theirs_name: str, theirs: Question
) -> list[Figure]:
    """Durations by one client and rates by four, of two questions asked in turn."""
    values = in_turn(
        rounds,
        {
            "ours ×1": lambda: ours.median_ms(times),
            "theirs ×1": lambda: theirs.median_ms(times),
            "ours ×4": lambda: ours.rate(4, times),
            "theirs ×4": lambda: theirs.rate(4, times),
        },
    )
    one = (f"{what}, 1 client", MILLISECONDS, values["ours ×1"], theirs_name, values["theirs ×1"])
    four = (f"{what}, 4 clients", PER_SECOND, values["ours ×4"], theirs_name, values["theirs ×4"])
    return [Figure(scenario, *one), Figure(scenario, *four)]
