"""Whole instances in other transfer syntaxes than the stored one (spec transfer-syntaxes 2, 4, 5 and 6)."""

import io
import struct
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames, parse_basic_offsets

from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.index.port import OnDuplicate
from service.pixels.codecs import encode
from service.pixels.frame import FrameShape, Pixels
from tests.conformance.pictured import (
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
    decoded,
    digest,
    manifest,
    picture,
    stored,
)
from tests.conformance.retrieving import DICOM, encapsulated, keep, study_of
from tests.conformance.rows import cites, row
from tests.making import a_data_set, a_file, add_pixels, new_uid
from tests.reading import data_set, differences, parts_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NATIVE = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED)
LOSSLESS = (J2K, JLS, JPEG_LL, RLE, HTJ2K, HTJ2K_RPCL, JXL)
LOSSY = (J2K_LOSSY, NEAR_LOSSLESS, HTJ2K_LOSSY, JXL_LOSSY)
MANY = f'multipart/related; type="{DICOM}"'
_LARGEST = 140_000  # pixels of all frames


def as_(syntax: str) -> str:
    return f"{DICOM}; transfer-syntax={syntax}"


def pixels_of(sent: Dataset) -> list[np.ndarray]:
    """All frames of a data set, by decoders that are not ours."""
    syntax = sent.file_meta.TransferSyntaxUID
    count = int(sent.get("NumberOfFrames") or 1)
    if BY_UID[syntax].encapsulated:
        frames = list(generate_frames(sent.PixelData, number_of_frames=count))
        return decoded(frames, syntax, sent)
    size = len(sent.PixelData) // count
    frames = [sent.PixelData[number * size : (number + 1) * size] for number in range(count)]
    return decoded(frames, EXPLICIT_LE, sent)


@pytest.mark.parametrize("before", [*NATIVE, *LOSSLESS])
@pytest.mark.parametrize("after", [EXPLICIT_LE, *LOSSLESS])
@cites("spec transfer-syntaxes 5", "lossless to lossless, from any to any, for whole instances")
def test_every_lossless_syntax_is_made_into_every_other(site, before, after):
    pictures = [picture(number) for number in range(3)]
    file, dataset = stored(pictures, before, ImageComments="kept as it is", PatientComments="x" * 999)
    path = keep(site, file)

    response = site.get(path, as_(after))

    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == as_(after)
    sent = data_set(response.content)
    assert sent.file_meta.TransferSyntaxUID == after
    assert sent.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID == dataset.SOPInstanceUID
    assert [one.tolist() for one in pixels_of(sent)] == [one.tolist() for one in pictures]
    assert "LossyImageCompression" not in sent
    del sent.PixelData, dataset.PixelData
    assert differences(dataset, sent, big_endian=False) == []
    if before != after:
        (part,) = parts_of(site.get(study_of(path), f"{MANY}; transfer-syntax={after}"))
        assert part.headers["Content-Type"] == as_(after)
        assert part.content == response.content


@cites("PS3.18 8.7.3.5.2", "without a name Explicit VR Little Endian is meant, and made")
@pytest.mark.parametrize("before", [J2K, RLE, JLS, HTJ2K, J2K_LOSSY])
def test_explicit_little_endian_is_what_an_object_is_by_default(site, before):
    file, _ = stored([picture()], before)
    path = keep(site, file)
    assert site.get(path, DICOM).headers["content-type"] == as_(EXPLICIT_LE)
    (made,) = parts_of(site.get(study_of(path), MANY))
    assert made.headers["Content-Type"] == as_(EXPLICIT_LE)
    assert site.get(path, f"{DICOM}; transfer-syntax=*").content == file
    (part,) = parts_of(site.get(path, "*/*"))
    assert part.content == file
    by_uri = f"/wado?requestType=WADO&contentType={DICOM}&objectUID={path.rpartition('/')[2]}"
    assert site.get(by_uri).content == made.content
    assert site.get(f"{by_uri}&transferSyntax={RLE}").headers["content-type"] == as_(RLE)


