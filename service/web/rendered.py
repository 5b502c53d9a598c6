"""Retrieve of rendered resources and of thumbnails (PS3.18 10.4.1.1.3 and 10.4.1.1.4)."""

from __future__ import annotations

import functools
import importlib
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from service.dicom.resource import Resource
from service.web.developing import Sheet, develop
from service.web.frames import frame_numbers
from service.web.request import archive_of, base_url, house, require_utf8, resource_of, wanted
from service.web.sending import Body

if TYPE_CHECKING:
    from service.web.views import Scene


async def retrieve_rendered(request: Request) -> Response:
    """`GET {resource}/rendered`, `{instance}/frames/{list}/rendered`: pictures, text, documents, video."""
    resource, numbers = resource_of(request), _numbers(request)
    short = partial(_shortly, request, resource, numbers) if resource.instance is not None else None
    return await develop(request, partial(_rendered, request, resource, numbers), short)


async def retrieve_thumbnail(request: Request) -> Response:
    """`GET {resource}/thumbnail`, `{instance}/frames/{list}/thumbnail`: one small picture."""
    return await develop(request, partial(_thumbnail, request, resource_of(request), _numbers(request)))


def _numbers(request: Request) -> list[int] | None:
    listed = request.path_params.get("frames")
    return None if listed is None else frame_numbers(listed)


@functools.cache
def load_views() -> None:
    """Load what rendering takes: numpy and the codecs, for which the start of the program need not wait."""
    importlib.import_module("service.web.views")


def _rendered(request: Request, resource: Resource, numbers: list[int] | None) -> Sheet | Body:
    load_views()
    from service.web.views import rendered

    return rendered(scene_of(request), resource, numbers)


def _shortly(request: Request, resource: Resource, numbers: list[int] | None) -> Sheet | None:
    """The plan of one image, if what it takes is loaded."""
    if not load_views.cache_info().currsize:
        return None
    from service.web.views import shortly_rendered

    return shortly_rendered(scene_of(request), resource, numbers)


def _thumbnail(request: Request, resource: Resource, numbers: list[int] | None) -> Sheet | Body:
    from service.web.views import thumbnail

    return thumbnail(scene_of(request), resource, numbers)


def scene_of(request: Request) -> Scene:
    """What `request` brings along for rendering."""
    from service.web.views import Scene

    here = house(request)
    return Scene(
        archive_of(request),
        wanted(request),
        base_url(request),
        here.settings.read_block,
        tuple(request.query_params.multi_items()),
        partial(require_utf8, request),
        here.workshop.shelf,
    )
