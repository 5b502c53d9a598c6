"""DCMTK's programs on both sides: getscu and movescu ask, storescp receives."""

import os
import re
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.peers import Peer
from service.dicom.part10 import read_file_head
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, a_uid
from tests.dimse.retrieve.retrieving import an_object, asked, fetched

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("getscu", "movescu", "storescp")),
    reason="DCMTK's programs are not installed",
)
ENVIRON = {**os.environ, "TCP_NODELAY": "1"}
J2K = "1.2.840.10008.1.2.4.90"


def ran(*command: str | Path, status: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in command], env=ENVIRON, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Peer]:
    """A running storescp that keeps what it gets, bit by bit."""
    port = unused_port()
    command = ["storescp", "+B", "-od", str(folder), "-aet", "DEST", *options, str(port)]
    process = subprocess.Popen(command, env=ENVIRON, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield Peer(name="dest", ae_title="DEST", host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        try:
            subprocess.run(
                ["echoscu", "-to", "2", "127.0.0.1", str(port)],
                check=True,
                capture_output=True,
                timeout=PATIENCE_S,
            )
            return
        except subprocess.CalledProcessError:
            assert process.poll() is None
            pause.wait(0.05)
    raise AssertionError("storescp never listened")


def data_sets(folder: Path) -> dict[str, bytes]:
    """Syntax and data set of the files in a folder, joined, by SOP Instance UID."""
    found = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        head = read_file_head(content)
        assert head is not None
        found[head.sop_instance] = head.syntax.encode() + b" " + content[head.data_offset :]
    return found


def as_kept(objects) -> dict[str, bytes]:
    return {one.instance: one.syntax.encode() + b" " + one.data for one in objects}


def a_series(count: int, size_bytes: int = 64, **given):
    study, series, root = a_uid(), a_uid(), a_uid()
    return [
        an_object(size_bytes, study=study, series=series, instance=f"{root}.1{number:04}", **given)
        for number in range(count)
    ]


def counts(output: str) -> list[int]:
    """Completed, failed and warning sub-operations of the last response that movescu or getscu shows."""
    return [
        int(re.findall(rf"{name} Suboperations\s*:\s*(\d+)", output)[-1])
        for name in ("Completed", "Failed", "Warning")
    ]


@pytest.mark.parametrize(("way", "count"), [("move", 2000), ("get", 500)])
def test_one_bad_slice_in_two_thousand_fails_alone(start, served, tmp_path, way, count):
    objects = a_series(count)
    served.keep(one.part10 for one in objects)
    bad = objects[count * 2 // 3]
    kept = served.store._objects.items()
    (lost,) = [key for key, (content, _) in kept if bad.instance.encode() in content]
    served.store.delete(lost)
    keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000d={bad.study}")

    with storescp(tmp_path) as peer:
        bridge = start(peer)
        port = str(bridge.port)
        if way == "move":
            output = ran("movescu", "-v", "-d", "-S", "-aem", "DEST", "127.0.0.1", port, *keys, status=68)
        else:
            output = ran("getscu", "-v", "-d", "-S", "+B", "-od", tmp_path, "127.0.0.1", port, *keys)

    assert data_sets(tmp_path) == as_kept(one for one in objects if one is not bad)
    assert "0xb000" in output.lower() or "B000" in output
    assert bad.instance in output or way == "get"
    assert bridge.report().objects == count - 1


@pytest.mark.parametrize(
    ("option", "syntax"), [("+x=", EXPLICIT_LE), ("+xi", IMPLICIT_LE), ("+xv", J2K), ("+xs", EXPLICIT_LE)]
)
def test_storescp_gets_what_it_prefers(start, served, real_data, tmp_path, option, syntax):
    content = (real_data / "ts/mr-small-family/MR_small_jp2klossless.dcm").read_bytes()
    served.keep([content])
    head = read_file_head(content)
    assert head is not None

    with storescp(tmp_path, option) as peer:
        bridge = start(peer)
        keys = ("-k", "0008,0052=IMAGE", "-k", f"0008,0018={head.sop_instance}")
        ran("movescu", "-S", "-aem", "DEST", "127.0.0.1", str(bridge.port), *keys)

    (got,) = data_sets(tmp_path).values()
    assert got.partition(b" ")[0].decode() == syntax
    if syntax == J2K:
        assert got.partition(b" ")[2] == content[head.data_offset :]


@pytest.mark.parametrize(("option", "syntax"), [("+x=", EXPLICIT_LE), ("+xv", EXPLICIT_LE)])
def test_getscu_gets_what_it_proposes(start, served, real_data, tmp_path, option, syntax):
    content = (real_data / "ts/mr-small-family/MR_small_jp2klossless.dcm").read_bytes()
    served.keep([content])
    head = read_file_head(content)
    assert head is not None
    bridge = start()

    keys = ("-k", "0008,0052=IMAGE", "-k", f"0008,0018={head.sop_instance}")
    ran("getscu", "-S", option, "+B", "-od", tmp_path, "127.0.0.1", str(bridge.port), *keys)

    (got,) = data_sets(tmp_path).values()
    assert got.partition(b" ")[0].decode() == syntax


def test_a_patient_is_moved_by_its_id(start, served, tmp_path):
    objects = [*a_series(2, patient="P 7"), *a_series(2, patient="P 7")]
    served.keep(one.part10 for one in objects)

    with storescp(tmp_path) as peer:
        bridge = start(peer)
        keys = ("-k", "0008,0052=PATIENT", "-k", "0010,0020=P 7")
        ran("movescu", "-P", "-aem", "DEST", "127.0.0.1", str(bridge.port), *keys)

    assert data_sets(tmp_path) == as_kept(objects)


def test_more_classes_than_one_association_holds_take_several(start, served, tmp_path):
    study = a_uid()
    objects = [an_object(study=study, sop_class=f"1.2.840.10008.5.1.4.1.1.{n}") for n in range(3000, 3100)]
    served.keep(one.part10 for one in objects)

    with storescp(tmp_path, "-pm") as peer:
        bridge = start(peer)
        keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000d={study}")
        ran("movescu", "-S", "-aem", "DEST", "127.0.0.1", str(bridge.port), *keys)

    assert data_sets(tmp_path) == as_kept(objects)


def test_a_large_instance_passes_through_in_bounded_memory(start, served, tmp_path):
    # given: 300 MB in one instance
    one = an_object(300_000_000)
    served.keep([one.part10])

    with storescp(tmp_path, "+xi") as peer:
        bridge = start(peer)
        keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000d={one.study}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ran("movescu", "-S", "-aem", "DEST", "127.0.0.1", str(bridge.port), *keys)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    (path,) = tmp_path.iterdir()
    with path.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        assert file.read() == b"\x07\x07"
    assert abs(path.stat().st_size - 300_000_000) < 4096
    # the archive in memory lends its object; what is held on the way are windows
    assert grown < 64 << 10, f"{grown} KiB"


def test_a_get_in_pieces_of_any_size_is_the_same(start, served, tmp_path):
    objects = a_series(3, 1_000_001)
    served.keep(one.part10 for one in objects)
    bridge = start(whole_bytes=1000)

    answer = fetched(bridge.port, asked(StudyInstanceUID=objects[0].study), [(CT_IMAGE, [EXPLICIT_LE])])

    assert {one.data for one in answer.got} == {one.data for one in objects}
