"""Pictures of objects that are odd or damaged: in their own colours, or refused, and alone in that."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement

from service.dicom.errors import Busy
from service.dicom.inflate import Inflater
from service.dicom.syntaxes import DEFLATED, ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE
from service.pixels.codecs import encode
from tests.codestreams import native
from tests.conformance.picturing import GIF, MANY_PNG, PNG, an_image, picture, ramp
from tests.conformance.retrieving import DICOM, HTJ2K, J2K, MANY_OCTETS, OCTETS, keep, series_of, study_of
from tests.making import a_data_set, a_file, add_pixels, new_uid
from tests.pixels.pictures import pixels_of
from tests.reading import parts_of


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
def test_a_thumbnail_of_a_palette_has_the_palettes_colours(site, syntax):
    down, across = np.indices((512, 512))
    places = ((down // 64 * 8 + across // 64) * 4).astype(np.uint8)
    made = add_pixels(
        a_data_set(), [places.tobytes()], rows=512, columns=512, bits=8, photometric="PALETTE COLOR"
    )
    random = np.random.default_rng(1)
    for colour in ("Red", "Green", "Blue"):
        entries = random.integers(0, 256, 256).astype(np.uint8)
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(made, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    codestream = bytes(encode(pixels_of(places, "PALETTE COLOR"), syntax).payload)
    path = keep(site, a_file(made, syntax, codestreams=[codestream]))

    small = picture(site.get(path + "/thumbnail", PNG))

    assert np.array_equal(small, picture(site.get(path + "/rendered?viewport=200,200", PNG)))


def test_an_animation_is_not_shown_at_a_rate_without_reason(site):
    made = add_pixels(a_data_set(), [bytes(32), bytes(range(32))])
    made.add(DataElement(0x00180040, "FD", 1e-320))  # Cine Rate, of another VR than its own
    path = keep(site, a_file(made))

    assert picture(site.get(path + "/rendered", GIF)).shape[0] == 2


def test_an_image_that_is_too_large_does_not_hide_the_others(site):
    study, series = new_uid(), new_uid()
    path = keep(site, an_image(ramp(), study=study, series=series))
    made = add_pixels(a_data_set(study=study, series=series), [bytes(32)])
    codestream = bytes(encode(pixels_of(np.zeros((4, 4), np.uint16)), J2K).payload)
    made.Rows = made.Columns = 60_000
    huge = keep(site, a_file(made, J2K, codestreams=[codestream]))

    for resource in (study_of(path), series_of(path)):
        assert picture(site.get(resource + "/rendered", PNG)).shape == (8, 16)
        assert picture(site.get(resource + "/thumbnail", PNG)).shape == (100, 200)
        together = site.get(resource + "/rendered", MANY_PNG)
        assert (together.status_code, len(parts_of(together))) == (206, 1)
    assert site.get(huge + "/rendered", PNG).status_code == 406


def _in_fragments(*lengths: int) -> bytes:
    """Uncompressed frames of 3 × 5 bytes in fragments that hold other numbers of bytes."""
    made = add_pixels(a_data_set(), [bytes(15)] * len(lengths), rows=3, columns=5, bits=8)
    frames = [bytes([number]) * length for number, length in enumerate(lengths, 1)]
    return a_file(made, ENCAPSULATED_UNCOMPRESSED, codestreams=frames)


@pytest.mark.parametrize("block", [1 << 20, 4096])
def test_an_uncompressed_frame_in_a_fragment_that_is_too_long_is_cut_off(open_site, block):
    site = open_site(read_block=block)
    path = keep(site, _in_fragments(15, 5000, 15))
    frames = [bytes([number]) * 15 for number in (1, 2, 3)]

    alone = site.get(path + "/frames/2", OCTETS)
    together = site.get(path + "/frames/1,2,3", MANY_OCTETS)
    whole = site.get(path, f"{DICOM}; transfer-syntax={EXPLICIT_LE}")

    assert alone.content == frames[1]
    assert [part.content for part in parts_of(together)] == frames
    assert pydicom.dcmread(io.BytesIO(whole.content)).PixelData == b"".join(frames) + b"\0"


def test_an_uncompressed_frame_in_a_fragment_that_is_too_short_is_not_sent(site):
    path = keep(site, _in_fragments(15, 9, 15))

    asked = {
        path: f"{DICOM}; transfer-syntax={EXPLICIT_LE}",
        path + "/frames/2": OCTETS,
        path + "/frames/2/rendered": PNG,
    }
    assert {where: site.get(where, accept).status_code for where, accept in asked.items()} == dict.fromkeys(
        asked, 406
    )
    assert site.get(path + "/frames/3", OCTETS).content == b"\3" * 15


def test_an_image_of_one_frame_stays_whole_in_an_uncompressed_fragment(site):
    pixels = pixels_of(ramp(64, 96).astype(np.uint16))
    made = add_pixels(a_data_set(), [bytes(native(pixels).payload)], rows=64, columns=96)
    content = bytes(native(pixels).payload)
    path = keep(site, a_file(made, ENCAPSULATED_UNCOMPRESSED, codestreams=[content]))

    assert site.get(path + "/frames/1", OCTETS).content == content


def test_a_deflated_object_is_inflated_once_for_a_whole_animation(site, monkeypatch):
    frames = [ramp(64, 64, first=number).astype(np.uint16) for number in range(50)]
    path = keep(site, an_image(*frames, syntax=DEFLATED))
    taken: list[int] = []
    real = Inflater.push

    def push(inflater, block):
        for piece in real(inflater, block):
            taken.append(len(piece))
            yield piece

    monkeypatch.setattr(Inflater, "push", push)

    assert len(picture(site.get(path + "/rendered", GIF))) == 50
    assert sum(taken) < 3 * 50 * frames[0].nbytes  # once for the range of values, once for the pictures


def test_an_animation_is_not_gone_on_with_once_nobody_waits_for_it(site, monkeypatch):
    path = keep(site, an_image(*(ramp(first=number) for number in range(9))))
    seen: list[int] = []

    def require_wanted() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise Busy("Nobody waits.")

    monkeypatch.setattr("service.web.darkroom.require_wanted", require_wanted)

    assert site.get(path + "/rendered", GIF).status_code == 503
    assert len(seen) == 3
