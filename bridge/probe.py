"""Whether a bridge is well, asked as a peer would ask: by C-ECHO (PS3.4 A)."""

import asyncio

from bridge import scu
from bridge.peers import Peer
from bridge.settings import Limits
from bridge.upper.messages import AssociationLost, NoResponse
from bridge.upper.requestor import Rejected
from service.dicom.errors import ArchiveError
from service.dicom.syntaxes import IMPLICIT_LE

_CALLING = "ISTHMUS_HEALTH"
_VERIFICATION = "1.2.840.10008.1.1"
_WAIT_S = 4.0
_LIMITS = Limits(connect_s=_WAIT_S, artim_s=_WAIT_S, pdu_s=_WAIT_S, response_s=_WAIT_S, linger_s=0.5)


def echo(host: str, port: int, called: str) -> tuple[bool, str]:
    """Whether the bridge at `host` and `port` answers at all, and what: half a sentence.

    One that refuses the association or the C-ECHO, because it is full perhaps, lives all the same.
    """
    try:
        return True, asyncio.run(_echo(Peer("bridge", called, host, port)))
    except Rejected as refusal:
        return True, f"answers: {_within(refusal)}"
    except (ArchiveError, AssociationLost, NoResponse) as error:
        return False, f"gives no answer: {_within(error)}"


async def _echo(peer: Peer) -> str:
    proposals = [scu.Proposal(_VERIFICATION, (IMPLICIT_LE,))]
    association = await scu.connect(peer, proposals, _LIMITS, calling=_CALLING)
    try:
        context = scu.context_for(association, _VERIFICATION)
        if context is None:
            return "takes associations, but no C-ECHO"
        status = await scu.echo(association, context.context_id, timeout_s=_WAIT_S)
        return f"answers C-ECHO with {status:04X}H"
    finally:
        await association.release()


def _within(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
