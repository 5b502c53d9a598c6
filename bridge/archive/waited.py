"""How long the archive takes for its answers, to be told by `/metrics`."""

from bisect import bisect_left
from collections.abc import Iterator

from service.exposition import Family, Sample, histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Waited:
    """Times until the head of an answer, by method; counted on one loop, told in any thread."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def observe(self, method: str, seconds: float) -> None:
        """A request with this method was answered, or given up, after so long."""
        times = self._times.setdefault(method, [0.0] * (len(SECONDS) + 2))
        times[bisect_left(SECONDS, seconds)] += 1
        times[-1] += seconds

    def families(self, *, busy: int, idle: int) -> Iterator[Family]:
        """The numbers, with those of the connections at the moment."""
        samples = [
            sample
            for method, counts in sorted(self._times.copy().items())
            for sample in histogram({"method": method}, SECONDS, counts[:-1], counts[-1])
        ]
        explained = "From a request to the archive to the head of its answer."
        yield Family("isthmus_archive_seconds", "histogram", explained, samples)
        states = [Sample(busy, {"state": "waiting"}), Sample(idle, {"state": "idle"})]
        yield Family("isthmus_archive_connections", "gauge", "Connections to the archive.", states)
