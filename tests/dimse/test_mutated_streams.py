"""A thousand conversations with bytes changed, lost, repeated or in another order: the program stays well."""

import contextlib
import itertools
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from bridge.upper import pdu
from bridge.upper.associate import ProposedContext, Role, UserInformation
from bridge.upper.command import Operation, Value
from tests.dimse.attacked import ROOT, Victim, eventually
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    PATIENCE_S,
    VERIFICATION,
    Archive,
    Ground,
    RawPeer,
    a_command,
    a_context,
    a_request,
    a_store,
    an_echo,
    an_instance,
    data_set_of,
    p_data,
)
from tests.dimse.victims import Order

STREAMS = 1000
AT_ONCE = 24
SEED = 20250704
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"


def element(group: int, number: int, value: bytes) -> bytes:
    """In Implicit VR Little Endian."""
    value += b" " * (len(value) % 2)
    return struct.pack("<HHI", group, number, len(value)) + value


def item(*elements: bytes) -> bytes:
    return element(0xFFFE, 0xE000, b"".join(elements))


IDENTIFIER = b"".join(
    (
        element(0x0008, 0x0005, b"ISO_IR 100"),
        element(0x0008, 0x0020, b"20200101-20251231"),
        element(0x0008, 0x0052, b"STUDY"),
        element(0x0008, 0x0061, b"CT\\MR"),
        element(0x0010, 0x0010, b"D*"),
        element(0x0010, 0x0020, b""),
        element(0x0020, 0x000D, b""),
    )
)
WANTED = element(0x0008, 0x0052, b"STUDY") + element(0x0020, 0x000D, b"1.2.3\\1.2.4")
REFERENCES = b"".join(
    (
        element(0x0008, 0x1195, b"2.25.4711"),
        element(
            0x0008,
            0x1199,
            item(element(0x0008, 0x1150, CT_IMAGE.encode()), element(0x0008, 0x1155, b"1.2.3.4")),
        ),
    )
)


def asked(context_id: int, operation: int, data: bytes, **values: Value) -> list[bytes]:
    command = a_command(operation, has_data=True, **values)
    return [p_data(context_id, command, command=True), p_data(context_id, data, command=False)]


def cancelled(context_id: int) -> bytes:
    return p_data(
        context_id, a_command(Operation.C_CANCEL, has_data=False, responded_message_id=1), command=True
    )


def conversations() -> list[list[bytes]]:
    """One of every kind of request, as lists of PDUs."""
    user = UserInformation(
        max_length=16384,
        implementation_class="1.2.3",
        implementation_version="MUTANT",
        window=(4, 4),
        roles=(Role(CT_IMAGE, scu=True, scp=True), Role(COMMITMENT, scu=True, scp=False)),
        extended=((FIND, b"\1\1\1"), (GET, b"\1")),
        service_classes=((CT_IMAGE, "1.2.840.10008.4.2"),),
        identity=True,
        identity_answer=True,
    )

    def begun(*contexts: ProposedContext) -> bytes:
        return a_request(*contexts, a_context(99, VERIFICATION, IMPLICIT_LE), user=user).encode()

    def with_class(abstract: str) -> ProposedContext:
        return (
            a_context(3, abstract, EXPLICIT_LE, IMPLICIT_LE)
            if abstract == CT_IMAGE
            else (a_context(1, abstract, IMPLICIT_LE))
        )

    store = [pdu for _ in range(2) for pdu in a_store(an_instance(700), 3)]
    find = asked(1, Operation.C_FIND, IDENTIFIER, affected_sop_class=FIND, priority=0)
    patients = asked(1, Operation.C_FIND, IDENTIFIER, affected_sop_class=PATIENT_FIND, priority=0)
    move = asked(1, Operation.C_MOVE, WANTED, affected_sop_class=MOVE, move_destination="NOBODY")
    get = asked(1, Operation.C_GET, WANTED, affected_sop_class=GET, priority=0)
    commit = asked(
        1,
        Operation.N_ACTION,
        REFERENCES,
        requested_sop_class=COMMITMENT,
        requested_sop_instance="1.2.840.10008.1.20.1.1",
        action_type=1,
    )
    end = [an_echo(99), pdu.release_rq()]
    ct = with_class(CT_IMAGE)
    return [
        [begun(ct), *store, *end],
        [begun(with_class(FIND), ct), *find, cancelled(1), *find, *end],
        [begun(with_class(PATIENT_FIND), ct), *patients, *end],
        [begun(with_class(MOVE), ct), *move, cancelled(1), *end],
        [begun(with_class(GET), ct), *get, cancelled(1), *store, *end],
        [begun(with_class(COMMITMENT), ct), *commit, *end],
        [begun(ct), *end],
        [begun(ct), an_echo(99), pdu.abort(by_provider=False)],
    ]


