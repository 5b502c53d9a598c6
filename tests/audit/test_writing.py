"""Events as messages: XML as PS3.15 A.5.1 has it, and lines of JSON."""

import base64
import json
from xml.etree import ElementTree

from service.audit import codes
from service.audit.event import Event, Participant, Search
from service.audit.writing import as_json, as_xml
from tests.audit_events import an_event

CT = "1.2.840.10008.5.1.4.1.1.2"


def a_retrieval(**more) -> Event:
    return an_event(
        studies={"1.1": {CT: 3}}, patients=("P1",), details={"Status": "200"}, request="abc", at=1.5, **more
    )


def test_the_xml_has_the_elements_in_the_order_of_the_schema():
    root = ElementTree.fromstring(as_xml(a_retrieval(), "pod-1"))

    assert root.tag == "AuditMessage"
    assert [child.tag for child in root] == [
        "EventIdentification",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
        "ParticipantObjectIdentification",
    ]
    event, participant, source, study, patient = root
    assert event.attrib == {
        "EventActionCode": "R",
        "EventDateTime": "1970-01-01T00:00:01.500+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert event[0].attrib == {
        "csd-code": "110104",
        "codeSystemName": "DCM",
        "originalText": "DICOM Instances Transferred",
    }
    assert participant.attrib["UserIsRequestor"] == "true"
    assert participant.attrib["NetworkAccessPointTypeCode"] == "2"
    assert source.attrib == {"AuditSourceID": "pod-1"}
    # either a name or a query is demanded, and then details, and then the description
    assert [child.tag for child in study] == [
        "ParticipantObjectIDTypeCode",
        "ParticipantObjectName",
        "ParticipantObjectDetail",
        "ParticipantObjectDetail",
        "ParticipantObjectDescription",
    ]
    assert study.attrib["ParticipantObjectID"] == "1.1"
    assert study[1].text is None
    assert base64.b64decode(study[2].attrib["value"]) == b"200"
    assert study[4][0].attrib == {"UID": CT, "NumberOfInstances": "3"}
    assert patient.attrib == {
        "ParticipantObjectID": "P1",
        "ParticipantObjectTypeCode": "1",
        "ParticipantObjectTypeCodeRole": "1",
    }


def test_the_line_says_the_same_in_json():
    text = as_json(a_retrieval(), "pod-1")

    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    told = json.loads(text)
    assert told["EventIdentification"]["EventOutcomeIndicator"] == 0
    assert told["EventIdentification"]["EventID"]["csd-code"] == "110104"
    assert told["ActiveParticipant"][0]["UserIsRequestor"] is True
    study, patient = told["ParticipantObjectIdentification"]
    assert study["ParticipantObjectDetail"][0] == {"type": "Status", "value": "200"}
    assert study["ParticipantObjectDescription"][0]["SOPClass"][0]["NumberOfInstances"] == 3
    assert "ParticipantObjectName" not in study
    assert patient["ParticipantObjectID"] == "P1"


def test_a_query_holds_its_keys():
    event = an_event(what=codes.QUERY, search=Search("PatientName=..."), place="/dicom-web/studies")

    (about,) = ElementTree.fromstring(as_xml(event, "here")).findall("ParticipantObjectIdentification")

    assert base64.b64decode(about.findtext("ParticipantObjectQuery", "")) == b"PatientName=..."
    assert about[0].attrib["originalText"] == "Search Criteria"
    told = json.loads(as_json(event, "here"))
    assert told["ParticipantObjectIdentification"][0]["ParticipantObjectQuery"] == "PatientName=..."


def test_a_query_of_a_sop_class_is_named_by_it():
    event = an_event(what=codes.QUERY, search=Search("PatientName", "1.2.840.10008.5.1.4.1.2.2.1"))

    about = json.loads(as_json(event, "here"))["ParticipantObjectIdentification"][0]

    assert about["ParticipantObjectID"] == "1.2.840.10008.5.1.4.1.2.2.1"
    assert about["ParticipantObjectIDTypeCode"]["csd-code"] == "110181"


def test_what_comes_from_outside_breaks_neither_form():
    hostile = '"><x a="1">&amp;\n\r\t\0\x1b\ud800\ufffe]]>' + "ü" * 10_000
    event = an_event(
        participants=(Participant(hostile, requestor=True, address="x"),),
        patients=(hostile,),
        details={"Status": hostile},
        search=Search(hostile),
        place="/studies",
        outcome_text=hostile,
    )

    root = ElementTree.fromstring(as_xml(event, hostile))
    told = as_json(event, hostile)

    assert root[1].attrib["UserID"].startswith('"><x a="1">&amp;\n')
    assert told.count(b"\n") == 1
    assert json.loads(told)["ActiveParticipant"][0]["UserID"].startswith('"><x a="1">&amp;\n')
    assert len(told) < 40_000


def test_a_host_is_told_from_an_address():
    def kind(address: str) -> str:
        event = an_event(participants=(Participant("x", address=address),))
        return str(json.loads(as_json(event, "here"))["ActiveParticipant"][0]["NetworkAccessPointTypeCode"])

    assert [kind("192.0.2.1"), kind("2001:db8::1"), kind("ws-3.example.org")] == ["2", "2", "1"]