@cites(
    "PS3.3 C.7.6.1.1.5", "what is compressed with loss is a derived image that says so, the same each time"
)
@pytest.mark.parametrize("after", LOSSY)
def test_a_lossy_copy_is_a_derived_image(site, after):
    file, before = stored([picture(number) for number in range(2)], RLE, ImageType=["ORIGINAL", "PRIMARY"])
    path = keep(site, file)

    response = site.get(path, as_(after))

    assert response.status_code == 200, response.text
    sent = pydicom.dcmread(io.BytesIO(response.content), force=True)
    assert sent.SOPInstanceUID != before.SOPInstanceUID
    assert sent.SOPInstanceUID.startswith("2.25.")
    assert sent.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID
    assert sent.ImageType == ["DERIVED", "PRIMARY"]
    assert sent.LossyImageCompression == "01"
    assert float(sent.LossyImageCompressionRatio) > 1
    assert sent.LossyImageCompressionMethod
    assert sent.DerivationDescription
    (source,) = sent.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert site.get(path, as_(after)).content == response.content
    assert site.get(path, f"{DICOM}; transfer-syntax=*").content == file


@cites("PS3.3 C.7.6.1.1.5", "what was lost stays lost: the attribute and the UID stay")
def test_a_decoded_lossy_image_says_that_it_was_compressed(site):
    file, before = stored([picture(bits=8, samples=3)], JPEG)
    path = keep(site, file)
    sent = data_set(site.get(path, as_(EXPLICIT_LE)).content)
    assert (sent.SOPInstanceUID, sent.LossyImageCompression) == (before.SOPInstanceUID, "01")
    assert (sent.PhotometricInterpretation, sent.PlanarConfiguration) == ("RGB", 0)
    assert sent.LossyImageCompressionMethod == "ISO_10918_1"
    assert site.get(path, as_(J2K_LOSSY)).status_code == 406


@cites("PS3.5 8.2.4", "colour with a transform says so, and RGB when it is decoded")
@pytest.mark.parametrize("after", [J2K, HTJ2K, RLE, JXL, EXPLICIT_LE])
@pytest.mark.parametrize("before", [EXPLICIT_LE, J2K])
def test_colours_are_described_as_they_are(site, before, after):
    pictures = [picture(bits=8, samples=3)]
    path = keep(site, stored(pictures, before)[0])
    sent = data_set(site.get(path, as_(after)).content)
    assert sent.PhotometricInterpretation == ("YBR_RCT" if after in (J2K, HTJ2K) else "RGB")
    if after != JXL:
        assert pixels_of(sent)[0].tolist() == pictures[0].tolist()


@cites("PS3.5 A.4", "the Basic Offset Table tells where each frame begins; fragments are even")
def test_the_offsets_are_told(site):
    pictures = [picture(number) for number in range(5)]
    path = keep(site, stored(pictures)[0])
    sent = data_set(site.get(path, as_(J2K)).content)
    offsets = parse_basic_offsets(sent.PixelData)
    first = 8 + struct.unpack("<I", sent.PixelData[4:8])[0]
    assert len(offsets) == 5
    for offset in offsets:
        tag, length = struct.unpack("<II", sent.PixelData[first + offset : first + offset + 8])
        assert (tag, length % 2) == (0xE000FFFE, 0)


@cites("spec transfer-syntaxes 2", "offset tables, padding and signatures of before are gone")
@pytest.mark.parametrize("after", [EXPLICIT_LE, RLE])
def test_what_holds_no_longer_is_left_out(site, after):
    _, made = stored([picture()], EXPLICIT_LE)
    streams = [bytes(one) for one in generate_frames(data_set(stored([picture()], J2K)[0]).PixelData)]
    made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = bytes(8), struct.pack("<Q", len(streams[0]))
    made.PixelData = encapsulate(streams, has_bot=False)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.DigitalSignaturesSequence = [Dataset()]
    made.DataSetTrailingPadding = bytes(10)
    path = keep(site, a_file(made, J2K))
    sent = data_set(site.get(path, as_(after)).content)
    for gone in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "DigitalSignaturesSequence"):
        assert gone not in sent
    assert "DataSetTrailingPadding" not in sent
    assert pixels_of(sent)[0].tolist() == picture().tolist()


