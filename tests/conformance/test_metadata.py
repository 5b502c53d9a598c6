"""Retrieve of metadata: what is in it, in which form, and the fields that a request names (PS3.18 10.4)."""

import gzip
import json
from typing import Any

import pytest
import zstandard

from service.dicom.syntaxes import ROOT
from tests.composing import XML, XML_PARTS, values_of
from tests.conformance.rows import cites, row
from tests.elements import element, file_of, item, sequence, text
from tests.keeping import path_of
from tests.making import CT, a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import parts_of

JSON = "application/dicom+json"
OHIF = f'{JSON}, multipart/related; type="application/octet-stream"; transfer-syntax=*'
ALWAYS = {"00080016", "00080018", "0020000D", "0020000E"}


@pytest.fixture
def path(site) -> str:
    """An instance with a little of everything."""
    made = a_data_set(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Doe^Jérôme",
        SliceThickness="0.10",
        ImageType=["ORIGINAL", "PRIMARY"],
        PatientComments='a {brace} and a "quote\\',
    )
    first = a_data_set(ScheduledProcedureStepID="S1", PatientName="In^Side", PatientID="IN")
    del first.SOPClassUID
    first.ScheduledProtocolCodeSequence = [a_data_set(CodeValue="C1", CodeMeaning="one")]
    made.RequestAttributesSequence = [first, a_data_set(ScheduledProcedureStepID="S2")]
    made.ReferencedStudySequence = []
    block = made.private_block(0x0029, "ACME", create=True)
    block.add_new(1, "LO", "mine")
    block.add_new(2, "OB", bytes(4000))
    made.private_block(0x0029, "OTHER", create=True).add_new(1, "LO", "other's")
    return path_of(site, a_file(made))


