"""OHIF below `/ohif`: an unpacked build of the viewer, served as it is and told where this server is.

Builds are made for the root of a host and for another server: the places where they say so are written
anew on the way out (`index.html`, `app-config.js`, the public path of scripts and style sheets).
"""

import mimetypes
import os
import re
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.dicom.errors import NotFound
from service.web.coding import agreed_coding, encoded
from service.web.conditional import entity_tag, is_unchanged, require_match
from service.web.request import base_url, house
from service.web.rim import Crossing
from service.web.signing_in import Issuer, issuer_of

MOUNT = "/ohif"

_PAGE, _CONFIGURATION = "index.html", "app-config.js"
_LARGEST_IN_MEMORY = 32 << 20
_KEPT_BYTES = 48 << 20
_BLOCK = 1 << 20
_TEXTS = frozenset((".css", ".html", ".js", ".json", ".mjs", ".svg", ".txt", ".wasm", ".map"))
# A name that holds a hash of what the file holds never stands for anything else.
_HASHED = re.compile(r"(?:^|\.)[0-9a-f]{16,}\.")
_LINK = re.compile(rb'((?:href|src)=|PUBLIC_URL ?= ?)"/(?!/)')
_PUBLIC_PATH = re.compile(rb'((?:\b__webpack_require__|\b[a-zA-Z_$])\.p ?= ?)"/"')
_STYLE_LINK = re.compile(rb"url\(/(?!/)")
_MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
                ".wasm": "application/wasm", ".html": "text/html; charset=utf-8"}  # fmt: skip
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Together they give the viewer memory that its workers share.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# The viewer compiles scripts and WebAssembly as it goes, and talks to nobody but this server and the issuer.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:%(issuer)s; media-src 'self' blob:; frame-src 'self' blob:%(issuer)s; "
    "object-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


type _Telling = partial[bytes]
type _Key = tuple[object, int, str, str]


@dataclass(frozen=True, slots=True)
class _Coded:
    """A file in memory, written anew for one place and in one content coding."""

    body: bytes
    tag: str


