"""The OpenAPI document of the bridge's HTTP."""

import functools
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from service.web.conditional import entity_tag, is_unchanged, require_match

# Made from openapi/bridge.yaml by `python -m openapi`; the wheel has it because it lies here.
DOCUMENT = Path(__file__).with_suffix(".json")


async def description(request: Request) -> Response:
    """`GET /openapi.json`: OpenAPI 3.1; its URLs are relative to where it is read from."""
    body = _document()
    headers = {"Cache-Control": "no-cache", "Content-Type": "application/json", "ETag": entity_tag(body)}
    require_match(request.headers, headers["ETag"])
    if is_unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers)


@functools.cache
def _document() -> bytes:
    return DOCUMENT.read_bytes()
