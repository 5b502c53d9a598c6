"""What the time of an answer was spent on, told in its head and in the log."""

import logging
import re

import pytest

from tests.conformance.pictured import J2K, picture, stored
from tests.conformance.picturing import a_report
from tests.conformance.retrieving import AS_STORED, DICOM, MANY_AS_STORED, MANY_OCTETS, OCTETS, keep, study_of

MADE = ["index", "pixels", "read", "decode", "encode", "send"]
DRAWN = ["index", "pixels", "read", "decode", "render", "encode", "send"]


@pytest.fixture
def native(site):
    return keep(site, stored([picture(number) for number in range(3)])[0])


@pytest.fixture
def compressed(site):
    return keep(site, stored([picture(number) for number in range(3)], J2K)[0])


def steps(response) -> list[str]:
    assert response.status_code in (200, 206), response.text
    return [one.partition(";")[0] for one in response.headers["server-timing"].split(", ")]


@pytest.mark.cites("issue 4", "Server-Timing shows index, read and send of what leaves as stored")
@pytest.mark.parametrize(
    ("below", "accept"),
    [
        ("/frames/2", OCTETS),
        ("/frames/1,3", MANY_OCTETS),
        ("", AS_STORED),
        ("", MANY_AS_STORED),
        ("/bulkdata/7FE00010", OCTETS),
        ("/pixeldata", MANY_OCTETS),
    ],
)
def test_what_leaves_as_stored_is_looked_up_and_read(site, native, below, accept):
    assert steps(site.get(native + below, accept)) == ["index", "read", "send"]


@pytest.mark.cites("issue 4", "Server-Timing shows index, read, decode, encode, send")
@pytest.mark.parametrize(
    ("below", "accept"),
    [
        ("/frames/2", OCTETS),
        ("/frames/1,3", MANY_OCTETS),
        ("", DICOM),
        ("", f'multipart/related; type="{DICOM}"'),
        ("/bulkdata/7FE00010", MANY_OCTETS),
        ("/pixeldata", MANY_OCTETS),
    ],
)
def test_what_is_made_is_decoded_and_encoded_too(site, compressed, below, accept):
    assert steps(site.get(compressed + below, accept)) == MADE


@pytest.mark.cites("issue 4", "Server-Timing shows index, read, decode, encode, send of pictures")
@pytest.mark.parametrize("below", ["/rendered", "/frames/2/rendered", "/thumbnail", "/frames/2/thumbnail"])
def test_pictures_are_rendered_too(site, compressed, below):
    assert steps(site.get(compressed + below)) == DRAWN


@pytest.mark.cites("issue 4", "Server-Timing of several items is that of the first")
def test_several_pictures(site, compressed):
    several = "multipart/related; type=image/png"
    assert steps(site.get(compressed + "/frames/1,2/rendered", several)) == DRAWN
    assert steps(site.get(study_of(compressed) + "/rendered", several))[-1] == "send"


@pytest.mark.cites("issue 4", "the log tells of every picture, of which the head knows the first alone")
def test_the_log_counts_all_pictures(site, compressed, caplog):
    with caplog.at_level(logging.INFO, "isthmus.http"):
        response = site.get(compressed + "/frames/1,2,3/rendered", "multipart/related; type=image/png")
    (line,) = [
        one.getMessage()
        for one in caplog.records
        if f"id={response.headers['x-request-id']}" in one.getMessage()
    ]
    (head,) = re.findall(r"decode;dur=([\d.]+)", response.headers["server-timing"])
    (whole,) = re.findall(r" decode=([\d.]+)", line)
    assert float(whole) >= round(float(head), 1)


@pytest.mark.cites("issue 4", "a report is read and written")
def test_reports(site):
    path = keep(site, a_report())
    assert steps(site.get(path + "/rendered", "text/html")) == ["index", "pixels", "read", "render", "send"]


@pytest.mark.cites("issue 4", "what is kept is neither read nor decoded again")
@pytest.mark.parametrize(
    ("below", "accept"), [("/frames/2", OCTETS), ("/rendered", None), ("/thumbnail", None), ("", DICOM)]
)
def test_what_is_kept_is_not_made_again(site, compressed, below, accept):
    first = site.get(compressed + below, accept)
    again = site.get(compressed + below, accept)
    assert "decode" in steps(first)
    assert steps(again) == ["index", "pixels", "send"]
    assert again.content == first.content


@pytest.mark.cites("W3C Server Timing 3", "durations are milliseconds, and a metric may have none")
def test_the_header_is_well_formed(site, compressed):
    told = site.get(f"{compressed}/frames/1", OCTETS).headers["server-timing"]
    assert re.fullmatch(r'([a-z]+;dur=\d+\.\d\d, )+send;desc="in the log"', told)
    head = site.client.head(f"http://testserver/dicom-web{compressed}/rendered")
    assert head.headers["server-timing"].startswith("index;dur=")


@pytest.mark.cites("issue 4", "the time that sending took is told by the log")
@pytest.mark.parametrize(
    ("below", "accept"), [("/frames/1,2,3", MANY_OCTETS), ("", DICOM), ("/rendered", None)]
)
def test_the_log_tells_what_sending_took(site, compressed, caplog, below, accept):
    with caplog.at_level(logging.INFO, "isthmus.http"):
        response = site.get(compressed + below, accept)
    lines = [record.getMessage() for record in caplog.records if record.name == "isthmus.http"]
    (line,) = [one for one in lines if f"id={response.headers['x-request-id']}" in one]
    told = dict(re.findall(r"(\w+)=(\d+\.\d)(?= |$)", line))
    assert {"ms", "index", "pixels", "read", "decode", "encode", "send"} <= told.keys()
    assert all(float(took) >= 0 for took in told.values())
