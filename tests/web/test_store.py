"""Store: outcomes per instance, and bodies that are not what they should be (PS3.18 10.5)."""

import gzip
import struct
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from service.archive import intake, records
from service.dicom import describing, header
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from service.index.port import OnDuplicate
from tests.making import CT, a_ct, a_data_set, a_file, add_pixels, new_uid

MULTIPART = 'multipart/related; type="application/dicom"; boundary=bnd'


def reasons(response) -> list[int]:
    """The failure reasons of a Store Instances Response, in order."""
    body = response.json()
    items = body.get("00081198", {}).get("Value", []) + body.get("0008119A", {}).get("Value", [])
    return [item["00081197"]["Value"][0] for item in items]


def stored(response) -> list[dict[str, Any]]:
    return list(response.json().get("00081199", {}).get("Value", []))


def test_a_stored_instance_is_named_with_its_url(site):
    study, series, instance = new_uid(), new_uid(), new_uid()
    response = site.post(a_ct(study=study, series=series, instance=instance))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    url = f"http://testserver/dicom-web/studies/{study}"
    assert response.json() == {
        "00081190": {"vr": "UR", "Value": [url]},
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [CT]},
                    "00081155": {"vr": "UI", "Value": [instance]},
                    "00081190": {"vr": "UR", "Value": [f"{url}/series/{series}/instances/{instance}"]},
                }
            ],
        },
    }


def test_several_parts_have_an_outcome_each(site):
    response = site.post_parts(a_ct(), b"no DICOM at all", a_ct())
    assert response.status_code == 202
    assert len(stored(response)) == 2
    assert reasons(response) == [0xC000]


def test_nothing_stored_is_a_conflict(site):
    response = site.post_parts(b"no DICOM", b"neither")
    assert response.status_code == 409
    assert reasons(response) == [0xC000, 0xC000]
    assert "00081199" not in response.json()


def test_the_url_of_a_study_takes_only_its_instances(site):
    study = new_uid()
    response = site.post_parts(a_ct(study=study), a_ct(), path=f"/studies/{study}")
    assert response.status_code == 202
    assert reasons(response) == [0xA901]


def test_sending_again_is_a_success_and_stores_once(site):
    file = a_ct()
    for _ in range(3):
        assert site.post(file).status_code == 200
    assert len(list(site.store.keys())) == 1
    assert len(site.get("/instances").json()) == 1


def test_the_same_instance_twice_in_one_body_is_stored_once(site):
    file = a_ct()
    assert site.post_parts(file, file).status_code == 200
    assert len(list(site.store.keys())) == 1


def test_another_preamble_is_the_same_content(site):
    file = a_ct()
    site.post(file)
    assert site.post(b"II*\0" + file[4:]).status_code == 200
    assert len(list(site.store.keys())) == 1


@pytest.mark.parametrize(
    ("policy", "status", "kept"),
    [(OnDuplicate.REFUSE, 409, "A1"), (OnDuplicate.KEEP, 202, "A1"), (OnDuplicate.REPLACE, 200, "B2")],
)
def test_other_content_under_the_same_uids_is_for_the_policy(open_site, policy, status, kept):
    site = open_site(on_duplicate=policy)
    study, series, instance = new_uid(), new_uid(), new_uid()
    site.post(a_ct(study=study, series=series, instance=instance, AccessionNumber="A1"))
    response = site.post(a_ct(study=study, series=series, instance=instance, AccessionNumber="B2"))
    assert response.status_code == status
    if policy is OnDuplicate.REFUSE:
        assert reasons(response) == [0x0111]
    if policy is OnDuplicate.KEEP:
        assert stored(response)[0]["00081196"]["Value"] == [0xB006]
    (found,) = site.get(f"/studies/{study}/metadata").json()
    assert found["00080050"]["Value"] == [kept]
    assert len(list(site.store.keys())) == 1


def test_the_same_image_in_another_transfer_syntax_is_other_content(site):
    made = add_pixels(a_data_set(), [bytes(32)])
    site.post(a_file(made, EXPLICIT_LE))
    assert reasons(site.post(a_file(made, IMPLICIT_LE))) == [0x0111]


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
@pytest.mark.parametrize("value", [None, "", "1.2.x", "9" * 65, "../../etc", ".."])
def test_an_instance_without_proper_uids_is_refused(site, keyword, value, recwarn):
    made = a_data_set()
    file = a_file(made)
    if value is None:
        delattr(made, keyword)
    else:
        made[keyword].value = value
    data_set = Dataset()
    data_set.update(made)
    response = site.post(with_data_set(file, data_set))
    assert response.status_code == 409
    assert reasons(response) == [0xA900]
    assert list(site.store.keys()) == []


