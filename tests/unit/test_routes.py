"""How stored instances get into the contexts that a peer accepted."""

import pytest

from bridge.sending.routes import (
    AS_STORED,
    Accepted,
    Landing,
    Listed,
    accepted_by,
    asks,
    bundles,
    landing,
    passes,
)
from bridge.upper.negotiation import Context
from service.dicom.resource import InstanceKey
from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, ROOT

CT = "1.2.840.10008.5.1.4.1.1.2"
J2K, J2K_LOSSY, JPEG, SV1, RLE, H264 = (
    ROOT + tail for tail in (".4.90", ".4.91", ".4.50", ".4.70", ".5", ".4.102")
)
ANY = (AS_STORED,)


def listed(*syntaxes: str, sop_class: str = CT, number: int = 1) -> Listed:
    return Listed(InstanceKey("1.1", "1.2", f"1.3.{number}"), sop_class, syntaxes)


def accepted(*syntaxes: str) -> Accepted:
    return {CT: {syntax: 2 * number + 1 for number, syntax in enumerate(syntaxes)}}


@pytest.mark.parametrize(
    ("had", "taken", "expected"),
    [
        # as stored before all others
        ((EXPLICIT_LE, J2K), (EXPLICIT_LE,), (AS_STORED, EXPLICIT_LE)),
        ((J2K, EXPLICIT_LE), (EXPLICIT_LE, J2K), (AS_STORED, EXPLICIT_LE)),
        ((JPEG, EXPLICIT_LE), (JPEG,), ANY),
        # Implicit VR is made of Explicit VR
        ((EXPLICIT_LE, J2K), (IMPLICIT_LE,), (AS_STORED, EXPLICIT_LE)),
        ((J2K, EXPLICIT_LE), (IMPLICIT_LE,), (EXPLICIT_LE,)),
        # without loss
        ((J2K, EXPLICIT_LE), (RLE, SV1), (RLE, SV1)),
        ((J2K, SV1, RLE), (RLE, SV1), (SV1, RLE)),
        ((J2K, EXPLICIT_LE, J2K_LOSSY), (J2K_LOSSY, JPEG), ()),
        ((JPEG, EXPLICIT_LE), (J2K_LOSSY,), ()),
        # lossy stored: decoded
        ((JPEG, EXPLICIT_LE), (EXPLICIT_LE, IMPLICIT_LE), (EXPLICIT_LE,)),
        # what a server tells may be less than what it can
        ((J2K,), (EXPLICIT_LE,), (EXPLICIT_LE,)),
        # video
        ((H264,), (H264,), ANY),
        ((H264,), (EXPLICIT_LE, IMPLICIT_LE), ()),
        # nobody makes these
        ((EXPLICIT_LE,), (EXPLICIT_BE, DEFLATED), ()),
        ((EXPLICIT_BE,), (EXPLICIT_LE,), (EXPLICIT_LE,)),
        # nothing is told
        ((), (EXPLICIT_LE, J2K), (AS_STORED, EXPLICIT_LE, J2K)),
        ((), (J2K_LOSSY,), ANY),
        ((), (), ()),
        # an unknown transfer syntax
        (("1.2.3",), (EXPLICIT_LE,), ()),
        (("1.2.3",), ("1.2.3",), ANY),
    ],
)
def test_an_instance_is_asked_for_in_what_loses_nothing(had, taken, expected):
    assert asks(listed(*had), accepted(*taken), transcode=True, prefer=None) == expected