def mutated(pdus: Sequence[bytes], chance: random.Random) -> bytes:
    """The stream of `pdus` with one to six changes: in the request for an association, or behind it."""
    pieces = list(pdus)
    if chance.random() < 0.15:  # whole PDUs lost, repeated, in another order
        first, second = (chance.randrange(1, len(pieces)) for _ in range(2))
        pieces[first : first + 1] = chance.choice(([], [pieces[first]] * 2, [pieces[second]]))
    stream = bytearray(b"".join(pieces))
    least, most = (0, len(pieces[0])) if chance.random() < 0.25 else (len(pieces[0]), len(stream))
    for _ in range(chance.choice((1, 1, 1, 1, 2, 3, 6))):
        at = chance.randrange(least, most)
        kind = chance.random()
        if kind < 0.5:
            stream[at : at + 1] = bytes((chance.randrange(256),))
        elif kind < 0.7:
            stream[at : at + 2] = chance.choice((b"\0\0", b"\xff\xff", b"\0\1", b"\1\0"))
        elif kind < 0.8:
            stream[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        elif kind < 0.9:
            del stream[at : at + chance.randint(1, 40)]
        else:
            stream[at:at] = chance.randbytes(chance.randint(1, 40))
    return bytes(stream[: chance.randint(1, len(stream))] if chance.random() < 0.3 else stream)


def whole_data_sets(stream: bytes) -> Iterator[bytes]:
    """Every data set in a stream that ends by a fragment that says that it is the last (PS3.8 E.2)."""
    at, gathered = 0, b""
    while at + 6 <= len(stream):
        kind, length = struct.unpack_from(">BxI", stream, at)
        body, at = stream[at + 6 : at + 6 + length], at + 6 + length
        inside = 0
        while kind == pdu.Kind.P_DATA and inside + 6 <= len(body):
            size, _, control = struct.unpack_from(">IBB", body, inside)
            value = body[inside + 6 : inside + 4 + size]
            inside += max(4 + size, 6)
            if control & pdu.COMMAND:
                gathered = b""
                continue
            gathered += value
            if control & pdu.LAST:
                yield gathered
                gathered = b""


def send(address: tuple[str, int], stream: bytes) -> None:
    """Send the stream in pieces, about one for each PDU, with a moment for answers after each."""
    cuts = sorted({0, len(stream), *(found.start() for found in re.finditer(rb"[\4\5]\0\0\0", stream))})
    with contextlib.suppress(ConnectionError), RawPeer(address) as peer:
        peer.socket.settimeout(0.02)
        for start, end in itertools.pairwise(cuts):
            peer.send(stream[start:end])
            with contextlib.suppress(TimeoutError):
                while peer.socket.recv(65536):
                    pass


@dataclass
class Program:
    """A running `python -m bridge`."""

    process: "subprocess.Popen[bytes]"
    victim: Victim
    log: Path

    def connections(self) -> int:
        """How many connections to its port are neither listening nor over."""
        mine = f":{self.victim.port:04X}"
        lines = Path(f"/proc/{self.victim.pid}/net/tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        return sum(row[1].endswith(mine) and row[3] not in ("0A", "06") for row in rows)


async def serve_everything(archive: Archive) -> tuple[web.AppRunner, str]:
    """An archive that stores, finds two studies of everything and has none of their objects."""

    async def find(request: web.Request) -> web.Response:
        if "/instances/" in request.path or request.path.endswith(("1.2.3", "1.2.4")):
            return web.Response(status=404)
        answer = [
            {
                "00080016": {"vr": "UI", "Value": [CT_IMAGE]},
                "00080018": {"vr": "UI", "Value": [uid + ".1.1"]},
                "00083002": {"vr": "UI", "Value": [EXPLICIT_LE]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jané"}]},
                "00100020": {"vr": "LO", "Value": [uid]},
                "0020000D": {"vr": "UI", "Value": [uid]},
                "0020000E": {"vr": "UI", "Value": [uid + ".1"]},
            }
            for uid in ("1.2.3", "1.2.4")
        ]
        return web.json_response(answer, content_type="application/dicom+json")

    application = web.Application()
    application.router.add_post("/dicom-web/studies", archive.handle, expect_handler=archive.expect)
    application.router.add_get("/dicom-web/{rest:.*}", find)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web"


@pytest.fixture
def stored(ground: Ground) -> Iterator[Archive]:
    archive = Archive()
    runner, archive.url = ground.run(serve_everything(archive))
    yield archive
    ground.run(runner.cleanup())


@pytest.fixture
def program(stored: Archive, tmp_path: Path) -> Iterator[Program]:
    peers = tmp_path / "peers.toml"
    peers.write_text('[peers.nobody]\nae_title = "NOBODY"\nhost = "127.0.0.1"\nport = 9\ntimeout_s = 1\n')
    log = tmp_path / "log"
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
    settings = {
        "ISTHMUS_DIMSE_PORT": "0",
        "ISTHMUS_BRIDGE_PORT": "0",
        "ISTHMUS_ARCHIVE_URL": stored.url,
        "ISTHMUS_PEERS": str(peers),
        "ISTHMUS_BRIDGE_STATE": str(tmp_path / "state"),
    }
    with log.open("wb") as words:
        running = subprocess.Popen(
            [sys.executable, "-m", "bridge"], cwd=ROOT, env={**ours, **settings}, stderr=words
        )
    try:
        assert eventually(lambda: " listening " in log.read_text(), PATIENCE_S), log.read_text()
        line = next(line for line in log.read_text().splitlines() if " listening " in line)
        port = int(dict(word.split("=", 1) for word in line.split() if "=" in word)["port"])
        yield Program(running, Victim(running.pid, port, Order("bridge", stored.url)), log)
    finally:
        running.kill()
        running.wait()


def test_a_thousand_mutated_streams_do_no_harm(program: Program, stored: Archive):
    chance = random.Random(SEED)
    victim = program.victim
    plain = conversations()
    streams = [b"".join(each) for each in plain]
    streams += [mutated(chance.choice(plain), chance) for _ in range(STREAMS)]
    begun = time.monotonic()

    with ThreadPoolExecutor(AT_ONCE) as senders:
        list(senders.map(lambda stream: send(victim.address, stream), streams[:300]))
        victim.echo()
        settled = eventually(lambda: program.connections() == 0, PATIENCE_S)
        warm = victim.vitals()
        list(senders.map(lambda stream: send(victim.address, stream), streams[300:]))
    victim.echo()
    settled = settled and eventually(lambda: program.connections() == 0, PATIENCE_S)
    after = victim.vitals()

    assert settled, f"{program.connections()} connections are left"
    assert after.threads <= warm.threads
    assert after.descriptors <= warm.descriptors + AT_ONCE  # connections kept to the archive
    assert after.resident_bytes < warm.resident_bytes + (16 << 20), (warm, after)
    words = program.log.read_text()
    assert "Traceback" not in words
    assert "unexpected error" not in words
    whole = {data for stream in streams for data in whole_data_sets(stream)}
    assert stored.parts
    assert [part for part in stored.parts if data_set_of(part) not in whole] == []
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE_S) == 0
    assert "draining associations=0" in program.log.read_text()
    assert time.monotonic() - begun < 60
