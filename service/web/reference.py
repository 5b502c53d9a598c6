"""The reference for people: a page made of the OpenAPI document, complete in itself, without scripts."""

import base64
import functools
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.web.conditional import entity_tag, is_unchanged, require_match
from service.web.openapi import document
from service.web.request import base_url, house

_METHODS = ("get", "post", "put", "delete", "options")
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
nav a { margin-right: 1rem; } .quiet { color: var(--quiet); }
code, pre { font: 14px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { padding: .5rem .75rem; border: 1px solid var(--line); white-space: pre-wrap; }
details { border: 1px solid var(--line); border-radius: 4px; margin: .5rem 0; padding: .4rem .75rem; }
summary { cursor: pointer; } summary b { display: inline-block; min-width: 5rem; }
summary span { color: var(--quiet); margin-left: .75rem; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-top: 1px solid var(--line); }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
_POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; frame-ancestors 'none'"

type Node = Mapping[str, Any]


async def reference(request: Request) -> Response:
    """`GET /api`: what can be asked of the server, with the URLs that this client uses."""
    body = _page(base_url(request), house(request).settings.prefix)
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "ETag": entity_tag(body),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    require_match(request.headers, headers["ETag"])
    if is_unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="text/html")


@functools.lru_cache(16)
def _page(base: str, prefix: str) -> bytes:
    described: Node = orjson.loads(document(base, prefix))
    return "".join(_Page(described).lines()).encode()


class _Page:
    """The page of one OpenAPI document."""

    def __init__(self, described: Node) -> None:
        self._described = described

    def lines(self) -> Iterator[str]:
        info = self._described["info"]
        title = escape(info["title"])
        yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<title>{title}: HTTP interface</title><style>{_STYLE}</style></head><body>"
        yield f"<h1>{title}</h1><p>{escape(info.get('summary', ''))}</p>"
        yield f"<p>{escape(info.get('description', ''))}</p>"
        server = escape(self._described["servers"][0]["url"])
        yield f"<p>The DICOMweb root is <code>{server}</code>.</p><nav>"
        tags = self._described["tags"]
        yield from (f'<a href="#{escape(tag["name"])}">{escape(tag["name"])}</a>' for tag in tags)
        yield "</nav>"
        for tag in tags:
            name = escape(tag["name"])
            yield f'<h2 id="{name}">{name}</h2><p class="quiet">{escape(tag.get("description", ""))}</p>'
            yield from self._operations(tag["name"])
        yield "</body></html>\n"

    def _operations(self, tag: str) -> Iterator[str]:
        for path, item in self._described["paths"].items():
            servers = item.get("servers", self._described["servers"])
            for method in _METHODS:
                operation = item.get(method)
                if operation is not None and tag in operation.get("tags", ()):
                    url = servers[0]["url"].rstrip("/") + path
                    yield from self._operation(method.upper(), path, url, item, operation)

    def _operation(self, method: str, path: str, url: str, item: Node, operation: Node) -> Iterator[str]:
        name = escape(operation["operationId"])
        yield f'<details id="{name}"><summary><b>{method}</b><code>{escape(path)}</code>'
        yield f"<span>{escape(operation.get('summary', ''))}</span></summary>"
        if "description" in operation:
            yield f"<p>{escape(operation['description'])}</p>"
        taken = operation.get("requestBody", {}).get("content", {})
        yield f"<pre>{escape(_example(method, url, next(iter(taken), '')))}</pre>"
        parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
        yield from _table("Parameters", [self._parameter(one) for one in parameters])
        yield from _table("Takes", [(f"<code>{escape(kind)}</code>",) for kind in taken])
        answers = operation["responses"].items()
        yield from _table("Answers", [self._answer(status, told) for status, told in answers])
        yield "</details>"

    def _parameter(self, parameter: Node) -> tuple[str, ...]:
        one = self._resolved(parameter)
        schema = self._resolved(one.get("schema", {}))
        values = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", ()))
        needed = " (needed)" if one.get("required") else ""
        told = escape(one.get("description", ""))
        return f"<code>{escape(one['name'])}</code>", one["in"] + needed, f"{told} {values}"

    def _answer(self, status: str, answer: Node) -> tuple[str, ...]:
        one = self._resolved(answer)
        kinds = " ".join(f"<code>{escape(kind)}</code>" for kind in one.get("content", ()))
        return status, escape(one["description"]), kinds

    def _resolved(self, node: Node) -> Node:
        """What a reference of the document stands for."""
        while "$ref" in node:
            found: Any = self._described
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            node = found
        return node


def _table(title: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield f'<table><tr><th colspan="{len(rows[0])}">{title}</th></tr>'
        yield from ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        yield "</table>"


def _example(method: str, url: str, kind: str) -> str:
    """A command line that does it, with what stands in braces left to the reader."""
    words = ["curl"]
    if method != "GET":
        words.append(f"-X {method}")
    if kind:
        words.append(f"-H 'Content-Type: {kind}' --data-binary @file")
    return " ".join([*words, f"'{url}'"])
