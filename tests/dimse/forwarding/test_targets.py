"""Targets of every kind: in the transfer syntax that each wants, over HTTPS, and programs of others."""

import asyncio
import json
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from pydicom import dcmread

from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE, ROOT
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import CT_IMAGE, PATIENCE_S, Archive, serve_archive
from tests.dimse.forwarding.forwarded import (
    a_study,
    an_image,
    arrived,
    peer_of,
    rule,
    sent,
    sent_quickly,
    table,
    took,
    uids,
)
from tests.dimse.programs import need, running
from tests.dimse.retrieve.retrieving import a_service, stop
from tests.s3_certificates import write_certificates

J2K, RLE, JLS = ROOT + ".4.90", ROOT + ".5", ROOT + ".4.80"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture
def secure(ground, tmp_path):
    """A second service, over HTTPS with a certificate that only its own authority vouches for."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    write_certificates(folder)
    service, port = a_service(), unused_port()

    async def begin() -> uvicorn.Server:
        config = uvicorn.Config(
            service, host="127.0.0.1", port=port, log_config=None, ws="none", timeout_graceful_shutdown=1,
            ssl_certfile=str(folder / "cert.pem"), ssl_keyfile=str(folder / "key.pem"),
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.serving = asyncio.ensure_future(server.serve())  # type: ignore[attr-defined]
        while not server.started:
            await asyncio.sleep(0.01)
        return server

    server = ground.run(begin())
    service.url = f"https://127.0.0.1:{port}/dicom-web"
    yield service, folder / "authority.pem"
    ground.run(stop(server))
    service.archive.close()


def arrived_at(service, image):
    """An object as a service has it."""
    uid = str(image.SOPInstanceUID).encode()
    (content,) = (one for one, _ in service.store._objects.values() if uid in one)
    return dcmread(BytesIO(content))


@pytest.mark.parametrize("syntax", [J2K, RLE, JLS])
def test_each_target_is_sent_the_transfer_syntax_of_its_rule(start, destination, syntax):
    native = destination()
    packed = destination([(CT_IMAGE, [EXPLICIT_LE, syntax])], title="PACKED")
    rules = rule("dest") + rule("packed", transcode=syntax)
    bridge = start(peer_of(native) + peer_of(packed) + rules)
    image = an_image()

    sent(bridge.port, [image])
    took(native, 1), took(packed, 1)

    assert native.got[0].syntax == EXPLICIT_LE
    assert packed.got[0].syntax == syntax
    assert np.array_equal(arrived(packed.got[0]).pixel_array, image.pixel_array)


def test_a_peer_that_takes_only_native_images_gets_them(start, destination):
    image = an_image()
    image.compress(RLE, generate_instance_uid=False)
    there = destination([(CT_IMAGE, [IMPLICIT_LE])])
    bridge = start(peer_of(there) + rule("dest"))

    sent(bridge.port, [image])
    took(there, 1)

    assert there.got[0].syntax == IMPLICIT_LE
    assert np.array_equal(arrived(there.got[0]).pixel_array, image.pixel_array)


def test_a_server_over_https_gets_what_is_forwarded(start, secure):
    service, authority = secure
    server = {"url": service.url, "ca": str(authority), "transfer_syntax": "JPEG2000Lossless"}
    bridge = start(table("servers.cloud", server) + rule("cloud"))
    study = a_study(8)

    sent(bridge.port, study)
    told = bridge.wait("cloud", lambda told: told["forwarded"] == 8)

    assert (told["kind"], told["failed"]) == ("server", 0)
    got = [arrived_at(service, image) for image in study]
    assert {one.file_meta.TransferSyntaxUID for one in got} == {J2K}
    assert all(
        np.array_equal(one.pixel_array, image.pixel_array) for one, image in zip(got, study, strict=True)
    )


def test_a_server_that_is_not_trusted_gets_nothing(start, secure):
    service, _ = secure
    bridge = start(table("servers.cloud", {"url": service.url}) + rule("cloud"))

    sent(bridge.port, [an_image()])

    told = bridge.wait("cloud", lambda told: told["error"])
    assert "not trusted" in told["error"]
    assert (told["waiting"], service.requests) == (1, [])


def test_a_large_object_passes_in_bounded_pieces(start, secure):
    service, authority = secure
    bridge = start(
        table("servers.cloud", {"url": service.url, "ca": str(authority)}) + rule("cloud"),
        held_bytes=1 << 16,
    )
    image = an_image(Rows=1024, Columns=1024, PixelData=bytes(2 << 20))

    sent(bridge.port, [image])

    assert bridge.wait("cloud", lambda told: told["forwarded"] == 1)["failed"] == 0
    (request,) = service.requests
    assert request.get("transfer-encoding") == "chunked"


def test_what_a_server_refuses_is_told(ground, start):
    archive = Archive()
    runner, archive.url = ground.run(serve_archive(archive))
    bridge = start(table("servers.cloud", {"url": archive.url}) + rule("cloud"))
    archive.behaviours += [archive.answering(409, failure=0xA900), archive.answering(503)]
    archive.behaviours += [archive.answering(503), archive.answering(409, failure=0xA700)]

    sent(bridge.port, [an_image()])
    bridge.wait("cloud", lambda told: told["failed"] == 1)
    sent(bridge.port, [an_image()])
    bridge.wait("cloud", lambda told: told["forwarded"] == 1)
    ground.run(runner.cleanup())

    (failed,) = bridge.failed()
    assert failed["error"] == "The target answered 409 (A900H)."
    assert len(archive.parts) == 1


def test_storescp_gets_what_is_forwarded(start, tmp_path):
    program, port = need("storescp"), unused_port()
    folder = tmp_path / "received"
    folder.mkdir()
    study = a_study(20)
    with running([program, "-od", str(folder), "-aet", "STORESCP", str(port)], port, folder=folder):
        peer = {"ae_title": "STORESCP", "host": "127.0.0.1", "port": port}
        bridge = start(table("peers.scp", peer) + rule("scp"))
        assert sent(bridge.port, study) == [0] * 20
        bridge.wait("scp", lambda told: told["forwarded"] == 20)

    got = {path.name.partition(".")[2]: dcmread(path) for path in folder.glob("CT.*")}
    assert set(got) == set(uids(study))
    assert all(np.array_equal(got[str(one.SOPInstanceUID)].pixel_array, one.pixel_array) for one in study)


def test_orthanc_gets_what_is_forwarded_by_either_way(start, tmp_path):
    program, port, http = need("Orthanc"), unused_port(), unused_port()
    if not PLUGIN.exists():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "Plugins": [str(PLUGIN)],
        "DicomAet": "ORTHANC", "DicomPort": port, "HttpPort": http, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    by_dimse, by_web = a_study(5), a_study(5, Modality="MR")
    with running([program, "orthanc.json"], port, http, folder=folder):
        peer = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": port}
        url = f"http://127.0.0.1:{http}/dicom-web"
        bridge = start(
            table("peers.orthanc", peer)
            + table("servers.web", {"url": url})
            + rule("orthanc", {"modality": "CT"})
            + rule("web", {"modality": "MR"})
        )
        sent(bridge.port, by_dimse + by_web)
        bridge.wait("orthanc", lambda told: told["forwarded"] == 5)
        bridge.wait("web", lambda told: told["forwarded"] == 5)

        with urllib.request.urlopen(f"http://127.0.0.1:{http}/instances", timeout=PATIENCE_S) as answer:
            assert len(json.loads(answer.read())) == 10
        for one in (by_dimse[0], by_web[0]):
            with urllib.request.urlopen(
                f"{url}/instances?SOPInstanceUID={one.SOPInstanceUID}", timeout=PATIENCE_S
            ) as answer:
                assert json.loads(answer.read())


def test_many_instances_go_over_few_associations(start, tmp_path):
    program, port = need("storescp"), unused_port()
    folder = tmp_path / "received"
    folder.mkdir()
    study = a_study(300)
    with running([program, "-v", "-od", str(folder), "-aet", "STORESCP", str(port)], port, folder=folder):
        peer = {"ae_title": "STORESCP", "host": "127.0.0.1", "port": port}
        bridge = start(table("peers.scp", peer) + rule("scp", quiet_s=1.0))

        assert set(sent_quickly(bridge, study)) == {0}
        told = bridge.wait("scp", lambda told: told["forwarded"] == 300)

    assert (told["waiting"], told["failed"]) == (0, 0)
    assert {path.name.partition(".")[2] for path in folder.glob("CT.*")} == set(uids(study))
    assert (folder / "log").read_text().count("Association Received") <= 4