@cites("PS3.5 8.1.1", "single bits follow one another without padding")
@pytest.mark.parametrize("before", [EXPLICIT_LE, RLE])
def test_single_bits(site, before):
    rows, columns, count = 3, 5, 7
    bits = [[(number + pixel * pixel) % 3 == 0 for pixel in range(rows * columns)] for number in range(count)]
    flat = np.array([bit for one in bits for bit in one], np.uint8)
    native = np.packbits(flat, bitorder="little").tobytes()
    made = add_pixels(a_data_set(), [b""], rows=rows, columns=columns, bits=1)
    made.NumberOfFrames = count
    made.PixelData = native + b"\0" * (len(native) % 2)
    path = keep(site, a_file(made))
    if before == RLE:
        compressed = site.get(path, as_(RLE)).content
        site.client.delete(f"http://testserver/dicom-web{path}")
        path = keep(site, compressed)
    sent = data_set(site.get(path, as_(EXPLICIT_LE)).content)
    unpacked = np.unpackbits(np.frombuffer(sent.PixelData, np.uint8), bitorder="little")
    assert unpacked[: len(flat)].tolist() == flat.tolist()
    assert len(sent.PixelData) == len(native) + len(native) % 2


@cites("spec transfer-syntaxes 6", "an icon in fragments is decoded; one that cannot be goes")
@pytest.mark.parametrize("sound", [True, False])
def test_icons(site, sound):
    _, icon = stored([picture(9)], EXPLICIT_LE)
    (stream,) = generate_frames(data_set(stored([picture(9)], J2K)[0]).PixelData)
    item = Dataset()
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"):
        setattr(item, keyword, icon[keyword].value)
    item.BitsStored, item.HighBit, item.PixelRepresentation = 12, 11, 0
    item.PixelData = encapsulate([stream if sound else b"no codestream"])
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    file = data_set(stored([picture()], J2K)[0])
    file.IconImageSequence = [item]
    buffer = io.BytesIO()
    file.save_as(buffer)
    path = keep(site, buffer.getvalue())
    for after in (EXPLICIT_LE, JLS):
        sent = data_set(site.get(path, as_(after)).content)
        assert ("IconImageSequence" in sent) is sound
        if sound:
            (made,) = sent.IconImageSequence
            assert made.PixelData == picture(9).tobytes()
        assert pixels_of(sent)[0].tolist() == picture().tolist()


@cites(
    "PS3.5 8.1.2 (retired overlays)", "overlays in bits of pixels move out of them for codecs, and stay else"
)
def test_overlays_in_pixels_are_kept(site):
    lit, words, made = an_overlay_in_pixels()
    made.PixelData = words.tobytes()
    path = keep(site, a_file(made, IMPLICIT_LE))
    sent = data_set(site.get(path, as_(J2K)).content)
    require_overlay(sent, lit)
    assert pixels_of(sent)[0].tolist() == picture().tolist()
    assert data_set(site.get(path, as_(EXPLICIT_LE)).content).PixelData == made.PixelData


@pytest.mark.parametrize("after", [EXPLICIT_LE, J2K])
@cites(
    "PS3.5 8.1.2 (retired overlays)", "RLE packs the bits of overlays too: they move out when it is undone"
)
def test_overlays_in_the_pixels_of_rle_are_kept(site, after):
    lit, words, made = an_overlay_in_pixels()
    shape = FrameShape(24, 40, 1, 16, 16, 15, False, "MONOCHROME2")
    codestream = bytes(encode(Pixels(words, shape), RLE).payload)
    path = keep(site, a_file(made, RLE, codestreams=[codestream]))
    sent = data_set(site.get(path, as_(after)).content)
    require_overlay(sent, lit)
    assert pixels_of(sent)[0].tolist() == picture().tolist()


def an_overlay_in_pixels() -> tuple[np.ndarray, np.ndarray, Dataset]:
    """An overlay, the words of a picture with it in bit 13, and a data set that says so."""
    lit = picture(3) % 7 == 0
    _, made = stored([picture()])
    made.add_new(0x60000010, "US", 24)
    made.add_new(0x60000011, "US", 40)
    made.add_new(0x60000040, "CS", "G")
    made.add_new(0x60000050, "SS", [1, 1])
    made.add_new(0x60000100, "US", 16)
    made.add_new(0x60000102, "US", 13)
    return lit, (picture() | lit.astype(np.uint16) << 13).astype("<u2"), made


