"""Negotiation of associations, as PS3.8 and section 2 of the conformance statement have it."""

import contextlib

import pytest

from bridge.upper import pdu
from bridge.upper.associate import ProposedContext, Role, UserInformation
from service.dicom import syntaxes
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    VERIFICATION,
    Bridge,
    RawPeer,
    StartBridge,
    a_context,
    a_request,
    an_echo,
    still_serves,
)

JPEG = "1.2.840.10008.1.2.4.50"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def answered(bridge: Bridge, *contexts: ProposedContext, **given) -> dict[int, tuple[int, str]]:
    with RawPeer(bridge.address) as peer:
        accepted = peer.associate(*contexts, **given)
    return {context.context_id: (context.result, context.syntax) for context in accepted.contexts}


def test_a_peer_that_echoes_is_answered_and_released(bridge: Bridge):
    assert still_serves(bridge)

    assert bridge.report().result == "released"


@pytest.mark.parametrize(
    "proposed",
    [
        (EXPLICIT_LE, JPEG, IMPLICIT_LE),
        (JPEG, EXPLICIT_LE, IMPLICIT_LE),
        (IMPLICIT_LE, JPEG, EXPLICIT_LE),
        (BIG_ENDIAN, IMPLICIT_LE, EXPLICIT_LE),
        (BIG_ENDIAN, IMPLICIT_LE),
        (BIG_ENDIAN,),
        (IMPLICIT_LE,),
        ("1.2.3.4", EXPLICIT_LE),
        ("1.2.840.113619.5.2", IMPLICIT_LE),
    ],
)
def test_the_requestors_order_decides_with_implicit_and_big_endian_last(bridge: Bridge, proposed):
    known = [uid for uid in proposed if uid in syntaxes.BY_UID]
    ranked = sorted(known, key=lambda uid: (uid == BIG_ENDIAN, uid == IMPLICIT_LE, known.index(uid)))

    assert answered(bridge, a_context(1, CT_IMAGE, *proposed)) == {1: (0, ranked[0])}


def test_every_transfer_syntax_that_is_stored_is_accepted(bridge: Bridge):
    contexts = [a_context(2 * n + 1, CT_IMAGE, uid) for n, uid in enumerate(syntaxes.BY_UID)]

    assert answered(bridge, *contexts) == {c.context_id: (0, c.syntaxes[0]) for c in contexts}


def test_transfer_syntaxes_that_are_not_stored_are_refused(bridge: Bridge):
    contexts = [a_context(2 * n + 1, CT_IMAGE, uid) for n, uid in enumerate(sorted(syntaxes.REFUSED))]

    assert answered(bridge, *contexts) == {c.context_id: (4, c.syntaxes[0]) for c in contexts}


def test_private_and_unknown_classes_are_stored_and_others_are_not(bridge: Bridge):
    abstracts = {
        "1.3.12.2.1107.5.9.1": 0,  # Siemens CSA
        "1.2.840.10008.5.1.4.1.1.999.7": 0,
        "2.25.4711": 0,
        VERIFICATION: 0,
        FIND: 3,
        "1.2.840.10008.1.20.1": 3,
        "not a class": 3,
    }
    contexts = [a_context(2 * n + 1, abstract) for n, abstract in enumerate(abstracts)]

    results = answered(bridge, *contexts)

    assert {c.abstract: results[c.context_id][0] for c in contexts} == abstracts


def test_common_extended_negotiation_names_the_service(bridge: Bridge):
    user = UserInformation(service_classes=((FIND, "1.2.840.10008.4.2"), ("1.2.3", "1.2.840.10008.4.1")))

    results = answered(bridge, a_context(1, FIND), a_context(3, "1.2.3"), user=user)

    assert results == {1: (0, EXPLICIT_LE), 3: (3, EXPLICIT_LE)}


def test_a_peer_that_wants_to_be_scp_gets_what_it_surely_reads(bridge: Bridge):
    role = Role(CT_IMAGE, scu=False, scp=True)

    with RawPeer(bridge.address) as peer:
        accepted = peer.associate(
            a_context(1, CT_IMAGE, JPEG, EXPLICIT_LE), user=UserInformation(roles=(role,))
        )

    assert [context.syntax for context in accepted.contexts] == [EXPLICIT_LE]
    assert accepted.user.roles == (role,)