class Ohif:
    """The files of one build, listed once: a request names one of them or a view of the viewer."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.relative_to(folder).as_posix(): path for path in _below(folder)}
        self._kept: OrderedDict[_Key, _Coded] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    async def answer(self, request: Request) -> Response:
        """`GET /ohif/{path}`: a file of the build, or the page for the views that the viewer has.

        `NotFound` for a name that looks like a file's and is none.
        """
        root, base = _places(request)
        issuer = issuer_of(house(request).settings.access)
        name = request.path_params.get("path", "")
        if name not in self._files:
            if "." in name.rpartition("/")[2]:
                raise NotFound("The build of OHIF has no such file.")
            if not request.scope["path"].endswith("/") and not name:
                return Response(status_code=308, headers={"Location": root + "/"})
            name = _PAGE
            if name not in self._files:
                raise NotFound("The build of OHIF has no index.html.")
        path = self._files[name]
        coding = agreed_coding(request) if path.suffix in _TEXTS else ""
        caching = "public, max-age=31536000, immutable" if _HASHED.search(path.name) else "no-cache"
        headers = {**_HEADERS, "Cache-Control": caching, "Vary": "Accept-Encoding"}
        headers["Content-Security-Policy"] = _POLICY % {"issuer": f" {issuer.origin}" if issuer else ""}
        headers["Content-Type"] = _MEDIA_TYPES.get(path.suffix) or (
            mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        )
        return await self._sent(request, name, coding, headers, partial(_told, root, base, issuer))

    async def _sent(
        self, request: Request, name: str, coding: str, headers: dict[str, str], told: _Telling
    ) -> Response:
        reads, path = house(request).reads, self._files[name]
        state = await reads.run(_state, path)
        if state.st_size > _LARGEST_IN_MEMORY:
            headers["ETag"] = entity_tag(state.st_size, state.st_mtime_ns)
            require_match(request.headers, headers["ETag"])
            if is_unchanged(request.headers, headers["ETag"]):
                return Response(status_code=304, headers=headers)
            headers["Content-Length"] = str(state.st_size)
            return StreamingResponse(_blocks(reads, path, request.method == "HEAD"), headers=headers)
        key = (told.args, state.st_mtime_ns, name, coding)
        found = self._remembered(key)
        if found is None:
            found = await reads.run(self._coded, key, told)
        headers |= {"ETag": found.tag, **({"Content-Encoding": coding} if coding else {})}
        require_match(request.headers, found.tag)
        if is_unchanged(request.headers, found.tag):
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers=headers)

    def _remembered(self, key: _Key) -> _Coded | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _coded(self, key: _Key, told: _Telling) -> _Coded:
        *_, name, coding = key
        plain = told(name, self._files[name].read_bytes())
        body = b"".join(encoded([plain], coding))
        made = _Coded(body, entity_tag(plain, coding))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._kept_bytes += len(body)
            while self._kept_bytes > _KEPT_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= len(oldest.body)
        return made


def _places(request: Request) -> tuple[str, str]:
    """The path of the viewer and the DICOMweb root, as this client sees them, behind whatever proxy."""
    base, prefix = base_url(request), house(request).settings.prefix
    path = urlsplit(base).path
    return path.removesuffix(prefix) + MOUNT, path


def _told(root: str, base: str, issuer: Issuer | None, name: str, body: bytes) -> bytes:
    """A file with the viewer's own place in it, and this server's."""
    own = root.encode()
    if name == _CONFIGURATION:
        return _configuration(root, base, issuer)
    if name == _PAGE:
        return _LINK.sub(rb'\1"' + own + b"/", body)
    if name.endswith((".js", ".mjs")):
        return _PUBLIC_PATH.sub(rb'\1"' + own + b'/"', body)
    if name.endswith(".css"):
        return _STYLE_LINK.sub(b"url(" + own + b"/", body)
    return body


def _configuration(root: str, base: str, issuer: Issuer | None) -> bytes:
    """What OHIF reads first: one source of data, which is this server, and how one signs in."""
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "isthmus",
        "configuration": {
            "friendlyName": "Isthmus",
            "name": "isthmus",
            "qidoRoot": base,
            "wadoRoot": base,
            "wadoUriRoot": base.rpartition("/")[0] + "/wado",
            "qidoSupportsIncludeField": True,
            "supportsFuzzyMatching": True,
            "supportsWildcard": True,
            "imageRendering": "wadors",
            "thumbnailRendering": "thumbnail",
            "enableStudyLazyLoad": True,
            "dicomUploadEnabled": True,
            "omitQuotationForMultipartRequest": True,
            "singlepart": "bulkdata,video,pdf",
            "bulkDataURI": {"enabled": True},
        },
    }
    settings = {
        "routerBasename": root,
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": True,
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "defaultDataSourceName": "isthmus",
        "dataSources": [source],
    }
    if issuer is not None:
        settings["oidc"] = [_sign_in(issuer)]
    return b"window.config = " + orjson.dumps(settings) + b";\n"


def _sign_in(issuer: Issuer) -> dict[str, object]:
    """What OHIF hands to oidc-client-ts; addresses are below the viewer's own."""
    return {
        "authority": issuer.authority,
        "client_id": issuer.client_id,
        "scope": issuer.scope,
        "response_type": "code",
        "redirect_uri": "/callback",
        "silent_redirect_uri": "/silent-refresh.html",
        "post_logout_redirect_uri": "/",
        "automaticSilentRenew": True,
        "revokeAccessTokenOnSignout": True,
    }


def _below(folder: Path) -> Iterator[Path]:
    """The files in a folder; what a link leads to outside of it, and what is no file, is none of them."""
    whole = folder.resolve()
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if path.is_file() and path.resolve().is_relative_to(whole):
                yield path


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as cause:
        raise NotFound("The build of OHIF has lost this file.") from cause


async def _blocks(reads: Crossing, path: Path, head: bool) -> AsyncIterator[bytes]:
    if head:
        return
    with path.open("rb") as file:
        while block := await reads.go_on(file.read, _BLOCK):
            yield block
