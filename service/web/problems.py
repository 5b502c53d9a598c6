"""Errors as HTTP answers (PS3.18 8.5): the only place where one becomes the other."""

import logging
import traceback
from collections.abc import Mapping
from pathlib import Path

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.dicom import errors
from service.web.conditional import RangeNotSatisfiable

_log = logging.getLogger("isthmus.web")

HTTP_STATUS: Mapping[type[errors.ArchiveError], int] = {
    errors.BadRequest: 400,
    errors.NotAuthorized: 403,
    errors.NotFound: 404,
    errors.NotAcceptable: 406,
    errors.ClassMismatch: 409,
    errors.ClassUnsupported: 409,
    errors.SyntaxUnsupported: 409,
    errors.NotDicom: 409,
    errors.Duplicate: 409,
    errors.TooLarge: 413,
    errors.TooMany: 413,
    errors.UnsupportedMedia: 415,
    RangeNotSatisfiable: 416,
    errors.Busy: 503,
    errors.StoreUnavailable: 503,
    errors.IndexUnavailable: 503,
    errors.UpstreamFailed: 502,
    errors.UpstreamTimeout: 504,
    errors.ArchiveError: 500,
}
_TITLES = {
    400: "Bad request",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timeout",
    409: "Conflict",
    413: "Content too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    500: "Internal error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}
_RETRY_AFTER_S = 5


def http_status(error: errors.ArchiveError) -> int:
    """The status of the error's nearest kind in the table."""
    return next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, available: tuple[str, ...] = ()
) -> Response:
    """A problem document (RFC 9457): title, status, detail, and what would be available."""
    body: dict[str, object] = {"title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    if available:
        body["available"] = list(available)
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/problem+json")


async def answer_archive_error(request: Request, error: Exception) -> Response:
    """The answer to an error of our own tree: its text is safe to show."""
    assert isinstance(error, errors.ArchiveError)
    status = http_status(error)
    headers: dict[str, str] = {}
    if isinstance(error, errors.Busy):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status in (502, 503, 504):
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if status >= 500:
        _log.warning("error=%s route=%s", type(error).__name__, request.scope.get("route_name", "-"))
    available = error.available if isinstance(error, errors.NotAcceptable) else ()
    return problem(status, str(error), headers, available)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """The answer to what the router refuses: an unknown path, a method that is not offered."""
    assert isinstance(error, HTTPException)
    detail = {404: "No resource has this path.", 405: "This resource does not offer that method."}
    return problem(error.status_code, detail.get(error.status_code, error.detail), error.headers)


async def answer_fault(request: Request, error: Exception) -> Response:
    """The answer to a fault of our own: nothing of its text, which may hold anything, is shown or kept."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    _log.error("fault=%s at=%s", type(error).__name__, where)
    error.told = True  # type: ignore[attr-defined] # for the server, which sees it too
    return problem(500, "Something went wrong here; the log tells more.")
