"""Errors as HTTP answers (PS3.18 8.5): the only place where one becomes the other."""

import logging
import traceback
from collections.abc import Mapping
from html import escape
from pathlib import Path

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.dicom import errors
from service.dicom.media import DICOM_JSON, Representation, negotiate, parse_accept
from service.web.conditional import PreconditionFailed, RangeNotSatisfiable
from service.web.journal import request_id

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
    PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.TooMany: 413,
    errors.TooCostly: 503,
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
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    500: "Internal error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}
_RETRY_AFTER_S = 5
_RETRY_COSTLY_S = 60  # the same search again would cost the same
_OWN = ("content-length", "content-type")  # of the JSON form
_PAGE_POLICY = "default-src 'none'; frame-ancestors 'none'"
# A request for application/json is read as one for DICOM JSON, its newer name.
_PROBLEM_FORMS = tuple(Representation(name) for name in ("application/problem+json", DICOM_JSON, "text/html"))


def http_status(error: errors.ArchiveError) -> int:
    """The status of the error's nearest kind in the table."""
    return next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, available: tuple[str, ...] = ()
) -> Response:
    """A problem document (RFC 9457): title, status, detail, and what would be available."""
    return _Problem(status, detail, headers or {}, available)


class _Problem(Response):
    """A problem document in JSON, or a page where the request would rather have one (PS3.18 8.5)."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str], available: tuple[str, ...]):
        self._detail = detail
        self._available = available
        body: dict[str, object] = {"title": _title(status), "status": status, "detail": detail}
        if available:
            body["available"] = list(available)
        told = {"Vary": "Accept", **headers}
        super().__init__(orjson.dumps(body), status, told, "application/problem+json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _wants_page(Headers(scope=scope).getlist("accept")):
            await super().__call__(scope, receive, send)
            return
        kept = {name: value for name, value in self.headers.items() if name not in _OWN}
        kept["Content-Security-Policy"] = _PAGE_POLICY
        page = Response(self._page(), self.status_code, kept, "text/html")
        await page(scope, receive, send)

    def _page(self) -> str:
        title, items = _title(self.status_code), "".join(f"<li>{escape(one)}</li>" for one in self._available)
        listed = f"<p>Available:</p><ul>{items}</ul>" if items else ""
        head = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        told = f"<h1>{self.status_code} {title}</h1><p>{escape(self._detail)}</p>{listed}"
        return f"{head}<body>{told}</body></html>"


def _title(status: int) -> str:
    return _TITLES.get(status, "Error")


def _wants_page(accept: list[str]) -> bool:
    """Whether a page is preferred; a client that takes JSON of any kind as gladly is no browser."""
    agreed = negotiate(parse_accept(accept), _PROBLEM_FORMS) if accept else []
    return bool(agreed) and agreed[0].media_type == "text/html"


async def answer_archive_error(request: Request, error: Exception) -> Response:
    """The answer to an error of our own tree: its text is safe to show."""
    assert isinstance(error, errors.ArchiveError)
    status = http_status(error)
    if status == 409 and request.method in ("GET", "HEAD"):
        status = 406  # a conflict is of what is sent: what is asked for has no representation that can go
    headers: dict[str, str] = {}
    if isinstance(error, errors.Busy):
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, errors.TooCostly):
        headers["Retry-After"] = str(_RETRY_COSTLY_S)
    elif status in (502, 503, 504):
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if status >= 500:
        route = request.scope.get("route_name", "-")
        _log.warning("id=%s error=%s route=%s", request_id(request.scope), type(error).__name__, route)
    available = error.available if isinstance(error, errors.NotAcceptable) else ()
    return problem(status, str(error), headers, available)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """The answer to what the router refuses: an unknown path, a method that is not offered."""
    assert isinstance(error, HTTPException)
    detail = {404: "No resource has this path.", 405: "This resource does not offer that method."}
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(name.strip() for name in headers["Allow"].split(",")))
    return problem(error.status_code, detail.get(error.status_code, error.detail), headers)


async def answer_fault(request: Request, error: Exception) -> Response:
    """The answer to a fault of our own: nothing of its text, which may hold anything, is shown or kept.

    An answer that has begun and cannot go on is none: the server breaks it off, and says so.
    """
    if isinstance(error.__cause__, errors.ArchiveError):
        return problem(500, str(error.__cause__))
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    _log.error("id=%s fault=%s at=%s", request_id(request.scope), type(error).__name__, where)
    error.told = True  # type: ignore[attr-defined] # for the server, which sees it too
    return problem(500, "Something went wrong here; the log tells more.")
