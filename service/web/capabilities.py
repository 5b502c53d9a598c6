"""Retrieve Capabilities (PS3.18 8.9): what can be asked of the server, as WADL or as JSON (annexes G, H)."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.dicom.errors import NotAcceptable
from service.dicom.media import DICOM_JSON, Representation, negotiate
from service.dicom.record import BASE_SLOT
from service.web.conditional import entity_tag, is_unchanged, require_match
from service.web.request import base_url, wanted
from service.web.transactions import DESCRIBED, JSON, WADL, Parameter, Transaction

# Method and path of each route below the DICOMweb root.
type Offered = tuple[tuple[str, str], ...]
type Attributes = Mapping[str, str]

# A request for application/json is read as one for DICOM JSON, its newer name.
_OFFERS = {Representation(WADL): WADL, Representation(DICOM_JSON): JSON}
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = "http://wadl.dev.java.net/2009/02"


async def capabilities(request: Request) -> Response:
    """`OPTIONS {root}/`: the tree of resources with their methods, parameters and representations."""
    agreed = negotiate(wanted(request), tuple(_OFFERS))
    if not agreed:
        raise NotAcceptable("The Capabilities Description is available so.", (WADL, JSON))
    media_type = _OFFERS[agreed[0]]
    body = document(request.app.state.offered, media_type).replace(
        BASE_SLOT, base_url(request).encode("ascii")
    )
    headers = {
        "Allow": "GET, HEAD, OPTIONS",
        "Cache-Control": "no-cache",
        "Content-Type": media_type,
        "ETag": entity_tag(body),
        "Vary": "Accept",
    }
    require_match(request.headers, headers["ETag"])
    if is_unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers)


@dataclass(slots=True)
class Element:
    """One element of a Capabilities Description: its attributes, and its children by their names."""

    attributes: Attributes
    children: dict[str, list["Element"]] = field(default_factory=dict)

    def add(self, kind: str, /, **attributes: str) -> "Element":
        """A new last child."""
        child = Element(attributes)
        self.children.setdefault(kind, []).append(child)
        return child

    def put(self, kind: str, /, **attributes: str) -> "Element":
        """The child with these attributes, made if it is not there."""
        same = (child for child in self.children.get(kind, ()) if child.attributes == attributes)
        return next(same, None) or self.add(kind, **attributes)


@functools.lru_cache(8)
def document(offered: Offered, media_type: str) -> bytes:
    """The Capabilities Description of the routes `offered`, with a slot for the DICOMweb root."""
    application = Element({})
    resources = application.add("resources", base=BASE_SLOT.decode())
    for method, path in sorted(offered, key=lambda route: route[1]):
        if method != "OPTIONS":  # PS3.18 Table H-1: it does not describe itself
            _describe(_resource(resources, path), method, DESCRIBED.get((method, path)))
    if media_type == JSON:
        # orjson writes the slot's byte as an escape.
        return orjson.dumps({"application": _plain(application)}).replace(b"\\u0000", BASE_SLOT)
    application.attributes = {"xmlns": _NAMESPACE}
    return "".join((_DECLARATION, *_lines("application", application))).encode()


def _resource(resources: Element, path: str) -> Element:
    """The element of the resource at `path`, each segment inside the one before it."""
    at = resources
    for segment in path.strip("/").split("/"):
        at = at.put("resource", path=segment)
        if segment.startswith("{") and "param" not in at.children:
            at.add("param", name=segment.strip("{}"), style="template", required="true")
    return at


def _describe(resource: Element, method: str, transaction: Transaction | None) -> None:
    if transaction is None:
        resource.add("method", name=method)
        return
    element = resource.add("method", name=method, id=transaction.identity)
    request = element.add("request")
    if transaction.gives:
        accept = request.add("param", name="Accept", style="header", default=transaction.gives[0])
        for media_type in transaction.gives:
            accept.add("option", value=media_type)
    if 304 in transaction.successes:
        request.add("param", name="If-None-Match", style="header")
        request.add("param", name="If-Match", style="header")
    if 206 in transaction.successes:
        request.add("param", name="Range", style="header")
    for parameter in transaction.parameters:
        _add_parameter(request, parameter)
    for media_type in transaction.takes:
        request.add("representation", mediaType=media_type)
    answer = element.add("response", status=_statuses(transaction.successes))
    for media_type in transaction.gives:
        answer.add("representation", mediaType=media_type)
    element.add("response", status=_statuses(transaction.failures))


def _add_parameter(request: Element, parameter: Parameter) -> None:
    attributes = {"name": parameter.name, "style": "query"}
    if parameter.required:
        attributes["required"] = "true"
    if parameter.repeating:
        attributes["repeating"] = "true"
    if parameter.default is not None:
        attributes["default"] = parameter.default
    element = request.add("param", **attributes)
    for value in parameter.values:
        element.add("option", value=value)


def _statuses(statuses: Sequence[int]) -> str:
    return " ".join(map(str, statuses))


# Elements that occur once at most; of the others JSON has an array, also for a single one (annex G).
_SINGLE = frozenset(("resources", "request"))


def _plain(element: Element) -> dict[str, object]:
    plain: dict[str, object] = {f"@{name}": value for name, value in element.attributes.items()}
    for name, children in element.children.items():
        plain[name] = _plain(children[0]) if name in _SINGLE else [_plain(child) for child in children]
    return plain


def _lines(name: str, element: Element) -> Iterator[str]:
    # The slot is no character of XML: it is written as it is, and filled in before anybody reads it.
    attributes = "".join(f" {key}={quoteattr(value)}" for key, value in element.attributes.items())
    if not element.children:
        yield f"<{name}{attributes}/>"
        return
    yield f"<{name}{attributes}>"
    for kind, children in element.children.items():
        for child in children:
            yield from _lines(kind, child)
    yield f"</{name}>"
