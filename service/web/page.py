"""The page for people: static files beside this module, and what it has to know of the server.

It uses nothing but the DICOMweb interface and the bridge's, as any client may.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Forgets
from service.dicom.dictionary import names
from service.dicom.errors import NotFound
from service.web.coding import agreed_coding, encoded
from service.web.conditional import entity_tag, is_unchanged, require_match
from service.web.ohif import MOUNT
from service.web.request import archive_of, house
from service.web.signing_in import issuer_of, told_of

FOLDER = Path(__file__).with_name("page")

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_DICTIONARY = "dictionary.json"
_CACHING = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
_SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page in one content coding."""

    body: bytes
    media_type: str
    tag: str


async def page(request: Request) -> Response:
    """`GET /`, and of the folder that the DICOMweb root lies in: the page itself."""
    path = str(request.scope["path"])
    if not path.endswith("/"):
        # Its links are relative, so that it works below any path; so is this one.
        return Response(status_code=308, headers={"Location": path.rpartition("/")[2] + "/"})
    return _answer(request, "index.html", {"Content-Security-Policy": _policy(request)})


async def asset(request: Request) -> Response:
    """`GET /page/{name}`: a script, a style sheet, the icon, or the names of attributes."""
    return _answer(request, request.path_params["name"], {"Content-Security-Policy": "default-src 'none'"})


async def configuration(request: Request) -> Response:
    """`GET /config.json`: where DICOMweb root, bridge and OHIF are, how one signs in, and what can be done.

    What this server has itself is told relative to the page.
    """
    here = house(request)
    settings = here.settings
    folder = str(request.scope["path"]).rpartition("/")[0]
    told = {
        "dicomweb": settings.prefix.removeprefix(folder).lstrip("/"),
        "bridge": settings.bridge_url or None,
        "ohif": settings.ohif_url or (MOUNT.strip("/") if settings.ohif else None),
        "deletes": isinstance(archive_of(request), Forgets),
        "shares": settings.access.share_key_file is not None,
        "auth": told_of(settings.access),
    }
    body = orjson.dumps(told)
    return _conditional(request, Asset(body, _TYPES[".json"], entity_tag(body)), {}, {})


def _answer(request: Request, name: str, headers: Mapping[str, str]) -> Response:
    if name not in _files():
        raise NotFound("The page has no such file.")
    coding = agreed_coding(request)
    found = _asset(name, coding)
    return _conditional(request, found, headers, {"Content-Encoding": coding} if coding else {})


def _conditional(
    request: Request, found: Asset, headers: Mapping[str, str], coded: Mapping[str, str]
) -> Response:
    told = {**_CACHING, **_SAFETY, **headers, "ETag": found.tag}
    require_match(request.headers, found.tag)
    if is_unchanged(request.headers, found.tag):
        return Response(status_code=304, headers=told)
    return Response(found.body, headers={**told, **coded, "Content-Type": found.media_type})


@functools.cache
def _asset(name: str, coding: str) -> Asset:
    body = orjson.dumps(names()) if name == _DICTIONARY else (FOLDER / name).read_bytes()
    return Asset(b"".join(encoded([body], coding)), _TYPES[Path(name).suffix], entity_tag(body, coding))


@functools.cache
def _files() -> frozenset[str]:
    """The names of the files that are handed out: a request's is only compared with them."""
    return frozenset({_DICTIONARY, *(path.name for path in FOLDER.iterdir() if path.suffix in _TYPES)})


def _policy(request: Request) -> str:
    """What the page may load: its own files, answers of this server, of the bridge, and of the issuer.

    Where requests have tokens, which pictures' own have not, it fetches pictures and shows those.
    """
    settings = house(request).settings
    bridge = urlsplit(settings.bridge_url)
    issuer = issuer_of(settings.access)
    origins = (f" {bridge.scheme}://{bridge.netloc}" if bridge.netloc else "") + (
        f" {issuer.origin}" if issuer else ""
    )
    fetched = " blob:" if issuer or settings.access.share_key_file else ""
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'" + fetched,
        "media-src": "'self'" + fetched,
        "connect-src": "'self'" + origins,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
