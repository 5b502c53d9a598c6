"""Frames in other transfer syntaxes than the stored one (spec transfer-syntaxes 4, 5 and 8)."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest

from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from service.index.port import OnDuplicate
from service.pixels import transcode as transcoding
from service.store.memory import MemoryStore
from tests.conformance.pictured import (
    COLUMNS,
    DATA,
    HTJ2K,
    HTJ2K_LOSSY,
    HTJ2K_RPCL,
    J2K,
    J2K_LOSSY,
    JLS,
    JPEG,
    JPEG_LL,
    JXL,
    JXL_LOSSY,
    NEAR_LOSSLESS,
    RLE,
    ROWS,
    decoded,
    digest,
    manifest,
    picture,
    samples_of,
    stored,
)
from tests.conformance.retrieving import MANY_ANY, MANY_OCTETS, MP4, OCTETS, keep
from tests.conformance.rows import cites, row
from tests.making import a_data_set, a_file, add_pixels
from tests.reading import parts_of
from tests.sites import ROOT

_WAIT_S = 60
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MANY = 'multipart/related; type="{}"'
NATIVE = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED)
LOSSLESS = (J2K, JLS, JPEG_LL, RLE, HTJ2K, HTJ2K_RPCL, JXL)
PLAIN = f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"


def label(syntax: str) -> str:
    return f"{BY_UID[syntax].media_type}; transfer-syntax={syntax}"


def named(syntax: str) -> str:
    return f'multipart/related; type="{BY_UID[syntax].media_type}"; transfer-syntax={syntax}'


# Spec transfer-syntaxes 8: stored, accepted, the label of what comes (`None`: 406).
MATRIX = [
    row("8 native", "octets: raw", EXPLICIT_LE, MANY_OCTETS, PLAIN),
    row("8 native", "octets in any syntax: raw", IMPLICIT_LE, MANY_ANY, PLAIN),
    row("8 native", "image/jp2: encoded without loss", EXPLICIT_LE, MANY.format("image/jp2"), label(J2K)),
    row("8 native", "image/jls", EXPLICIT_BE, MANY.format("image/jls"), label(JLS)),
    row("8 native", "image/jpeg means lossless", DEFLATED, MANY.format("image/jpeg"), label(JPEG_LL)),
    row("8 native", "image/dicom-rle", EXPLICIT_LE, MANY.format("image/dicom-rle"), label(RLE)),
    row("8 native", "image/jphc", EXPLICIT_LE, MANY.format("image/jphc"), label(HTJ2K)),
    row("8 native", "image/jxl", EXPLICIT_LE, MANY.format("image/jxl"), label(JXL)),
    row("8 native", "HTJ2K RPCL by name", EXPLICIT_LE, named(HTJ2K_RPCL), label(HTJ2K_RPCL)),
    row("8 native", "JPEG baseline is for 8 bits", EXPLICIT_LE, named(JPEG), None),
    row("8 .90", "octets: decoded", J2K, MANY_OCTETS, PLAIN),
    row("8 .90", "octets in any syntax: stored", J2K, MANY_ANY, label(J2K)),
    row("8 .90", "image/jp2: stored", J2K, MANY.format("image/jp2"), label(J2K)),
    row("8 .90", "image/jls: decoded and encoded", J2K, MANY.format("image/jls"), label(JLS)),
    row("8 .90", "a lossless codestream is one of .91", J2K, named(J2K_LOSSY), label(J2K_LOSSY)),
    row("8 .91", "octets: decoded", J2K_LOSSY, MANY_OCTETS, PLAIN),
    row("8 .91", "octets in any syntax: stored", J2K_LOSSY, MANY_ANY, label(J2K_LOSSY)),
    row("8 .91", "image/jp2; .91: stored", J2K_LOSSY, named(J2K_LOSSY), label(J2K_LOSSY)),
    row("8 .91", "image/jp2; .90: decoded and encoded", J2K_LOSSY, named(J2K), label(J2K)),
    row("8 .91", "lossy to lossy", J2K_LOSSY, named(NEAR_LOSSLESS), None),
    row("8 .91", "image/jls", J2K_LOSSY, MANY.format("image/jls"), label(JLS)),
    row("8 .5", "octets: decoded", RLE, MANY_OCTETS, PLAIN),
    row("8 .5", "octets in any syntax: stored", RLE, MANY_ANY, label(RLE)),
    row("8 .5", "image/jp2", RLE, MANY.format("image/jp2"), label(J2K)),
    row("8 .5", "image/jls", RLE, MANY.format("image/jls"), label(JLS)),
    row("8 HTJ2K", "octets: decoded", HTJ2K, MANY_OCTETS, PLAIN),
    row("8 HTJ2K", "octets in any syntax: stored", HTJ2K, MANY_ANY, label(HTJ2K)),
    row("8 HTJ2K", "image/jp2", HTJ2K, MANY.format("image/jp2"), label(J2K)),
    row("4", "JPEG XL in any syntax is decoded: browsers cannot", JXL, MANY_ANY, PLAIN),
    row("4", "JPEG XL by its type is stored", JXL, MANY.format("image/jxl"), label(JXL)),
    row("3.3", "a syntax and octets: made in it", J2K, f"{MANY_OCTETS}; transfer-syntax={RLE}", label(RLE)),
    row("5", "near-lossless on request", EXPLICIT_LE, named(NEAR_LOSSLESS), label(NEAR_LOSSLESS)),
    row("5", "lossy J2K on request", EXPLICIT_LE, named(J2K_LOSSY), label(J2K_LOSSY)),
    row("5", "lossy HTJ2K on request", HTJ2K, named(HTJ2K_LOSSY), label(HTJ2K_LOSSY)),
    row("5", "lossy JPEG XL on request", JLS, named(JXL_LOSSY), label(JXL_LOSSY)),
    row("5", "no retired process", EXPLICIT_LE, f'{MANY_OCTETS}; transfer-syntax="{UIDS}.4.53"', None),
    row("3.3", "no syntax that nobody knows", J2K, f'{MANY_OCTETS}; transfer-syntax="1.2.3"', None),
]


@pytest.mark.parametrize(("syntax", "accept", "expected"), MATRIX)
def test_what_is_stored_comes_in_what_is_asked_for(site, syntax, accept, expected):
    pictures = [picture(number) for number in range(3)]
    file, dataset = stored(pictures, syntax)
    path = keep(site, file)

    response = site.get(f"{path}/frames/3,1", accept)

    if expected is None:
        assert response.status_code == 406
        assert response.json()["available"]
        return
    assert response.status_code == 200, response.text
    parts = parts_of(response)
    assert [part.headers["Content-Type"] for part in parts] == [expected] * 2
    assert [part.headers["Content-Location"] for part in parts] == [
        f"{ROOT}{path}/frames/{number}" for number in (3, 1)
    ]
    sent = expected.rpartition("=")[2]
    # What was stored with loss, or is, is near the original only.
    lossy = {syntax, sent} & {J2K_LOSSY, NEAR_LOSSLESS, HTJ2K_LOSSY, JXL_LOSSY}
    for part, number in zip(parts, (2, 0), strict=True):
        (got,) = decoded([part.content], sent, dataset)
        error = np.abs(got.astype(int) - pictures[number].astype(int))
        assert error.mean() <= (64 if lossy else 0)


@cites("spec transfer-syntaxes 8", "JPEG baseline of 8 bits, on request by name and never else")
@pytest.mark.parametrize("samples", [1, 3])
def test_lossy_never_happens_unasked(site, samples):
    file, _ = stored([picture(bits=8, samples=samples)])
    path = keep(site, file) + "/frames/1"
    assert site.get(path, f"image/jpeg; transfer-syntax={JPEG}").headers["content-type"] == label(JPEG)
    for accept in ("image/jpeg", "image/*", "image/jpeg; transfer-syntax=*", f"{OCTETS};transfer-syntax=*"):
        got = site.get(path, accept).headers["content-type"]
        assert not BY_UID[got.rpartition("=")[2]].lossy
    stored_lossy, _ = stored([picture(bits=8, samples=samples)], JPEG)
    path = keep(site, stored_lossy) + "/frames/1"
    assert site.get(path, "image/jpeg").headers["content-type"] == label(JPEG)
    assert site.get(path, OCTETS).headers["content-type"] == PLAIN
    assert len(site.get(path, OCTETS).content) == ROWS * COLUMNS * samples
    assert site.get(path, f"image/jp2; transfer-syntax={J2K_LOSSY}").status_code == 406


@cites("spec transfer-syntaxes 8", "a video is not decoded")
def test_video_is_not_acceptable_otherwise(site):
    made = add_pixels(a_data_set(), [bytes(32)] * 2)
    path = keep(site, a_file(made, MP4, codestreams=[b"a whole stream!!"]))
    for accept in (OCTETS, "image/jp2", "image/jls", MANY_OCTETS):
        assert site.get(path + "/frames/1", accept).status_code == 406
        assert site.get(path + "/pixeldata", accept).status_code == 406


@cites("spec transfer-syntaxes 4", "what is decoded is what independent decoders agree on")
def test_every_real_frame_is_had_as_octets(open_site):
    if not manifest():
        pytest.skip("The real files are not beside this checkout (../shared/data).")
    site = open_site(on_duplicate=OnDuplicate.REPLACE)
    wrong, compared = [], 0
    for one in manifest():
        if one["has_all_uids"] != "yes" or not one["transfer_syntax"] or int(one["bytes"]) > 8 << 20:
            continue
        content = (DATA / one["path"]).read_bytes()
        answer = site.post(content)
        if answer.status_code not in (200, 202):
            continue
        url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        response = site.get(f"{url}/frames/1", OCTETS)
        if response.status_code != 200:
            wrong.append(f"{one['path']}: {response.status_code} {response.text[:100]}")
            continue
        if response.headers["content-type"] != PLAIN:
            wrong.append(f"{one['path']}: {response.headers['content-type']}")
            continue
        dataset = pydicom.dcmread(DATA / one["path"], force=True, stop_before_pixels=True)
        wrong += differs(one, response.content, dataset)
        compared += 1
    assert wrong == []
    assert compared > 250


def differs(one: dict[str, str], payload: bytes, dataset: pydicom.Dataset) -> list[str]:
    """What is wrong with a decoded frame; colours that were converted are compared elsewhere."""
    if "PixelRepresentation" not in dataset or "BitsStored" not in dataset:
        return [] if len(payload) else [one["path"]]
    photometric = str(dataset.PhotometricInterpretation)
    compressed = BY_UID[one["transfer_syntax"]].encapsulated
    if compressed and photometric in ("YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420"):
        photometric = "RGB"
        dataset.PlanarConfiguration = 0
        if one["photometric"] in ("YBR_FULL_422", "YBR_PARTIAL_420"):
            size = dataset.Rows * dataset.Columns * 3
            return [] if len(payload) == size else [f"{one['path']}: {len(payload)} bytes of RGB"]
    try:
        got = samples_of(payload, dataset, photometric=photometric)
    except Exception as error:
        return [f"{one['path']}: {type(error).__name__} {error}"]
    if digest(got) != one["pixel_sha256_frame1"] and one["path"] != "modality/mg/example-mg.dcm":
        return [f"{one['path']}: other pixels ({one['pixel_note']})"]
    return []


@cites("spec transfer-syntaxes 8", "one frame asked is one frame read and decoded, wherever it lies")
@pytest.mark.parametrize("syntax", [J2K, RLE, EXPLICIT_LE])
def test_the_last_of_many_frames_costs_what_the_first_does(site, monkeypatch, syntax):
    file, _ = stored([picture(number % 5) for number in range(2_000)], syntax)
    path = keep(site, file)
    reads, made = [], []
    real_read, real_make = MemoryStore.read, transcoding.transcode

    def reading(store, key, extent):
        reads.append(extent.length)
        return real_read(store, key, extent)

    def making(frame, *args, **kwargs):
        made.append(frame)
        return real_make(frame, *args, **kwargs)

    monkeypatch.setattr(MemoryStore, "read", reading)
    monkeypatch.setattr(transcoding, "transcode", making)
    costs = []
    for number in (1, 2_000):
        assert site.get(f"{path}/frames/{number}", "image/jls").status_code == 200
        costs.append((len(reads), len(made)))
        reads.clear()
        made.clear()
    assert costs == [(1, 1), (1, 1)]


@cites("issue 4", "identical concurrent requests share one transcode")
def test_eight_who_ask_for_the_same_cause_one_decode(site, monkeypatch):
    file, _ = stored([picture()], J2K)
    path = keep(site, file)
    made, begun, go = [], threading.Event(), threading.Event()
    real = transcoding.transcode

    def making(frame, *args, **kwargs):
        made.append(frame)
        begun.set()
        assert go.wait(_WAIT_S)
        return real(frame, *args, **kwargs)

    monkeypatch.setattr(transcoding, "transcode", making)
    with ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(site.get, f"{path}/frames/1", OCTETS) for _ in range(8)]
        assert begun.wait(_WAIT_S)
        go.set()
        answers = [one.result(_WAIT_S) for one in waiting]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(made) == 1


@cites("issue 4", "a full queue answers 503 and says when to come again")
def test_a_full_queue_is_busy(open_site, monkeypatch):
    site = open_site(pixel_queue=1, workers=64)  # so many that each has one thread
    paths = [keep(site, stored([picture(number)], J2K)[0]) for number in range(3)]
    begun, go = threading.Semaphore(0), threading.Event()
    real = transcoding.transcode

    def making(frame, *args, **kwargs):
        begun.release()
        assert go.wait(_WAIT_S)
        return real(frame, *args, **kwargs)

    monkeypatch.setattr(transcoding, "transcode", making)
    workshop = site.house.workshop
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(site.get, f"{paths[0]}/frames/1", OCTETS)
        assert begun.acquire(timeout=_WAIT_S)
        second = clients.submit(site.get, f"{paths[1]}/frames/1", OCTETS)
        while not workshop.load().queued:
            pass
        third = site.get(f"{paths[2]}/frames/1", OCTETS)
        go.set()
        assert (first.result(_WAIT_S).status_code, second.result(_WAIT_S).status_code) == (200, 200)
    assert third.status_code == 503
    assert int(third.headers["retry-after"]) > 0


@cites("RFC 9110 9.3.2, 13.1.2, 14", "HEAD, ranges and 304 of frames that are made")
def test_a_made_frame_has_a_size_and_a_tag(site, monkeypatch):
    file, _ = stored([picture()], J2K)
    path = keep(site, file) + "/frames/1"
    whole = site.get(path, OCTETS)
    assert len(whole.content) == ROWS * COLUMNS * 2 == int(whole.headers["content-length"])
    head = site.client.head(ROOT + path, headers={"Accept": OCTETS})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    run = site.get(path, OCTETS, Range="bytes=10-19")
    assert (run.status_code, run.content) == (206, whole.content[10:20])
    assert run.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    tags = {
        site.get(path, accept).headers["etag"] for accept in (OCTETS, "image/jp2", "image/jls", "image/jxl")
    }
    assert len(tags) == 4
    made = []
    monkeypatch.setattr(transcoding, "transcode", lambda *args, **kwargs: made.append(args))
    again = site.get(path, OCTETS, **{"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content, made) == (304, b"", [])


@cites("issue 4", "Server-Timing shows what the time was spent on")
def test_the_time_is_told(site):
    file, _ = stored([picture(number) for number in range(2)], J2K)
    path = keep(site, file)
    told = site.get(f"{path}/frames/1,2", "multipart/related; type=image/jls").headers["server-timing"]
    assert [one.partition(";")[0] for one in told.split(", ")] == [
        "index",
        "pixels",
        "read",
        "decode",
        "encode",
        "send",
    ]
    assert site.get(f"{path}/frames/1", "image/jp2").headers["server-timing"].startswith("index;dur=")


@cites("spec transfer-syntaxes 4", "frames are in the order asked, however many are made at once")
def test_many_frames_keep_their_order(site):
    pictures = [picture(number) for number in range(40)]
    path = keep(site, stored(pictures, RLE)[0])
    numbers = [40, *range(1, 40), 7, 7]
    parts = parts_of(site.get(f"{path}/frames/{','.join(map(str, numbers))}", MANY_OCTETS))
    assert [part.content for part in parts] == [pictures[number - 1].tobytes() for number in numbers]
    assert {part.headers["Content-Length"] for part in parts} == {str(ROWS * COLUMNS * 2)}


@cites("spec 3.3", "a frame that is damaged is not acceptable, and never a fault")
def test_a_damaged_frame(site):
    file, _ = stored([picture()], J2K)
    damaged = file[:-200] + bytes(180) + file[-20:]
    path = keep(site, damaged)
    response = site.get(path + "/frames/1", "image/dicom-rle")
    assert response.status_code in (200, 406)  # decoders may conceal the damage
    assert site.get(path + "/frames/1", "image/jp2").status_code == 200


@cites("PS3.18 10.4.1.1.6", "pixel data as octets are decoded frames")
@pytest.mark.parametrize("below", ["/pixeldata", "/frames", "/bulkdata/7FE00010", "/bulkdata"])
@pytest.mark.parametrize("count", [1, 3])
def test_pixel_data_are_had_decoded(site, below, count):
    pictures = [picture(number) for number in range(count)]
    path = keep(site, stored(pictures, J2K)[0])
    response = site.get(path + below, MANY_OCTETS)
    assert response.status_code == 200, response.text
    parts = parts_of(response)
    assert [part.content for part in parts] == [one.tobytes() for one in pictures]
    assert {part.headers["Content-Type"] for part in parts} == {PLAIN}
    if count == 1:
        assert site.get(path + below, OCTETS).content == pictures[0].tobytes()
    study = path.partition("/series/")[0]
    if below in ("/pixeldata", "/bulkdata"):
        parts = parts_of(site.get(study + below, MANY_OCTETS))
        assert [part.content for part in parts] == [one.tobytes() for one in pictures]


@cites(
    "PS3.4 C.6.1.1.5.2", "Available Transfer Syntax UID tells what can be had without loss, the stored first"
)
def test_the_available_syntaxes_can_be_had(site):
    file, _ = stored([picture()], J2K)
    path = keep(site, file)
    (found,) = site.get("/instances").json()
    (told,) = site.get(path + "/metadata").json()
    assert found["00083002"] == told["00083002"]
    offered = told["00083002"]["Value"]
    assert offered[0] == J2K
    assert {EXPLICIT_LE, HTJ2K, JLS, RLE, JPEG_LL} <= set(offered)
    assert not {J2K_LOSSY, JPEG, NEAR_LOSSLESS} & (set(offered) - {J2K_LOSSY})
    for syntax in offered:
        response = site.get(f"{path}/frames/1", f'{MANY_OCTETS}; transfer-syntax="{syntax}"')
        assert response.status_code == 200
        whole = site.get(path, f"application/dicom; transfer-syntax={syntax}")
        assert whole.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
