"""The peers: who they are, and whether they answer (C-ECHO, PS3.7 9.1.5)."""

import time
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from bridge import scu
from bridge.control.house import Faces, answer, body_of, house, path_of, peer_of
from bridge.peers import Peer
from bridge.scp.classes import VERIFICATION
from bridge.scu import Proposal
from bridge.settings import Limits
from bridge.upper.messages import AssociationLost, NoResponse
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE


async def peers(request: Request) -> Response:
    """`GET /peers`: those of `ISTHMUS_PEERS`, in the order of the file."""
    here = house(request)
    return answer([_told(peer, here.faces) for peer in here.settings.peers])


async def echo(request: Request) -> Response:
    """`POST /peers/{name}/echo`: whether the peer takes an association and answers a C-ECHO."""
    here, peer = house(request), peer_of(request)
    await body_of(request, needed=False)
    chosen = here.settings.control
    limits = replace(
        here.settings.limits, connect_s=chosen.echo_s, artim_s=chosen.echo_s, response_s=chosen.echo_s
    )
    theirs = scu.of_peer(limits, peer)
    most_s = theirs.connect_s + theirs.artim_s + theirs.response_s + theirs.linger_s + chosen.crossing_s
    with here.echoes.one():
        begun = time.perf_counter()
        status = await here.dimse.run(_echo(peer, limits, here.settings.ae_title), timeout_s=most_s)
    if status:
        raise UpstreamFailed(f"The peer answers the C-ECHO with {status:04X}H.")
    milliseconds = round(1000 * (time.perf_counter() - begun), 1)
    return answer({"peer": peer.name, "status": f"{status:04X}", "milliseconds": milliseconds})


async def _echo(peer: Peer, limits: Limits, calling: str) -> int:
    """The status; on the loop of the associations."""
    proposal = Proposal(VERIFICATION, (EXPLICIT_LE, IMPLICIT_LE))
    association = await scu.connect(peer, [proposal], limits, calling=calling)
    try:
        context = scu.context_for(association, VERIFICATION)
        if context is None:
            raise UpstreamFailed("The peer takes the association, and no C-ECHO on it.")
        timeout_s = scu.of_peer(limits, peer).response_s
        status = await scu.echo(association, context.context_id, timeout_s=timeout_s)
        await association.release()
        return status
    except NoResponse:
        raise UpstreamTimeout("The peer takes the association, and does not answer the C-ECHO.") from None
    except AssociationLost:
        raise UpstreamFailed("The peer ends the association instead of answering the C-ECHO.") from None
    finally:
        association.abort("given up")
        association.close()


def _told(peer: Peer, faces: Faces | None) -> dict[str, object]:
    told: dict[str, object] = {
        "name": peer.name,
        "ae_title": peer.ae_title,
        "host": peer.host,
        "port": peer.port,
        "services": sorted(peer.services),
        "retrieve": peer.retrieve,
        "transcode": peer.transcode,
        "prefer_syntax": peer.prefer_syntax,
        "tls": peer.tls is not None,
    }
    if faces is not None and faces.app(peer.name) is not None:
        told["dicom_web"] = path_of(peer) + "/dicom-web"
    return told
