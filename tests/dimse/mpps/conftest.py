"""Bridges that take performed procedure steps, each on a state folder of its own."""

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from bridge.forwarding.rules import Rule
from bridge.mpps.settings import MppsSettings
from bridge.peers import Peer, Peers
from bridge.settings import BridgeSettings
from bridge.worklist.settings import WorklistSettings
from tests.dimse.dimse_peers import Ground
from tests.dimse.mpps.performing import Modality
from tests.dimse.worklist.scheduling import Scheduling, begin

StartPerforming = Callable[..., Scheduling]
OpenModality = Callable[..., Modality]
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def start(ground: Ground, tmp_path: Path) -> Iterator[StartPerforming]:
    """Starts bridges on one state folder; `ris` is the port that steps are passed on to by `rules`."""
    running: list[Scheduling] = []

    def start_one(
        *, ris: int | None = None, rules: tuple[Rule, ...] = (), strict: bool = False, **given: Any
    ) -> Scheduling:
        names = set(MppsSettings.__dataclass_fields__)
        chosen = {name: given.pop(name) for name in list(given) if name in names}
        mpps = MppsSettings(**{"forward_delay_s": 0.05, "forward_pause_s": 0.1, **chosen})
        peers = [Peer("ct", "CT1", "127.0.0.1", 104, strict=strict, callers=LOOPBACK)]
        if ris is not None:
            peers.append(Peer("ris", "RIS", "127.0.0.1", ris, callers=LOOPBACK))
            rules = rules or (Rule("all", ("ris",), on="mpps"),)
        settings = BridgeSettings(
            port=0,
            state=tmp_path / "state",
            peers=Peers(peers, rules=rules),
            mpps=mpps,
            worklist=given.pop("worklist", WorklistSettings()),
            **given,
        )
        running.append(begin(ground, settings))
        return running[-1]

    yield start_one
    for one in running:
        if not one.ended:
            one.end()


@pytest.fixture
def modality() -> Iterator[OpenModality]:
    """Opens modalities, released at the end."""
    opened: list[Modality] = []

    def open_one(*arguments: Any, **given: Any) -> Modality:
        opened.append(Modality(*arguments, **given))
        return opened[-1]

    yield open_one
    for one in opened:
        one.release()
