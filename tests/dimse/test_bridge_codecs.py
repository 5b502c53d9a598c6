"""What is decided and coded without a socket: PDUs, command sets, identities, statuses, settings."""

import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from bridge import statuses
from bridge.scp.identity import Verdict, compare
from bridge.settings import BridgeSettings, Limits, read_settings
from bridge.upper import pdu
from bridge.upper.associate import (
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    Role,
    UserInformation,
)
from bridge.upper.command import Command, Tag, Value, decode
from bridge.upper.pdu import Kind, PduReader, ProtocolFault
from service.dicom import errors
from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.environment import SettingError

USER = UserInformation(
    max_length=16384,
    implementation_class="1.2.3",
    implementation_version="TEST",
    window=(3, 4),
    roles=(Role("1.2.4", True, False), Role("1.2.5", False, True)),
    extended=(("1.2.6", b"\1\0\1"),),
    service_classes=(("1.2.7", "1.2.840.10008.4.2"),),
    identity=True,
    identity_answer=True,
)


class Heard:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.pdus: list[tuple[Kind, bytes]] = []
        self.values: list[tuple[int, int, bytes]] = []
        self._value = b""

    def on_pdu(self, kind: Kind, body: bytes) -> None:
        self.pdus.append((kind, body))

    def on_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        self._value += piece
        if complete:
            self.values.append((context_id, control, self._value))
            self._value = b""


def a_reader(heard: Heard) -> PduReader:
    reader = PduReader(heard, Limits())
    reader.expected = frozenset(Kind)
    return reader


def test_pdus_may_come_in_blocks_of_any_size():
    request = AssociateRequest(b"CALLED", b"CALLING", (ProposedContext(1, "1.2", ("1.3",)),), USER)
    data = random.Random(1).randbytes(1000)
    stream = request.encode() + b"".join(
        [*pdu.packets(7, data, command=False, last=True, longest=100), pdu.release_rq()]
    )
    wrong = []
    for size in [*range(1, 40), 1000]:
        heard = Heard()
        reader = a_reader(heard)
        for at in range(0, len(stream), size):
            reader.feed(memoryview(stream)[at : at + size])
        told = b"".join(value for _, _, value in heard.values)
        kinds = [kind for kind, _ in heard.pdus]
        if told != data or kinds != [Kind.ASSOCIATE_RQ, Kind.RELEASE_RQ] or reader.inside:
            wrong.append(size)

    assert wrong == []


@pytest.mark.parametrize("longest", [0, 16, 64, 100, 16384])
def test_packets_keep_to_the_longest_pdu(longest: int):
    payload = bytes(range(256)) * 10
    encoded = list(pdu.packets(1, payload, command=True, last=True, longest=longest))

    heard = Heard()
    a_reader(heard).feed(memoryview(b"".join(encoded)))

    assert b"".join(value for _, _, value in heard.values) == payload
    controls = [control for _, control, _ in heard.values]
    assert controls == [pdu.COMMAND] * (len(controls) - 1) + [pdu.COMMAND | pdu.LAST]
    if longest >= 64:
        assert max(len(value) + 6 for _, _, value in heard.values) <= longest


def test_a_request_is_read_as_it_was_written():
    contexts = (ProposedContext(1, "1.2", ("1.3", "1.4")), ProposedContext(255, "1.5", ("1.3",)))
    request = AssociateRequest(b"CALLED".ljust(16), b"CALLING".ljust(16), contexts, USER)

    assert AssociateRequest.decode(request.encode()[6:]) == request


def test_an_acceptance_and_a_rejection_are_read_as_they_were_written():
    user = UserInformation(max_length=1, implementation_class="1.2", identity_answer=True)
    accepted = AssociateAccept(b"A" * 16, b"B" * 16, (AnsweredContext(3, 4, "1.2.3"),), user)
    rejected = AssociateReject(2, 3, 2)

    assert AssociateAccept.decode(accepted.encode()[6:]) == accepted
    assert AssociateReject.decode(rejected.encode()[6:]) == rejected


def test_every_cut_of_a_request_is_read_or_refused():
    body = AssociateRequest(b"A", b"B", (ProposedContext(1, "1.2", ("1.3",)),), USER).encode()[6:]
    refused = 0
    for cut in range(len(body)):
        try:
            AssociateRequest.decode(body[:cut])
        except ProtocolFault:
            refused += 1

    assert refused > len(body) * 0.9


def test_a_command_set_is_read_as_it_was_written():
    command = Command(
        {
            Tag.COMMAND_FIELD: 1,
            Tag.AFFECTED_SOP_CLASS: "1.2.3",
            Tag.MOVE_ORIGINATOR: "ABC",
            Tag.STATUS: 0xFF00,
        }
    )
    encoded = command.encode()

    assert decode(encoded) == command
    assert len(encoded) % 2 == 0
    assert struct.unpack_from("<HHII", encoded) == (0, 0, 4, len(encoded) - 12)