def require_overlay(sent: Dataset, lit: np.ndarray) -> None:
    """The overlay has data of its own."""
    assert (sent[0x60000100].value, sent[0x60000102].value) == (1, 0)
    plane = np.unpackbits(np.frombuffer(sent[0x60003000].value, np.uint8), bitorder="little")
    assert plane[: lit.size].tolist() == lit.astype(np.uint8).ravel().tolist()


@pytest.mark.parametrize(
    ("accept", "status", "count"),
    [
        row("PS3.18 Table 10.4.3-1", "206: reports have no pixels to be encoded", J2K, 206, 2),
        row("PS3.18 Table 10.4.3-1", "206: what cannot be decoded stays behind", EXPLICIT_LE, 206, 3),
        row("PS3.18 8.7.7", "406: none can be made", JPEG, 406, 0),
    ],
)
def test_a_study_of_which_a_part_can_be_made(site, accept, status, count):
    study = new_uid()
    site.post(stored([picture(1)], JLS, study=study)[0])
    site.post(stored([picture(2)], study=study)[0])
    site.post(a_file(a_data_set(study=study)))
    site.post(encapsulated([b"nothing that decodes"], study=study))
    response = site.get(f"/studies/{study}", f"{MANY}; transfer-syntax={accept}")
    assert response.status_code == status
    if status == 206:
        got = parts_of(response)
        made = [part for part in got if part.headers["Content-Type"] == as_(accept)]
        if accept == EXPLICIT_LE:
            assert len(made) == count
        else:
            # The stored J2K leaves as it is: nobody decodes it.
            assert len(made) == count + 1
        assert f"{4 - len(made)} of 4" in response.headers["warning"]


@cites("RFC 9110 8.8.3, 9.3.2", "tags differ by representation; HEAD and 304 of what is made")
def test_the_tags_of_made_objects(site):
    path = keep(site, stored([picture()], J2K)[0])
    answers = [site.get(path, as_(syntax)) for syntax in (J2K, EXPLICIT_LE, RLE, JLS)]
    tags = [one.headers["etag"] for one in answers]
    assert len(set(tags)) == 4
    for syntax, tag in zip((J2K, EXPLICIT_LE, RLE, JLS), tags, strict=True):
        assert site.get(path, as_(syntax), **{"If-None-Match": tag}).status_code == 304
    head = site.client.head(f"http://testserver/dicom-web{path}", headers={"Accept": as_(RLE)})
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tags[2])


@cites(
    "spec transfer-syntaxes 4", "real files written anew have the pixels that independent decoders agree on"
)
def test_real_files_are_made_into_explicit_little_endian(open_site):
    if not manifest():
        pytest.skip("The real files are not beside this checkout (../shared/data).")
    site = open_site(on_duplicate=OnDuplicate.REPLACE)
    wrong, compared = [], 0
    for one in manifest():
        if one["has_all_uids"] != "yes" or not one["transfer_syntax"]:
            continue
        size = int(one["rows"]) * int(one["cols"]) * int(one["frames"] or 1)
        if not BY_UID[one["transfer_syntax"]].encapsulated or size > _LARGEST:
            continue
        answer = site.post((DATA / one["path"]).read_bytes())
        if answer.status_code not in (200, 202):
            continue
        url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        for syntax in (EXPLICIT_LE, RLE):
            response = site.get(url, as_(syntax))
            if response.status_code != 200 or response.headers["content-type"] != as_(syntax):
                if syntax == EXPLICIT_LE:
                    wrong.append(f"{one['path']}: {response.status_code} {response.text[:80]}")
                continue
            wrong += [f"{one['path']} in {syntax}: {text}" for text in differs(one, response.content)]
            compared += 1
    assert wrong == []
    assert compared > 60


def differs(one: dict[str, str], content: bytes) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sent = pydicom.dcmread(io.BytesIO(content))
        converted = one["photometric"] in ("YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT")
        if converted and sent.PhotometricInterpretation == "RGB":
            return []  # the hash is of the samples before
        try:
            got = pixels_of(sent)[0] if sent.BitsAllocated > 1 else sent.pixel_array
        except Exception as error:
            return [f"{type(error).__name__} {error}"]
        got = got[0] if sent.BitsAllocated == 1 and got.ndim == 3 else got
    same = digest(got) == one["pixel_sha256_frame1"] or one["path"] == "modality/mg/example-mg.dcm"
    return [] if same else [f"other pixels ({sent.PhotometricInterpretation}, {one['pixel_note']})"]
