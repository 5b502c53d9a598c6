"""Values of DICOM JSON that are stored as they are sent, or not at all (PS3.18 F.2, 10.5.2)."""

import json

import pytest

from tests.composing import a_body, failures, metadata, object_of, post_body, post_json
from tests.conformance.rows import cites, row


@pytest.mark.parametrize(
    "written",
    [
        row("PS3.18 F.2.2", "a number of 17 digits", "0.30000000000000004"),
        row("PS3.18 F.2.2", "a number of many digits", "0.12345678901234567890123"),
        row("PS3.18 F.2.2", "a large one with an exponent", "-1.2345678901234567e-101"),
        row("PS3.18 F.2.2", "a number that ends in zeros", "2.5000000000000000000"),
        row("PS3.18 F.2.2", "text of the same kind", '"0.30000000000000004"'),
    ],
)
def test_the_digits_of_a_number_are_kept(site, written):
    # given
    document = {**metadata(), "00181164": {"vr": "DS", "Value": [99]}}
    body = json.dumps([document]).replace("[99]", f"[{written}]")
    # when
    response = post_body(site, a_body([body.encode()]))
    # then: stored without a word of warning, as nothing was changed
    stored = object_of(site, response)
    assert response.status_code == 200
    assert str(stored["ImagerPixelSpacing"].value.original_string) == written.strip('"')
    (item,) = response.json()["00081199"]["Value"]
    assert "00081196" not in item
    # and: told again with the same digits
    told = site.get(item["00081190"]["Value"][0] + "/metadata").text
    assert f'"00181164":{{"vr":"DS","Value":[{written.strip(chr(34))}]}}' in told


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        row("RFC 8259 8.2", "half of a surrogate pair in text", "00104000", "LT", "a\ud800b"),
        row("RFC 8259 8.2", "in a name", "00100010", "PN", {"Alphabetic": "Doe^\udc00"}),
        row("RFC 8259 8.2", "in a code", "00080060", "CS", "\udfff"),
        row("RFC 8259 8.2", "in a description", "00081030", "LO", "\ud83d"),
    ],
)
def test_what_is_no_character_is_refused_and_not_replaced(site, tag, vr, value):
    document = metadata()
    response = post_json(site, [{**document, tag: {"vr": vr, "Value": [value]}}, metadata()])
    assert response.status_code == 202
    ((reason, instance, comment),) = failures(response)
    assert (reason, instance) == (0xC000, document["00080018"]["Value"][0])
    assert comment == f"({tag[:4]},{tag[4:]}) has a value that cannot be written as {vr}."


@cites("RFC 8259 7", "two escapes that make a pair are one character, which is kept")
def test_a_whole_pair_is_a_character(site):
    response = post_json(site, [{**metadata(), "00081030": {"vr": "LO", "Value": ["\U0001f600"]}}])
    assert response.status_code == 200
    assert object_of(site, response).StudyDescription == "\U0001f600"
