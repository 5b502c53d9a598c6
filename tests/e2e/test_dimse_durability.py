"""Nothing that was answered 0000H is lost, however the programs die: the bridge stores by itself here."""

import http.client
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from bridge.upper.command import decode
from bridge.upper.pdu import Kind
from tests.dimse.dimse_peers import Instance, RawPeer, a_context, a_store, a_uid
from tests.dimse.spool.spooling import of_study
from tests.e2e.conftest import PATIENCE_S, Program

SENDERS = 3
FEW = 11


class Sender(threading.Thread):
    """Stores new instances one after the other until the bridge is gone; keeps what was answered 0000H."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__()
        self._port = port
        self._random = random.Random(seed)
        self.study = a_uid()
        self.kept: list[Instance] = []

    def run(self) -> None:
        try:
            with RawPeer(("127.0.0.1", self._port)) as peer:
                peer.associate(a_context())
                while True:
                    instance = of_study(self.study, self._random.choice((2, 30_000, 300_000, 1_500_000)))
                    for packet in a_store(instance):
                        peer.send(packet)
                    kind, body = peer.next_pdu()
                    if kind == Kind.ABORT:  # the bridge notices that its parent died a moment before it
                        return
                    assert decode(body[6:]).status == 0x0000
                    self.kept.append(instance)
        except (OSError, EOFError):
            return


@pytest.mark.parametrize(
    ("whole", "rounds"), [(True, 3), (False, 2)], ids=["everything", "the bridge"]
)  # a child that dies three times within a short time is given up
def test_sigkill_at_any_moment_loses_nothing_that_was_answered_0000(
    start: Callable[..., Program], whole: bool, rounds: int
):
    chance = random.Random(20261122)
    senders: list[Sender] = []
    program = start("up").wait_ready()
    for number in range(rounds):
        program.wait_for("listening ae_title")
        fresh = [Sender(program.dimse_port, 100 * number + each) for each in range(SENDERS)]
        for sender in fresh:
            sender.start()
        pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
        while sum(len(sender.kept) for sender in fresh) < FEW and time.monotonic() < ends:
            pause.wait(0.01)
        pause.wait(chance.uniform(0.0, 1.0))
        if whole:
            program.kill_all()
            program = start("up")
        else:
            kill_the_bridge(program)
        for sender in fresh:
            sender.join(PATIENCE_S)
            assert not sender.is_alive()
        senders += fresh
        program.wait_ready()
    kept = {instance.instance: (sender.study, instance) for sender in senders for instance in sender.kept}
    assert len(kept) >= rounds * FEW

    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_S)
    for uid, (study, instance) in kept.items():
        connection.request(
            "GET",
            f"/dicom-web/studies/{study}/series/2.25.7/instances/{uid}",
            headers={"Accept": "application/dicom; transfer-syntax=*"},
        )
        response = connection.getresponse()
        assert (response.status, response.read().endswith(instance.data)) == (200, True), uid
    connection.request("GET", "/dicom-web/instances?limit=5000")
    found = json.loads(connection.getresponse().read())
    assert {one["00080018"]["Value"][0] for one in found} >= kept.keys()
    for one in found:
        url = "/dicom-web" + one["00081190"]["Value"][0].partition("/dicom-web")[2]
        connection.request("GET", url, headers={"Accept": "application/dicom; transfer-syntax=*"})
        response = connection.getresponse()
        assert (response.status, len(response.read())) == (200, int(response.headers["Content-Length"]))
    connection.close()


def kill_the_bridge(program: Program) -> None:
    """SIGKILL to the bridge alone; returns when another one is listening."""
    (pid,) = [pid for pid, command in program.commands().items() if "-m bridge" in command]
    before = program.output.count("listening ae_title")
    os.kill(pid, signal.SIGKILL)
    program.wait_for("listening ae_title", times=before + 1)
