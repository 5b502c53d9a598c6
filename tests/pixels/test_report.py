"""Structured reports as pages."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.dataset import Dataset

from service.pixels.report import report_html, report_text, report_xml
from tests.pixels.pictures import attributes_of

REPORTS = (
    "test-SR.dcm",
    "sample-sr.dcm",
    "sr.dcm",
    "sr_document.dcm",
    "reportsi.dcm",
    "99+PhoenixDocument+00001.dcm",
)
_EMPTY = ("meta", "br")


class Page(HTMLParser):
    """The elements and the text of a page; fails on one that is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def a_code(meaning: str, value: str = "1") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "99X", meaning
    return code


def an_item(kind: str, name: str = "", **attributes) -> Dataset:
    item = Dataset()
    item.ValueType, item.RelationshipType = kind, "CONTAINS"
    if name:
        item.ConceptNameCodeSequence = [a_code(name)]
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def a_report(*content: Dataset, **attributes) -> Dataset:
    made = an_item("CONTAINER", "Chest CT", ContentSequence=list(content), **attributes)
    made.PatientName = "Doe^Jane"
    return made


@pytest.mark.parametrize("name", REPORTS)
def test_real_reports_become_sound_pages_without_scripts(real_data, name):
    attributes = attributes_of(pydicom.dcmread(real_data / "sr" / name))
    page = Page(report_html(attributes))
    assert not {"script", "img", "iframe", "link", "object", "form"} & set(page.elements)
    text = report_text(attributes)
    assert len(text.splitlines()) > 5


@pytest.mark.parametrize("name", REPORTS)
def test_real_reports_become_well_formed_xml(real_data, name):
    attributes = attributes_of(pydicom.dcmread(real_data / "sr" / name))
    root = ElementTree.fromstring(report_xml(attributes).encode())
    page = Page(report_html(attributes))
    assert [one.tag.rpartition("}")[2] for one in root.iter()] == page.elements


@pytest.mark.parametrize("name", REPORTS)
def test_every_text_of_a_real_report_is_in_both_forms(real_data, name):
    made = pydicom.dcmread(real_data / "sr" / name)
    attributes = attributes_of(made)
    page, text = Page(report_html(attributes)).text, report_text(attributes)
    said = [" ".join(str(one.value).split()) for one in made.iterall() if one.keyword == "TextValue"]
    for form in (" ".join(page.split()), " ".join(text.split())):
        assert [one for one in said if one not in form] == []


def test_values_are_escaped():
    nasty = '<script>alert("x")</script>&'
    made = a_report(an_item("TEXT", nasty, TextValue=nasty), an_item("PNAME", "Who", PersonName=nasty))
    made.PatientName = nasty
    made.ConceptNameCodeSequence[0].CodeMeaning = nasty
    page = report_html(attributes_of(made))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "script" not in Page(page).elements


def a_measurement(value: str, unit: str, meaning: str) -> Dataset:
    measured = Dataset()
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = [a_code(meaning, unit)]
    return measured


def a_reference(frames: list[int]) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = "1.2", "1.2.3"
    made.ReferencedFrameNumber = frames
    return made


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (an_item("TEXT", "Finding", TextValue="none"), "Finding: none"),
        (
            an_item("NUM", "Length", MeasuredValueSequence=[a_measurement("12.50", "mm", "millimeter")]),
            "Length: 12.5 mm",
        ),
        (
            an_item(
                "NUM", "Mean", MeasuredValueSequence=[a_measurement("-3", "[hnsf'U]", "Hounsfield unit")]
            ),
            "Mean: -3 Hounsfield unit",
        ),
        (an_item("NUM", "Count", MeasuredValueSequence=[a_measurement("3", "1", "no units")]), "Count: 3"),
        (
            an_item("NUM", "Lost", NumericValueQualifierCodeSequence=[a_code("not measurable")]),
            "Lost: not measurable",
        ),
        (an_item("NUM", "Lost"), "Lost: (no value)"),
        (an_item("CODE", "Side", ConceptCodeSequence=[a_code("left")]), "Side: left"),
        (an_item("DATETIME", "At", DateTime="20240131101500.5"), "At: 2024-01-31 10:15:00"),
        (an_item("DATE", "On", Date="20240131"), "On: 2024-01-31"),
        (an_item("TIME", "At", Time="1015"), "At: 10:15"),
        (an_item("PNAME", "Reader", PersonName="Roe^Ann^^Dr"), "Reader: Dr Ann Roe"),
        (an_item("UIDREF", "Study", UID="1.2.3"), "Study: 1.2.3"),
        (an_item("IMAGE", ReferencedSOPSequence=[a_reference([2, 5])]), "Image: 1.2.3, frame 2, 5"),
        (an_item("SCOORD", "Edge", GraphicType="POINT", GraphicData=[1.5, 2]), "Edge: point 1.5, 2"),
        (an_item("TEXT", "Why", TextValue="so", RelationshipType="INFERRED FROM"), "Why (inferred from): so"),
    ],
)
def test_each_kind_of_content_is_told_in_words(item, line):
    assert line in report_text(attributes_of(a_report(item))).splitlines()
    assert line in Page(report_html(attributes_of(a_report(item)))).text


def test_what_is_contained_is_indented():
    inner = an_item("CONTAINER", "Lungs", ContentSequence=[an_item("TEXT", "Right", TextValue="clear")])
    lines = report_text(attributes_of(a_report(inner))).splitlines()
    assert lines[-2:] == ["Lungs", "  Right: clear"]


def test_the_patient_and_the_state_of_the_report_head_it():
    made = a_report(CompletionFlag="COMPLETE", VerificationFlag="VERIFIED", ContentDate="20240131")
    lines = report_text(attributes_of(made)).splitlines()
    assert lines[:2] == ["Chest CT", "========"]
    assert {"Patient: Jane Doe", "Report date: 2024-01-31", "Status: complete, verified"} <= set(lines)


def test_what_is_nested_too_deep_is_said_to_be_left_out():
    inner = an_item("TEXT", "Bottom", TextValue="unseen")
    for depth in range(61):
        inner = an_item("CONTAINER", f"Level {depth}", ContentSequence=[inner])
    text = report_text(attributes_of(a_report(inner)))
    assert "unseen" not in text
    assert "nested deeper" in text
    assert Page(report_html(attributes_of(a_report(inner)))).text


def test_control_characters_do_not_reach_plain_text():
    text = report_text(attributes_of(a_report(an_item("TEXT", "A", TextValue="one\x07two\r\nthree"))))
    assert "A: onetwo\n  three" in text
