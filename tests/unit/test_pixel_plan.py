"""Which transfer syntax can be had from which, by tables."""

import pytest

from service.dicom.syntaxes import (
    BY_UID,
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ROOT,
    SYNTAXES,
    Form,
)
from service.pixels.codecs import DECODABLE, ENCODABLE
from service.pixels.frame import FrameShape
from service.pixels.plan import Act, available, decoded_photometric, plan

CT = FrameShape(512, 512, 1, 16, 12, 11, False, "MONOCHROME2")
PET = FrameShape(128, 128, 1, 16, 16, 15, True, "MONOCHROME2")
XA = FrameShape(512, 512, 1, 8, 8, 7, False, "MONOCHROME1")
US = FrameShape(480, 640, 3, 8, 8, 7, False, "RGB")
CODED_US = US.becoming(photometric="YBR_FULL_422")
FULL = US.becoming(photometric="YBR_FULL")
PALETTE = FrameShape(480, 640, 1, 8, 8, 7, False, "PALETTE COLOR")
SEGMENTATION = FrameShape(512, 512, 1, 1, 1, 0, False, "MONOCHROME2")
DOSE = FrameShape(10, 10, 1, 32, 32, 31, False, "MONOCHROME2")
FLOAT = FrameShape(10, 10, 1, 32, 32, 31, False, "MONOCHROME2", floating=True)

PASS, REWRAP, RECODE, REFUSE = Act.PASS, Act.REWRAP, Act.DECODE_ENCODE, Act.REFUSE


def uid(tail: str) -> str:
    return ROOT + tail


@pytest.mark.parametrize(
    ("stored", "shape", "asked", "act", "loses"),
    [
        # As it is stored (PS3.18 8.7.3.5.2), and what never leaves.
        (".1", CT, ".1", PASS, False),
        (".4.90", CT, ".4.90", PASS, False),
        (".4.50", CODED_US, ".4.50", PASS, False),
        (".4.92", CT, ".4.92", PASS, False),
        ("", CT, "", REFUSE, False),
        (".2", CT, ".2", REFUSE, False),
        (".1.99", CT, ".1.99", REFUSE, False),
        # Native frames in another wrapping: not a bit changes.
        ("", CT, ".1", REWRAP, False),
        (".2", CT, ".1", REWRAP, False),
        (".1.99", CT, ".1", REWRAP, False),
        (".1.98", CT, ".1", REWRAP, False),
        (".8.1", SEGMENTATION, ".1", REWRAP, False),
        (".1", SEGMENTATION, ".8.1", REWRAP, False),
        (".1", CT, ".1.98", REWRAP, False),
        ("", FLOAT, ".1", REWRAP, False),
        # A codestream of the narrower syntax is one of the wider.
        (".4.70", CT, ".4.57", REWRAP, False),
        (".4.57", CT, ".4.70", RECODE, False),
        (".4.90", CT, ".4.91", REWRAP, False),
        (".4.202", CT, ".4.201", REWRAP, False),
        (".4.201", CT, ".4.202", RECODE, False),
        (".4.50", CODED_US, ".4.111", REWRAP, False),
        (".4.111", CODED_US, ".4.50", REWRAP, False),
        # Lossless from anything that is decoded, what was lost before included.
        (".4.90", CT, ".1", RECODE, False),
        (".4.91", CT, ".4.90", RECODE, False),
        (".4.50", CODED_US, ".1", RECODE, False),
        (".4.50", CODED_US, ".4.80", RECODE, False),
        (".1", CT, ".4.201", RECODE, False),
        (".1", PET, ".4.70", RECODE, False),
        (".1", PALETTE, ".4.80", RECODE, False),
        (".1", PALETTE, ".4.90", RECODE, False),
        (".1", PALETTE, ".4.110", REFUSE, False),
        (".1", SEGMENTATION, ".5", RECODE, False),
        (".1", SEGMENTATION, ".4.90", RECODE, False),
        (".1", SEGMENTATION, ".4.80", REFUSE, False),
        (".1", DOSE, ".4.90", REFUSE, False),
        (".1", DOSE, ".5", REFUSE, False),
        (".1", DOSE.becoming(bits_stored=20), ".4.90", RECODE, False),
        (".1", FLOAT, ".4.90", REFUSE, False),
        (".1", FLOAT, ".1.98", REFUSE, False),
        (".1", FULL, ".4.201", RECODE, False),
        # Lossy by name only, once only, and never of indices or single bits.
        (".1", XA, ".4.50", RECODE, True),
        (".1", US, ".4.50", RECODE, True),
        (".1", CT, ".4.50", REFUSE, False),
        (".1", CT, ".4.91", RECODE, True),
        (".1", PET, ".4.203", RECODE, True),
        (".1", PET, ".4.81", REFUSE, False),
        (".1", PET, ".4.112", REFUSE, False),
        (".1", US, ".4.112", RECODE, True),
        (".1", PALETTE, ".4.50", REFUSE, False),
        (".1", PALETTE, ".4.91", REFUSE, False),
        (".4.80", PALETTE, ".4.81", REFUSE, False),
        (".4.90", PALETTE, ".4.91", REFUSE, False),
        (".1", SEGMENTATION, ".4.91", REFUSE, False),
        (".1", XA.becoming(bits_stored=7, high_bit=6), ".4.81", REFUSE, False),
        (".4.50", CODED_US, ".4.91", REFUSE, False),
        (".4.91", CT, ".4.203", REFUSE, False),
        (".4.81", CT, ".4.91", REFUSE, False),
        # Without a codec, or not of frames at all.
        (".4.92", CT, ".1", REFUSE, False),
        (".1", CT, ".4.92", REFUSE, False),
        (".1", CT, ".4.51", REFUSE, False),
        (".4.102", US, ".1", REFUSE, False),
        (".1", US, ".4.102", REFUSE, False),
        (".1", CT, ".4.94", REFUSE, False),
        (".1", US.becoming(photometric="CMYK", samples=4), ".4.90", REFUSE, False),
        (".1", US.becoming(photometric="HSV"), ".4.90", REFUSE, False),
        (".1", CT.becoming(bits_allocated=12), ".4.90", REFUSE, False),
    ],
)  # fmt: skip
def test_the_plan_of_a_frame(stored, shape, asked, act, loses):
    decision = plan(uid(stored), shape, uid(asked))

    assert (decision.act, decision.loses) == (act, loses)
    assert bool(decision.reason) == (act is REFUSE)


