"""Retrieve of objects, metadata, bulk data and frames (PS3.18 10.4)."""

import base64
from collections.abc import Buffer

import pytest

from service.dicom.frames import Extent
from service.dicom.record import Held
from service.dicom.resource import Resource
from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, OCTETS, ROOT
from service.index import bundles
from service.store.memory import MemoryStore
from service.web import metadata
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import data_set, differences, parts_of, turned

J2K = ROOT + ".4.90"
LOSSY_JPEG = ROOT + ".4.50"
VIDEO = ROOT + ".4.102"
AS_STORED = "application/dicom; transfer-syntax=*"
MANY_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def keep(site, file: bytes) -> str:
    """Store `file`; the path of its instance below the DICOMweb root."""
    response = site.post(file)
    assert response.status_code in (200, 202), response.text
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return str(url).removeprefix("http://testserver/dicom-web")


def encapsulated(*codestreams: bytes, syntax: str = J2K, **attributes) -> bytes:
    made = add_pixels(a_data_set(**attributes), [bytes(32)] * len(codestreams))
    return a_file(made, syntax, codestreams=codestreams)


# Objects


def test_an_instance_leaves_as_it_came(site):
    file = a_ct()
    response = site.get(keep(site, file), AS_STORED)
    assert response.status_code == 200
    assert response.content == file
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    assert response.headers["content-length"] == str(len(file))


def test_an_instance_is_a_multipart_of_one_where_nothing_else_is_asked(site):
    file = a_ct()
    path = keep(site, file)
    response = site.get(path)
    (part,) = parts_of(response)
    assert part.content == file
    assert part.headers == {
        "Content-Type": f"application/dicom; transfer-syntax={EXPLICIT_LE}",
        "Content-Location": f"http://testserver/dicom-web{path}",
        "Content-Length": str(len(file)),
    }
    assert int(response.headers["content-length"]) == len(response.content)


def test_a_study_is_all_its_instances_by_number(site):
    study, series = new_uid(), new_uid()
    files = [a_ct(study=study, series=series, InstanceNumber=number) for number in (3, 1, 2)]
    site.post_parts(*files)
    response = site.get(f"/studies/{study}", MANY_AS_STORED)
    assert [part.content for part in parts_of(response)] == [files[1], files[2], files[0]]


def test_one_item_is_not_what_a_study_can_be(site):
    study = new_uid()
    keep(site, a_ct(study=study))
    assert site.get(f"/studies/{study}", "application/dicom").status_code == 406


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
def test_what_must_not_leave_as_it_is_leaves_in_explicit_little_endian(site, syntax):
    made = add_pixels(a_data_set(), [bytes(range(32))])
    made.ReferencedImageSequence = [a_data_set(RescaleSlope="1.5")]
    made.add_new(0x00291010, "LO", "private block 29.10"[:10])
    made.FloatPixelPaddingValue = 1.5
    file = a_file(made, syntax)
    response = site.get(keep(site, file), AS_STORED)
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    sent = data_set(response.content)
    assert sent.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert differences(data_set(file), sent, big_endian=syntax == EXPLICIT_BE) == []


def test_what_cannot_be_made_is_not_acceptable_and_says_what_is_there(site):
    path = keep(site, encapsulated(b"\xff\x4f\xff\xd9"))
    response = site.get(path, "application/dicom")
    assert response.status_code == 406
    assert f"application/dicom; transfer-syntax={J2K}" in response.json()["available"]


def test_what_exists_only_in_a_lossy_form_may_leave_so(site):
    path = keep(site, encapsulated(b"\xff\xd8\xff\xd9", syntax=LOSSY_JPEG))
    response = site.get(path, "application/dicom")
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={LOSSY_JPEG}"


def test_a_study_of_which_only_a_part_is_acceptable_is_partial(site):
    study = new_uid()
    plain = a_ct(study=study)
    site.post_parts(plain, encapsulated(b"\xff\x4f\xff\xd9", study=study))
    response = site.get(f"/studies/{study}", 'multipart/related; type="application/dicom"')
    assert response.status_code == 206
    assert "1 of 2 instances" in response.headers["warning"]
    assert [part.content for part in parts_of(response)] == [plain]


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.2.3",
        "/studies/1.2.3/metadata",
        "/studies/1.2.3/series/1/instances/1",
        "/studies/1.2.3/series/1/instances/1/frames/1",
        "/studies/1.2.3/series/1/instances/1/bulkdata/7FE00010",
        "/nothing",
    ],
)
def test_what_is_not_there_is_not_found(site, path):
    response = site.get(path)
    assert response.status_code == 404
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "uid", ["..%2F..%2Fetc", "%00", "1.2.3%00", "9" * 65, "1.2.a", "%2e%2e", "...", "%EF%BC%91", "1%0d%0aX:1"]
)
def test_a_uid_that_is_none_is_a_bad_request(site, uid):
    for path in (
        f"/studies/{uid}",
        f"/studies/{uid}/metadata",
        f"/studies/1/series/{uid}",
        f"/studies/{uid}/series",
    ):
        assert site.get(path).status_code in (400, 404), path


