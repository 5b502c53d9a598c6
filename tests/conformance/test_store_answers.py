"""What a store request is answered: statuses, the Store Instances Response, headers (PS3.18 10.5.3, I)."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from service.archive import records
from service.dicom.classes import OF_NO_PATIENT
from service.dicom.errors import IndexUnavailable, StoreUnavailable
from service.index.port import OnDuplicate
from tests.composing import (
    JSON,
    NAMESPACE,
    PIXELS,
    URI,
    XML,
    Bulk,
    an_image,
    failures,
    metadata,
    post_json,
    values_of,
)
from tests.conformance.rows import cites, row
from tests.making import CT, a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import parts_of
from tests.sites import ROOT, Site

GARBAGE = b"no DICOM at all"


def accepting(site: Site, body: bytes, accept: str | None, path: str = "/studies"):
    headers = {"Content-Type": "application/dicom"}
    if accept is not None:
        headers["Accept"] = accept
    return site.client.post(ROOT + path, content=body, headers=headers)


def wrong_meta(**attributes: Any) -> bytes:
    """A file whose file meta name another instance than its data set."""
    made = add_pixels(a_data_set(**attributes), [PIXELS])
    own = made.SOPInstanceUID.encode()
    return a_file(made).replace(own, b"2.25.1" + b"\0" * (len(own) - 6), 1)


def cut_file(instance: str) -> bytes:
    return a_ct(instance=instance)[:-40]


# Statuses


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        row("PS3.18 Table 10.5.3-1", "all stored: 200", (a_ct, a_ct), 200),
        row("PS3.18 Table 10.5.3-1", "some stored, some failed: 202", (a_ct, lambda: GARBAGE), 202),
        row("PS3.18 Table 10.5.3-1", "all stored, some with a warning: 202", (a_ct, wrong_meta), 202),
        row("PS3.18 Table 10.5.3-1", "none stored: 409", (lambda: GARBAGE, lambda: a_ct()[:-9]), 409),
        row("[P] only garbage", "one part that is no DICOM: 409", (lambda: GARBAGE,), 409),
        row("PS3.18 Table 10.5.3-1", "no part: 400", (), 400),
    ],
)
def test_the_status_tells_the_outcome(site, parts, status):
    response = site.post_parts(*(part() for part in parts))
    assert response.status_code == status
    assert response.status_code not in (201, 204)


@cites("PS3.18 10.5.3", "an answer that cannot be made is 406 and lists what can, before the body is read")
@pytest.mark.parametrize("accept", ["text/css", "image/jpeg", "application/dicom", f"{JSON};q=0"])
def test_an_answer_that_is_not_to_be_had_is_406(site, accept):
    response = accepting(site, a_ct(), accept)
    assert response.status_code == 406
    assert response.json()["available"] == [JSON, XML]
    assert list(site.store.keys()) == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        row("PS3.18 Table 10.5.3-1", "storage down: 503", "store", StoreUnavailable("down")),
        row("PS3.18 Table 10.5.3-1", "index down: 503", "index", IndexUnavailable("down")),
    ],
)
def test_storage_that_is_down_is_503(site, monkeypatch, name, error):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    # given
    if name == "store":
        upload = type(site.store.begin())
        monkeypatch.setattr(upload, "commit", fail)
    else:
        monkeypatch.setattr(site.archive._index, "add", fail)
    # when
    instance = new_uid()
    response = site.post(a_ct(instance=instance))
    # then
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert [(reason, uid) for reason, uid, _ in failures(response)] == [(0xA700, instance)]


@cites("PS3.18 Table I.2-2", "A700 where the store fails for a moment: 202 among others, the rest is stored")
def test_what_the_store_could_not_take_among_others(site, monkeypatch):
    upload = type(site.store.begin())
    real, unlucky = upload.commit, new_uid()

    def commit(self: Any, key: str, digest: bytes = b"") -> None:
        if f"/{unlucky}." in key:
            raise StoreUnavailable("down")
        real(self, key)

    monkeypatch.setattr(upload, "commit", commit)
    response = site.post_parts(a_ct(), a_ct(instance=unlucky), a_ct())
    assert response.status_code == 202
    assert "retry-after" not in response.headers
    assert [(reason, uid) for reason, uid, _ in failures(response)] == [(0xA700, unlucky)]
    assert len(response.json()["00081199"]["Value"]) == 2
    # and what failed for different reasons is neither too large nor to be sent again as it is
    response = site.post_parts(a_ct(instance=unlucky), GARBAGE)
    assert response.status_code == 409
    assert [reason for reason, *_ in failures(response)] == [0xA700, 0xC000]


# The module


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        row("PS3.18 8.7.4", "no Accept", None, JSON),
        row("PS3.18 8.7.4", "anything", "*/*", JSON),
        row("PS3.18 8.7.4", "JSON", JSON, JSON),
        row("PS3.18 8.7.3", "the old name of JSON", "application/json", JSON),
        row("[D] dcm4che", "XML in one part", XML, XML),
        row("[D] clients", "plain XML", "application/xml", XML),
        row("PS3.18 8.7.4", "the preferred one", f"{JSON};q=0.1, {XML};q=0.9", XML),
        row("RFC 9110 12.5.1", "a wildcard excludes nothing that is named", f"{XML}, */*;q=0.1", XML),
        row("[D] Java", "odd ranges", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
    ],
)
def test_the_answer_is_in_what_was_asked_for(site, accept, kind):
    for body in (a_ct(), GARBAGE * 20):
        response = accepting(site, body, accept)
        assert response.headers["content-type"] == kind
        if kind == JSON:
            assert isinstance(response.json(), dict)
        else:
            assert ET.fromstring(response.content).tag == NAMESPACE + "NativeDicomModel"


@cites("PS3.18 8.7.3.2", "XML in a multipart is given where only that is asked for")
@pytest.mark.parametrize("accept", [f'multipart/related; type="{XML}"', f"multipart/related;type={XML}"])
def test_the_answer_may_be_a_multipart_of_one_document(site, accept):
    study = new_uid()
    response = accepting(site, a_ct(study=study), accept)
    assert response.headers["content-type"].startswith(f'multipart/related; type="{XML}"; boundary=')
    (part,) = parts_of(response)
    assert part.headers["Content-Type"] == XML
    assert values_of(part.content)["00081190"] == [f"{ROOT}/studies/{study}"]


@cites("[D] dicomweb-client (python)", "the Content-Type of JSON has no parameters and the body is an object")
def test_the_type_of_the_answer_is_bare(site):
    response = site.post(a_ct())
    assert response.headers["content-type"] == JSON
    assert isinstance(response.json(), dict)


@cites("PS3.18 Table I.1-1", "class, instance and URL of what is stored; no sequence for what did not occur")
def test_what_is_stored_is_named(site):
    study, series, instance = new_uid(), new_uid(), new_uid()
    response = site.post(a_ct(study=study, series=series, instance=instance))
    url = f"{ROOT}/studies/{study}"
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


@cites(
    "PS3.18 Table I.1-1", "a failure that has an instance names it; Referenced SOP Sequence is absent then"
)
def test_a_failure_names_its_instance(site):
    instance = new_uid()
    response = site.post_parts(cut_file(instance))
    body = response.json()
    assert "00081199" not in body
    assert "0008119A" not in body
    assert body["00081190"] == {"vr": "UR"}
    (item,) = body["00081198"]["Value"]
    assert item["00081150"] == {"vr": "UI", "Value": [CT]}
    assert item["00081155"] == {"vr": "UI", "Value": [instance]}
    assert item["00081197"] == {"vr": "US", "Value": [0xC000]}


@cites("PS3.18 Table I.1-1", "a failure without an instance is in Other Failures Sequence, its reason alone")
def test_a_failure_of_no_instance_is_another_failure(site):
    body = site.post_parts(GARBAGE).json()
    assert "00081198" not in body
    (item,) = body["0008119A"]["Value"]
    assert item["00081197"] == {"vr": "US", "Value": [0xC000]}
    assert "00081155" not in item


@pytest.mark.parametrize(
    ("studies", "urls"),
    [
        row("PS3.18 Table I.1-1", "of one study: its URL", ("1.1", "1.1"), ["/studies/1.1"]),
        row("PS3.18 Table I.1-1", "of several: empty", ("1.1", "1.2"), []),
    ],
)
def test_the_url_of_the_whole_is_that_of_the_study(site, studies, urls):
    body = site.post_parts(*(a_ct(study=study) for study in studies)).json()
    assert body["00081190"].get("Value", []) == [ROOT + url for url in urls]


@cites("[P] Location", "both headers name the study where something of it was created, and not otherwise")
def test_location_is_the_study(site):
    study, other, file = new_uid(), new_uid(), a_ct()
    url = f"{ROOT}/studies/{study}"
    created = site.post_parts(a_ct(study=study), GARBAGE)
    assert (created.headers["location"], created.headers["content-location"]) == (url, url)
    several = site.post_parts(a_ct(study=study), a_ct(study=other))
    nothing = site.post_parts(GARBAGE)
    site.post(file)
    again = site.post(file)
    for response in (several, nothing, again):
        assert "location" not in response.headers
        assert "content-location" not in response.headers


@cites("PS3.18 10.5 [P]", "URLs begin with the prefix and the public URL that are configured")
def test_urls_are_those_that_clients_see(open_site):
    site = open_site(public_url="https://pacs.example/some/dicom-web")
    study = new_uid()
    response = site.post(a_ct(study=study))
    assert response.headers["location"] == f"https://pacs.example/some/dicom-web/studies/{study}"
    assert response.json()["00081190"]["Value"] == [response.headers["location"]]


# Failure reasons


def without_uid(tag: bytes) -> bytes:
    """A file whose element of that tag is another, odd one: its value was a UID."""
    file = a_file(a_data_set())
    at = file.rindex(tag + b"UI")
    return file[:at] + tag[:2] + b"\x19\0" + b"LO" + file[at + 6 :]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        row("PS3.18 Table I.2-2", "C000, no DICOM", lambda: GARBAGE, 0xC000),
        row("PS3.18 Table I.2-2", "C000, cut short", lambda: a_ct()[:-3], 0xC000),
        row("PS3.18 Table I.2-2", "C000, nothing", lambda: b"", 0xC000),
        row(
            "PS3.18 Table I.2-2",
            "C122, transfer syntax not supported",
            lambda: a_ct().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"),
            0xC122,
        ),
        row("PS3.18 Table I.2-2", "A900, no study", lambda: without_uid(b"\x20\0\x0d\0"), 0xA900),
        row("PS3.18 Table I.2-2", "A900, no series", lambda: without_uid(b"\x20\0\x0e\0"), 0xA900),
        row("PS3.18 Table I.2-2", "A900, no instance", lambda: without_uid(b"\x08\0\x18\0"), 0xA900),
        row("PS3.18 Table I.2-2", "A900, no class", lambda: without_uid(b"\x08\0\x16\0"), 0xA900),
        row(
            "[P] identifiers",
            "A900, no UID in Study",
            lambda: a_ct(study="1.2.3").replace(b"1.2.3\0", b"1.2.x\0"),
            0xA900,
        ),
        *(
            row("PS3.18 12, Table I.2-2", f"0122, {name}", lambda uid=uid: a_ct(sop_class=uid), 0x0122)
            for uid, name in OF_NO_PATIENT.items()
        ),
    ],
)
def test_a_file_that_is_not_stored_says_why(site, make, reason):
    response = site.post_parts(make())
    assert response.status_code == 409
    assert [told for told, *_ in failures(response)] == [reason]
    assert list(site.store.keys()) == []


@cites("PS3.18 12, Table I.2-2", "0122 for metadata of a class that belongs to no study")
@pytest.mark.parametrize("sop_class", sorted(OF_NO_PATIENT))
def test_metadata_of_no_study_are_not_stored(site, sop_class):
    document = metadata(T00080016={"vr": "UI", "Value": [sop_class]}, T0020000D=None, T0020000E=None)
    response = post_json(site, document)
    assert response.status_code == 409
    ((reason, instance, words),) = failures(response)
    assert (reason, instance) == (0x0122, document["00080018"]["Value"][0])
    assert "belong to no study" in words


@cites("PS3.18 10.5.1", "of another study than the URL names: A901, its instance named; alone 409")
@pytest.mark.parametrize(("count", "status"), [(0, 409), (1, 202)])
def test_the_url_of_a_study_takes_its_instances_only(site, count, status):
    study, stranger = new_uid(), new_uid()
    files = [a_ct(study=study)] * count + [a_ct(instance=stranger)]
    response = site.post_parts(*files, path=f"/studies/{study}")
    assert response.status_code == status
    assert [(reason, uid) for reason, uid, _ in failures(response)] == [(0xA901, stranger)]


@cites("PS3.18 Table I.2-2", "A700, too large to be read: 413 where it is alone, 202 among others")
def test_what_is_too_large_is_out_of_resources(open_site):
    site = open_site(header_limit=1 << 20)
    made = a_data_set()
    made.ReferencedImageSequence = [a_data_set(TextValue="x" * 60_000) for _ in range(30)]
    large = a_file(made)
    assert site.post(large).status_code == 413
    response = site.post_parts(large, a_ct())
    assert response.status_code == 202
    assert [(reason, uid) for reason, uid, _ in failures(response)] == [(0xA700, made.SOPInstanceUID)]


@cites("PS3.18 Table I.2-2", "0110 where something of our own goes wrong, without a word of the object")
def test_a_fault_is_a_processing_failure(site, monkeypatch):
    def fail(_: Any) -> None:
        raise ValueError("Doe^Jane")

    monkeypatch.setattr(records, "describe", fail)
    response = site.post(a_ct())
    assert response.status_code == 409
    assert [reason for reason, *_ in failures(response)] == [0x0110]
    assert "Doe" not in response.text


@cites("[D] Microsoft", "an Error Comment follows what the standard names; the reason is a number")
def test_a_failure_has_a_comment(site):
    (item,) = site.post_parts(cut_file("1.2.3")).json()["00081198"]["Value"]
    assert item["00000902"]["vr"] == "LO"
    assert item["00000902"]["Value"][0].endswith(".")
    assert isinstance(item["00081197"]["Value"][0], int)


# Warnings and duplicates


@pytest.mark.parametrize(
    ("policy", "status", "reason", "warning", "kept"),
    [
        row("[P] duplicates", "refuse: 0111", OnDuplicate.REFUSE, 409, [0x0111], None, "A1"),
        row("[P] duplicates", "keep: B006", OnDuplicate.KEEP, 202, [], 0xB006, "A1"),
        row("[P] duplicates", "replace: success", OnDuplicate.REPLACE, 200, [], None, "B2"),
    ],
)
@pytest.mark.parametrize("in_json", [False, True])
def test_other_content_under_the_same_uids(open_site, policy, status, reason, warning, kept, in_json):
    site = open_site(on_duplicate=policy)
    uids: dict[str, Any] = {name: new_uid() for name in ("study", "series", "instance")}
    site.post(a_ct(**uids, AccessionNumber="A1"))
    if in_json:
        tags = {"0020000D": "study", "0020000E": "series", "00080018": "instance"}
        named = {tag: {"vr": "UI", "Value": [uids[name]]} for tag, name in tags.items()}
        response = post_json(site, metadata(T00080050={"vr": "SH", "Value": ["B2"]}) | named)
    else:
        response = site.post(a_ct(**uids, AccessionNumber="B2"))
    assert response.status_code == status
    told = failures(response)
    assert [(number, uid) for number, uid, _ in told] == [(number, uids["instance"]) for number in reason]
    stored = response.json().get("00081199", {}).get("Value", [])
    assert [one.get("00081196", {}).get("Value") for one in stored] == (
        [] if reason else [[warning] if warning else None]
    )
    (found,) = site.get(f"/studies/{uids['study']}/metadata").json()
    assert found["00080050"]["Value"] == [kept]
    assert len(list(site.store.keys())) == 1


@cites("[P] duplicates", "the same content again is a success and no second copy, whatever the policy")
@pytest.mark.parametrize("policy", list(OnDuplicate))
def test_the_same_content_again(open_site, policy):
    site = open_site(on_duplicate=policy)
    file = a_ct()
    for response in (site.post(file), site.post(file), site.post_parts(file, file)):
        assert response.status_code == 200
        assert "00081196" not in response.json()["00081199"]["Value"][0]
    assert len(list(site.store.keys())) == 1


@cites("PS3.18 Table I.2-1", "B007 where file meta and data set name different objects; it is stored")
def test_file_meta_of_another_object_are_a_warning(site):
    response = site.post(wrong_meta())
    assert response.status_code == 202
    (stored,) = response.json()["00081199"]["Value"]
    assert stored["00081196"] == {"vr": "US", "Value": [0xB007]}
    assert site.get(stored["00081190"]["Value"][0], "application/dicom").status_code == 200


@cites("[P] coercion", "nothing is coerced: no B000, and no Original Attributes Sequence is added")
def test_nothing_is_coerced(site):
    file = a_ct(PatientID="", PatientName="Q^R^^^")
    response = site.post(file)
    (stored,) = response.json()["00081199"]["Value"]
    assert set(stored) == {"00081150", "00081155", "00081190"}
    assert site.get(stored["00081190"]["Value"][0], "application/dicom; transfer-syntax=*").content == file


# What is stored


@pytest.mark.parametrize(
    "file",
    [
        row("[P] type 2", "without Patient ID", a_ct(PatientID="")),
        row("[P] SOP classes", "of a private class", a_ct(sop_class="1.3.46.670589.2.4.1.1")),
        row(
            "[P] SOP classes", "of a class that there is not", a_ct(sop_class="1.2.840.10008.5.1.4.1.1.99999")
        ),
        row(
            "[P] SOP classes",
            "of a UID by UUID",
            a_ct(sop_class="2.25.329800735698586629295641978511506172918"),
        ),
        row("[P] values", "with a date that is none", a_ct().replace(b"20240131", b"31.01.24")),
    ],
)
def test_what_other_archives_might_refuse_is_stored(site, file):
    response = site.post(file)
    assert response.status_code == 200
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert site.get(url, "application/dicom; transfer-syntax=*").content == file


@cites("PS3.18 10.5 [P]", "what is listed as stored is there before the answer is")
def test_what_is_listed_can_be_retrieved(site):
    files = [a_ct() for _ in range(3)]
    body = site.post_parts(*files, GARBAGE).json()
    for one, file in zip(body["00081199"]["Value"], files, strict=True):
        assert site.get(one["00081190"]["Value"][0], "application/dicom").content == file


@cites("PS3.18 10.5.2", "each instance has its own outcome, in JSON too")
def test_each_instance_of_metadata_has_an_outcome(site):
    good, bad = an_image(), an_image(T00280010={"vr": "US", "Value": ["x"]})
    response = post_json(site, [bad, good], Bulk(URI, PIXELS))
    assert response.status_code == 202
    assert [(reason, uid) for reason, uid, _ in failures(response)] == [(0xC000, bad["00080018"]["Value"][0])]
    assert response.json()["00081199"]["Value"][0]["00081155"] == good["00080018"]


@cites("PS3.18 8.5", "an error of the request is told as a problem document, in sentences free of the data")
def test_a_bad_request_is_explained(site):
    response = site.post(json.dumps([{"00100010": "Doe"}])[:-3].encode(), JSON)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json()) >= {"title", "status", "detail"}
    assert "Doe" not in response.text