def with_data_set(file: bytes, data_set: Dataset) -> bytes:
    """`file` with another data set behind its head."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return file[: 144 + int.from_bytes(file[140:144], "little")] + buffer.getvalue()


def test_file_meta_of_another_object_is_a_warning_and_is_not_sent_on(site):
    made = add_pixels(a_data_set(), [bytes(32)])
    file = a_file(made)
    wrong = file.replace(made.SOPInstanceUID.encode(), b"2.25.1" + b"\0" * (len(made.SOPInstanceUID) - 6), 1)
    response = site.post(wrong)
    assert response.status_code == 202
    assert stored(response)[0]["00081196"]["Value"] == [0xB007]
    url = stored(response)[0]["00081190"]["Value"][0]
    sent = site.get(url, "application/dicom")
    assert made.SOPInstanceUID.encode() in sent.content[:400]
    assert sent.content.endswith(file[-200:])
    assert int(sent.headers["content-length"]) == len(sent.content)


def test_an_unknown_transfer_syntax_is_refused_by_name(site):
    file = a_ct().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0")
    response = site.post(file)
    assert reasons(response) == [0xC122]
    assert "1.2.840.10008.1.2.7" in response.text


def test_a_truncated_file_is_refused(site):
    file = a_ct()
    for end in (0, 100, 140, 300, len(file) - 33, len(file) - 1):
        response = site.post(file[:end])
        assert response.status_code == (409 if end else 400), end
    assert list(site.store.keys()) == []


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=bnd", 415),
        ('multipart/related; type="image/jpeg"; boundary=bnd', 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary=""', 400),
        ('multipart/related; type="application/dicom"; boundary="' + "b" * 80 + '"', 400),
    ],
)
def test_a_body_that_is_not_to_be_stored_is_refused_by_its_type(site, media_type, status):
    response = site.post(b"--bnd--", media_type)
    assert response.status_code == status
    assert response.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"--bnd--", b"--bnd--\r\n", b"no boundary anywhere", b"--bnd"])
def test_a_multipart_without_parts_is_a_bad_request(site, body):
    assert site.post(body, MULTIPART).status_code == 400


def test_a_body_cut_in_the_middle_keeps_its_complete_parts(site):
    head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
    body = head + a_ct() + b"\r\n" + head + a_ct()[:-7]
    response = site.post(body, MULTIPART)
    assert response.status_code == 202
    assert len(stored(response)) == 1
    assert reasons(response) == [0xC000]


def test_a_part_of_another_type_is_refused_and_the_others_are_stored(site):
    body = (
        b"--bnd\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        b"--bnd\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n"
    )
    response = site.post(body + a_ct() + b"\r\n--bnd--", MULTIPART)
    assert response.status_code == 202
    assert reasons(response) == [0xC000]


def test_too_many_parts_are_refused_and_say_what_is_stored(open_site):
    site = open_site(max_parts=2)
    response = site.post_parts(a_ct(), a_ct(), a_ct())
    assert response.status_code == 413
    assert "2 instances before that are stored" in response.json()["detail"]
    assert len(site.get("/instances").json()) == 2


def test_a_hundred_thousand_parts_are_refused(site):
    body = b"--bnd\r\n\r\nx\r\n" * 100_000 + b"--bnd--"
    assert site.post(body, MULTIPART).status_code == 413


def test_a_bomb_of_part_headers_is_refused(site):
    body = b"--bnd\r\n" + b"X-Bomb: 1\r\n" * 10_000
    assert site.post(body, MULTIPART).status_code == 400


def test_an_element_larger_than_the_limit_is_refused_by_the_name_of_the_setting(open_site):
    site = open_site(header_limit=1 << 20)
    made = a_data_set()
    made.ReferencedImageSequence = [a_data_set(TextValue="x" * 60_000) for _ in range(30)]
    response = site.post(a_file(made))
    assert response.status_code == 413
    assert reasons(response) == [0xA700]
    assert "ISTHMUS_HEADER_LIMIT" in response.text


def test_an_answer_in_a_type_we_do_not_make_is_refused_before_the_body_is_read(site):
    headers = {"Content-Type": "application/dicom", "Accept": "text/css"}
    response = site.client.post("http://testserver/dicom-web/studies", content=a_ct(), headers=headers)
    assert response.status_code == 406
    assert response.json()["available"] == ["application/dicom+json", "application/dicom+xml"]
    assert list(site.store.keys()) == []


def test_a_fault_of_one_object_is_not_the_others(site, monkeypatch, caplog):
    def describe_or_fail(elements):
        if b'"B2"' in elements[0x00080050]:
            raise ValueError("Doe^Jane")
        return real(elements)

    real = describing.describe
    monkeypatch.setattr(records, "describe", describe_or_fail)
    response = site.post_parts(a_ct(AccessionNumber="B2"), a_ct())
    assert response.status_code == 202
    assert reasons(response) == [0x0110]
    assert "Doe" not in response.text
    assert "Doe" not in caplog.text


def test_a_body_may_be_zipped(site):
    head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
    body = gzip.compress(head + a_ct() + b"\r\n" + head + a_ct() + b"\r\n--bnd--")
    headers = {"Content-Type": MULTIPART, "Content-Encoding": "gzip"}
    response = site.client.post("http://testserver/dicom-web/studies", content=body, headers=headers)
    assert response.status_code == 200
    assert len(stored(response)) == 2


@pytest.mark.parametrize(("end", "status"), [(-30, 400), (-1, 400)])
def test_a_zipped_body_that_is_cut_is_not_a_whole_object(site, end, status):
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    body = gzip.compress(a_ct())[:end]
    response = site.client.post("http://testserver/dicom-web/studies", content=body, headers=headers)
    assert response.status_code in (status, 409)
    assert list(site.store.keys()) == []


def test_a_damaged_coding_is_a_bad_request_and_an_unknown_one_is_not_taken(site):
    url = "http://testserver/dicom-web/studies"
    headers = {"Content-Type": "application/dicom"}
    damaged = site.client.post(url, content=a_ct(), headers={**headers, "Content-Encoding": "gzip"})
    unknown = site.client.post(url, content=a_ct(), headers={**headers, "Content-Encoding": "br"})
    assert (damaged.status_code, unknown.status_code) == (400, 415)


def test_a_sequence_of_undefined_length_is_walked_a_few_times_only(site):
    """An enhanced image's functional groups, whose end nothing tells beforehand."""
    made = a_data_set()
    made.PerFrameFunctionalGroupsSequence = [a_data_set() for _ in range(3000)]
    made["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    for item in made.PerFrameFunctionalGroupsSequence:
        item.is_undefined_length_sequence_item = True
    file = a_file(made)
    assert len(file) > 500_000
    walks = 0
    real = header.Walker.walk

    def walk(*args, **more):
        nonlocal walks
        walks += 1
        return real(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header.Walker, "walk", walk)
        assert site.post(file).status_code == 200
    assert walks < 12


def test_more_attributes_than_any_object_has_are_refused(site):
    made = a_file(a_data_set())
    elements = b"".join(
        struct.pack("<HH2sH", 0x0021 + 2 * (number >> 15), 0x1000 + (number & 0x7FFF), b"LO", 0)
        for number in range(70_000)
    )
    response = site.post(made + elements)
    assert response.status_code == 413
    assert reasons(response) == [0xA700]


def test_a_body_of_several_gzip_members_is_stored_whole(site):
    file = a_ct()
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    body = gzip.compress(file[:-32]) + gzip.compress(file[-32:])
    response = site.client.post("http://testserver/dicom-web/studies", content=body, headers=headers)
    url = stored(response)[0]["00081190"]["Value"][0]
    assert site.get(url, "application/dicom").content == file


def test_a_slow_sender_does_not_keep_rows_waiting(site, monkeypatch):
    """An object without a row is what a sweep takes away, so rows follow their objects soon."""
    monkeypatch.setattr(intake, "_SETTLED_AFTER_S", -1.0)
    arriving = site.archive.intake()
    arriving.begin()
    arriving.write(memoryview(a_ct()))
    arriving.end()
    arriving.begin()
    arriving.write(memoryview(a_ct()[:200]))
    assert len(site.get("/instances").json()) == 1
    arriving.finish()


def test_an_accept_header_beyond_all_reason_is_a_bad_request(site):
    assert site.get("/studies", '"' * 9000).status_code == 400
    assert site.get("/studies", '"' * 8000).status_code == 406
