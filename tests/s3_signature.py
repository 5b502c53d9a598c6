"""Signature Version 4 as a store checks it, written from its description and not from a client."""

import base64
import hashlib
import hmac
import zlib
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

_SAFE = "-_.~"


def is_signed(
    method: str, raw_path: bytes, query: bytes, headers: Mapping[str, str], secrets: Mapping[str, str]
) -> bool:
    """Whether the Authorization header fits the request and one of `secrets` (access key → secret)."""
    kind, _, rest = headers.get("authorization", "").partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    if kind != "AWS4-HMAC-SHA256" or not {"Credential", "SignedHeaders", "Signature"} <= fields.keys():
        return False
    access, *scope = fields["Credential"].split("/")
    if access not in secrets or len(scope) != 4:
        return False
    names = fields["SignedHeaders"].split(";")
    if not {"host", "x-amz-content-sha256", "x-amz-date"} <= set(names):
        return False
    canonical = "\n".join(
        (
            method,
            raw_path.decode("ascii"),
            _canonical_query(query),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in names),
            "",
            ";".join(names),
            headers["x-amz-content-sha256"],
        )
    )
    to_sign = "\n".join(
        (kind, headers["x-amz-date"], "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest())
    )
    signing_key = ("AWS4" + secrets[access]).encode()
    for part in scope:
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    expected = hmac.new(signing_key, to_sign.encode(), "sha256").hexdigest()
    return hmac.compare_digest(expected, fields["Signature"])


def _canonical_query(query: bytes) -> str:
    pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True)
    return "&".join(f"{n}={v}" for n, v in sorted((quote(n, _SAFE), quote(v, _SAFE)) for n, v in pairs))


class BadDigest(Exception):
    """A body is not what its headers or its trailer say."""


def payload(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The object in `body`: chunks taken apart and checked with their trailer, a signed hash compared."""
    declared = headers.get("x-amz-content-sha256", "")
    if declared.startswith("STREAMING-"):
        return _unchunked(body, int(headers["x-amz-decoded-content-length"]))
    if declared != "UNSIGNED-PAYLOAD" and hashlib.sha256(body).hexdigest() != declared:
        raise BadDigest
    return body


def _unchunked(body: bytes, decoded_length: int) -> bytes:
    """What `aws-chunked` wraps: `size[;extension] CRLF bytes CRLF`, a chunk of size 0, then trailers."""
    found, position = bytearray(), 0
    while True:
        end = body.index(b"\r\n", position)
        size = int(body[position:end].split(b";")[0], 16)
        position = end + 2
        if not size:
            break
        found += body[position : position + size]
        position += size + 2
    for line in body[position:].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"x-amz-checksum-crc32" and value.strip().decode() != crc32(bytes(found)):
            raise BadDigest
    if len(found) != decoded_length:
        raise BadDigest
    return bytes(found)


def crc32(content: bytes) -> str:
    """The checksum as its header has it: big endian, in base 64."""
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
