"""Retrieve of frames (PS3.18 10.4.1.1.3; PS3.5 8.1.1 and A.4)."""

import itertools
import struct
from collections.abc import Buffer

import pytest
from pydicom.encaps import encapsulate_extended

from service.dicom.frames import Extent
from service.dicom.syntaxes import DEFLATED, ENCAPSULATED_UNCOMPRESSED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from service.store.memory import MemoryStore
from tests.conformance.retrieving import (
    HTJ2K,
    J2K,
    J2K_LOSSY,
    JPEG,
    MANY_ANY,
    MANY_OCTETS,
    MP4,
    OCTETS,
    RLE,
    encapsulated,
    keep,
)
from tests.conformance.rows import cites, row
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.reading import parts_of, turned
from tests.sites import ROOT

JPX_LOSSY = UIDS + ".4.93"
FRAMES = [bytes([number]) * 32 for number in range(1, 6)]
STREAMS = [b"\xff\x4f one \xff\xd9", b"\xff\x4f two!\xff\xd9", b"\xff\x4f three \xff\xd9\0"]
ENDED = [b"\xff\x4f one \xff\xd9", b"\xff\x4f two!\xff\xd9", b"\xff\x4f three \xff\xd9"]
PLAIN = f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"


@pytest.mark.parametrize(
    ("listed", "numbers"),
    [
        row("PS3.18 10.1.1", "one", "2", [2]),
        row("PS3.18 10.1.1", "several, ascending", "1,3,5", [1, 3, 5]),
        row("spec 7", "a part for each in the order asked", "5,1", [5, 1]),
        row("spec 7", "duplicates are returned", "2,2,1,2", [2, 2, 1, 2]),
        row("PS3.18 10.1.1", "zeros before a number", "002", [2]),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
def test_frames_are_parts_in_the_order_asked(site, listed, numbers, syntax):
    path = keep(site, a_ct(FRAMES, syntax))
    response = site.get(f"{path}/frames/{listed}")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(f'multipart/related; type="{OCTETS}"; boundary=')
    parts = parts_of(response)
    assert [part.content for part in parts] == [FRAMES[number - 1] for number in numbers]
    assert [part.headers for part in parts] == [
        {
            "Content-Type": PLAIN,
            "Content-Location": f"{ROOT}{path}/frames/{number}",
            "Content-Length": "32",
        }
        for number in numbers
    ]


@pytest.mark.parametrize(
    ("listed", "status"),
    [
        row("spec 7", "0 is no frame", "0", 400),
        row("spec 7", "no number", "a", 400),
        row("spec 7", "a fraction", "1.5", 400),
        row("spec 7", "a negative number", "-1", 400),
        row("spec 7", "one of several is none", "1,x", 400),
        row("spec 7", "nothing between commas", "1,,2", 400),
        row("spec 7", "spaces", "1, 2", 400),
        row("spec 7", "behind the last", "6", 404),
        row("spec 7", "one of several is behind the last", "1,6", 404),
        row("spec 7", "far behind the last", "4294967297", 404),
        row("spec 7", "of more digits than any counter has", "9" * 23, 404),
        row("spec 7", "0 in many digits is no frame either", "0" * 23, 400),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, J2K])
def test_frames_that_are_not_there(site, listed, status, syntax):
    path = keep(site, a_ct(FRAMES) if syntax == EXPLICIT_LE else encapsulated([b"\xff\x4f\xff\xd9"] * 5))
    response = site.get(f"{path}/frames/{listed}")
    assert response.status_code == status
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "made",
    [
        row("dcm4chee", "frames of what is no image are not found", a_data_set()),
        row("spec 7", "nor of an image without pixel data", a_data_set(Rows=4, Columns=4, BitsAllocated=16)),
    ],
)
def test_what_has_no_pixels_has_no_frames(site, made):
    path = keep(site, a_file(made))
    for below in ("/frames/1", "/frames", "/pixeldata"):
        assert site.get(path + below).status_code == 404


@cites("spec 7", "pixel data that are too short for a frame: it is not found, the others are")
def test_frames_that_the_pixel_data_are_too_short_for(site):
    made = add_pixels(a_data_set(), FRAMES[:2])
    made.NumberOfFrames = 3
    path = keep(site, a_file(made))
    assert site.get(path + "/frames/2", OCTETS).content == FRAMES[1]
    assert site.get(path + "/frames/3", OCTETS).status_code == 404
    assert site.get(path + "/frames/1,3").status_code == 404


@pytest.mark.parametrize(
    ("stored", "accept", "label"),
    [
        row("PS3.18 Table 8.7.3-2", "octets are the default", EXPLICIT_LE, "*/*", PLAIN),
        row("PS3.18 8.7.3.5.2", "octets are in Explicit VR", EXPLICIT_LE, MANY_OCTETS, PLAIN),
        row("spec 3.4", "native frames in any syntax", EXPLICIT_LE, MANY_ANY, PLAIN),
        row("spec 3.4", "big endian frames in any syntax", EXPLICIT_BE, MANY_ANY, PLAIN),
        row("spec 3.4", "JPEG 2000 in any syntax", J2K, MANY_ANY, f"image/jp2; transfer-syntax={J2K}"),
        row("spec 3.4", "JPEG in any syntax", JPEG, MANY_ANY, f"image/jpeg; transfer-syntax={JPEG}"),
        row("spec 3.4", "RLE in any syntax", RLE, MANY_ANY, f"image/dicom-rle; transfer-syntax={RLE}"),
        row("spec 3.4", "HTJ2K in any syntax", HTJ2K, MANY_ANY, f"image/jphc; transfer-syntax={HTJ2K}"),
        row(
            "spec 3.4",
            "by its own type",
            J2K,
            'multipart/related; type="image/jp2"',
            f"image/jp2; transfer-syntax={J2K}",
        ),
        row(
            "OHIF requestTransferSyntaxUID",
            "one syntax preferred, else any",
            J2K,
            f'multipart/related; type="{OCTETS}"; transfer-syntax={HTJ2K}; transfer-syntax=*',
            f"image/jp2; transfer-syntax={J2K}",
        ),
        row(
            "PS3.18 8.7.3.5.2",
            "what is only there in a lossy form goes as it is",
            J2K_LOSSY,
            'multipart/related; type="image/jp2"',
            f"image/jp2; transfer-syntax={J2K_LOSSY}",
        ),
        row(
            "PS3.18 8.7.3.5.2",
            "also where octets are asked for, and nothing decodes it",
            JPX_LOSSY,
            MANY_OCTETS,
            f"image/jpx; transfer-syntax={JPX_LOSSY}",
        ),
        row(
            "PS3.18 Table 8.7.3-2",
            "by a name that is not registered",
            RLE,
            'multipart/related; type="image/x-dicom-rle"',
            f"image/dicom-rle; transfer-syntax={RLE}",
        ),
        row(
            "PS3.5 A.4.12",
            "encapsulated uncompressed frames are octets",
            ENCAPSULATED_UNCOMPRESSED,
            MANY_OCTETS,
            PLAIN,
        ),
    ],
)
def test_frames_leave_as_they_are_stored_and_say_how(site, stored, accept, label):
    native = stored in (EXPLICIT_LE, EXPLICIT_BE)
    file = a_ct(FRAMES[:2], stored) if native else encapsulated(FRAMES[:2], stored)
    response = site.get(keep(site, file) + "/frames/1,2", accept)
    assert response.status_code == 200
    assert [part.headers["Content-Type"] for part in parts_of(response)] == [label] * 2
    assert [part.content for part in parts_of(response)] == FRAMES[:2]
    assert f'type="{label.partition(";")[0]}"' in response.headers["content-type"]


@pytest.mark.parametrize(
    ("below", "accept", "status"),
    [
        row("PS3.18 Table 10.4.4-1 note", "one frame may be a single part", "1", OCTETS, 200),
        row("PS3.18 Table 10.4.4-1 note", "several may not", "1,2", OCTETS, 406),
        row("PS3.18 Table 10.4.4-1 note", "nor one twice", "1,1", OCTETS, 406),
        row("OHIF singlepart", "in any transfer syntax", "1", f"{OCTETS}; transfer-syntax=*", 200),
        row("PS3.18 8.7.7", "no such syntax", "1", f"{OCTETS}; transfer-syntax={JPEG}", 406),
        row("PS3.18 8.7.7", "no such type", "1", "text/plain", 406),
    ],
)
def test_one_frame_may_go_alone(site, below, accept, status):
    response = site.get(f"{keep(site, a_ct(FRAMES))}/frames/{below}", accept)
    assert response.status_code == status
    if status == 200:
        assert response.content == FRAMES[0]
        assert response.headers["content-type"] == PLAIN
        assert response.headers["content-length"] == "32"


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        row("cornerstone3D progressive loader", "the first bytes", "bytes=0-63", slice(0, 64)),
        row("cornerstone3D progressive loader", "the next ones", "bytes=64-", slice(64, None)),
        row("RFC 9110 14.1.2", "the last ones", "bytes=-5", slice(-5, None)),
    ],
)
@pytest.mark.parametrize("size", [100, 3 << 16])
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_run_of_a_compressed_frame_tells_the_size_of_all(open_site, asked, run, size, fragments):
    # given: a frame that is read at once, or in blocks, whose last fragment is padded
    site = open_site(read_block=1 << 16)
    stream = b"\xff\x4f" + bytes(number % 251 for number in range(size - 1)) + b"\xff\xd9"
    path = keep(site, in_fragments([[stream]], fragments)) + "/frames/1"
    # when, then: as a single part
    whole = site.get(path, "image/jphc")
    assert (whole.status_code, whole.content) == (200, stream)
    assert whole.headers["content-length"] == str(len(stream))
    assert whole.headers["accept-ranges"] == "bytes"
    got = site.get(path, "image/jphc", Range=asked)
    first, last, _ = run.indices(len(stream))
    assert (got.status_code, got.content) == (206, stream[run])
    assert got.headers["content-range"] == f"bytes {first}-{last - 1}/{len(stream)}"
    assert site.get(path, "image/jphc", Range=f"bytes={len(stream)}-").status_code == 416
    # and: of the multipart that holds it, whose boundary stays the same
    whole = site.get(path, MANY_ANY)
    assert parts_of(whole)[0].headers["Content-Length"] == str(len(stream))
    got = site.get(path, MANY_ANY, Range=asked)
    assert (got.status_code, got.content) == (206, whole.content[run])
    assert got.headers["content-type"] == whole.headers["content-type"]
    assert got.headers["content-range"].endswith(f"/{len(whole.content)}")