def test_a_response_names_what_the_request_named():
    asked: dict[Tag, Value] = {Tag.COMMAND_FIELD: 0x0130, Tag.MESSAGE_ID: 9, Tag.REQUESTED_SOP_CLASS: "1.2"}

    answer = Command(asked).answered(0x0110, comment="x" * 100)

    assert answer.field == 0x8130
    assert answer.number(Tag.RESPONDED_MESSAGE_ID) == 9
    assert answer.text(Tag.AFFECTED_SOP_CLASS) == "1.2"
    assert len(answer.text(Tag.ERROR_COMMENT)) == 64
    assert not answer.has_data


def element(order: str, number: int, value: bytes, *, vr: bytes, group: int = 8) -> bytes:
    head = struct.pack(order + "HH", group, number)
    if not vr:
        return head + struct.pack(order + "I", len(value)) + value
    if vr in (b"SQ", b"UN"):
        return head + vr + struct.pack(order + "HI", 0, len(value)) + value
    return head + vr + struct.pack(order + "H", len(value)) + value


def a_head(syntax: str, sop_class: bytes = b"1.2.3\0", sop_instance: bytes = b"1.2.3.4 ") -> bytes:
    order = ">" if syntax == EXPLICIT_BE else "<"
    vrs = dict.fromkeys((b"CS", b"UI", b"DA"), b"") if syntax == IMPLICIT_LE else {}
    parts = [(0x0008, b"ORIGINAL\\PRIMARY", b"CS"), (0x0016, sop_class, b"UI"), (0x0018, sop_instance, b"UI")]
    parts.append((0x0020, b"20240101", b"DA"))
    return b"".join(element(order, number, value, vr=vrs.get(vr, vr)) for number, value, vr in parts if value)


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_the_uids_of_a_data_set_are_compared_in_its_first_bytes(syntax: str):
    def verdict(head: bytes, *, whole: bool = False) -> Verdict:
        return compare(head, BY_UID[syntax], "1.2.3", "1.2.3.4", whole=whole)

    head = a_head(syntax)
    cuts = {verdict(head[:cut]) for cut in range(len(head) - 16)}

    assert verdict(head) is Verdict.SAME
    assert cuts == {Verdict.MORE} or cuts == {Verdict.MORE, Verdict.SAME}
    assert verdict(a_head(syntax, b"1.2.4 ")) is Verdict.DIFFERENT
    assert verdict(a_head(syntax, b"")) is Verdict.DIFFERENT
    assert verdict(a_head(syntax, sop_instance=b"1.2.3.4.")) is Verdict.DIFFERENT
    assert verdict(a_head(syntax, sop_instance=b"")) is Verdict.DIFFERENT
    assert verdict(head[:24], whole=True) is not Verdict.SAME
    assert verdict(b"", whole=True) is Verdict.DIFFERENT


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_a_sequence_of_undefined_length_before_the_uids_is_walked(syntax: str):
    order = ">" if syntax == EXPLICIT_BE else "<"
    vr = b"" if syntax == IMPLICIT_LE else b"SQ"
    unknown = struct.pack(order + "I", 0xFFFFFFFF)
    sequence = struct.pack(order + "HH", 8, 6) + (vr + b"\0\0" if vr else b"") + unknown
    item = struct.pack(order + "HH", 0xFFFE, 0xE000) + unknown
    inner = element(order, 0x0100, b"ENGL", vr=vr and b"SH")
    ends = [struct.pack(order + "HHI", 0xFFFE, end, 0) for end in (0xE00D, 0xE0DD)]
    head = sequence + item + inner + b"".join(ends) + a_head(syntax)

    assert compare(head, BY_UID[syntax], "1.2.3", "1.2.3.4", whole=False) is Verdict.SAME
    assert compare(head, BY_UID[syntax], "1.2.3", "1.2.3.5", whole=False) is Verdict.DIFFERENT


def test_what_cannot_be_followed_is_left_to_the_archive():
    noise = random.Random(2)
    assert compare(a_head(IMPLICIT_LE), BY_UID[EXPLICIT_LE], "1.2", "1.3", whole=True) is Verdict.UNKNOWN
    assert compare(b"anything", BY_UID[DEFLATED], "1.2", "1.3", whole=True) is Verdict.UNKNOWN
    for syntax in (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE):
        for _ in range(500):
            compare(noise.randbytes(noise.randrange(200)), BY_UID[syntax], "1.2", "1.3", whole=True)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotAuthorized(""), 0x0124),
        (errors.NotDicom(""), 0xC000),
        (errors.ClassMismatch(""), 0xA900),
        (errors.WrongStudy(""), 0xA900),
        (errors.ClassUnsupported(""), 0x0122),
        (errors.Duplicate(""), 0x0111),
        (errors.TooLarge(""), 0xA700),
        (errors.Busy(""), 0xA700),
        (errors.ObjectMissing(""), 0xA700),
        (errors.IndexUnavailable(""), 0xA700),
        (errors.UpstreamFailed(""), 0xA700),
        (errors.UpstreamTimeout(""), 0xA700),
        (errors.BadRequest(""), 0x0110),
        (ValueError(""), 0x0110),
    ],
)
def test_every_error_has_a_status(error: Exception, status: int):
    assert statuses.store_status(error) == status