def test_an_instance_of_another_study_is_not_found(site):
    path = keep(site, a_ct())
    other = keep(site, a_ct())
    mixed = other.split("/series/")[0] + "/series/" + path.split("/series/")[1]
    assert site.get(mixed, AS_STORED).status_code == 404


def test_an_object_gone_from_the_store_is_not_found_and_never_half_sent(site):
    path = keep(site, a_ct())
    for key, _ in list(site.store.keys()):
        site.store.delete(key)
    assert site.get(path, AS_STORED).status_code == 404


# Metadata


def test_metadata_are_every_attribute_with_urls_filled_in(site):
    made = add_pixels(a_data_set(), [bytes(32)])
    path = keep(site, a_file(made))
    response = site.get(path + "/metadata")
    assert response.headers["content-type"] == "application/dicom+json"
    (document,) = response.json()
    assert document["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert document["7FE00010"] == {
        "vr": "OW",
        "BulkDataURI": f"http://testserver/dicom-web{path}/bulkdata/7FE00010",
    }
    assert document["00083002"]["Value"][0] == EXPLICIT_LE
    assert list(document) == sorted(document)
    assert not any(tag.startswith("0002") for tag in document)


def test_metadata_of_a_series_follow_its_changes_at_once(site):
    study, series = new_uid(), new_uid()
    for count in (1, 2, 3):
        keep(site, a_ct(study=study, series=series, InstanceNumber=count))
        for _ in range(2):
            found = site.get(f"/studies/{study}/series/{series}/metadata").json()
            assert [one["00200013"]["Value"][0] for one in found] == list(range(1, count + 1))
    assert len(site.get(f"/studies/{study}/metadata").json()) == 3


def test_metadata_of_many_instances_are_streamed(site, monkeypatch):
    monkeypatch.setattr(metadata, "_AT_ONCE", 3000)
    monkeypatch.setattr(bundles, "_BLOCK", 2000)
    study, series = new_uid(), new_uid()
    site.post_parts(*(a_ct(study=study, series=series, InstanceNumber=number) for number in range(1, 12)))
    response = site.get(f"/studies/{study}/series/{series}/metadata")
    assert response.headers["content-type"] == "application/dicom+json"
    assert [one["00200013"]["Value"] for one in response.json()] == [[number] for number in range(1, 12)]


def test_metadata_name_the_root_that_the_client_used(site):
    path = keep(site, a_ct())
    for host in ("one.example", "two.example:8443", "[::1]:80"):
        (document,) = site.get(path + "/metadata", Host=host).json()
        assert document["7FE00010"]["BulkDataURI"].startswith(f"http://{host}/dicom-web/studies/")


@pytest.mark.parametrize("host", ['a"b', "a b", "a\x01", "<x>", "h/../x"])
def test_a_host_header_that_is_none_is_a_bad_request(site, host):
    path = keep(site, a_ct())
    assert site.get(path + "/metadata", Host=host).status_code == 400


# Bulk data


def test_bulk_data_are_where_metadata_say(site):
    made = add_pixels(a_data_set(), [bytes(range(32))])
    block = made.private_block(0x0009, "ISTHMUS TEST", create=True)
    block.add_new(0x01, "OB", bytes(range(256)) * 8)
    inner = a_data_set()
    inner.private_block(0x0009, "ISTHMUS TEST", create=True).add_new(0x02, "OW", b"\x01\x02" * 1000)
    made.ReferencedImageSequence = [a_data_set(), inner]
    for syntax in (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED):
        made.SOPInstanceUID = new_uid()
        path = keep(site, a_file(made, syntax))
        (document,) = site.get(path + "/metadata").json()
        nested = document["00081140"]["Value"][1]["00091002"]
        bulk = {
            document["00091001"]["BulkDataURI"]: bytes(range(256)) * 8,
            nested["BulkDataURI"]: b"\x01\x02" * 1000,
        }
        for url, expected in bulk.items():
            got = site.get(url, OCTETS)
            if syntax == EXPLICIT_BE and url == nested["BulkDataURI"]:
                expected = turned(expected, 2)  # pydicom writes OW as it is given
            assert got.content == expected
            assert parts_of(site.get(url))[0].content == expected


def test_bulk_data_of_big_endian_words_are_little_endian(site):
    made = add_pixels(a_data_set(), [bytes(range(32))])
    path = keep(site, a_file(made, EXPLICIT_BE))
    got = site.get(path + "/bulkdata/7FE00010", OCTETS).content
    assert got == bytes(byte for pair in range(0, 32, 2) for byte in (pair + 1, pair))