def fields(site, path: str, query: str) -> dict[str, Any]:
    """The attributes that an answer has beside those that it always has."""
    response = site.get(f"{path}/metadata?{query}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == JSON
    (found,) = response.json()
    assert list(found) == sorted(found)
    assert set(found) >= ALWAYS
    return {key: value for key, value in found.items() if key not in ALWAYS | {"00080005"}}


# What there is of it


@cites("PS3.18 10.4.1.1.2", "all attributes of every instance, but for bulk data")
@pytest.mark.parametrize("level", ["", "/series/{series}", "/series/{series}/instances/{instance}"])
def test_metadata_have_an_object_for_every_instance(site, level):
    study, series, others = new_uid(), new_uid(), new_uid()
    instances = [new_uid() for _ in range(3)]
    files = [
        a_ct(study=study, series=series if number < 2 else others, instance=uid, InstanceNumber=number + 1)
        for number, uid in enumerate(instances)
    ]
    path_of(site, *files, a_ct())
    below = level.format(series=series, instance=instances[0])
    found = site.get(f"/studies/{study}{below}/metadata").json()
    expected = {"": 3, "/series/{series}": 2}.get(level, 1)
    assert [one["00080018"]["Value"][0] for one in found] == instances[:expected]
    assert all({"00280010", "00280011", "00280100", "00200013", "7FE00010"} <= set(one) for one in found)


@pytest.mark.parametrize(
    "where",
    [
        row("PS3.18 Table 10.4.3-1", "404: no such study", "/studies/1.2.3/metadata"),
        row("PS3.18 Table 10.4.3-1", "404: no such series", "{study}/series/1.2.3/metadata"),
        row("PS3.18 Table 10.4.3-1", "404: no such instance", "{series}/instances/1.2.3/metadata"),
        row("spec 1", "404: an instance under another study", "/studies/1.2.3{below}/metadata"),
        row("spec 1", "a well-formed UID that is not there", "/studies/0.0.0.0.0/metadata"),
        row("PS3.18 10.1", "no metadata of frames", "{instance}/frames/1/metadata"),
    ],
)
def test_what_is_not_there_is_not_found(site, path, where):
    series = path.rpartition("/instances")[0]
    study = series.rpartition("/series")[0]
    below = path.removeprefix(study)
    assert site.get(where.format(study=study, series=series, instance=path, below=below)).status_code == 404


@cites("spec 1", "a malformed UID is a bad request")
def test_a_malformed_uid_is_refused(site):
    assert site.get("/studies/1.2.x/metadata").status_code == 400


@pytest.mark.parametrize(
    "method", [row("PS3.18 8.5", f"{m} is not offered: 405", m) for m in ("POST", "PUT")]
)
def test_other_methods_are_told_what_is_offered(site, path, method):
    answer = site.client.request(method, f"http://testserver/dicom-web{path}/metadata")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


# Its forms


FORMS = [
    row("PS3.18 Table 8.7.2-1", "JSON is the default", None, JSON),
    row("PS3.18 8.7.7", "*/* is the default", "*/*", JSON),
    row("PS3.18 8.7.3", "DICOM JSON", JSON, JSON),
    row("spec 3.1", "application/json means DICOM JSON", "application/json", JSON),
    row("client OHIF", "JSON among multiparts", OHIF, JSON),
    row("client dicomweb-client (Python)", "its list", f"{JSON}, application/json", JSON),
    row("PS3.18 Table 8.7.2-1", "multipart of XML is required", XML_PARTS, "multipart/related"),
    row("spec 3.1", "a single document of one instance", XML, XML),
    row("spec 3.1", "application/xml means it too", "application/xml", XML),
    row("RFC 9110 12.5.1", "the higher weight wins", f"{JSON};q=0.1, {XML_PARTS};q=0.9", "multipart/related"),
]


@pytest.mark.parametrize(("accept", "expected"), FORMS)
def test_the_form_is_the_one_asked_for(site, path, accept, expected):
    answer = site.get(path + "/metadata", accept)
    assert answer.status_code == 200
    kind = answer.headers["content-type"]
    # Exactly so: one client compares it as text, so that not even a charset may follow.
    assert kind == expected or (
        expected == "multipart/related" and kind.startswith(f"{XML_PARTS}; boundary=")
    )


@pytest.mark.parametrize(
    "accept",
    [
        row("PS3.18 8.7.7", "406: no type of this category", "image/jpeg"),
        row("PS3.18 8.7.7", "406: another type", "application/dicom"),
        row("PS3.18 8.7.7", "406: excluded by q=0", f"{JSON};q=0"),
    ],
)
def test_forms_that_there_are_not_are_told(site, path, accept):
    answer = site.get(path + "/metadata", accept)
    assert answer.status_code == 406
    assert answer.json()["available"] == [JSON, XML_PARTS, XML]


@cites("PS3.18 Table 10.4.4-1", "single-part types are for one item")
def test_a_document_of_several_instances_is_not_acceptable(site):
    study = new_uid()
    path_of(site, a_ct(study=study), a_ct(study=study))
    assert site.get(f"/studies/{study}/metadata", XML).status_code == 406


@cites("PS3.18 8.7.8.1", "the accept parameter comes before the header; a plus that was decoded is one")
@pytest.mark.parametrize(
    "given", ["application/dicom%2Bxml", "application/dicom+xml", "application%2Fdicom%2Bxml"]
)
def test_the_accept_parameter_wins(site, path, given):
    assert site.get(f"{path}/metadata?accept={given}", JSON).headers["content-type"] == XML


@cites("client dcm4che", "?accept=* has no preference")
def test_a_bare_star_is_no_preference(site, path):
    assert site.get(f"{path}/metadata?accept=*").headers["content-type"] == JSON


@cites("PS3.18 8.3.1", "parameters that are not supported are ignored")
def test_unknown_parameters_are_ignored(site, path):
    assert site.get(f"{path}/metadata?_=123&fuzzymatching=true").status_code == 200


# Codings, tags and what caches are told


@cites("PS3.18 10.4.1.1.2", "metadata describe what is stored, also where a retrieval would transcode it")
def test_metadata_describe_the_stored_object(site):
    lossy = add_pixels(a_data_set(), [bytes(16)], bits=8)
    lossy.PhotometricInterpretation, lossy.LossyImageCompression = "YBR_FULL_422", "01"
    response = site.post(a_file(lossy, ROOT + ".4.50", codestreams=[b"\xff\xd8 a picture\xff\xd9"]))
    (stored,) = response.json()["00081199"]["Value"]
    (document,) = site.get(stored["00081190"]["Value"][0] + "/metadata").json()
    assert document["00280004"]["Value"] == ["YBR_FULL_422"]
    assert document["00282110"]["Value"] == ["01"]


@cites("spec 7", "gzip, and zstd where asked")
@pytest.mark.parametrize(
    ("coding", "accept"), [("gzip", JSON), ("zstd", JSON), ("gzip", XML), ("zstd", XML_PARTS)]
)
def test_metadata_come_compressed(site, path, coding, accept):
    url = f"http://testserver/dicom-web{path}/metadata"
    with site.client.stream("GET", url, headers={"Accept": accept, "Accept-Encoding": coding}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == coding
    unpacked = (
        gzip.decompress(raw)
        if coding == "gzip"
        else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    )
    assert b"PRIMARY" in unpacked


@cites("spec 7", "each representation has its tag, and what has it gets 304")
def test_each_representation_has_its_own_tag(site, path):
    asked = [
        (accept, coding, query)
        for accept in (JSON, XML, XML_PARTS)
        for coding in ("identity", "gzip", "zstd")
        for query in ("", "?includefield=Rows", "?includefield=PatientID")
    ]
    tags = {}
    for accept, coding, query in asked:
        answer = site.get(path + "/metadata" + query, accept, **{"Accept-Encoding": coding})
        tags[answer.headers["etag"]] = (accept, coding, query)
    assert len(tags) == len(asked)
    for tag, (accept, coding, query) in tags.items():
        headers = {"Accept-Encoding": coding, "If-None-Match": tag}
        answer = site.get(path + "/metadata" + query, accept, **headers)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        other = site.get(path + "/metadata?includefield=StudyDate", accept, **headers)
        assert other.status_code == 200


@cites("RFC 9110 8.8.1", "what another edition of the program writes has another tag")
@pytest.mark.parametrize("accept", [JSON, XML, XML_PARTS])
def test_another_edition_of_the_program_has_other_tags(site, path, accept, monkeypatch):
    before = site.get(path + "/metadata", accept).headers["etag"]
    monkeypatch.setattr("service.web.metadata._EDITION", 9)

    after = site.get(path + "/metadata", accept, **{"If-None-Match": before})

    assert after.status_code == 200
    assert after.headers["etag"] != before


@cites("RFC 9110 8.8.1", "a strong tag is of the same bytes each time")
@pytest.mark.parametrize("accept", [JSON, XML])
def test_strong_tags_are_of_the_same_bytes(open_site, accept):
    site = open_site(metadata_cache=0)
    path = path_of(site, a_ct())
    first, again = (site.get(path + "/metadata", accept) for _ in range(2))
    assert not first.headers["etag"].startswith("W/")
    assert (first.headers["etag"], first.content) == (again.headers["etag"], again.content)


@cites("spec 7", "the tag is of the version of the series")
@pytest.mark.parametrize("query", ["", "?includefield=InstanceNumber"])
def test_a_new_instance_makes_new_metadata(site, query):
    study = new_uid()
    path_of(site, a_ct(study=study))
    where = f"/studies/{study}/metadata{query}"
    tag = site.get(where).headers["etag"]
    path_of(site, a_ct(study=study))
    answer = site.get(where, **{"If-None-Match": tag})
    assert answer.status_code == 200
    assert len(answer.json()) == 2


@cites("spec 7", "private, and varying with what was asked")
def test_caches_are_told(site, path):
    for accept in (JSON, XML):
        headers = site.get(path + "/metadata", accept).headers
        assert headers["cache-control"].startswith("private")
        told = {name.strip() for name in headers["vary"].split(",")}
        assert told >= {"Accept", "Accept-Charset", "Accept-Encoding", "Authorization"}


@cites("spec 1", "HEAD is answered as GET without a body")
def test_head_tells_what_get_would(site, path):
    url = f"http://testserver/dicom-web{path}/metadata"
    head, got = site.client.head(url), site.client.get(url)
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["content-type"], head.headers["etag"]) == (JSON, got.headers["etag"])


# The fields that a request names, an extension (docs/json-model.md)


FIELDS = [
    row("spec 2", "a keyword", "includefield=PatientID", {"00100020"}),
    row("spec 2", "a tag in upper case", "includefield=0020000D,00180050", {"00180050"}),
    row("spec 2", "a tag in lower case", "includefield=0020000d,0040a730,00100020", {"00100020"}),
    row("PS3.18 8.3.4.3", "a list with commas", "includefield=PatientID,StudyDate", {"00100020", "00080020"}),
    row(
        "PS3.18 8.3.4.3",
        "the parameter repeated",
        "includefield=PatientID&includefield=StudyDate",
        {"00100020", "00080020"},
    ),
    row("spec 6", "includeField, as in vendors' documents", "includeField=PatientID", {"00100020"}),
    row("PS3.18 8.3.4.3", "a sequence whole", "includefield=RequestAttributesSequence", {"00400275"}),
    row("PS3.18 8.3.4.3", "an empty sequence", "includefield=ReferencedStudySequence.StudyID", {"00081110"}),
    row("PS3.18 8.3.4.3", "what is not there", "includefield=Rows", set()),
    row(
        "PS3.18 8.3.4.3",
        "a keyword that nobody knows names nothing",
        "includefield=NoSuchKeyword,PatientID",
        {"00100020"},
    ),
    row("spec 2", "several spellings of one", "includefield=PatientID,00100020,PatientID", {"00100020"}),
    row(
        "spec 2",
        "encoded commas and spaces around",
        "includefield=PatientID%2C%20StudyDate",
        {"00100020", "00080020"},
    ),
    row("spec 2", "a private element, with its creator", "includefield=00291001", {"00290010", "00291001"}),
    row(
        "spec 2",
        "a private element of a named creator",
        "00290010=ACME&includefield=00291001",
        {"00290010", "00291001"},
    ),
    row(
        "spec 2",
        "a named creator in another block",
        "00290010=OTHER&includefield=00291001",
        {"00290011", "00291101"},
    ),
    row("spec 2", "a named creator that is not there", "00290010=NOBODY&includefield=00291001", set()),
    row(
        "PS3.18 8.3.4.3",
        "Available Transfer Syntax UID",
        "includefield=AvailableTransferSyntaxUID",
        {"00083002"},
    ),
]


@pytest.mark.parametrize(("query", "expected"), FIELDS)
def test_only_the_named_fields_are_returned(site, path, query, expected):
    (whole,) = site.get(path + "/metadata").json()
    found = fields(site, path, query)
    assert set(found) == expected
    assert all(value == whole[key] for key, value in found.items())


@cites("PS3.18 8.3.4.3", "a path into a sequence returns this of its items")
def test_paths_lead_into_items(site, path):
    step = "RequestAttributesSequence.ScheduledProcedureStepID"
    found = fields(site, path, f"includefield={step}")
    assert found == {
        "00400275": {
            "vr": "SQ",
            "Value": [
                {"00400009": {"vr": "SH", "Value": ["S1"]}},
                {"00400009": {"vr": "SH", "Value": ["S2"]}},
            ],
        }
    }
    deep = fields(site, path, "includefield=00400275.ScheduledProtocolCodeSequence.00080100")
    inner = {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["C1"]}}]}
    assert deep == {"00400275": {"vr": "SQ", "Value": [{"00400008": inner}, {}]}}
    both = fields(site, path, f"includefield={step},RequestAttributesSequence")
    assert len(both["00400275"]["Value"][0]) > 2


