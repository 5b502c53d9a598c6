"""Deletion of studies, series and instances: outside of PS3.18, as vendors' servers offer it."""

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Forgets
from service.web.request import house, resource_of


async def forget(request: Request) -> Response:
    """`DELETE` of a study, series or instance: 204 when nobody can find it any more."""
    here = house(request)
    archive = here.archive
    assert isinstance(archive, Forgets)
    await here.stores.run(archive.forget, resource_of(request))
    return Response(status_code=204)
