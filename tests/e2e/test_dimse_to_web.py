"""Every real file in by C-STORE, as raw bytes and by DCMTK, and out by HTTP."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections import defaultdict

import pytest

from bridge.upper import pdu
from service.dicom.part10 import read_file_head
from service.dicom.syntaxes import BY_UID, REFUSED
from tests.dimse.dimse_peers import Instance, RawPeer, a_context, a_store
from tests.e2e.conftest import PATIENCE_S, Program

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files
BETTER_VERDICT = "encapsulation/jpeg2000-multiframe-multifragments.dcm"  # UIDs of 67 characters


@pytest.fixture(scope="module", params=["itself", "http"])
def product(request, tmp_path_factory):
    """Service and bridge, which stores by itself, or by STOW-RS."""
    folder = tmp_path_factory.mktemp("product")
    program = Program(folder, "up", ISTHMUS_ON_DUPLICATE="refuse", ISTHMUS_BRIDGE_STORES_BY=request.param)
    program.wait_ready()
    yield program
    program.close()


@pytest.fixture(scope="module")
def sound(real_data, manifest):
    """Rows of the files that have a complete head, each SOP Instance UID once, and their bytes."""
    rows: dict[str, tuple[dict[str, str], bytes]] = {}
    for row in manifest:
        usable = row["has_all_uids"] == "yes" and not row["path"].startswith("malformed/")
        if not usable or row["path"] == BETTER_VERDICT or row["sop_instance_uid"] in rows:
            continue
        content = (real_data / row["path"]).read_bytes()
        if content[128:132] == b"DICM" and row["transfer_syntax"] in BY_UID:
            rows[row["sop_instance_uid"]] = (row, content)
    return rows


def get(url: str, accept: str) -> bytes:
    with urllib.request.urlopen(
        urllib.request.Request(url, headers={"Accept": accept}), timeout=PATIENCE_S
    ) as answer:
        content: bytes = answer.read()
        return content


def data_set_of(content: bytes) -> bytes:
    head = read_file_head(content)
    assert head is not None
    return content[head.data_offset :]


def test_the_data_set_of_every_real_file_arrives_byte_for_byte(product, sound):
    # given: an association for each class and transfer syntax, as modalities open them
    groups = defaultdict(list)
    for uid, (row, content) in sound.items():
        groups[row["sop_class"], row["transfer_syntax"]].append((uid, content))
    problems = []
    for (sop_class, syntax), members in groups.items():
        with RawPeer(("127.0.0.1", product.dimse_port)) as peer:
            accepted = peer.associate(a_context(1, sop_class, syntax))
            assert [context.result for context in accepted.contexts] == [0], (sop_class, syntax)
            for uid, content in members:
                for packet in a_store(Instance(sop_class, uid, data_set_of(content))):
                    peer.send(packet)
                status = peer.response().status
                if status not in (0, 0xB007):
                    problems.append(f"{sound[uid][0]['path']}: {status:04X}")
            peer.send(pdu.release_rq())
            peer.next_pdu()
    # then
    for uid, (row, content) in sound.items():
        if not BY_UID[row["transfer_syntax"]].leaves_as_stored:
            continue  # stored the same way; what leaves is compared element by element in tests/web
        (found,) = _found(product, uid)
        sent = get(found, "application/dicom; transfer-syntax=*")
        if data_set_of(sent) != data_set_of(content):
            problems.append(f"{row['path']}: differs")
    assert not problems, "\n".join(problems)
    assert len(sound) > 300


def _found(product, uid: str) -> list[str]:
    answer = json.loads(get(f"{product.root}/instances?SOPInstanceUID={uid}", "application/dicom+json"))
    return [one["00081190"]["Value"][0] for one in answer]


def test_identical_objects_by_both_ways_are_one(product, sound):
    # given: what the bridge has stored already
    for uid, (_, content) in list(sound.items())[:40]:
        request = urllib.request.Request(
            f"{product.root}/studies", data=content, headers={"Content-Type": "application/dicom"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status in (200, 202)
        assert len(_found(product, uid)) == 1


def test_syntaxes_that_are_not_for_storage_are_not_accepted(product):
    with RawPeer(("127.0.0.1", product.dimse_port)) as peer:
        contexts = [
            a_context(2 * n + 1, "1.2.840.10008.5.1.4.1.1.2", uid) for n, uid in enumerate(sorted(REFUSED))
        ]
        accepted = peer.associate(*contexts)
        assert {context.result for context in accepted.contexts} == {4}


@pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK's storescu is not installed")
def test_dcmtk_stores_a_folder(product, real_data):
    folder = real_data / "studies"
    command = [
        "storescu",
        "-aec",
        "ISTHMUS",
        "+sd",
        "+r",
        "-R",
        "127.0.0.1",
        str(product.dimse_port),
        str(folder),
    ]
    ran = subprocess.run(
        command,
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    # The duplicates among the files are refused, which ends DCMTK with an error; nothing else may.
    assert "Store Failed" not in ran.stderr.replace("0x0111", ""), ran.stderr[-2000:]


@pytest.mark.skipif(shutil.which("echoscu") is None, reason="DCMTK's echoscu is not installed")
def test_dcmtk_echoes(product):
    ran = subprocess.run(
        ["echoscu", "-aec", "ISTHMUS", "127.0.0.1", str(product.dimse_port)], timeout=PATIENCE_S, check=False
    )
    assert ran.returncode == 0
