"""What was odd about an instance when it came in: an extension of PS3.18."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Recalls
from service.dicom.errors import NotAcceptable
from service.dicom.media import DICOM_JSON, Representation, negotiate
from service.web.request import archive_of, house, resource_of, wanted

JSON = "application/json"
# A request for application/json is read as one for DICOM JSON, its newer name.
_OFFERS = (Representation(DICOM_JSON),)


async def findings(request: Request) -> Response:
    """`GET {instance}/findings`: a JSON array of sentences, empty where nothing was odd."""
    here = house(request)
    archive = archive_of(request)
    assert isinstance(archive, Recalls)
    if not negotiate(wanted(request), _OFFERS):
        raise NotAcceptable("Findings are available as JSON.", (JSON,))
    held = (await here.reads.run(archive.instances, resource_of(request)))[0]
    kept = await here.reads.run(archive.findings, held)
    return Response(orjson.dumps(list(kept)), headers={"Content-Type": JSON, "Vary": "Accept"})
