"""`python -m tests.bench [SCENARIO…] [--rounds N]`: ratios against named baselines of the same run."""

import argparse
import signal
import sys
import time

from tests.bench import (
    associations,
    busy,
    cfind,
    cstore,
    frame,
    memory,
    metadata,
    metadata500,
    ohif,
    pacs,
    rendered,
    retrieve,
    stow,
    transcode,
    wsi,
)
from tests.bench.figures import heading
from tests.bench.rig import Failed, Rig

_MODULES = (stow, metadata, frame, transcode, rendered, busy, cstore, cfind, retrieve, pacs, associations)
_BY_NAME_ONLY = (metadata500, memory, wsi, ohif)  # which take long, or tens of gigabytes
SCENARIOS = {module.NAME: module.run for module in (*_MODULES, *_BY_NAME_ONLY)}


def main() -> int:
    """Print the figures of the scenarios asked for; by default of all but the very large ones."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    asked = parser.parse_args()
    unknown = sorted(set(asked.scenarios) - set(SCENARIOS))
    if unknown or asked.rounds < 1:
        parser.error(f"no such scenario: {', '.join(unknown)}" if unknown else "at least one round")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the programs end too
    begun = time.monotonic()
    print(heading())
    with Rig() as rig:
        for name in asked.scenarios or [module.NAME for module in _MODULES]:
            try:
                for finding in SCENARIOS[name](rig, asked.rounds):
                    print(finding.line(), flush=True)
            except Failed as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
    print(f"{asked.rounds} rounds, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
