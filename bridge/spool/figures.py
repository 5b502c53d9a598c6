"""The numbers of the spool, and its condition in words."""

import time
from collections.abc import Sequence

from bridge.spool.spool import Spool, State
from service.exposition import Family, Sample


def families(spool: Spool) -> Sequence[Family]:
    """Depth, bytes and age for Prometheus; on the spool's loop."""
    oldest = spool.lanes.oldest
    age_s = 0.0 if oldest is None else max(0.0, time.time() - oldest.received_at)
    kept = {"spool": len(spool.lanes), "quarantine": len(spool.quarantine)}
    sizes = {"spool": spool.lanes.bytes, "quarantine": spool.quarantine.bytes}
    counted = {"kept": spool.spooled, "forwarded": spool.forwarded, "detained": spool.detained}
    return (
        Family(
            "isthmus_bridge_spool_instances",
            "gauge",
            "Instances that wait for the archive, and those that it refused.",
            [Sample(count, {"place": place}) for place, count in kept.items()],
        ),
        Family(
            "isthmus_bridge_spool_bytes",
            "gauge",
            "Their bytes.",
            [Sample(size, {"place": place}) for place, size in sizes.items()],
        ),
        Family(
            "isthmus_bridge_spool_limit_bytes",
            "gauge",
            "The most bytes of both together (ISTHMUS_SPOOL); 0 takes none.",
            [Sample(spool.space.size_bytes)],
        ),
        Family(
            "isthmus_bridge_spool_oldest_seconds",
            "gauge",
            "How long the oldest instance has waited.",
            [Sample(age_s)],
        ),
        Family(
            "isthmus_bridge_spool_full",
            "gauge",
            "1 while no instance is taken that the archive does not take.",
            [Sample(int(spool.state is State.FULL))],
        ),
        Family(
            "isthmus_bridge_spool_instances_total",
            "counter",
            "Instances, by what became of them.",
            [Sample(count, {"event": event}) for event, count in counted.items()],
        ),
    )


def condition(spool: Spool) -> str:
    """What an operator should know, in a sentence or two; empty if all is well. On the spool's loop."""
    said = []
    waiting = len(spool.lanes)
    if spool.state is State.FULL:
        said.append(f"The spool is full (ISTHMUS_SPOOL): {waiting} instances wait.")
    elif waiting:
        why = "" if spool.reach.is_up else f": {spool.reach.because}"
        said.append(f"{waiting} instances wait for the archive{why}.")
    if len(spool.quarantine):
        said.append(f"{len(spool.quarantine)} instances are in quarantine.")
    return " ".join(said)
