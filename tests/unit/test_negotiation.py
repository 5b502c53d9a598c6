"""What an acceptance of our request makes of it (PS3.7 D.3.3), without a connection."""

import pytest

from bridge.upper.associate import (
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    Role,
    UserInformation,
)
from bridge.upper.negotiation import Context, agreed

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX = "1.2.840.10008.1.2.1"


def made(asked: UserInformation, answered: UserInformation) -> Context:
    """The context of a request with `asked` that is accepted with `answered`."""
    request = AssociateRequest(b"CALLED", b"CALLING", (ProposedContext(1, CT, (SYNTAX,)),), asked)
    accepted = AssociateAccept(b"CALLED", b"CALLING", (AnsweredContext(1, 0, SYNTAX),), answered)
    return agreed(request, accepted)[1]


def roles(*scu_scp: int) -> UserInformation:
    return UserInformation(roles=(Role(CT, bool(scu_scp[0]), bool(scu_scp[1])),) if scu_scp else ())


@pytest.mark.parametrize(
    ("asked", "answered", "peer_serves", "we_serve"),
    [
        ((), (), True, False),
        ((1, 1), (1, 1), True, True),
        ((0, 1), (0, 1), False, True),
        ((1, 1), (1, 0), True, False),
        ((1, 1), (0, 0), False, False),
        ((0, 1), (), True, False),  # PS3.7 D.3.3.4: no answer means the roles that go without saying
        ((), (0, 1), True, False),  # what was not asked for does not count
        ((), (1, 1), True, False),
        ((0, 1), (1, 1), False, True),  # and no more than that
    ],
)
def test_roles_are_those_that_both_want(asked, answered, peer_serves: bool, we_serve: bool):
    context = made(roles(*asked), roles(*answered))

    assert (context.peer_serves, context.we_serve) == (peer_serves, we_serve)


@pytest.mark.parametrize(("asked", "answered", "extended"), [(b"\1", b"\1", b"\1"), (b"", b"\1", b"")])
def test_extended_negotiation_counts_where_we_have_begun_it(asked: bytes, answered: bytes, extended: bytes):
    def of(info: bytes) -> UserInformation:
        return UserInformation(extended=((CT, info),) if info else ())

    assert made(of(asked), of(answered)).extended == extended
