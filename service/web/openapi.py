"""The OpenAPI document of everything that is offered over HTTP."""

import functools
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.web.conditional import entity_tag, is_unchanged, require_match
from service.web.request import base_url, house

# Made from openapi/openapi.yaml by `python -m openapi`; the wheel has it because it lies here.
DOCUMENT = Path(__file__).with_suffix(".json")


async def description(request: Request) -> Response:
    """`GET /openapi.json`: OpenAPI 3.1, with the URLs that this client uses."""
    body = document(base_url(request), house(request).settings.prefix)
    headers = {"Cache-Control": "no-cache", "Content-Type": "application/json", "ETag": entity_tag(body)}
    require_match(request.headers, headers["ETag"])
    if is_unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers)


@functools.lru_cache(16)
def document(base: str, prefix: str) -> bytes:
    """The document in JSON, `base` in place of its DICOMweb root, the root of the server in place of `/`."""
    described = orjson.loads(DOCUMENT.read_bytes())
    root = base.removesuffix(prefix) if base.endswith(prefix) else "/"
    places = {described["servers"][0]["url"]: base, "/": root}
    for item in (described, *described["paths"].values()):
        for server in item.get("servers", ()):
            server["url"] = places[server["url"]]
    return orjson.dumps(described)
