"""A small store that speaks S3: files below a folder, signatures checked, faults on demand."""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from starlette.types import Message, Receive, Scope, Send

from tests.s3_signature import BadDigest, crc32, is_signed, payload

ACCESS, SECRET, BUCKET = "test-access", "test-secret", "pictures"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_LEAST_PART = 5 << 20


@dataclass
class Fault:
    """What goes wrong `times` times, with requests of one operation (`*`: any) after `after` of them.

    `kind`: `refuse` answers `status` without doing anything; `deny_success` does it and answers `status`;
    `hidden` does nothing and answers 200 with an error in its body; `cut` breaks the connection halfway
    through the answer's body; `stall` answers never; `whole` answers a range with everything and 200.
    """

    operation: str
    kind: str
    times: int = 1 << 30
    status: int = 503
    code: str = "SlowDown"
    after: int = 0


class Broken(Exception):
    """Raised to have the server break the connection."""


@dataclass
class Request:
    """One request, its body read and its signature good."""

    method: str
    operation: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class S3Double:
    """The ASGI application. What came is in `seen`, what is to go wrong in `faults`."""

    def __init__(self, root: Path, *, bucket: str = BUCKET, region: str = "us-east-1") -> None:
        self.bucket = bucket
        self.region = region
        self.secrets = {ACCESS: SECRET}
        self.faults: list[Fault] = []
        self.seen: list[Request] = []
        self.frozen_list: list[str] | None = None
        self.ignores_places = False
        self._objects = root / "objects"
        self._uploads = root / "uploads"
        self._objects.mkdir(parents=True)
        self._uploads.mkdir()

    # For tests

    def count(self, operation: str) -> int:
        """How many requests of this operation came."""
        return sum(one.operation == operation for one in self.seen)

    def keys(self) -> list[str]:
        """The keys of all objects."""
        kept = (path for path in self._objects.glob("*.json") if path.with_suffix("").exists())
        return sorted(json.loads(path.read_text())["key"] for path in kept)

    def content(self, key: str) -> bytes:
        """An object's bytes."""
        return self._path(key).read_bytes()

    def put(self, key: str, content: bytes) -> None:
        """Have an object there without a request."""
        self._keep(key, [content], {"etag": '"x"'})

    def uploads(self) -> list[str]:
        """The identifiers of multipart uploads that were begun and not ended."""
        return sorted(path.name for path in self._uploads.glob("*"))

    def forget_uploads(self) -> None:
        """Lose all multipart uploads."""
        for upload in self.uploads():
            _remove(self._uploads / upload)

    def freeze_list(self) -> None:
        """List from here on what is there at this moment."""
        self.frozen_list = self.keys()

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        body = await _body(receive)
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        raw_path = raw_path.split(b"?")[0]
        bucket, _, key = unquote(raw_path.decode()).removeprefix("/").partition("/")
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        if not is_signed(scope["method"], raw_path, scope["query_string"], headers, self.secrets):
            await _send(send, scope["method"], _error(403, "SignatureDoesNotMatch"))
            return
        operation = _operation(scope["method"], key, query)
        try:
            request = Request(scope["method"], operation, key, query, headers, payload(body, headers))
        except BadDigest:
            await _send(send, scope["method"], _error(400, "BadDigest"))
            return
        self.seen.append(request)
        if bucket != self.bucket:
            await _send(send, request.method, _error(404, "NoSuchBucket"))
            return
        await self._respond(request, send, receive)

    async def _respond(self, request: Request, send: Send, receive: Receive) -> None:
        fault = self._fault(request.operation)
        kind = fault.kind if fault is not None else ""
        if kind == "stall":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if fault is not None and kind == "refuse":
            await _send(send, request.method, _error(fault.status, fault.code))
            return
        if kind == "hidden":
            await _send(send, request.method, _error(200, "InternalError"))
            return
        answer = self._answer(request, whole=kind == "whole")
        if fault is not None and kind == "deny_success":
            answer = _error(fault.status, fault.code)
        await _send(send, request.method, answer, cut=kind == "cut")

    def _fault(self, operation: str) -> Fault | None:
        for fault in self.faults:
            if fault.operation in ("*", operation) and fault.times > 0:
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _answer(self, request: Request, *, whole: bool) -> Answer:
        if request.operation == "GetObject":
            return self._get(request, whole=whole)
        table: Mapping[str, Callable[[Request], Answer]] = {
            "HeadBucket": lambda _: Answer(headers={"x-amz-bucket-region": self.region}),
            "HeadObject": self._head,
            "PutObject": self._put,
            "DeleteObject": self._delete,
            "ListObjectsV2": self._list,
            "CreateMultipartUpload": self._create,
            "UploadPart": self._part,
            "CompleteMultipartUpload": self._complete,
            "AbortMultipartUpload": self._abort,
            "ListMultipartUploads": self._list_uploads,
        }
        answer = table.get(request.operation)
        return answer(request) if answer is not None else _error(501, "NotImplemented")

    # Objects

    def _path(self, key: str) -> Path:
        return self._objects / hashlib.sha256(key.encode()).hexdigest()  # keys are longer than names may be

    def _head(self, request: Request) -> Answer:
        path = self._path(request.key)
        if not path.exists():
            return _error(404, "NoSuchKey")
        kept: dict[str, str] = json.loads(path.with_suffix(".json").read_text())["kept"]
        return Answer(
            headers={
                "Content-Length": str(path.stat().st_size),
                "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
                "ETag": kept.pop("etag"),
                **kept,
            }
        )

    def _get(self, request: Request, *, whole: bool) -> Answer:
        answer = self._head(request)
        if answer.status != 200:
            return answer
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        if wanted is None or whole:
            answer.body = self.content(request.key)
            return answer
        size = int(answer.headers["Content-Length"])
        first = int(wanted[1])
        last = min(int(wanted[2] or size - 1), size - 1)
        if first >= size:
            return _error(416, "InvalidRange")
        with self._path(request.key).open("rb") as file:
            file.seek(first)
            answer.status, answer.body = 206, file.read(last + 1 - first)
        answer.headers["Content-Length"] = str(len(answer.body))
        answer.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return answer

    def _put(self, request: Request) -> Answer:
        checksum = request.headers.get("x-amz-checksum-crc32")
        if checksum is not None and checksum != crc32(request.body):
            return _error(400, "BadDigest")
        tag = f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'
        self._keep(request.key, [request.body], {"etag": tag, **_metadata(request)})
        return Answer(headers={"ETag": tag})

    def _keep(self, key: str, pieces: Iterable[bytes], kept: dict[str, str]) -> None:
        path = self._path(key)
        path.with_suffix(".json").write_text(json.dumps({"key": key, "kept": kept}))
        temporary = self._uploads.parent / secrets.token_hex(8)
        with temporary.open("wb") as file:
            file.writelines(pieces)
        temporary.rename(path)

    def _delete(self, request: Request) -> Answer:
        path = self._path(request.key)
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        return Answer(204)

    def _list(self, request: Request) -> Answer:
        query = request.query
        prefix, most = query.get("prefix", ""), int(query.get("max-keys", "1000"))
        after = query.get("continuation-token") or query.get("start-after", "")
        if self.ignores_places:
            after = ""
        keys = self.frozen_list if self.frozen_list is not None else self.keys()
        found = [key for key in keys if key.startswith(prefix) and key > after]
        page, more = found[:most], len(found) > most
        coding = query.get("encoding-type", "")
        items = "".join(f"<Contents>{self._listed(key, coding)}</Contents>" for key in page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        told = f"<EncodingType>{coding}</EncodingType>" if coding else ""
        return _xml(
            "ListBucketResult",
            f"<Name>{self.bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{told}{token}{items}",
        )

    def _listed(self, key: str, coding: str) -> str:
        path = self._path(key)
        size, made, tag = 0, time.time(), '"x"'
        if path.exists():
            size, made = path.stat().st_size, path.stat().st_mtime
            tag = json.loads(path.with_suffix(".json").read_text())["kept"]["etag"]
        return (
            f"<Key>{_coded(key, coding)}</Key><LastModified>{_iso(made)}</LastModified>"
            f"<ETag>{escape(tag)}</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass>"
        )

    # Multipart uploads

    def _create(self, request: Request) -> Answer:
        upload = secrets.token_hex(12)
        folder = self._uploads / upload
        folder.mkdir()
        (folder / "begun").write_text(json.dumps({"key": request.key, "kept": _metadata(request)}))
        inner = f"<Bucket>{self.bucket}</Bucket><Key>{escape(request.key)}</Key><UploadId>{upload}</UploadId>"
        return _xml("InitiateMultipartUploadResult", inner)

    def _part(self, request: Request) -> Answer:
        folder = self._uploads / request.query["uploadId"]
        if not folder.exists():
            return _error(404, "NoSuchUpload")
        (folder / request.query["partNumber"]).write_bytes(request.body)
        return Answer(headers={"ETag": _part_tag(request.body)})

    def _complete(self, request: Request) -> Answer:
        folder = self._uploads / request.query["uploadId"]
        if not folder.exists():
            return _error(404, "NoSuchUpload")
        named = [
            (part.findtext("{*}PartNumber", ""), part.findtext("{*}ETag", ""))
            for part in ElementTree.fromstring(request.body).findall("{*}Part")
        ]
        parts = [folder / number for number, _ in named if (folder / number).exists()]
        tags = [_part_tag(part.read_bytes()).strip('"') for part in parts]
        if [tag.strip('"') for _, tag in named] != tags:
            return _error(400, "InvalidPart")
        if any(part.stat().st_size < _LEAST_PART for part in parts[:-1]):
            return _error(400, "EntityTooSmall")
        begun = json.loads((folder / "begun").read_text())
        self._keep(begun["key"], (part.read_bytes() for part in parts), {"etag": '"many-1"', **begun["kept"]})
        _remove(folder)
        return _xml("CompleteMultipartUploadResult", f"<Key>{escape(request.key)}</Key><ETag>many-1</ETag>")

    def _abort(self, request: Request) -> Answer:
        folder = self._uploads / request.query["uploadId"]
        if not folder.exists():
            return _error(404, "NoSuchUpload")
        _remove(folder)
        return Answer(204)

    def _list_uploads(self, request: Request) -> Answer:
        prefix, coding = request.query.get("prefix", ""), request.query.get("encoding-type", "")
        told = f"<EncodingType>{coding}</EncodingType>" if coding else ""
        items = (
            f"<Upload><Key>{_coded(key, coding)}</Key><UploadId>{upload}</UploadId>"
            f"<Initiated>{_iso(begun)}</Initiated></Upload>"
            for upload, key, begun in self._begun()
            if key.startswith(prefix)
        )
        inner = f"{told}<IsTruncated>false</IsTruncated>{''.join(items)}"
        return _xml("ListMultipartUploadsResult", inner)

    def _begun(self) -> Iterator[tuple[str, str, float]]:
        for upload in self.uploads():
            begun = self._uploads / upload / "begun"
            yield upload, json.loads(begun.read_text())["key"], begun.stat().st_mtime


def _operation(method: str, key: str, query: Mapping[str, str]) -> str:
    if not key:
        if "uploads" in query:
            return "ListMultipartUploads"
        return {"HEAD": "HeadBucket", "GET": "ListObjectsV2"}.get(method, "Other")
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return names.get(method, "Other")
    if "uploads" in query:
        return "CreateMultipartUpload"
    names = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
    return names.get(method, "Other")


def _metadata(request: Request) -> dict[str, str]:
    kept = ("content-type",)
    return {n: v for n, v in request.headers.items() if n.startswith("x-amz-meta-") or n in kept}


def _coded(key: str, coding: str) -> str:
    return quote(key, "/") if coding == "url" else escape(key)


def _part_tag(part: bytes) -> str:
    return f'"{hashlib.md5(part, usedforsecurity=False).hexdigest()}"'


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _xml(root: str, inner: str, status: int = 200) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?><{root}>{inner}</{root}>'.encode()
    return Answer(status, body, {"Content-Type": "application/xml"})


def _error(status: int, code: str) -> Answer:
    return _xml("Error", f"<Code>{code}</Code><Message>{code}</Message>", status)


async def _body(receive: Receive) -> bytes:
    found = bytearray()
    while True:
        message: Message = await receive()
        found += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(found)


async def _send(
    send: Callable[[Message], Awaitable[None]], method: str, answer: Answer, *, cut: bool = False
) -> None:
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    body = b"" if method == "HEAD" else answer.body
    if cut:
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        raise Broken
    await send({"type": "http.response.body", "body": body})
