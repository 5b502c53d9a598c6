"""Content codings (RFC 9110 8.4): zstd where it is offered, else gzip, for bodies of text."""

from collections.abc import Iterable, Iterator

import zstandard
from isal import isal_zlib
from starlette.requests import Request

_ZSTD, _GZIP = "zstd", "gzip"
_ZSTD_LEVEL = 1
_GZIP_LEVEL = 2  # of isal: as fast as its fastest, and a third smaller
_GZIP_WINDOW = 31
WORTH = 1024  # bytes; shorter bodies are sent as they are


def agreed_coding(request: Request) -> str:
    """`zstd`, `gzip`, or nothing, as the request's Accept-Encoding has it."""
    weights: dict[str, float] = {}
    for element in ",".join(request.headers.getlist("accept-encoding")).split(","):
        name, _, parameters = element.partition(";")
        weights[name.strip().lower()] = _weight(parameters)
    best = max((_ZSTD, _GZIP), key=lambda name: weights.get(name, weights.get("*", 0.0)))
    return best if weights.get(best, weights.get("*", 0.0)) > 0 else ""


def encoded(blocks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """`blocks` in a coding, as one frame or member: many clients stop after the first."""
    if coding == _ZSTD:
        packing = zstandard.ZstdCompressor(_ZSTD_LEVEL).compressobj()
        for block in blocks:
            yield packing.compress(block)
        yield packing.flush()
    elif coding == _GZIP:
        zipping = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
        for block in blocks:
            yield zipping.compress(block)
        yield zipping.flush()
    else:
        yield from blocks


def headers_of(coding: str) -> dict[str, str]:
    """What an answer in this coding says of it."""
    told = {
        "Vary": "Accept, Accept-Charset, Accept-Encoding, Authorization",
        "Cache-Control": "private, no-cache",
    }
    return {**told, "Content-Encoding": coding} if coding else told


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