@cites("spec 2", "a private element inside of a sequence comes with the creator of its item")
def test_private_elements_of_items_come_with_their_creators(site):
    inner = element(0x00290010, "LO", text("ACME")) + element(0x00291001, "LO", b"in")
    found = fields(
        site, path_of(site, file_of(sequence(0x00400275, item(inner)))), "includefield=00400275.00291001"
    )
    assert list(found["00400275"]["Value"][0]) == ["00290010", "00291001"]


@cites("PS3.18 8.3.4.3", "all is everything")
@pytest.mark.parametrize(
    "query", ["includefield=all", "includefield=ALL,PatientID", "includefield=", "includefield=,"]
)
def test_all_is_everything(site, path, query):
    assert site.get(f"{path}/metadata?{query}").content == site.get(f"{path}/metadata").content


@cites("spec 10", "fields keep their text and their URIs")
def test_fields_are_as_they_are_in_the_whole(site, path):
    body = site.get(path + "/metadata?includefield=SliceThickness,PatientName,PatientComments,00291002").text
    assert '"00180050":{"vr":"DS","Value":[0.10]}' in body
    assert '"00080005":{"vr":"CS","Value":["ISO_IR 192"]}' in body
    (found,) = json.loads(body)
    assert found["00100010"]["Value"] == [{"Alphabetic": "Doe^Jérôme"}]
    assert found["00104000"]["Value"] == ['a {brace} and a "quote\\']
    assert found["00291002"]["BulkDataURI"] == f"http://testserver/dicom-web{path}/bulkdata/00291002"


