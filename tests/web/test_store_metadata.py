"""Store of metadata and bulk data (PS3.18 10.5.2): what is put together, and what is refused."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from service.archive.port import Outcome, Refused
from service.dicom.dicomxml import xml_document
from service.dicom.multipart import Reader
from service.dicom.syntaxes import EXPLICIT_LE, ROOT
from service.web import composing
from service.web.composing import ComposedBody
from tests.composing import (
    JSON,
    OCTETS,
    PIXELS,
    URI,
    XML,
    Bulk,
    a_body,
    an_image,
    failures,
    metadata,
    object_of,
    post_body,
    post_json,
    post_xml,
    refusal,
)
from tests.making import new_uid
from tests.reading import data_set

# What is put together


@pytest.mark.parametrize("tell_length", [False, True])
def test_native_pixels_are_stored_in_explicit_little_endian(site, tell_length):
    document = an_image()
    found = object_of(site, post_json(site, [document], Bulk(URI, PIXELS, OCTETS, tell_length)))
    assert found.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert found.file_meta.MediaStorageSOPInstanceUID == document["00080018"]["Value"][0]
    assert (found.PixelData, found["PixelData"].VR) == (PIXELS, "OW")
    assert str(found.PatientName) == "Doe^Jané"
    assert [element.tag for element in found] == sorted(element.tag for element in found)


def test_the_response_is_that_of_any_store(site):
    document = an_image()
    response = post_json(site, [document], Bulk(URI, PIXELS))
    study, instance = (document[tag]["Value"][0] for tag in ("0020000D", "00080018"))
    (stored,) = response.json()["00081199"]["Value"]
    assert stored["00081155"]["Value"] == [instance]
    assert response.json()["00081190"]["Value"] == [f"http://testserver/dicom-web/studies/{study}"]
    assert site.get(stored["00081190"]["Value"][0] + "/frames/1", OCTETS).content == PIXELS


def test_metadata_alone_are_an_instance_too(site):
    document = metadata(
        shape=False, T0040A730={"vr": "SQ", "Value": [{"0040A160": {"vr": "UT", "Value": ["x"]}}]}
    )
    found = object_of(site, post_body(site, a_body([json.dumps(document).encode()])))
    assert found.ContentSequence[0].TextValue == "x"


def test_several_instances_come_in_one_array(site):
    documents = [an_image(T7FE00010={"vr": "OW", "BulkDataURI": f"b/{number}"}) for number in range(5)]
    bulk = [Bulk(f"b/{number}", bytes([number]) * 32) for number in (3, 0, 4, 1, 2)]
    response = post_json(site, documents, *bulk)
    assert response.status_code == 200
    for number, document in enumerate(documents):
        (found,) = site.get(f"/instances?SOPInstanceUID={document['00080018']['Value'][0]}").json()
        frame = site.get(found["00081190"]["Value"][0] + "/frames/1", OCTETS)
        assert frame.content == bytes([number]) * 32


def test_xml_has_a_document_for_each_instance(site):
    documents = [an_image(T7FE00010={"vr": "OW", "BulkDataURI": f"b/{number}"}) for number in range(2)]
    bulk = [Bulk(f"b/{number}", bytes([number]) * 32) for number in range(2)]
    response = post_xml(site, [xml_document(document) for document in documents], *bulk)
    assert response.status_code == 200
    assert len(response.json()["00081199"]["Value"]) == 2


@pytest.mark.parametrize(
    ("reference", "location"),
    [
        ("http://testserver/dicom-web/studies/x/1", "x/1"),
        ("x/1", "http://testserver/dicom-web/studies/x/1"),
        ("/dicom-web/studies/x/1", "./x/1"),
        ("urn:uuid:B7E0C7A4-98F6-4A94-9F4A-6F0A4E5D9A01", "b7e0c7a4-98f6-4a94-9f4a-6f0a4e5d9a01"),
        ("cid:1@host", "cid:1@host"),
        ("http://[", "http://["),
        ("http://elsewhere/b?x=1&y=2", "http://elsewhere/b?x=1&y=2"),
    ],
)
def test_parts_are_matched_by_their_location(site, reference, location):
    document = an_image(T7FE00010={"vr": "OW", "BulkDataURI": reference})
    assert object_of(site, post_json(site, document, Bulk(location, PIXELS))).PixelData == PIXELS


def test_values_inside_of_sequences_may_lie_elsewhere(site):
    item = {"00091001": {"vr": "UN", "BulkDataURI": "a"}, "00090010": {"vr": "LO", "Value": ["ACME"]}}
    document = an_image(T00081140={"vr": "SQ", "Value": [item, {"00081155": {"vr": "UI", "Value": ["1.2"]}}]})
    found = object_of(site, post_json(site, document, Bulk(URI, PIXELS), Bulk("a", b"odd")))
    assert found.ReferencedImageSequence[0][0x00091001].value == b"odd\0"
    assert found.ReferencedImageSequence[1].ReferencedSOPInstanceUID == "1.2"
    assert found.PixelData == PIXELS


def test_one_part_may_be_the_value_of_several_elements_and_instances(site):
    documents = [an_image(T00091001={"vr": "OB", "BulkDataURI": URI}) for _ in range(3)]
    response = post_json(site, documents, Bulk(URI, PIXELS, OCTETS, tell_length=True))
    assert response.status_code == 200
    for stored in response.json()["00081199"]["Value"]:
        found = data_set(site.get(stored["00081190"]["Value"][0], "application/dicom").content)
        assert found.PixelData == found[0x00091001].value == PIXELS


def test_metadata_and_bulk_data_may_alternate(site):
    first, second = an_image(), an_image()
    body = b"".join(
        a_body([json.dumps(document).encode()], [Bulk(URI, content)]).removesuffix(b"--bnd--")
        for document, content in ((first, PIXELS), (second, PIXELS[::-1]))
    )
    assert post_body(site, body + b"--bnd--").status_code == 200
    frames = [site.get(f"{url}/frames/1", OCTETS).content for url in urls(site)]
    assert sorted(frames) == [PIXELS, PIXELS[::-1]]


def urls(site) -> list[str]:
    return [one["00081190"]["Value"][0] for one in site.get("/instances").json()]


def test_a_large_value_comes_through_whole_with_and_without_its_length(site):
    content = bytes(range(256)) * 12_000
    for tell_length in (False, True):
        document = metadata(
            T00091001={"vr": "OB", "BulkDataURI": "l"}, T00090010={"vr": "LO", "Value": ["A"]}
        )
        found = object_of(site, post_json(site, document, Bulk("l", content, OCTETS, tell_length)))
        assert found[0x00091001].value == content


# Encapsulated documents


@pytest.mark.parametrize("media_type", ["application/pdf", "text/xml", "model/stl"])
def test_documents_travel_in_their_own_type_and_keep_their_length(site, media_type):
    document = metadata(shape=False, T00420011={"vr": "OB", "BulkDataURI": "doc"})
    found = object_of(site, post_json(site, document, Bulk("doc", b"%PDF-", media_type)))
    assert found.EncapsulatedDocument == b"%PDF-\0"
    assert found.EncapsulatedDocumentLength == 5
    assert found.MIMETypeOfEncapsulatedDocument == media_type


def test_what_the_metadata_say_of_a_document_stays(site):
    document = metadata(shape=False, T00420011={"vr": "OB", "BulkDataURI": "doc"})
    document["00420012"] = {"vr": "LO", "Value": ["text/XML"]}
    document["00420015"] = {"vr": "UL", "Value": [4]}
    found = object_of(site, post_json(site, document, Bulk("doc", b"<a/>\0", "text/xml")))
    assert (found.EncapsulatedDocumentLength, found.MIMETypeOfEncapsulatedDocument) == (4, "text/XML")


# What is refused


def test_a_value_that_no_part_holds_refuses_its_instance_only(site):
    good, bad = an_image(), an_image(T7FE00010={"vr": "OW", "BulkDataURI": "http://127.0.0.1:1/secret"})
    response = post_json(site, [bad, good], Bulk(URI, PIXELS))
    assert response.status_code == 202
    ((reason, instance, comment),) = failures(response)
    assert (reason, instance) == (0xC000, bad["00080018"]["Value"][0])
    assert "(7FE0,0010)" in comment
    assert len(site.get("/instances").json()) == 1


def test_a_part_that_nothing_refers_to_is_a_failure_of_its_own(site):
    response = post_json(site, [an_image()], Bulk("other", b"x"), Bulk(URI, PIXELS), Bulk(URI, PIXELS))
    assert response.status_code == 202
    assert [(reason, instance) for reason, instance, _ in failures(response)] == [(0xC000, "")] * 2
    assert "No metadata" in failures(response)[0][2]
    assert "More parts" in failures(response)[1][2]


def test_bulk_data_before_their_metadata_are_not_waited_for(site):
    body = a_body([], [Bulk(URI, PIXELS)]).removesuffix(b"--bnd--") + a_body(
        [json.dumps(an_image()).encode()]
    )
    response = post_body(site, body)
    assert response.status_code == 409
    assert len(failures(response)) == 2


@pytest.mark.parametrize(
    ("tag", "name"),
    [("00080016", "Class"), ("00080018", "Instance"), ("0020000D", "Study"), ("0020000E", "Series")],
)
@pytest.mark.parametrize("values", [None, [], ["1.2.x"], [".."]])
def test_an_instance_without_proper_uids_is_refused(site, tag, name, values):
    value = None if values is None else {"vr": "UI", "Value": values}
    response = post_json(site, [an_image(**{"T" + tag: value})], Bulk(URI, PIXELS))
    assert name in refusal(response, 0xA900)
    assert list(site.store.keys()) == []


def test_the_url_of_a_study_takes_only_its_instances(site):
    document = an_image()
    response = post_json(site, [document], Bulk(URI, PIXELS), path=f"/studies/{new_uid()}")
    ((reason, instance, _),) = failures(response)
    assert (reason, instance) == (0xA901, document["00080018"]["Value"][0])
    study = document["0020000D"]["Value"][0]
    assert post_json(site, [document], Bulk(URI, PIXELS), path=f"/studies/{study}").status_code == 200


def test_other_content_under_the_same_uids_is_a_duplicate(site):
    document = an_image()
    for _ in range(2):
        assert post_json(site, [document], Bulk(URI, PIXELS)).status_code == 200
    assert refusal(post_json(site, [document], Bulk(URI, PIXELS[::-1])), 0x0111)


@pytest.mark.parametrize("told", [31, 33, 10**13])
def test_a_part_of_another_length_than_it_says_is_refused(site, told):
    part = a_body([json.dumps(an_image()).encode()], [Bulk(URI, PIXELS, OCTETS, tell_length=True)])
    body = part.replace(b"Content-Length: 32", b"Content-Length: %d" % told)
    response = post_body(site, body)
    assert response.status_code in (409, 413)
    assert len(failures(response)) == 1
    assert list(site.store.keys()) == []


def test_a_data_set_that_cannot_be_written_is_refused_and_its_parts_passed_over(site):
    bad, good = an_image(T00280010={"vr": "US", "Value": ["x"]}), metadata()
    response = post_json(site, [bad, good], Bulk(URI, PIXELS), Bulk(URI, PIXELS))
    assert response.status_code == 202
    ((reason, instance, comment),) = failures(response)
    assert (reason, instance) == (0xC000, bad["00080018"]["Value"][0])
    assert comment == "(0028,0010) has a value that cannot be written as US."


@pytest.mark.parametrize("content", [b"", b"{", b"[1", b"5", b"not json", b"\xff\xfe"])
def test_malformed_json_is_a_bad_request(site, content):
    response = post_body(site, a_body([content]))
    assert response.status_code == 400
    assert response.json()["detail"]


@pytest.mark.parametrize("content", [b"[null]", b'["x"]', b'[{"00100020":5}]', b"[[]]"])
def test_json_that_is_no_data_set_is_a_failure(site, content):
    assert refusal(post_body(site, a_body([content])))


def test_an_array_of_nothing_stores_nothing(site):
    assert post_body(site, a_body([b"[]"])).status_code == 400


@pytest.mark.parametrize(
    "content", [b"", b"<a/>", b"{}", b'<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel/>']
)
def test_an_unreadable_document_is_a_failure_of_its_own(site, content):
    good = xml_document(metadata())
    assert refusal(post_xml(site, [content]))
    response = post_xml(site, [content, good])
    assert response.status_code == 202
    assert [reason for reason, *_ in failures(response)] == [0xC000]


def test_metadata_beyond_the_limit_are_refused_by_the_name_of_the_setting(open_site):
    site = open_site(header_limit=1 << 20)
    comment = metadata(T00104000={"vr": "LT", "Value": ["x" * 400_000]})
    response = post_json(site, [comment, comment, comment])
    assert response.status_code == 413
    assert "ISTHMUS_HEADER_LIMIT" in refusal(response, 0xA700)
    response = post_xml(
        site, [xml_document(comment | {"00080018": metadata()["00080018"]}) for _ in range(3)]
    )
    assert response.status_code == 202
    assert [reason for reason, *_ in failures(response)] == [0xA700]


def test_too_many_instances_in_one_array_are_refused(open_site):
    site = open_site(max_parts=3)
    assert post_json(site, [metadata() for _ in range(4)]).status_code == 413
    assert list(site.store.keys()) == []


def test_a_body_cut_in_a_part_keeps_what_was_complete(site):
    first, second = an_image(), an_image(T7FE00010={"vr": "OW", "BulkDataURI": "b"})
    for tell_length in (False, True):
        bulk = [Bulk(URI, PIXELS), Bulk("b", PIXELS, OCTETS, tell_length)]
        body = a_body([json.dumps([first, second]).encode()], bulk)
        response = post_body(site, body[: -len(b"\r\n--bnd--") - 4])
        assert response.status_code == 202
        ((reason, instance, _),) = failures(response)
        assert (reason, instance) == (0xC000, second["00080018"]["Value"][0])
    assert len(site.get("/instances").json()) == 1


def test_a_body_cut_in_its_metadata_is_a_bad_request(site):
    for cut in (12, 40):
        response = post_body(site, a_body([json.dumps([an_image()]).encode()])[:-cut])
        assert response.status_code == 400
        assert "without the boundary" in response.json()["detail"]


@pytest.mark.parametrize("kind", [JSON, XML, OCTETS])
def test_a_part_of_dicom_has_no_place_among_metadata(site, kind):
    response = post_body(site, a_body([], [Bulk("x", bytes(200), "application/dicom")], kind=kind), kind=kind)
    assert response.status_code == 409


def test_metadata_without_a_type_are_of_the_type_of_the_body(site):
    body = b"--bnd\r\n\r\n" + json.dumps(metadata()).encode() + b"\r\n--bnd--"
    assert post_body(site, body).status_code == 200


# How it goes through


class Recorder:
    """An intake that keeps what it is given."""

    def __init__(self) -> None:
        self.objects: list[bytearray] = []
        self.ended = 0

    def begin(self) -> None:
        self.objects.append(bytearray())

    def write(self, block: memoryview) -> None:
        self.objects[-1] += block

    def end(self) -> None:
        self.ended += 1

    def refuse(self, reason: int, message: str) -> None:
        raise AssertionError(message)

    def finish(self) -> Sequence[Outcome]:
        return [Refused(0, "") for _ in range(self.ended)]


def composed(intake: Recorder) -> ComposedBody:
    reader = Reader("bnd", max_parts=100)
    return ComposedBody(
        intake, reader, root=JSON, base="http://host/studies/", header_limit=1 << 20, max_instances=10
    )


def test_a_value_of_told_length_goes_through_while_it_arrives():
    content = bytes(4 << 20)
    document = metadata(T00091001={"vr": "OB", "BulkDataURI": URI})
    body = a_body([json.dumps(document).encode()], [Bulk(URI, content, OCTETS, tell_length=True)])
    intake = Recorder()
    composing = composed(intake)
    composing.push([body[: 3 << 20]])
    assert len(intake.objects[0]) > 2 << 20
    composing.push([body[3 << 20 :]])
    composing.finish()
    assert bytes(content) in intake.objects[0]
    assert intake.ended == 1


def test_a_value_of_unknown_length_waits_until_it_is_whole():
    content = bytes(4 << 20)
    document = metadata(T00091001={"vr": "OB", "BulkDataURI": URI})
    body = a_body([json.dumps(document).encode()], [Bulk(URI, content)])
    intake = Recorder()
    composing = composed(intake)
    composing.push([body[: 3 << 20]])
    assert intake.objects == []
    composing.push([body[3 << 20 :]])
    composing.finish()
    assert bytes(content) in intake.objects[0]


def test_a_body_may_come_byte_by_byte():
    documents = [an_image(), an_image(T7FE00010={"vr": "OW", "BulkDataURI": "b"})]
    body = a_body([json.dumps(documents).encode()], [Bulk(URI, PIXELS), Bulk("b", PIXELS, OCTETS, True)])
    whole, bytewise = Recorder(), Recorder()
    composing = composed(whole)
    composing.push([body])
    composing.finish()
    composing = composed(bytewise)
    for at in range(len(body)):
        composing.push([body[at : at + 1]])
    composing.finish()
    assert whole.ended == bytewise.ended == 2
    assert whole.objects == bytewise.objects


@pytest.mark.parametrize("kind", [JSON, XML])
def test_no_damage_to_a_body_is_a_fault_of_ours(site, kind):
    chance = random.Random(7)
    for _ in range(150):
        documents = [an_image(), an_image(frames=2, T7FE00010={"vr": "OB", "BulkDataURI": "b"})]
        bulk = [Bulk(URI, PIXELS, OCTETS, chance.random() < 0.5)]
        bulk += [Bulk("b", b"\xff\xd8\xff\xd9", f"image/jpeg; transfer-syntax={ROOT}.4.50")] * 2
        written = [xml_document(one) for one in documents]
        body = bytearray(
            a_body([json.dumps(documents).encode()] if kind == JSON else written, bulk, kind=kind)
        )
        at, length = chance.randrange(len(body)), chance.randrange(1, 40)
        body[at : at + chance.choice((0, 1, length))] = chance.randbytes(chance.choice((0, 1, length)))
        response = post_body(site, bytes(body), kind=kind)
        assert response.status_code in (200, 202, 400, 409), bytes(body)


def test_a_part_that_is_named_often_does_not_fill_the_store(site, monkeypatch):
    monkeypatch.setattr(composing, "_MOST_COPIED", 1 << 20)
    value = bytes(100_000)
    private: dict[str, Any] = {
        f"T0009{0x1000 + number:04X}": {"vr": "OB", "BulkDataURI": URI} for number in range(50)
    }
    document = metadata(shape=False, T00090010={"vr": "LO", "Value": ["ISTHMUS TEST"]}, **private)
    response = post_json(site, [document], Bulk(URI, value))
    assert response.status_code in (409, 413)
    assert list(site.store.keys()) == []


def test_private_attributes_of_many_creators_each_get_a_block(site):
    members = "".join(
        f'<DicomAttribute tag="00090001" vr="LO" privateCreator="C{number}">'
        f'<Value number="1">v{number}</Value></DicomAttribute>'
        for number in range(200)
    )
    plain = xml_document(metadata(shape=False)).decode()
    response = post_xml(
        site, [plain.replace("</NativeDicomModel>", members + "</NativeDicomModel>").encode()]
    )
    found = object_of(site, response)
    blocks = [found.private_block(0x0009, f"C{number}") for number in range(200)]
    assert [block[0x01].value for block in blocks] == [f"v{number}" for number in range(200)]
