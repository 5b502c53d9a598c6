"""Character sets: of objects, in metadata and searches, and of answers (PS3.18 8.8, PS3.3 C.12.1.1.2)."""

import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from service.index.port import OnDuplicate
from tests.composing import XML, XML_PARTS
from tests.conformance.rows import cites, row
from tests.elements import element, file_of, item, sequence
from tests.making import CT, a_ct, a_data_set, a_file, new_uid

TEXTS = ("SH", "LO", "ST", "LT", "UC", "UT")
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def metadata_of(site, content: bytes) -> tuple[str, dict[str, Any]]:
    """The study's UID and the metadata of a file that is stored."""
    response = site.post(content)
    assert response.status_code in (200, 202), response.text
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    (found,) = site.get(url + "/metadata").json()
    return found["0020000D"]["Value"][0], found


# The real files


def identified(file: Path) -> bytes:
    """A file as it is, or with the UIDs that it lacks."""
    read = pydicom.dcmread(file)
    missing = [name for name in IDENTIFIERS if not read.get(name)]
    if not missing:
        return file.read_bytes()
    for name in missing:
        setattr(read, name, CT if name == "SOPClassUID" else new_uid())
    written = io.BytesIO()
    read.save_as(written)
    return written.getvalue()


@cites("PS3.3 C.12.1.1.2", "text of real objects is what another implementation decodes")
@pytest.mark.filterwarnings("ignore")
def test_text_of_every_character_set_is_decoded_as_pydicom_does(open_site, real_data):
    site = open_site(on_duplicate=OnDuplicate.REPLACE)
    differing: list[str] = []
    compared = 0
    for file in sorted((real_data / "charset").glob("*.dcm")):
        content = identified(file)
        _, served = metadata_of(site, content)
        theirs = pydicom.dcmread(io.BytesIO(content))
        theirs.decode()
        found = list(text_differences(served, theirs))
        compared += 1
        differing += [f"{file.name} {one}" for one in found]
        if any(not value.isascii() for value in strings(served)):
            assert served["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert not differing, "\n".join(differing)
    assert compared >= 21


def text_differences(served: dict[str, Any], theirs: Dataset):
    for element_ in theirs:
        key = f"{int(element_.tag):08X}"
        if element_.VR == "SQ":
            for one, other in zip(served[key].get("Value", []), element_.value, strict=True):
                yield from text_differences(one, other)
        elif element_.VR == "PN":
            values = [element_.value] if element_.VM <= 1 else element_.value
            wanted = [groups_of(value) for value in values if value]
            if wanted != (served[key].get("Value") or []):
                yield f"{key} {served[key]} {wanted}"
        elif element_.VR in TEXTS and not key.endswith("0000"):
            values = [element_.value] if element_.VM <= 1 else element_.value
            texts = [str(value).strip() for value in values if value is not None]
            mine = [(value or "").strip() for value in served[key].get("Value") or []]
            if list(filter(None, texts)) != list(filter(None, mine)):
                yield f"{key} {served[key]} {texts}"


def groups_of(name: PersonName) -> dict[str, str]:
    parts = (name.alphabetic, name.ideographic, name.phonetic)
    return {group: part for group, part in zip(GROUPS, parts, strict=True) if part}


def strings(served: Any):
    if isinstance(served, dict):
        for value in served.values():
            yield from strings(value)
    elif isinstance(served, list):
        for value in served:
            yield from strings(value)
    elif isinstance(served, str):
        yield served


@pytest.mark.filterwarnings("ignore")
@cites("spec 6.3", "a name is found by each of its groups, whatever its character set was")
def test_names_of_every_character_set_are_found(open_site, real_data):
    missed: list[str] = []
    asked = 0
    for file in sorted((real_data / "charset").glob("*.dcm")):
        site = open_site()
        study, served = metadata_of(site, identified(file))
        for name in served.get("00100010", {}).get("Value", []):
            for value in {*name.values(), "=".join(name.get(group, "") for group in GROUPS)}:
                asked += 1
                answer = site.get(f"/studies?PatientName={quote(value)}")
                found = answer.json() if answer.status_code == 200 else []
                if [one["0020000D"]["Value"] for one in found] != [[study]]:
                    missed.append(f"{file.name} {value}")
                elif found[0]["00100010"]["Value"] != [name]:
                    missed.append(f"{file.name} {value} is told as {found[0]['00100010']}")
                elif not value.isascii() and found[0]["00080005"]["Value"] != ["ISO_IR 192"]:
                    missed.append(f"{file.name} {found[0]['00080005']}")
    assert not missed, "\n".join(missed)
    assert asked > 40


# Every defined term, encoded by pydicom


TERMS = [
    row("PS3.3 Table C.12-2", "Latin-1", "ISO_IR 100", "Buc^Jérôme"),
    row("PS3.3 Table C.12-2", "Latin-2", "ISO_IR 101", "Właściwy"),
    row("PS3.3 Table C.12-2", "Latin-3", "ISO_IR 109", "Ĥĵ^ċ"),
    row("PS3.3 Table C.12-2", "Latin-4", "ISO_IR 110", "ĸ^āē"),
    row("PS3.3 Table C.12-2", "Cyrillic", "ISO_IR 144", "Люксембург"),
    row("PS3.3 Table C.12-2", "Arabic", "ISO_IR 127", "قباني^لنزار"),
    row("PS3.3 Table C.12-2", "Greek", "ISO_IR 126", "Διονυσιος"),
    row("PS3.3 Table C.12-2", "Hebrew", "ISO_IR 138", "שרון^דבורה"),
    row("PS3.3 Table C.12-2", "Latin-5", "ISO_IR 148", "Çavuşoğlu"),
    row("PS3.3 Table C.12-2", "Japanese katakana", "ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    row("PS3.3 Table C.12-2", "Thai", "ISO_IR 166", "นามสกุล"),
    row("PS3.3 Table C.12-4", "Japanese kanji", "\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    row(
        "PS3.3 Table C.12-4",
        "katakana and kanji",
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    row("PS3.3 Table C.12-4", "Japanese supplementary kanji", "\\ISO 2022 IR 159", "A=丂"),
    row("PS3.3 Table C.12-4", "Korean", "\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
    row("PS3.3 Table C.12-4", "simplified Chinese", "\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东"),
    row("PS3.3 Table C.12-4", "Latin-1, then Greek", "ISO 2022 IR 100\\ISO 2022 IR 126", "Jérôme=Διονυσιος"),
    row("PS3.3 Table C.12-5", "UTF-8", "ISO_IR 192", "Wang^XiaoDong=王^小東"),
    row("PS3.3 Table C.12-5", "GB18030", "GB18030", "Wang^XiaoDong=王^小东"),
    row("PS3.3 Table C.12-5", "GBK", "GBK", "Wang^XiaoDong=王^小东"),
]


@pytest.mark.parametrize(("term", "name"), TERMS)
def test_each_defined_term_is_understood(site, term, name):
    made = a_data_set(SpecificCharacterSet=term.split("\\"), PatientName=name)
    study, found = metadata_of(site, a_file(made))
    groups = dict(zip(GROUPS, name.split("="), strict=False))
    assert found["00100010"]["Value"] == [groups]
    assert found["00080005"]["Value"] == ["ISO_IR 192"]
    for group in groups.values():
        (one,) = site.get(f"/studies?PatientName={quote(group)}").json()
        assert one["0020000D"]["Value"] == [study]
        assert one["00080005"]["Value"] == ["ISO_IR 192"]


UNDECLARED = [
    row("spec 12", "undeclared text that is UTF-8 is UTF-8", "Jérôme".encode()),
    row("spec 12", "other undeclared text is Latin-1", "Jérôme".encode("latin-1")),
]


@cites("PS3.3 Table C.12-2", "Latin-9, which pydicom does not write")
def test_latin_9_is_understood(site):
    term, name = b"ISO_IR 203", "Œuvre^€ ".encode("iso8859_15")
    _, found = metadata_of(site, file_of(element(0x00080005, "CS", term), element(0x00100010, "PN", name)))
    assert found["00100010"]["Value"] == [{"Alphabetic": "Œuvre^€"}]


@pytest.mark.parametrize("value", UNDECLARED)
def test_undeclared_text_is_read(site, value):
    _, found = metadata_of(site, file_of(element(0x00100010, "PN", value + b" " * (len(value) % 2))))
    assert found["00100010"]["Value"] == [{"Alphabetic": "Jérôme"}]
    assert found["00080005"]["Value"] == ["ISO_IR 192"]


@cites("PS3.3 C.12.1.1.2", "an item may have its own character set; else that of the data set around it")
def test_items_have_their_own_character_set(site):
    greek = element(0x00080005, "CS", b"ISO_IR 126") + element(0x00080104, "LO", b"\xc4\xe9")
    latin = element(0x00080104, "LO", b"\xe9t")
    _, found = metadata_of(
        site,
        file_of(
            element(0x00080005, "CS", b"ISO_IR 100"),
            sequence(0x00081140, item(greek), item(latin)),
            element(0x00104000, "LT", b"\xe9\xe8"),
        ),
    )
    items = found["00081140"]["Value"]
    assert [one["00080104"]["Value"] for one in items] == [["Δι"], ["ét"]]
    assert found["00104000"]["Value"] == ["éè"]
    assert items[0]["00080005"]["Value"] == ["ISO_IR 192"]


SPLIT = [
    row("PS3.5 6.1.2.3", "5C as second byte in GB18030", b"GB18030 ", b"\x81\x5c\\\x81\x5c", ["乗", "乗"]),
    row("PS3.5 6.1.2.3", "5C as second byte in GBK", b"GBK ", b"\x81\x5c\\\x81\x5c", ["乗", "乗"]),
    row(
        "PS3.5 6.1.2.5.3",
        "5C in a two-byte set of JIS",
        b"\\ISO 2022 IR 87",
        b"\x1b$B\x30\x5c\x1b(B\\A",
        ["移", "A"],
    ),
    row("PS3.5 6.2", "5C alone separates", b"ISO_IR 100", b"\xe9\\\xe8 ", ["é", "è"]),
]


@pytest.mark.parametrize(("term", "value", "expected"), SPLIT)
def test_values_are_split_at_characters(site, term, value, expected):
    padded = [one + b" " * (len(one) % 2) for one in (term, value)]
    _, found = metadata_of(
        site, file_of(element(0x00080005, "CS", padded[0]), element(0x00081080, "LO", padded[1]))
    )
    assert found["00081080"]["Value"] == expected


# The character set of answers


ACCEPTED = [
    row("PS3.18 8.8.1", "UTF-8 is what there is", "utf-8"),
    row("PS3.18 8.8.1", "in any case", "UTF-8"),
    row("PS3.18 8.8.1", "a wildcard", "*"),
    row("PS3.18 8.8.1", "what is not supported is ignored", "iso-8859-1"),
    row("PS3.18 8.8.1", "a preference that cannot be met", "iso-8859-1, utf-8;q=0.1"),
    row("PS3.18 8.8.1", "a wildcard beside an exclusion", "iso-8859-1;q=0, *;q=0.5"),
    row("PS3.18 8.8.1", "UTF-8 beside an excluding wildcard", "utf-8, *;q=0"),
    row("PS3.18 8.8.1", "as DICOM names it", "ISO_IR 192"),
    row("RFC 9110 12.5.2", "nothing is anything", ""),
]
REFUSED = [
    row("spec 12", "UTF-8 excluded", "utf-8;q=0"),
    row("spec 12", "UTF-8 excluded, something else not", "iso-8859-1, utf-8;q=0"),
    row("spec 12", "everything excluded", "*;q=0"),
]
WHERE = ("/studies", "{path}/metadata")


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("where", WHERE)
def test_text_is_utf_8_where_it_may_be(site, accepted, where):
    url = site.post(a_ct()).json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    path = where.format(path=url.removeprefix("http://testserver/dicom-web"))
    answer = site.get(path, **{"Accept-Charset": accepted})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert site.get(f"{path}?charset={quote(accepted)}").status_code == 200


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("accept", ["application/dicom+json", XML_PARTS])
def test_other_text_there_is_not(site, refused, where, accept):
    url = site.post(a_ct()).json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    path = where.format(path=url.removeprefix("http://testserver/dicom-web"))
    assert site.get(path, accept, **{"Accept-Charset": refused}).status_code == 406


@cites("PS3.18 8.8.2", "the charset parameter comes before the header")
def test_the_parameter_comes_before_the_header(site):
    site.post(a_ct())
    assert site.get("/studies?charset=utf-8", **{"Accept-Charset": "utf-8;q=0"}).status_code == 200
    assert site.get("/studies?charset=utf-8;q=0", **{"Accept-Charset": "utf-8"}).status_code == 406


@cites("spec 12", "JSON and XML are UTF-8, XML says so")
def test_xml_is_utf_8(site):
    made = a_data_set(SpecificCharacterSet="ISO_IR 144", PatientName="Люксембург")
    url = site.post(a_file(made)).json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    content = site.get(url + "/metadata", XML).content
    assert content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    assert "<FamilyName>Люксембург</FamilyName>".encode() in content


@cites("spec 12", "objects keep their character set")
@pytest.mark.parametrize("asked", ["", "?charset=utf-8", "?charset=iso-8859-1"])
def test_objects_keep_their_character_set(site, asked):
    content = a_file(a_data_set(SpecificCharacterSet="ISO_IR 144", PatientName="Люксембург"))
    url = site.post(content).json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    answer = site.get(url + asked, "application/dicom; transfer-syntax=*")
    assert answer.content == content
