"""Multipart answers byte by byte (PS3.18 8.6.1.2), and as the parsers of clients read them."""

import re
from collections.abc import Callable

import httpx2 as httpx
import pytest

from service.dicom.syntaxes import EXPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests.conformance.rows import cites, row
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.reading import data_set, parts_of
from tests.sites import ROOT, Site

J2K = UIDS + ".4.90"
# UIDs as long as they may be: the longest headers that a part can have.
STUDY, SERIES, INSTANCE, OTHER = ("2." + digit * 62 for digit in "1234")
WHERE = f"/studies/{STUDY}/series/{SERIES}"
NATIVE, PACKED = f"{WHERE}/instances/{INSTANCE}", f"{WHERE}/instances/{OTHER}"
FRAMES = [bytes(range(32)), b"\r\n--isthmus\r\n\r\n" + bytes(17), bytes(range(64, 96))]
CODESTREAMS = [b"\xff\x4f one! \xff\xd9", b"\xff\x4f two!! \xff\xd9"]


@pytest.fixture
def kept(site: Site) -> Site:
    names = {"study": STUDY, "series": SERIES}
    packed = add_pixels(a_data_set(**names, instance=OTHER), [bytes(32)] * 2)
    answer = site.post_parts(
        a_ct(FRAMES, **names, instance=INSTANCE), a_file(packed, J2K, codestreams=CODESTREAMS)
    )
    assert answer.status_code == 200
    return site


DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
XML = 'multipart/related; type="application/dicom+xml"'

# What is asked for, with the Content-Location and the Content-Type of each part.
ANSWERS = {
    "study": (f"/studies/{STUDY}", DICOM, [NATIVE, PACKED], "application/dicom"),
    "series": (WHERE, DICOM, [NATIVE, PACKED], "application/dicom"),
    "instance": (NATIVE, DICOM, [NATIVE], "application/dicom"),
    "metadata": (
        WHERE + "/metadata",
        XML,
        [NATIVE + "/metadata", PACKED + "/metadata"],
        "application/dicom+xml",
    ),
    "native frames": (
        NATIVE + "/frames/3,1",
        OCTETS,
        [NATIVE + "/frames/3", NATIVE + "/frames/1"],
        f"application/octet-stream; transfer-syntax={EXPLICIT_LE}",
    ),
    "compressed frames": (
        PACKED + "/frames/1,2",
        OCTETS,
        [PACKED + "/frames/1", PACKED + "/frames/2"],
        f"image/jp2; transfer-syntax={J2K}",
    ),
    "bulk data": (
        NATIVE + "/bulkdata/7FE00010",
        OCTETS,
        [NATIVE + "/bulkdata/7FE00010"],
        f"application/octet-stream; transfer-syntax={EXPLICIT_LE}",
    ),
}
answers = pytest.mark.parametrize("name", ANSWERS)


def answer(kept: Site, name: str) -> httpx.Response:
    path, accept, *_ = ANSWERS[name]
    response = kept.get(path, accept)
    assert response.status_code == 200, response.text
    return response


def boundary_of(response: httpx.Response) -> bytes:
    found = re.fullmatch(r'multipart/related; type="[^"]+"; boundary=(\S+)', response.headers["content-type"])
    assert found is not None, response.headers["content-type"]
    return found[1].encode()


@answers
@cites("PS3.18 8.6.1.2", "the type of the root part and an unquoted boundary are the header's parameters")
def test_the_header_names_the_type_of_the_first_part_and_the_boundary(kept, name):
    response = answer(kept, name)
    kind = parts_of(response)[0].headers["Content-Type"].partition(";")[0]
    assert response.headers["content-type"].startswith(f'multipart/related; type="{kind}"; boundary=')


@answers
@cites(
    "spec 4", "a boundary of 16 or more letters and digits: clients search frames for it and split naively"
)
def test_a_boundary_is_of_letters_and_digits(kept, name):
    assert re.fullmatch(rb"[A-Za-z0-9-]{16,70}", boundary_of(answer(kept, name)))


@answers
@cites("spec 4", "no preamble and no epilogue; each part ends in CRLF, the last in two dashes")
def test_there_is_nothing_beside_the_parts(kept, name):
    response = answer(kept, name)
    dashes = b"--" + boundary_of(response)
    assert response.content.startswith(dashes + b"\r\n")
    assert response.content.removesuffix(b"\r\n").endswith(b"\r\n" + dashes + b"--")
    assert response.content.count(dashes) == len(ANSWERS[name][2]) + 1


@answers
@cites("spec 4", "part headers: CRLF, this case, no quotes, below 1000 bytes with the boundary")
def test_the_headers_of_parts_are_short_and_spelt_as_clients_search_for_them(kept, name):
    response = answer(kept, name)
    dashes = b"--" + boundary_of(response)
    for piece in response.content.split(dashes)[1:-1]:
        head, separator, _ = piece.partition(b"\r\n\r\n")
        assert separator
        assert len(dashes + head + separator) < 1000
        lines = head.removeprefix(b"\r\n").split(b"\r\n")
        assert lines[0].startswith(b"Content-Type: ")
        assert b'"' not in head
        assert {line.partition(b": ")[0] for line in lines} <= {
            b"Content-Type", b"Content-Location", b"Content-Length"
        }  # fmt: skip


