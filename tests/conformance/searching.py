"""Studies to be searched, and what a client sees of the answers."""

from typing import Any
from urllib.parse import quote

import httpx2 as httpx
from pydicom.dataset import Dataset

from tests.making import a_data_set, a_file, add_pixels
from tests.sites import Site

CT, MR, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.59"
UID_OF = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}

MUELLER, YAMADA, GUSEVA, NOBODY = "1.1", "1.2", "1.4", "1.3"
BY_DATE = [YAMADA, MUELLER, GUSEVA, NOBODY]  # the newest first, what has no date last


def an_item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def one(series: str, number: int, **attributes: Any) -> bytes:
    """The instance `series`.`number` of the study that `series` begins with, with a little of everything."""
    made = a_data_set(
        study=".".join(series.split(".")[:2]), series=series, instance=f"{series}.{number}", **attributes
    )
    if made.Modality in ("CT", "MR"):
        add_pixels(made, [bytes(32)])
    if "SliceThickness" in made:
        block = made.private_block(0x0009, "ACME 1", create=True)
        block.add_new(0x01, "LO", "of acme")
        other = made.private_block(0x0009, "OTHER", create=True)
        other.add_new(0x01, "LO", "of others")
    return a_file(made)


MUELLERS: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jürgen", "PatientID": "P1",
    "PatientBirthDate": "19700203", "PatientSex": "M", "StudyDate": "20240115", "StudyTime": "101530.5",
    "AccessionNumber": "A1", "StudyID": "S1", "ReferringPhysicianName": "Ref^Doc",
    "StudyDescription": "Thorax, Abdomen", "InstitutionName": "Hospital",
}  # fmt: skip
CTS: dict[str, Any] = MUELLERS | {
    "sop_class": CT, "Modality": "CT", "SeriesNumber": 2, "SeriesDescription": "AXIAL",
    "PerformedProcedureStepStartDate": "20240115", "PerformedProcedureStepStartTime": "1010",
    "BodyPartExamined": "CHEST", "PatientPosition": "HFS", "SliceThickness": "2.50",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "RequestAttributesSequence": [
        an_item(ScheduledProcedureStepID="SPS1", RequestedProcedureID="RP1"),
        an_item(ScheduledProcedureStepID="SPS2", RequestedProcedureID="RP2"),
    ],
}  # fmt: skip


def fill(site: Site) -> Site:
    """`site` with four studies: of CT and SR, of MR, of CT and PT, and of hardly anything."""
    empty = dict.fromkeys(
        ("PatientName", "PatientID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "Modality"), ""
    )
    guseva = {
        "SpecificCharacterSet": "ISO_IR 192", "PatientName": "Гусева^Мария", "PatientID": "p1",
        "StudyDate": "20231231", "StudyTime": "233000", "TimezoneOffsetFromUTC": "-0500",
        "AccessionNumber": "A*", "StudyID": "10",
    }  # fmt: skip
    response = site.post_parts(
        one("1.1.1", 1, **CTS, InstanceNumber=2),
        one("1.1.1", 2, **CTS, InstanceNumber=1),
        one("1.1.2", 1, **MUELLERS, sop_class=SR, Modality="SR", SeriesNumber=1),
        one(
            "1.2.1", 1, sop_class=MR, Modality="MR", SpecificCharacterSet="ISO_IR 192", PatientID="P2",
            PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", StudyDate="20240301", StudyTime="080000",
            AccessionNumber="A2", AcquisitionDateTime="20240301080000+0200", NumberOfFrames=1,
        ),
        one("1.3.1", 1, **empty, SeriesNumber=None, InstanceNumber=None),
        one("1.4.1", 1, **guseva, sop_class=CT, Modality="CT", SeriesNumber=1),
        one("1.4.2", 1, **guseva, Modality="PT", SeriesNumber=10),
    )  # fmt: skip
    assert response.status_code == 200, response.text
    return site


def search(site: Site, path: str, *pairs: tuple[str, str], **headers: str) -> httpx.Response:
    """GET of a search with percent-encoded parameters."""
    query = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in pairs)
    return site.get(f"{path}?{query}", **headers)


def found(response: httpx.Response) -> list[str]:
    """The UIDs of the matches, in order, of the level that was searched."""
    if response.status_code == 204:
        assert response.content == b""
        return []
    assert response.status_code == 200, response.text
    level = response.request.url.path.rsplit("/", 1)[-1]
    return [match[UID_OF[level]]["Value"][0] for match in response.json()]


def params(query: str) -> list[tuple[str, str]]:
    """`A=b; C=d` as pairs."""
    pairs = (pair.partition("=") for pair in query.split("; ") if pair)
    return [(name, value) for name, _, value in pairs]
