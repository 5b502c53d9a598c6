"""`python -m tests.bench.scale`: the index at a million studies, against the same index when it is empty.

Fills an index with a synthetic archive of --studies studies (three series and ten instances each), asks it
the searches that users ask, and stores into it. Nothing here passes or fails on a time.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.bench.rig import Failed
from tests.bench.scale_places import KINDS, Place, a_place, refuse_small
from tests.bench.scale_population import INSTANCES_PER_ROUND, PER_ROUND, SERIES_PER_ROUND
from tests.bench.scale_questions import ask_all
from tests.bench.scale_storing import row_rates, stow_rates
from tests.databases import NoServer

PARTS = ("searches", "rows", "stow")


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--studies", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--index", choices=KINDS, action="append", help="the kind; both by default")
    parser.add_argument("--folder", type=Path, help="keep the databases here, and use what is there")
    parser.add_argument("--rounds", type=int, default=3, help="how often each rate is measured (3)")
    parser.add_argument("--part", choices=PARTS, action="append", help="what to measure; all by default")
    parser.add_argument("--only", default="", help="the searches whose names have this in them")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the programs end too
    try:
        refuse_small(asked.studies)
        for kind in asked.index or KINDS:
            with a_place(kind, asked.studies, asked.folder) as place:
                _tell(place)
                _measure(place, asked.part or PARTS, asked.rounds, asked.only)
    except (Failed, NoServer) as error:
        print(f"scale: {error}", file=sys.stderr)
        return 1
    return 0


def _tell(place: Place) -> None:
    rounds = place.studies / PER_ROUND
    print(
        f"\n{place.kind}: {place.studies:,} studies, {rounds * SERIES_PER_ROUND:,.0f} series,"
        f" {rounds * INSTANCES_PER_ROUND:,.0f} instances, filled in {place.fill_s:.0f} s"
    )
    for name, size in place.sizes().items():
        if size >= 1 << 20:
            print(f"    {size / 1e6:>10,.1f} MB  {name}")


def _measure(place: Place, parts: list[str] | tuple[str, ...], rounds: int, only: str) -> None:
    begun = time.monotonic()
    if "searches" in parts:
        print("| search, pages of 100 | p50 ms | p95 ms | p50 of processor ms | matches |")
        with place.opened() as index:
            for figure in ask_all(index, place.studies, only=only):
                print(figure.line(), flush=True)
    if "rows" in parts or "stow" in parts:
        print("| what is entered | full | empty | ratio | of single rounds |")
    for part, measured in (("rows", row_rates), ("stow", stow_rates)):
        if part in parts:
            for line in measured(place, rounds):
                print(line, flush=True)
    print(f"measured in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