@answers
@cites("PS3.18 8.6.1.2", "each part has its Content-Type, with the transfer syntax of DICOM and pixel data")
def test_each_part_names_its_type_and_transfer_syntax(kept, name):
    *_, expected = ANSWERS[name]
    for part in parts_of(answer(kept, name)):
        if expected == "application/dicom":
            syntax = data_set(part.content).file_meta.TransferSyntaxUID
            assert part.headers["Content-Type"] == f"{expected}; transfer-syntax={syntax}"
        else:
            assert part.headers["Content-Type"] == expected


@answers
@cites("PS3.18 8.6.1.2", "a part that represents a resource has its URL as Content-Location")
def test_each_part_says_where_it_is_to_be_had(kept, name):
    _, accept, places, _ = ANSWERS[name]
    parts = parts_of(answer(kept, name))
    assert [part.headers["Content-Location"] for part in parts] == [ROOT + place for place in places]
    for part in parts:  # and it is to be had there
        (again,) = parts_of(kept.get(part.headers["Content-Location"], accept))
        assert again.content == part.content


@answers
@cites("PS3.18 8.6.1.2", "Content-Length of parts is right where it is told")
def test_lengths_are_true(kept, name):
    response = answer(kept, name)
    for part in parts_of(response):
        assert int(part.headers.get("Content-Length", len(part.content))) == len(part.content)
        # a multipart that is not chunked tells the length of each part
        assert "Content-Length" in part.headers or "content-length" not in response.headers
    if "content-length" in response.headers and "content-encoding" not in response.headers:
        assert int(response.headers["content-length"]) == len(response.content)


@cites("spec 7", "frames come in the order of the list, repeated ones as often as they are listed")
def test_frames_come_in_the_order_of_the_list(kept):
    parts = parts_of(kept.get(NATIVE + "/frames/3,1,1", OCTETS))
    assert [part.content for part in parts] == [FRAMES[2], FRAMES[0], FRAMES[0]]


@cites("spec 4", "no content is mistaken for a boundary")
def test_content_that_looks_like_a_boundary_is_content(kept):
    (part,) = parts_of(kept.get(NATIVE + "/frames/2", OCTETS))
    assert part.content == FRAMES[1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        row("spec 4", "no empty multipart: an unknown study", "/studies/1.2.3", 404),
        row("spec 4", "no empty multipart: metadata of an unknown series", WHERE[:-1] + "9/metadata", 404),
        row("spec 4", "no empty multipart: a search without matches", "/studies?PatientID=nobody", 204),
    ],
)
def test_nothing_is_never_an_empty_multipart(kept, path, status):
    response = kept.get(path, XML if "metadata" in path or "?" in path else DICOM)
    assert (response.status_code, b"--" in response.content) == (status, False)


def as_dcmjs(content: bytes, _: str) -> list[bytes]:
    """The contents of parts as dicomweb-client (JavaScript) finds them; headers are those of the first."""
    end = content.index(b"\r\n\r\n", 0, 1000)
    line = next(line for line in content[:end].split(b"\r\n") if line[:2] == b"--")
    found, offset = [], len(line)
    while (following := content.find(line, offset)) >= 0:
        offset = content.index(b"\r\n\r\n", offset, offset + 1000) + 4
        found.append(content[offset : following - 2])
        offset = following + len(line)
    return found


def as_cornerstone(content: bytes, _: str) -> list[bytes]:
    """The content of the only part as cornerstone3D finds it, whose header it reads by these names."""
    end = content.index(b"\r\n\r\n")
    lines = content[:end].decode().split("\r\n")
    boundary = next(line for line in lines if line.startswith("--"))
    kind = next(line for line in lines if line[:13] == "Content-Type:")
    assert "transfer-syntax=" in kind
    return [content[end + 4 : content.index(boundary.encode(), end) - 2]]


def as_python_client(content: bytes, kind: str) -> list[bytes]:
    """The contents as dicomweb-client (Python) finds them, by the boundary of a naively split header."""
    parameters = dict(item.strip().split("=") for item in kind.split(";")[1:])
    boundary = parameters["boundary"].strip('"').encode()
    pieces = content.split(b"--" + boundary)[1:]
    return [piece.split(b"\r\n\r\n", 1)[1][:-2] for piece in pieces if piece[:2] != b"--"]


PARSERS: list[tuple[str, Callable[[bytes, str], list[bytes]]]] = [
    ("dicomweb-client (js)", as_dcmjs),
    ("cornerstone3D", as_cornerstone),
    ("dicomweb-client (python)", as_python_client),
]


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "metadata"])
@pytest.mark.parametrize(
    "parse", [row("spec 19", f"{client} finds the contents of parts", parse) for client, parse in PARSERS]
)
def test_clients_find_the_contents_of_parts(kept, parse, name):
    response = answer(kept, name)
    found = parse(response.content, response.headers["content-type"])
    assert found == [part.content for part in parts_of(response)][: len(found)]
    assert len(found) == (1 if parse is as_cornerstone else len(ANSWERS[name][2]))


@cites("RFC 9110 14", "a part of a multipart body is never sent as if it were one of its items")
def test_a_range_of_a_multipart_is_the_whole_or_a_true_part_of_it(kept):
    whole = kept.get(WHERE, DICOM)
    part = kept.get(WHERE, DICOM, Range="bytes=5-20")
    assert part.status_code in (200, 206)
    assert part.content == (whole.content if part.status_code == 200 else whole.content[5:21])


@answers
@cites("spec 4", "the boundary follows from the content, so the same comes out each time")
def test_the_same_question_has_the_same_answer(kept, name):
    first, second = answer(kept, name), answer(kept, name)
    if name != "metadata":  # whose multipart is made anew
        assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
