"""The rules of a peers file: what they match, and what is said of those that make no sense."""

import asyncio
import json
from datetime import datetime
from pathlib import Path

import pytest

from bridge.forwarding.deciding import routes, without_bulk
from bridge.forwarding.heads import attributes_of
from bridge.forwarding.rules import Caller, Rule, tags_of
from bridge.peers import Peers, read_peers
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, IMPLICIT_LE, ROOT
from service.environment import SettingError
from tests.dimse.forwarding.forwarded import rule, table
from tests.dimse.retrieve.retrieving import an_object

NOON = datetime(2026, 3, 1, 12, 0)
NAMED = (
    table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": 104})
    + table("peers.other", {"ae_title": "OTHER", "host": "127.0.0.1", "port": 105})
    + table("servers.cloud", {"url": "https://cloud.example.org/dicom-web"})
)


def read(folder: Path, text: str) -> Peers:
    (folder / "peers.toml").write_text(NAMED + text)
    return read_peers(folder / "peers.toml")


def a_rule(folder: Path, **when: object) -> Rule:
    return read(folder, rule("dest", when)).rules[0]


def element(vr: str, *values: object) -> dict[str, object]:
    return {"vr": vr, "Value": list(values)}


HEAD = {
    "00080060": element("CS", "CT"),
    "00081010": element("SH", "CT-ROOM2"),
    "00180015": element("CS", "CHEST"),
    "00081030": element("LO", "Thorax nativ"),
    "00100010": element("PN", {"Alphabetic": "Müller^Eva"}),
    "00080020": element("DA", "20260301"),
    "00400275": element("SQ", {"00400009": element("SH", "STEP7")}),
    "00091001": element("LO", "private"),
}


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ({}, True),
        ({"modality": "CT"}, True),
        ({"modality": ["MR", "CT"]}, True),
        ({"modality": "ct"}, False),
        ({"modality": "C?"}, True),
        ({"calling": "scanner*"}, True),
        ({"calling": ["OTHER", "SCANNER1"]}, True),
        ({"calling": "SCANNER"}, False),
        ({"called": "ISTHMUS"}, True),
        ({"called": "ARCHIVE"}, False),
        ({"station": "*ROOM2", "body_part": ["CHEST", "ABDOMEN"]}, True),
        ({"station": "*ROOM2", "body_part": "ABDOMEN"}, False),
        ({"attributes": {"StudyDescription": "*horax*"}}, True),
        ({"attributes": {"00081030": "Thorax nativ"}}, True),
        ({"attributes": {"StudyDescription": "thorax*"}}, False),
        ({"attributes": {"PatientName": "MULLER*"}}, True),
        ({"attributes": {"StudyDate": "20260101-20261231"}}, True),
        ({"attributes": {"StudyDate": "-20251231"}}, False),
        ({"attributes": {"RequestAttributesSequence.ScheduledProcedureStepID": "STEP?"}}, True),
        ({"attributes": {"RequestAttributesSequence.ScheduledProcedureStepID": "X"}}, False),
        ({"attributes": {"00091001": "priv*"}}, True),
        ({"attributes": {"ProtocolName": "*"}}, True),
        ({"attributes": {"ProtocolName": "A*"}}, False),
        ({"time": "11:59-12:01"}, True),
        ({"time": "12:00-13:00"}, True),
        ({"time": "11:00-12:00"}, False),
        ({"time": "22:00-06:00"}, False),
        ({"time": "22:00-12:30"}, True),
        ({"time": "00:00-24:00"}, True),
    ],
)
def test_a_rule_fits_as_a_query_would(tmp_path, when, fits):
    caller = Caller("SCANNER1 ", "ISTHMUS")

    assert a_rule(tmp_path, **when).fits(caller, NOON, HEAD) is fits


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (rule("nobody"), "[[rules]] 1: to must be names of [peers.NAME] and [servers.NAME]; it is 'nobody'"),
        (rule(), "[[rules]] 1: to must name peers or servers"),
        (rule("dest") + rule("dest", {"modalities": "CT"}), "[[rules]] 2: [when]: 'modalities' is not a key"),
        (rule("dest", {"modality": []}), "modality must be a text or a list of texts"),
        (rule("dest", {"modality": ["CT", ""]}), "none of them empty"),
        (rule("dest", {"modality": 3}), "modality must be a text or a list of texts"),
        (rule("dest", {"calling": "A TITLE THAT IS TOO LONG"}), "calling must be AE titles"),
        (rule("dest", {"time": "22:00"}), "time must be two times of the day"),
        (rule("dest", {"time": "22:00-25:00"}), "time must be two times of the day"),
        (rule("dest", {"time": "22:00-22:00"}), "time must be two times of the day"),
        (rule("dest", {"attributes": {"StudyDescripton": "x"}}), "must be a keyword or tag of DICOM"),
        (rule("dest", {"attributes": {"Modality.StationName": "x"}}), "or a path of them"),
        (rule("dest", {"attributes": {"PixelData": "x"}}), "cannot be matched"),
        (rule("dest", {"attributes": {"StudyDate": "yesterday"}}), "cannot be matched"),
        (rule("dest", {"attributes": {"StudyInstanceUID": "1.2.*"}}), "no wildcards"),
        (rule("dest", transcode="JPEGBaseline8Bit"), "made without loss"),
        (rule("dest", transcode="1.2.840.10008.1.2.4.*"), "one transfer syntax"),
        (rule("dest", delay_s=-1), "delay_s must be seconds"),
        (rule("dest", hook="decide"), "hook must be module:function"),
        (rule("dest", hook="../x:decide"), "hook must be module:function"),
        (rule(hook="a:b", hook_failure="forward"), "hook_failure needs to"),
        (rule("dest", hook_failure="drop"), "hook_failure must be one of hold, forward"),
        (rule("cloud", on="mpps"), "to must be peers"),
        (rule("dest", on="mpps", quiet_s=5), "quiet_s is for rules on instances only"),
        (rule("dest", on="study"), "on must be one of instance, mpps"),
        (rule("dest", name="x") + rule("dest", name="x"), "name must be another one"),
        (rule("dest", frm="x"), "'frm' is not a key"),
        ("[rules]\nto = ['dest']\n", "rules must be tables, each below a line [[rules]]"),
        (table("servers.dest", {"url": "https://x/y"}), "[servers.dest] has the name of a peer"),
        (table("servers.s", {"url": "http://x/y"}), "[servers.s]: url must be https; clear = true"),
        (table("servers.s", {"url": "https://u:p@x/y"}), "url must be an https URL"),
        (table("servers.s", {"url": "https://x/y?z"}), "url must be an https URL"),
        (table("servers.s", {"url": "ftp://x/y"}), "url must be an https URL"),
        (table("servers.s", {"url": "https://x", "ca": "/nowhere"}), "ca must name a file"),
        (table("servers.s", {"url": "https://x", "transfer_syntax": "JPEG2000"}), "made without loss"),
        (table("servers.s", {}), "url is missing"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named_with_its_place(tmp_path, wrong, named):
    with pytest.raises(SettingError) as said:
        read(tmp_path, wrong)

    assert "ISTHMUS_PEERS: " in str(said.value)
    assert named in str(said.value)


def test_rules_on_performed_procedure_steps_are_told_apart(tmp_path):
    found = read(tmp_path, rule("dest", on="mpps") + rule("cloud", name="night")).rules

    assert [(one.on, one.name, one.to) for one in found] == [
        ("mpps", "rule 1", ("dest",)),
        ("instance", "night", ("cloud",)),
    ]


def test_the_first_rule_that_names_a_target_counts_and_the_sender_is_left_out(tmp_path):
    text = rule(["dest", "other"], transcode="RLELossless") + rule(["cloud", "dest"]) + rule(hook="a:b")
    titles = {"dest": "DEST", "other": "OTHER"}
    rules = read(tmp_path, text).rules

    found, hooked = routes(rules, Caller("other "), NOON, HEAD, titles)

    assert [(one.target, one.transcode) for one in found] == [("dest", ROOT + ".5"), ("cloud", None)]
    assert hooked


def test_hooks_are_told_no_bulk_data():
    told = {
        **HEAD,
        "7FE00010": {"vr": "OW", "BulkDataURI": "x"},
        "00091002": {"vr": "OB", "InlineBinary": "AAAA"},
        "00081140": element("SQ", {"00091002": {"vr": "OB", "InlineBinary": "AAAA"}}),
    }

    assert without_bulk(told) == {**HEAD, "00081140": element("SQ", {})}
    json.dumps(without_bulk(told))


class Pieces:
    """A data set that comes in pieces of so many bytes."""

    def __init__(self, data: bytes, size: int) -> None:
        self._left = [data[at : at + size] for at in range(0, len(data), size)]
        self.taken = 0

    @property
    def at_end(self) -> bool:
        return not self._left

    async def read(self, at_least: int = 1) -> list[bytes]:
        got: list[bytes] = []
        while self._left and sum(map(len, got)) < at_least:
            got.append(self._left.pop(0))
        self.taken += sum(map(len, got))
        return got


async def looked_at(data: bytes, syntax: str, tags: set[int], *, size: int, most: int = 1 << 20):
    pieces = Pieces(data, size)
    first = await pieces.read()
    return await attributes_of(first, pieces, BY_UID[syntax], tags, most_bytes=most), pieces, first


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("size", [1, 7, 100, 1 << 16])
def test_attributes_are_read_from_the_first_bytes_and_no_more(syntax, size):
    one = an_object(1 << 16, syntax=syntax, patient="P77", accession="A1")
    tags = {0x00080050, 0x00100020, 0x0020000D, 0x00081030}

    found, pieces, first = asyncio.run(looked_at(one.data, syntax, tags, size=size))

    assert found is not None
    assert found["00100020"]["Value"] == ["P77"]
    assert found["0020000D"]["Value"] == [one.study]
    assert "00081030" not in found
    assert b"".join(first) == one.data[: pieces.taken]
    assert pieces.taken < 2000 or size > 1000


@pytest.mark.parametrize("cut", [3, 9, 40, 100])
def test_what_cannot_be_read_is_not_guessed(cut):
    one = an_object()
    tags = {0x00080060, 0x0020000E}

    assert asyncio.run(looked_at(one.data[:cut], EXPLICIT_LE, tags, size=10))[0] is None
    assert asyncio.run(looked_at(one.data, ROOT + ".1.99", tags, size=10))[0] is None
    assert asyncio.run(looked_at(b"\xff" * 500, EXPLICIT_LE, tags, size=10))[0] is None
    assert asyncio.run(looked_at(one.data, EXPLICIT_LE, {0x7FE10010}, size=10, most=64))[0] is None


def test_the_tags_of_rules_are_those_at_the_top(tmp_path):
    text = rule("dest", {"attributes": {"RequestAttributesSequence.RequestedProcedureID": "1"}})

    assert tags_of(read(tmp_path, text + rule("dest", {"modality": "CT"})).rules) == {0x00400275, 0x00080060}