def test_compressed_pixel_data_as_bulk_data_are_a_part_for_each_frame(site):
    path = keep(site, encapsulated(b"\xff\x4fone!", b"\xff\x4ftwo!!!"))
    got = site.get(
        path + "/bulkdata/7FE00010", "multipart/related; type=application/octet-stream; transfer-syntax=*"
    )
    assert [part.content for part in parts_of(got)] == [b"\xff\x4fone!\0"[:6], b"\xff\x4ftwo!!!\0"[:8]]
    assert parts_of(got)[0].headers["Content-Type"] == f"image/jp2; transfer-syntax={J2K}"


def test_video_as_bulk_data_is_one_stream(site):
    made = add_pixels(a_data_set(), [bytes(32)] * 9)
    path = keep(site, a_file(made, VIDEO, codestreams=[b"a whole stream!!"]))
    got = site.get(path + "/bulkdata/7FE00010", "video/mp4")
    assert got.content == b"a whole stream!!"
    assert got.headers["content-type"] == f"video/mp4; transfer-syntax={VIDEO}"


@pytest.mark.parametrize(
    "path", ["7FE0001", "xyz", "00081140/0/00080018", "00081140/1", "7FE00010/", "0/1/2"]
)
def test_a_bulk_data_path_that_is_none_is_a_bad_request(site, path):
    assert site.get(keep(site, a_ct()) + "/bulkdata/" + path).status_code == 400


@pytest.mark.parametrize("path", ["00091001", "00081140/1/00080018", "7FE00008", "00100010/1/00100010"])
def test_bulk_data_that_are_not_there_are_not_found(site, path):
    assert site.get(keep(site, a_ct()) + "/bulkdata/" + path).status_code == 404


def test_small_binary_values_are_in_the_metadata(site):
    made = a_data_set()
    made.private_block(0x0009, "ISTHMUS TEST", create=True).add_new(0x01, "OB", b"\x01\x02\x03\x04")
    (document,) = site.get(keep(site, a_file(made)) + "/metadata").json()
    assert base64.b64decode(document["00091001"]["InlineBinary"]) == b"\x01\x02\x03\x04"


# Frames


FRAMES = [bytes([number]) * 32 for number in range(1, 6)]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
def test_frames_come_in_the_order_asked(site, syntax):
    path = keep(site, a_ct(FRAMES, syntax))
    response = site.get(path + "/frames/3,1,5,3")
    assert [part.content for part in parts_of(response)] == [FRAMES[2], FRAMES[0], FRAMES[4], FRAMES[2]]
    first = parts_of(response)[0].headers
    assert first["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
    assert first["Content-Location"] == f"http://testserver/dicom-web{path}/frames/3"


def test_one_frame_may_be_a_single_part(site):
    path = keep(site, a_ct(FRAMES))
    response = site.get(path + "/frames/2", OCTETS)
    assert response.content == FRAMES[1]
    assert response.headers["content-length"] == "32"
    assert site.get(path + "/frames/1,2", OCTETS).status_code == 406


def test_a_frame_is_one_ranged_read(open_site, monkeypatch):
    site = open_site()
    path = keep(site, a_ct(FRAMES))
    held: Held = site.archive.instances(resource_of(path))[0]
    reads: list[Extent] = []
    real = MemoryStore.read

    def read(store: MemoryStore, key: str, extent: Extent) -> Buffer:
        reads.append(extent)
        return real(store, key, extent)

    monkeypatch.setattr(MemoryStore, "read", read)
    assert site.get(path + "/frames/4", OCTETS).content == FRAMES[3]
    assert held.pixels is not None
    assert reads == [Extent(held.pixels.extent.offset + 3 * 32, 32)]


def resource_of(path: str) -> Resource:
    _, _, study, _, series, _, instance = path.split("/")
    return Resource(study, series, instance)


def test_compressed_frames_leave_as_they_are_stored(site):
    path = keep(site, encapsulated(b"\xff\x4fone!!", b"\xff\x4ftwo!"))
    for accept in (
        'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
        "multipart/related; type=image/jp2",
        f"multipart/related; type=image/jp2; transfer-syntax={J2K}",
        "*/*",
    ):
        response = site.get(path + "/frames/2,1", accept)
        assert [part.content for part in parts_of(response)] == [b"\xff\x4ftwo!", b"\xff\x4fone!!\0"[:8]]
        assert parts_of(response)[0].headers["Content-Type"] == f"image/jp2; transfer-syntax={J2K}"
        assert 'type="image/jp2"' in response.headers["content-type"]


@pytest.mark.parametrize("accept", [OCTETS, "image/png", f"image/jpx; transfer-syntax={ROOT}.4.92"])
def test_frames_that_would_need_a_codec_are_not_acceptable(site, accept):
    path = keep(site, encapsulated(b"\xff\x4fone!!"))
    response = site.get(path + "/frames/1", accept)
    assert response.status_code == 406
    assert f"image/jp2; transfer-syntax={J2K}" in response.json()["available"]


@pytest.mark.parametrize("numbers", ["0", "-1", "a", "1,,2", "1.5", ",", "1, 2", "²"])
def test_frame_numbers_that_are_none_are_a_bad_request(site, numbers):
    path = keep(site, a_ct(FRAMES))
    assert site.get(f"{path}/frames/{numbers}").status_code == 400


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, J2K])
def test_frames_past_the_last_are_not_found(site, syntax):
    file = a_ct(FRAMES) if syntax == EXPLICIT_LE else encapsulated(*[b"\xff\x4f"] * 5)
    path = keep(site, file)
    assert site.get(path + "/frames/6").status_code == 404
    assert site.get(path + "/frames/1,9999999999").status_code == 404