@cites("spec 7", "fields in XML too, single and multipart")
def test_fields_in_xml(site, path):
    query = f"{path}/metadata?includefield=PatientID"
    single = values_of(site.get(query, XML).content)
    (part,) = parts_of(site.get(query, XML_PARTS))
    assert values_of(part.content) == single
    assert set(single) == ALWAYS | {"00080005", "00100020"}
    assert part.headers["Content-Location"].endswith(path + "/metadata")


@cites("spec 7", "fields of every instance of a study or series")
def test_fields_of_a_study(site):
    study = new_uid()
    path_of(site, *(a_ct(study=study, InstanceNumber=number) for number in range(5)))
    found = site.get(f"/studies/{study}/metadata?includefield=InstanceNumber").json()
    assert all(set(one) == ALWAYS | {"00200013"} for one in found)
    assert sorted(one["00200013"]["Value"][0] for one in found) == list(range(5))


@pytest.mark.parametrize(
    "query",
    [
        row("PS3.18 8.3.1", "400: no attribute", "includefield=0010"),
        row("PS3.18 8.3.1", "400: nothing between the full stops", "includefield=PatientName..00080100"),
        row("PS3.18 8.3.1", "400: characters of no keyword", "includefield=Patient*"),
        row("PS3.18 8.3.1", "400: not a digit", "includefield=001000%C3%A9"),
        row("PS3.18 8.3.1", "400: a path through what is no sequence", "includefield=PatientName.CodeValue"),
        row("PS3.18 8.3.1", "400: too many", "includefield=" + ",".join(["PatientID"] * 501)),
    ],
)
def test_values_that_name_no_attribute_are_refused(site, path, query):
    answer = site.get(f"{path}/metadata?{query}")
    assert answer.status_code == 400
    assert "includefield" in answer.json()["detail"]


@cites("PS3.18 8.6.1.2", "long metadata stream: the text is that of the whole")
def test_long_metadata_come_in_pieces(open_site, monkeypatch):
    site = open_site(read_block=1 << 12)
    inner = [item(element(0x00100020, "LO", text(f"P{number}"))) for number in range(40_000)]
    path = path_of(site, file_of(sequence(0x00081140, *inner)))
    (found,) = site.get(path + "/metadata").json()
    assert len(found["00081140"]["Value"]) == 40_000
    document = site.get(path + "/metadata", XML).content
    (part,) = parts_of(site.get(path + "/metadata", XML_PARTS))
    assert part.content == document
    assert "Content-Length" not in part.headers
    assert document.count(b"<Item ") == 40_000
    assert CT in values_of(document)["00080016"]