@pytest.mark.parametrize(
    ("http", "body", "status"),
    [
        (200, b"", 0x0110),
        (200, b"<html>Please log in.</html>", 0x0110),
        (200, b"[1]", 0x0110),
        (200, b'{"00081199":{"Value":[{}]}', 0x0110),
        (200, b'{"00081199":{"Value":[{}]}}', 0x0000),
        (200, b'[{"00081198":{"Value":[{"00081197":{"Value":[42752]}}]}}]', 0xA700),
        (202, b"", 0x0110),
        (202, b'{"00081199":{"Value":[{}]}}', 0x0000),
        (202, b'{"00081199":{"Value":[{"00081196":{"Value":[1]}}]}}', 0x0000),
        (202, b'{"00081198":{"Value":[{}]}}', 0x0110),
        (202, b'{"00081198":{"Value":[7]},"00081199":{"Value":null}}', 0x0110),
        (409, b'{"0008119A":{"Value":[{"00081197":{"Value":[49152]}}]}}', 0xC000),
        (409, b'{"00081198":{"Value":[{"00081197":{"Value":["x"]}}]}}', 0x0110),
        (409, b'{"00081198":{"Value":[{"00081197":{"Value":[65280]}}]}}', 0x0110),
        (409, b'{"00081198":{"Value":[{"00081197":{"Value":[263]}}]}}', 0x0110),
        (409, b'{"00081198":{"Value":[{"00081197":{"Value":[278]}}]}}', 0x0110),
        (503, b'{"00081199":{"Value":[{}]}}', 0xA700),
        (302, b"", 0x0110),
    ],
)
def test_an_odd_answer_is_never_taken_for_a_success(http: int, body: bytes, status: int):
    assert statuses.store_status_of_answer(http, body) == status


def test_settings_have_their_defaults():
    settings = read_settings({})

    assert replace(settings, peers=(default := BridgeSettings()).peers) == default
    assert [*settings.peers] == []


def test_settings_are_read_from_the_environment(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("t")
    settings = read_settings(
        {
            "ISTHMUS_AE_TITLE": "MY AE",
            "ISTHMUS_DIMSE_HOST": "::1",
            "ISTHMUS_DIMSE_PORT": "104",
            "ISTHMUS_ARCHIVE_URL": "https://pacs.example:8443/dicomweb/",
            "ISTHMUS_ARCHIVE_TOKEN_FILE": str(token),
            "ISTHMUS_MAX_ASSOCIATIONS": "7",
            "ISTHMUS_MAX_ASSOCIATIONS_PER_PEER": "3",
            "ISTHMUS_DRAIN_S": "25",
        }
    )

    assert (settings.ae_title, settings.host, settings.port, settings.drain_s) == ("MY AE", "::1", 104, 25)
    assert settings.archive.url == "https://pacs.example:8443/dicomweb"
    assert settings.archive.token_file == token
    assert (settings.limits.associations, settings.limits.associations_per_caller) == (7, 3)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"ISTHMUS_PORT": "9000"}, "http://127.0.0.1:9000/dicom-web"),
        ({"ISTHMUS_HOST": "0.0.0.0"}, "http://127.0.0.1:8080/dicom-web"),
        ({"ISTHMUS_HOST": "::"}, "http://[::1]:8080/dicom-web"),
        ({"ISTHMUS_PREFIX": "rs/"}, "http://127.0.0.1:8080/rs"),
        ({"ISTHMUS_PREFIX": "/"}, "http://127.0.0.1:8080"),
    ],
)
def test_the_archive_is_the_service_beside_unless_told(environ: dict[str, str], url: str):
    assert read_settings(environ).archive.url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISTHMUS_AE_TITLE", "SEVENTEEN-LETTERS"),
        ("ISTHMUS_AE_TITLE", "BACK\\SLASH"),
        ("ISTHMUS_AE_TITLE", "ÄRZTE"),
        ("ISTHMUS_DIMSE_PORT", "65536"),
        ("ISTHMUS_DIMSE_PORT", "many"),
        ("ISTHMUS_PORT", "x"),
        ("ISTHMUS_MAX_ASSOCIATIONS", "0"),
        ("ISTHMUS_ARCHIVE_URL", "ftp://x/"),
        ("ISTHMUS_ARCHIVE_URL", "http://"),
        ("ISTHMUS_ARCHIVE_URL", "http://h:99999/"),
        ("ISTHMUS_ARCHIVE_URL", "http://u:p@h/"),
        ("ISTHMUS_ARCHIVE_URL", "http://h/a?b"),
        ("ISTHMUS_ARCHIVE_TOKEN_FILE", "/nowhere/token"),
        ("ISTHMUS_ARCHIVE_CA", "/nowhere/ca"),
    ],
)
def test_a_setting_that_is_no_good_is_named(name: str, value: str):
    with pytest.raises(SettingError, match=name):
        read_settings({name: value})