@cites("spec 4", "several frames are not served in runs: a range means all of them")
def test_a_range_of_several_frames_is_ignored(site):
    path = keep(site, a_ct(FRAMES)) + "/frames/1,2"
    assert site.get(path, Range="bytes=0-9").status_code == 200
    assert len(parts_of(site.get(path, Range="bytes=0-9"))) == 2


@cites("spec transfer-syntaxes 2", "a frame is one ranged read; none where the client has it already")
@pytest.mark.parametrize("accept", ["image/jp2", MANY_ANY])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, J2K])
def test_a_frame_is_one_read(site, monkeypatch, accept, syntax):
    path = keep(site, a_ct(FRAMES) if syntax == EXPLICIT_LE else encapsulated([b"\xff\x4f" * 16] * 5))
    accept = OCTETS if syntax == EXPLICIT_LE and accept == "image/jp2" else accept
    reads: list[Extent] = []
    real = MemoryStore.read

    def counting(store: MemoryStore, key: str, extent: Extent) -> Buffer:
        reads.append(extent)
        return real(store, key, extent)

    monkeypatch.setattr(MemoryStore, "read", counting)
    got = site.get(path + "/frames/4", accept)
    assert got.status_code == 200
    assert [extent.length for extent in reads] == [32 if syntax == EXPLICIT_LE else 40]
    reads.clear()
    again = site.get(path + "/frames/4", accept, **{"If-None-Match": got.headers["etag"]})
    assert (again.status_code, reads) == (304, [])