def test_unknown_syntaxes_are_refused():
    assert plan("1.2.3", CT, EXPLICIT_LE).act is REFUSE
    assert plan(EXPLICIT_LE, CT, "1.2.3").act is REFUSE


def test_only_what_is_named_and_lossy_loses_anything():
    for syntax in SYNTAXES:
        for stored in sorted(DECODABLE):
            for shape in (CT, PET, XA, US, PALETTE, SEGMENTATION, DOSE, FLOAT):
                decision = plan(stored, shape, syntax.uid)
                assert not decision.loses or (BY_UID[syntax.uid].lossy and not BY_UID[stored].lossy)


def test_what_is_planned_has_codecs():
    for syntax in SYNTAXES:
        for stored in SYNTAXES:
            for shape in (CT, XA, US, CODED_US, SEGMENTATION):
                decision = plan(stored.uid, shape, syntax.uid)
                if decision.act is RECODE:
                    assert stored.uid in DECODABLE and syntax.uid in ENCODABLE


def test_what_is_available_begins_with_what_is_stored_and_loses_nothing():
    for stored in (uid(".4.90"), uid(".4.50"), EXPLICIT_LE, ENCAPSULATED_UNCOMPRESSED, uid(".4.92")):
        offered = available(stored, CT if stored != uid(".4.50") else CODED_US)
        assert offered[0] == stored
        assert len(set(offered)) == len(offered)
        assert not any(BY_UID[one].lossy for one in offered[1:] if stored != uid(".4.50"))


@pytest.mark.parametrize("stored", [IMPLICIT_LE, DEFLATED, EXPLICIT_BE])
def test_what_does_not_leave_as_stored_is_available_in_explicit_little_endian_first(stored):
    assert available(stored, CT)[0] == EXPLICIT_LE
    assert available(stored, None) == (EXPLICIT_LE,)


def test_video_and_what_cannot_be_decoded_are_available_as_stored_only():
    for syntax in SYNTAXES:
        if syntax.form in (Form.VIDEO, Form.REFERENCE) and syntax.leaves_as_stored:
            assert available(syntax.uid, US) == (syntax.uid,)
    assert available(uid(".4.92"), CT) == (uid(".4.92"),)


def test_a_segmentation_is_available_in_what_takes_single_bits():
    assert available(EXPLICIT_LE, SEGMENTATION) == tuple(
        uid(tail) for tail in (".1", ".4.201", ".4.202", ".5", ".4.90", ".8.1")
    )


def test_a_recompressed_jpeg_is_available_as_the_jpeg_it_was():
    assert uid(".4.50") in available(uid(".4.111"), CODED_US)
    assert uid(".4.111") in available(uid(".4.50"), CODED_US)


@pytest.mark.parametrize(
    ("stored", "photometric", "decoded"),
    [
        (".4.50", "YBR_FULL_422", "RGB"),
        (".4.50", "YBR_FULL", "YBR_FULL"),
        (".1", "YBR_FULL_422", "YBR_FULL"),
        (".4.90", "YBR_RCT", "RGB"),
        (".4.91", "YBR_ICT", "RGB"),
        (".5", "YBR_FULL", "YBR_FULL"),
        (".5", "PALETTE COLOR", "PALETTE COLOR"),
    ],
)
def test_decoding_changes_the_colours_that_codecs_change(stored, photometric, decoded):
    assert decoded_photometric(uid(stored), photometric) == decoded