@pytest.mark.parametrize(
    ("had", "taken", "expected"),
    [
        ((J2K, EXPLICIT_LE), (EXPLICIT_LE, IMPLICIT_LE), ()),
        ((J2K, EXPLICIT_LE), (EXPLICIT_LE, J2K), ANY),
        ((EXPLICIT_LE, J2K), (IMPLICIT_LE,), (AS_STORED, EXPLICIT_LE)),
        ((EXPLICIT_LE, J2K), (J2K,), ()),
        ((), (IMPLICIT_LE,), (AS_STORED, EXPLICIT_LE)),
    ],
)
def test_without_transcoding_only_the_heads_of_elements_change(had, taken, expected):
    assert asks(listed(*had), accepted(*taken), transcode=False, prefer=None) == expected


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [(RLE, (RLE, EXPLICIT_LE)), (JPEG, (EXPLICIT_LE, RLE)), (SV1, (EXPLICIT_LE, RLE))],
)
def test_the_preferred_one_comes_first_where_it_was_accepted_and_loses_nothing(prefer, expected):
    taken = accepted(EXPLICIT_LE, RLE, JPEG)

    assert asks(listed(J2K, EXPLICIT_LE, RLE), taken, transcode=True, prefer=prefer) == expected


def test_what_is_stored_counts_before_what_is_preferred():
    taken = accepted(EXPLICIT_LE, RLE, J2K)

    assert asks(listed(J2K, EXPLICIT_LE, RLE), taken, transcode=True, prefer=RLE)[0] == AS_STORED


@pytest.mark.parametrize(
    ("had", "asked", "expected"),
    [
        ((J2K,), (AS_STORED,), True),
        ((EXPLICIT_LE,), (EXPLICIT_LE,), True),
        ((J2K,), (EXPLICIT_LE,), False),
        ((), (AS_STORED, EXPLICIT_LE), True),
        ((J2K,), (), False),
    ],
)
def test_what_needs_no_codec_may_come_with_others(had, asked, expected):
    assert passes(listed(*had), asked) is expected


def test_objects_land_where_their_syntax_was_accepted():
    taken = accepted(IMPLICIT_LE, J2K)

    assert landing(taken, CT, J2K) == Landing(3)
    assert landing(taken, CT, IMPLICIT_LE) == Landing(1)
    assert landing(taken, CT, EXPLICIT_LE) == Landing(1, implicit=True)
    assert landing(accepted(IMPLICIT_LE, EXPLICIT_LE), CT, EXPLICIT_LE) == Landing(3)
    assert landing(taken, CT, RLE) is None
    assert landing(taken, "1.2.3", J2K) is None


def test_only_contexts_in_which_the_peer_serves_count():
    contexts = [
        Context(1, CT, EXPLICIT_LE),
        Context(3, CT, IMPLICIT_LE, peer_serves=True),
        Context(5, CT, IMPLICIT_LE, peer_serves=True),
    ]

    assert accepted_by(contexts) == {CT: {IMPLICIT_LE: 3}}


def test_each_class_is_proposed_as_stored_and_in_what_everybody_reads():
    members = [listed(J2K, number=1), listed(EXPLICIT_LE, J2K, number=2), listed(J2K, number=3)]

    (only,) = bundles(members, prefer=None)

    assert only.listed == tuple(members)
    assert [(each.abstract, each.syntaxes) for each in only.proposals] == [
        (CT, (J2K,)),
        (CT, (EXPLICIT_LE,)),
        (CT, (EXPLICIT_LE, IMPLICIT_LE)),
    ]


def test_the_preferred_syntax_is_proposed_first_and_common_ones_where_nothing_is_told():
    (only,) = bundles([listed()], prefer=RLE)

    proposed = [each.syntaxes for each in only.proposals]
    assert proposed[0] == (RLE,)
    assert (JPEG,) in proposed and (J2K,) in proposed
    assert proposed[-1] == (EXPLICIT_LE, IMPLICIT_LE)
    assert len(set(proposed)) == len(proposed)


def test_more_contexts_than_an_association_has_make_several():
    members = [listed(J2K, sop_class=f"1.2.{number}", number=number) for number in range(1, 101)]

    made = bundles(members, prefer=None)

    assert [len(each.proposals) for each in made] == [128, 72]
    assert [one for each in made for one in each.listed] == members
