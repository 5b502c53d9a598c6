"""What a peer did not take as it is stored: made into what it takes, without a new loss, or not sent."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.filereader import read_dataset

from service.dicom.part10 import FileHead, read_file_head
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE, ROOT
from tests.dimse.dimse_peers import Ground
from tests.dimse.retrieve.retrieving import Served, a_service, asked, fetched, moved, serve, stop

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files

J2K, J2K_LOSSY, JPEG, SV1, JLS, RLE = (
    ROOT + tail for tail in (".4.90", ".4.91", ".4.50", ".4.70", ".4.80", ".5")
)
MR, CT = "ts/mr-small-family", "ts/ct-family"


@pytest.fixture
def service(ground: Ground) -> Iterator[Served]:
    """The real service, empty: many of the files have one SOP Instance UID."""
    service = a_service()
    server = ground.run(serve(service))
    yield service
    ground.run(stop(server))
    service.archive.close()


class Sample:
    """A real file: `pixels` is the SHA-256 of its first frame, decoded."""

    def __init__(self, root: Path, row: dict[str, str]) -> None:
        self.content = (root / row["path"]).read_bytes()
        head = read_file_head(self.content)
        assert isinstance(head, FileHead)
        self.head = head
        self.pixels = row["pixel_sha256_frame1"]
        self.study = str(self.read(self.data, implicit=head.syntax == IMPLICIT_LE).StudyInstanceUID)

    @property
    def data(self) -> bytes:
        return self.content[self.head.data_offset :]

    @staticmethod
    def read(data: bytes, *, implicit: bool):
        return read_dataset(io.BytesIO(data), is_implicit_VR=implicit, is_little_endian=True)


@pytest.fixture
def sample(real_data, manifest, served):
    """Stores a real file."""
    rows = {row["path"]: row for row in manifest}

    def store(path: str) -> Sample:
        found = Sample(real_data, rows[path])
        served.keep([found.content])
        return found

    return store


def sent(start, destination, found: Sample, *syntaxes: str, **peer):
    dest = destination([(found.head.sop_class, [one]) for one in syntaxes])
    bridge = start(dest.peer(**peer))
    answer = moved(bridge.port, asked(StudyInstanceUID=found.study))
    return answer, dest


def first_frame(data: bytes, *, implicit: bool) -> str:
    read = Sample.read(data, implicit=implicit)
    size = read.Rows * read.Columns * read.SamplesPerPixel * read.BitsAllocated // 8
    return hashlib.sha256(read.PixelData[:size]).hexdigest()


LOSSLESS = [
    "ts/mr-small-family/MR_small_jp2klossless.dcm",
    "ts/mr-small-family/MR_small_RLE.dcm",
    "ts/mr-small-family/MR_small_jpeg_ls_lossless.dcm",
    "ts/ct-family/CTImage_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
]


@pytest.mark.parametrize("path", LOSSLESS)
@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE])
def test_compressed_pixels_arrive_equal_where_only_native_ones_are_taken(
    start, destination, sample, path, syntax
):
    found = sample(path)

    answer, dest = sent(start, destination, found, syntax)

    assert answer.status == 0x0000
    assert [one.syntax for one in dest.got] == [syntax]
    assert first_frame(dest.got[0].data, implicit=syntax == IMPLICIT_LE) == found.pixels
    read = Sample.read(dest.got[0].data, implicit=syntax == IMPLICIT_LE)
    assert read.SOPInstanceUID == found.head.sop_instance
    assert "LossyImageCompression" not in read or read.LossyImageCompression != "01"


@pytest.mark.parametrize("path", LOSSLESS)
def test_what_is_taken_as_stored_arrives_byte_for_byte(start, destination, sample, path):
    found = sample(path)

    answer, dest = sent(start, destination, found, EXPLICIT_LE, IMPLICIT_LE, found.head.syntax)

    assert answer.status == 0x0000
    assert [(one.syntax, one.data) for one in dest.got] == [(found.head.syntax, found.data)]


def test_a_get_may_take_what_is_stored_too(start, served, sample):
    found = sample(LOSSLESS[0])
    bridge = start()
    contexts = [(found.head.sop_class, [EXPLICIT_LE]), (found.head.sop_class, [J2K])]

    answer = fetched(bridge.port, asked(StudyInstanceUID=found.study), contexts)

    assert answer.status == 0x0000
    assert [(one.syntax, one.data) for one in answer.got] == [(J2K, found.data)]


@pytest.mark.parametrize("syntax", [SV1, JLS, RLE])
def test_lossless_ones_are_made_into_the_only_lossless_one_that_is_taken(start, destination, sample, syntax):
    found = sample(LOSSLESS[0])

    dest = destination([(found.head.sop_class, [syntax])])
    bridge = start(dest.peer(prefer_syntax=syntax))
    answer = moved(bridge.port, asked(StudyInstanceUID=found.study))

    assert answer.status == 0x0000
    assert [one.syntax for one in dest.got] == [syntax]


def test_the_preferred_syntax_comes_before_native_ones(start, destination, sample):
    found = sample(LOSSLESS[0])

    answer, dest = sent(start, destination, found, EXPLICIT_LE, IMPLICIT_LE, JLS, prefer_syntax=JLS)

    assert answer.status == 0x0000
    assert [one.syntax for one in dest.got] == [JLS]


@pytest.mark.parametrize("syntax", [JPEG, J2K_LOSSY])
def test_nothing_becomes_lossy(start, served, sample, syntax):
    found = sample(LOSSLESS[0])
    bridge = start()

    answer = fetched(bridge.port, asked(StudyInstanceUID=found.study), [(found.head.sop_class, [syntax])])

    assert (answer.status, answer.counts) == (0xA702, (0, 1, 0))
    assert answer.failures == [found.head.sop_instance]
    assert not served.gets(of=found.head.sop_instance)


def test_lossy_ones_are_decoded_and_keep_saying_what_they_are(start, destination, sample):
    found = sample("ts/ct-family/CTImage_JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm")

    answer, dest = sent(start, destination, found, EXPLICIT_LE)

    assert answer.status == 0x0000
    read = Sample.read(dest.got[0].data, implicit=False)
    assert read.LossyImageCompression == "01"
    assert read.SOPInstanceUID == found.head.sop_instance


def test_a_peer_may_be_kept_from_getting_anything_but_what_is_stored(start, served, destination, sample):
    found = sample(LOSSLESS[0])

    answer, dest = sent(start, destination, found, EXPLICIT_LE, IMPLICIT_LE, transcode=False)

    assert (answer.status, answer.counts) == (0xA702, (0, 1, 0))
    assert not dest.got and not served.gets(of=found.head.sop_instance)


def test_what_the_archive_cannot_decode_fails_alone(start, destination, served, real_data):
    good = Sample(real_data, {"path": LOSSLESS[1], "pixel_sha256_frame1": ""})
    content, uid = good.content, good.head.sop_instance
    # given: another instance of the series, the segments of its frame nowhere
    other = uid[:-1] + ("1" if uid[-1] != "1" else "2")
    damaged = bytearray(content.replace(uid.encode(), other.encode()))
    frame = damaged.rindex(b"\xfe\xff\x00\xe0") + 8
    damaged[frame + 4 : frame + 12] = b"\xff\xff\xff\x7f" * 2
    served.keep([content, bytes(damaged)])
    dest = destination([(good.head.sop_class, [IMPLICIT_LE])])
    bridge = start(dest.peer())

    answer = moved(bridge.port, asked(StudyInstanceUID=good.study))

    assert (answer.status, answer.counts) == (0xB000, (1, 1, 0))
    assert [one.instance for one in dest.got] == [uid]
    assert answer.failures == [other]


def test_big_endian_and_deflated_ones_leave_in_explicit_vr(start, destination, served, real_data, manifest):
    rows = {
        row["sop_instance_uid"]: row
        for row in manifest
        if row["transfer_syntax"] in (ROOT + ".2", ROOT + ".1.99")
        and row["pixel_sha256_frame1"]
        and row["photometric"] == "MONOCHROME2"
        and row["bits_alloc_stored_repr"].startswith("16/")
        and row["has_all_uids"] == "yes"
        and not row["path"].startswith("malformed")
    }
    assert len(rows) > 3
    problems = []
    for row in list(rows.values())[:6]:
        content = (real_data / row["path"]).read_bytes()
        served.keep([content])
        dest = destination([(row["sop_class"], [IMPLICIT_LE])])
        bridge = start(dest.peer())
        answer = moved(bridge.port, asked("IMAGE", SOPInstanceUID=row["sop_instance_uid"]))
        frames = [first_frame(one.data, implicit=True) for one in dest.got]
        if answer.status or frames != [row["pixel_sha256_frame1"]]:
            problems.append(f"{row['path']} {answer.status:04X}")
    assert not problems, "\n".join(problems)