def test_an_object_without_pixels_has_no_frames(site):
    assert site.get(keep(site, a_file(a_data_set())) + "/frames/1").status_code == 404


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (5, 7), (8, 8), (1, 1)])
def test_frames_of_single_bits_each_begin_at_a_byte(site, syntax, rows, columns):
    # given: frames packed one behind the other, without padding (PS3.5 8.1.1)
    size = rows * columns
    pictures = [[(number * pixel) % 3 == 0 for pixel in range(size)] for number in range(1, 5)]
    bits = [bit for picture in pictures for bit in picture]
    packed = pack(bits)
    packed += b"\0" * (len(packed) % 2)
    if syntax == EXPLICIT_BE:  # words of 16 bits, which pydicom writes as they are given
        packed = bytes(packed[at ^ 1] for at in range(len(packed)))
    made = add_pixels(a_data_set(), [b""], rows=rows, columns=columns, bits=1)
    made.NumberOfFrames = 4
    made.PixelData = packed
    made["PixelData"].VR = "OW"
    path = keep(site, a_file(made, syntax))
    # when, then
    response = site.get(path + "/frames/1,2,3,4")
    assert [part.content for part in parts_of(response)] == [pack(picture) for picture in pictures]


def pack(bits) -> bytes:
    return bytes(
        sum(bit << place for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)
    )


def test_large_frames_come_in_blocks(open_site):
    site = open_site(read_block=1 << 16)
    frames = [bytes([number]) * (400 * 400 * 2) for number in (1, 2)]
    for syntax in (EXPLICIT_LE, EXPLICIT_BE, DEFLATED):
        made = add_pixels(a_data_set(), frames, rows=400, columns=400)
        path = keep(site, a_file(made, syntax))
        assert site.get(path + "/frames/2", OCTETS).content == frames[1]
    path = keep(site, encapsulated(b"\xff\x4f" + bytes(200_000), b"\xff\x4f" + bytes(300_000)))
    assert site.get(path + "/frames/2", "image/jp2").content == b"\xff\x4f" + bytes(300_000)
    assert site.get(path, AS_STORED).status_code == 200


# Protocol


def test_a_method_that_is_not_offered_says_which_are(site):
    response = site.client.put("http://testserver/dicom-web/studies", content=b"")
    assert response.status_code == 405
    assert {"GET", "POST"} <= {method.strip() for method in response.headers["allow"].split(",")}


def test_head_is_get_without_a_body(site):
    file = a_ct()
    path = keep(site, file)
    response = site.client.head(f"http://testserver/dicom-web{path}", headers={"Accept": AS_STORED})
    assert response.status_code == 200
    assert response.headers["content-length"] == str(len(file))


def test_the_service_says_that_it_lives_and_is_ready(site):
    assert site.client.get("http://testserver/healthz").status_code == 200
    assert site.client.get("http://testserver/readyz").json() == {"status": "ready"}


def test_a_fault_of_ours_shows_nothing(site, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("Doe^Jane at /secret/path")

    monkeypatch.setattr(type(site.archive), "find", fail)
    response = site.get("/studies")
    assert response.status_code == 500
    assert "Doe" not in response.text + caplog.text
    assert "secret" not in response.text + caplog.text


def test_nothing_of_a_patient_goes_to_the_log(site, caplog):
    caplog.set_level("DEBUG")
    path = keep(site, a_ct(PatientName="Sakura^Momo", PatientID="ID-Q4711"))
    site.get("/studies?PatientName=Sakura*&PatientID=ID-Q4711")
    site.get(path + "/metadata")
    site.post(b"broken" * 100)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert not [line for line in ours if "Sakura" in line or "Q4711" in line]
    assert any("route=" in line for line in ours)