def test_the_acceptance_says_who_we_are_and_what_we_take(bridge: Bridge):
    user = UserInformation(
        max_length=0,
        window=(8, 8),
        identity=True,
        identity_answer=True,
        extended=((CT_IMAGE, b"\2\0\0"),),
    )

    with RawPeer(bridge.address) as peer:
        accepted = peer.associate(user=user)

    assert accepted.user.max_length == 131072
    assert accepted.user.window == (1, 1)
    assert accepted.user.identity_answer
    assert accepted.user.implementation_class.startswith("2.25.")
    assert accepted.user.implementation_version == "ISTHMUS_0_1"
    assert (accepted.called.strip(), accepted.calling.strip()) == (b"ANY-SCP", b"RAW-SCU")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"version": 2}, (1, 2, 2)),
        ({"application_context": "1.2.3"}, (1, 1, 2)),
        ({"calling": b"   "}, (1, 1, 3)),
        ({"calling": b"R\xd6NTGEN"}, (1, 1, 3)),
        ({"calling": b"A\\B"}, (1, 1, 3)),
        ({"called": b"\0\0\0\0"}, (1, 1, 7)),
        ({"called": "ÄRZTE".encode()}, (1, 1, 7)),
    ],
)
def test_a_request_that_cannot_be_met_is_rejected(bridge: Bridge, given, word):
    with RawPeer(bridge.address) as peer:
        peer.send(a_request(**given).encode())
        rejection = peer.rejection()

    assert (rejection.result, rejection.source, rejection.reason) == word
    assert bridge.report().result == "rejected {}/{}/{}".format(*word)


def test_the_called_title_is_compared_without_case_when_it_is_checked(start_bridge: StartBridge):
    bridge = start_bridge(ae_title="Isthmus", check_called_ae=True)

    with RawPeer(bridge.address) as peer, RawPeer(bridge.address) as stranger:
        peer.associate(called=b" ISTHMUS\0")
        stranger.send(a_request(called=b"OTHER").encode())

        assert stranger.rejection().reason == 7


def test_too_many_associations_of_one_caller_are_rejected_for_a_while(start_bridge: StartBridge):
    bridge = start_bridge(associations_per_caller=3, associations=5)
    with contextlib.ExitStack() as peers:

        def calling(title: bytes) -> RawPeer:
            peer = peers.enter_context(RawPeer(bridge.address))
            peer.send(a_request(calling=title).encode())
            return peer

        kept = [calling(b"A") for _ in range(3)]
        assert [peer.next_pdu()[0] for peer in kept] == [2, 2, 2]
        crowding = calling(b"A").rejection()
        others = [calling(b"B").next_pdu()[0] for _ in range(2)]
        over_all = calling(b"C").rejection()
        kept[0].send(pdu.release_rq())
        assert kept[0].next_pdu()[0] == pdu.Kind.RELEASE_RP
        while (result := bridge.report().result) != "released":  # those that were rejected may end before
            assert result == "rejected 2/3/2"

        assert others == [2, 2]
        assert (crowding.result, crowding.source, crowding.reason) == (2, 3, 2)
        assert (over_all.result, over_all.source, over_all.reason) == (2, 3, 2)
        assert calling(b"A").next_pdu()[0] == pdu.Kind.ASSOCIATE_AC


def test_128_contexts_are_all_answered(bridge: Bridge):
    contexts = [a_context(2 * n + 1, f"1.2.3.{n}") for n in range(128)]

    assert len(answered(bridge, *contexts)) == 128


def test_a_context_id_for_two_proposals_is_aborted(bridge: Bridge):
    contexts = [a_context((2 * n + 1) % 256, f"1.2.3.{n}") for n in range(300)]

    with RawPeer(bridge.address) as peer:
        peer.send(a_request(*contexts).encode())

        assert peer.abort_reason() == pdu.Fault.INVALID_PARAMETER


def test_the_same_proposal_twice_is_answered_once(bridge: Bridge):
    assert answered(bridge, a_context(1), a_context(1)) == {1: (0, EXPLICIT_LE)}


def test_odd_contexts_are_refused_by_themselves(bridge: Bridge):
    contexts = [a_context(2), ProposedContext(3, CT_IMAGE, ()), ProposedContext(5, "", (EXPLICIT_LE,))]

    results = answered(bridge, *contexts, a_context(7))

    assert {number: result for number, (result, _) in results.items()} == {2: 2, 3: 4, 5: 3, 7: 0}


def test_data_on_a_context_that_was_not_accepted_aborts(bridge: Bridge):
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, FIND), a_context(3))
        peer.send(an_echo(1))

        assert peer.next_pdu()[0] == pdu.Kind.ABORT
    assert bridge.report().result.startswith("aborted")


def test_a_response_keeps_to_the_peers_maximum_length(bridge: Bridge):
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, VERIFICATION), user=UserInformation(max_length=64))
        peer.send(an_echo(1))
        lengths = []
        control = 0
        while control != pdu.COMMAND | pdu.LAST:
            _, body = peer.next_pdu()
            control = body[5]
            lengths.append(len(body))

    assert len(lengths) > 1
    assert max(lengths) <= 64