@cites("RFC 9110 9.3.2", "HEAD of a compressed frame tells its length")
def test_head_of_a_compressed_frame(site):
    path = keep(site, encapsulated(STREAMS))
    head = site.client.head(f"{ROOT}{path}/frames/3", headers={"Accept": "image/jp2"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(ENDED[2]))


@cites("PS3.5 A.4", "the byte that makes a fragment's length even is no part of a frame")
@pytest.mark.parametrize("syntax", [J2K, JPEG, HTJ2K])
def test_padding_does_not_leave(open_site, syntax):
    site = open_site(read_block=1 << 16)
    long = b"\xff\x4f" + bytes(200_001) + b"\xff\xd9"
    path = keep(site, encapsulated([*ENDED, long], syntax))
    response = site.get(path + "/frames/1,2,3,4", MANY_ANY)
    assert [part.content for part in parts_of(response)] == [*ENDED, long]


@cites("PS3.5 A.4.11", "an uncompressed frame in a fragment has its own size, not the fragment's")
@pytest.mark.parametrize("rows", [5, 501])
def test_padding_of_uncompressed_frames_does_not_leave(open_site, rows):
    site = open_site(read_block=1 << 16)
    frames = [bytes([number]) * (rows * 301) for number in (1, 2)]
    made = add_pixels(a_data_set(), frames, rows=rows, columns=301, bits=8)
    path = keep(site, a_file(made, ENCAPSULATED_UNCOMPRESSED, codestreams=frames))
    assert [part.content for part in parts_of(site.get(path + "/frames/1,2"))] == frames
    assert site.get(path + "/frames/2", OCTETS).content == frames[1]


@cites("PS3.5 G.3.1", "of RLE segments no end is marked: their bytes are left alone")
def test_what_looks_like_padding_may_be_content(site):
    path = keep(site, encapsulated([b"segments\xff\xd9\0\0", b"segment\xff\xd9\0"], RLE))
    parts = parts_of(site.get(path + "/frames/1,2", MANY_ANY))
    assert [part.content for part in parts] == [b"segments\xff\xd9\0\0", b"segment\xff\xd9\0"]


def items(*contents: bytes, table: bytes = b"") -> bytes:
    """Encapsulated pixel data: the Basic Offset Table and fragments as they are given."""
    return b"".join(
        b"\xfe\xff\x00\xe0" + struct.pack("<I", len(one) + len(one) % 2) + one + b"\0" * (len(one) % 2)
        for one in (table, *contents)
    )


def in_fragments(frames, count: int, *, table=None, syntax: str = HTJ2K) -> bytes:
    """A file whose frames are cut into `count` fragments each, the Basic Offset Table as given."""
    pieces = []
    for (stream,) in frames:
        step = (len(stream) // count + 1) // 2 * 2
        cuts = [number * step for number in range(count)] + [len(stream)]
        pieces += [stream[first:last] for first, last in itertools.pairwise(cuts)]
    made = add_pixels(a_data_set(), [bytes(32)] * len(frames))
    made.PixelData = items(*pieces, table=b"" if table is None else table)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return a_file(made, syntax)


TWO = [[b"\xff\x4f" + b"a" * 36 + b"\xff\xd9"], [b"\xff\x4f" + b"b" * 36 + b"\xff\xd9"]]


@pytest.mark.parametrize(
    "table",
    [
        row("PS3.5 A.4", "a table that is right", struct.pack("<II", 0, 56)),
        row("PS3.5 A.4", "no table: codestreams begin with a mark", b""),
        row("spec transfer-syntaxes 2", "an offset that hits no item", struct.pack("<II", 0, 57)),
        row("spec transfer-syntaxes 2", "an offset behind the end", struct.pack("<II", 0, 5600)),
        row("spec transfer-syntaxes 2", "a table that does not begin at 0", struct.pack("<II", 28, 56)),
        row("spec transfer-syntaxes 2", "a table of more frames", struct.pack("<III", 0, 28, 56)),
        row("spec transfer-syntaxes 2", "a table of fewer frames", struct.pack("<I", 0)),
    ],
)
def test_frames_in_several_fragments(site, table):
    path = keep(site, in_fragments(TWO, 2, table=table))
    parts = parts_of(site.get(path + "/frames/2,1", MANY_ANY))
    assert [part.content for part in parts] == [TWO[1][0], TWO[0][0]]


@cites("PS3.5 A.4", "the Extended Offset Table tells frames of one fragment")
def test_an_extended_offset_table(site):
    made = add_pixels(a_data_set(), [bytes(32)] * 3)
    made.PixelData, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(ENDED)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    path = keep(site, a_file(made, J2K))
    parts = parts_of(site.get(path + "/frames/3,2", MANY_ANY))
    assert [part.content for part in parts] == [ENDED[2], ENDED[1]]


@cites("PS3.5 A.4", "one frame is all fragments, whatever the table says")
def test_a_single_frame_is_all_its_fragments(site):
    path = keep(site, in_fragments(TWO[:1], 3, table=struct.pack("<I", 12)))
    assert site.get(path + "/frames/1", "image/jphc").content == TWO[0][0]


@cites("PS3.5 A.4", "fragments may be empty")
def test_empty_fragments(open_site):
    site = open_site(read_block=1 << 16)
    stream = b"\xff\x4f" + bytes(1 << 16) + b"\xff\xd9"
    made = add_pixels(a_data_set(), [bytes(32)])
    made.PixelData = items(b"", stream[:10_000], *[b""] * 5_000, stream[10_000:], b"")
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    path = keep(site, a_file(made, HTJ2K))
    assert site.get(path + "/frames/1", "image/jphc").content == stream
    assert site.get(path + "/pixeldata", "image/jphc").content == stream


@cites("spec transfer-syntaxes 2", "frames that cannot be told apart are not guessed")
def test_frames_that_cannot_be_told_apart_are_not_found(site):
    made = add_pixels(a_data_set(), [bytes(32)] * 2)
    made.PixelData = items(b"aaaa", b"bbbb", b"cccc")
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    path = keep(site, a_file(made, RLE))
    assert site.get(path + "/frames/1", MANY_ANY).status_code == 404
    assert site.get(path + "/frames/1,2", MANY_ANY).status_code == 404


@cites("spec 7", "the frames of a video are not acceptable; its stream is the pixel data")
@pytest.mark.parametrize("accept", ["*/*", OCTETS, "video/mp4", MANY_ANY, "image/jpeg"])
def test_frames_of_a_video(site, accept):
    made = add_pixels(a_data_set(), [bytes(32)] * 9)
    path = keep(site, a_file(made, MP4, codestreams=[b"a whole stream!!"]))
    assert site.get(path + "/frames/1", accept).status_code == 406
    assert site.get(path + "/frames/1,9", accept).status_code == 406
    assert site.get(path + "/frames/10", accept).status_code == 404
    assert site.get(path + "/frames/0", accept).status_code == 400


@pytest.mark.parametrize(
    "size",
    [
        row("PS3.5 8.1.1", "frames of whole bytes", (4, 4)),
        row("PS3.5 8.1.1", "frames that begin inside a byte", (3, 3)),
        row("PS3.5 8.1.1", "frames smaller than a byte", (1, 3)),
        row("PS3.5 8.1.1", "frames of many bytes", (13, 37)),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
def test_frames_of_single_bits_begin_at_a_byte(site, size, syntax):
    rows, columns = size
    count = 7
    pictures = [
        [(5 * number + pixel * pixel) % 3 == 0 for pixel in range(rows * columns)] for number in range(count)
    ]
    stored = pack([bit for picture in pictures for bit in picture])
    stored += bytes(len(stored) % 2)
    made = add_pixels(a_data_set(), [b""], rows=rows, columns=columns, bits=1)
    made.NumberOfFrames = count
    made.PixelData = turned(stored, 2) if syntax == EXPLICIT_BE else stored
    made["PixelData"].VR = "OW"
    path = keep(site, a_file(made, syntax))
    parts = parts_of(site.get(path + "/frames/1,2,3,4,5,6,7"))
    assert [part.content for part in parts] == [pack(picture) for picture in pictures]
    assert site.get(path + "/frames/6", OCTETS).content == pack(pictures[5])


def pack(bits: list[bool]) -> bytes:
    return bytes(
        sum(bit << place for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)
    )


@pytest.mark.parametrize(
    ("bits", "samples", "photometric", "size"),
    [
        row("spec transfer-syntaxes 2", "8 bits", 8, 1, "MONOCHROME2", 15),
        row("spec transfer-syntaxes 2", "16 bits", 16, 1, "MONOCHROME2", 30),
        row("spec transfer-syntaxes 2", "32 bits", 32, 1, "MONOCHROME2", 60),
        row("spec transfer-syntaxes 2", "three samples", 8, 3, "RGB", 45),
        row("PS3.3 C.7.6.3.1.2", "chroma of two pixels shared", 8, 3, "YBR_FULL_422", 30),
    ],
)
def test_a_native_frame_is_where_the_formula_says(site, bits, samples, photometric, size):
    frames = [bytes([number]) * size for number in (1, 2, 3)]
    made = add_pixels(
        a_data_set(), frames, rows=3, columns=5, bits=bits, samples=samples, photometric=photometric
    )
    path = keep(site, a_file(made))
    assert site.get(path + "/frames/2", OCTETS).content == frames[1]
    # The byte that makes the whole even is part of no frame (PS3.5 8.1.1).
    assert site.get(path + "/frames/3", OCTETS).content == frames[2]


@cites("PS3.5 7.3", "bytes of big endian words are turned, also where pixels are single bytes")
@pytest.mark.parametrize("bits", [8, 16])
def test_big_endian_words_are_turned(site, bits):
    frames = [bytes(range(16)), bytes(range(16, 32))]
    made = add_pixels(a_data_set(), frames, rows=2, columns=8 * 8 // bits, bits=bits)
    made.PixelData = turned(made.PixelData, 2)
    made["PixelData"].VR = "OW"
    path = keep(site, a_file(made, EXPLICIT_BE))
    assert [part.content for part in parts_of(site.get(path + "/frames/1,2"))] == frames


@pytest.mark.parametrize(
    "accept",
    [
        row("PS3.18 8.7.7", "octets would have to be decoded", MANY_OCTETS),
        row("PS3.18 8.7.7", "another type", 'multipart/related; type="image/png"'),
        row("PS3.18 8.7.7", "a reference is no image", f"image/jp2; transfer-syntax={UIDS}.4.94"),
    ],
)
def test_what_would_need_a_codec_that_is_not_there(site, accept):
    path = keep(site, encapsulated([b"\xff\x0a a picture"], UIDS + ".4.58"))
    response = site.get(path + "/frames/1", accept)
    assert response.status_code == 406
    assert response.json()["available"]
