"""What somebody might send who means harm: in paths, queries, heads and bodies."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# What is put into paths, percent-encoded where the bytes could be in no target.
SEGMENTS = (
    b"..",
    b"%2e%2e",
    b"%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    b"..%5c..%5cwindows",
    b"%00",
    b"1.2.3%00.dcm",
    b"%0d%0aX-Injected:%201",
    b"%c0%ae%c0%ae",
    b"%ff%fe",
    b"%ZZ",
    b"%F0%9F%92%A9",
    b"'%20OR%20'1'='1",
    b"1.2.3'%3bDROP%20TABLE%20instance--",
    b"<script>alert(1)</script>",
    b"{{7*7}}",
    b"${jndi:ldap://127.0.0.1/x}",
    b"1" * 4000,
    b"-1",
    b"99999999999999999999999",
    b"1.2.3;a=b",
    b"",
)
VALUES = (
    b"",
    b"*",
    b"%00",
    b"%0d%0aSet-Cookie:%20a=b",
    b"%ff%fe%fd",
    b"\xc3\xa4",
    b"*" * 500,
    b"?" * 500,
    b"-1",
    b"1e309",
    b"99999999999999999999999999",
    b"NaN",
    b"'%22%3b--",
    b"<svg/onload=alert(1)>",
    b"%5c%5c%5c",
    b"file:///etc/passwd",
    b"http://127.0.0.1:1/",
    b"%ED%A0%80",
    b"19000101-",
    b"-",
)
PARAMETERS = (
    b"limit",
    b"offset",
    b"includefield",
    b"fuzzymatching",
    b"orderby",
    b"accept",
    b"charset",
    b"PatientName",
    b"PatientID",
    b"StudyDate",
    b"StudyTime",
    b"StudyInstanceUID",
    b"00100010",
    b"00400275.00400009",
    b"viewport",
    b"window",
    b"quality",
    b"annotation",
    b"iccprofile",
    b"requestType",
    b"objectUID",
    b"contentType",
    b"transferSyntax",
    b"frameNumber",
    b"region",
    b"share",
    b"access_token",
    b"status",
)
QUERIES = (
    b"&" * 3000,
    b"=" * 3000,
    b"a=1&" * 3000,
    b"limit=1&limit=2",
    b"%",
    b"%00=%00",
    b"__proto__[x]=1",
    b"includefield=" + b"00080018," * 2000,
    b"requestType=WADO&studyUID=1.2&seriesUID=1.2&objectUID=1.2&contentType=text/html",
    *(b"%s=%s" % (PARAMETERS[at % len(PARAMETERS)], value) for at, value in enumerate(VALUES * 3)),
)
HEADERS: tuple[tuple[bytes, ...], ...] = (
    (b"Accept: " + b"a/b," * 2000,),
    (b"Accept: */*;q=-1, */*;q=NaN, ;;;,/",),
    (b'Accept: multipart/related; type="application/dicom"; transfer-syntax=../../x; boundary="\x80"',),
    (b'Accept: application/dicom+json; q="', b"Accept-Charset: *;q=0"),
    (b"Accept-Encoding: gzip;q=1e400, identity;q=0, *;q=0",),
    (b"Accept-Language: " + b"x" * 8000,),
    (b"Range: bytes=0-0," + b"1-1," * 2000,),
    (b"Range: bytes=-99999999999999999999999",),
    (b"Range: bytes=5-1", b"If-Range: \xff"),
    (b'If-None-Match: "' + b"x" * 8000,),
    (b"If-None-Match: " + b'"a",' * 1500,),
    (b"If-Match: *", b"If-Unmodified-Since: 99999999999"),
    (b"If-Modified-Since: Thu, 99 Foo 99999 99:99:99 GMT",),
    (b"Origin: null",),
    (b"Origin: http://evil.example", b"Access-Control-Request-Method: DELETE"),
    (b"Forwarded: for=evil;host=evil.example;proto=javascript",),
    (b"X-Forwarded-Host: evil.example", b"X-Forwarded-Proto: javascript", b"X-Forwarded-Prefix: /../"),
    (b"X-Forwarded-For: " + b"1.2.3.4, " * 900,),
    (b"X-Original-URL: /metrics", b"X-Rewrite-URL: /metrics", b"X-HTTP-Method-Override: DELETE"),
    (b"X-Request-ID: \xff\xfe<script>",),
    (
        b"traceparent: 00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-ff",
        b"tracestate: " + b"a=b," * 900,
    ),
    (b"Cookie: " + b"a=b; " * 1500,),
    (b"Content-Type: \xff/\xfe; boundary=",),
    (b'Content-Type: multipart/related; boundary="' + b"-" * 200 + b'"',),
    (b"Content-Encoding: gzip, gzip, gzip, br", b"Expect: 200-ok"),
    (b"Content-Type: application/dicom+xml; charset=utf-7",),
)
# Of somebody who has no business here.
CREDENTIALS: tuple[tuple[bytes, ...], ...] = (
    (),
    (b"Authorization: ",),
    (b"Authorization: Basic",),
    (b"Authorization: Basic YWxpY2U6d3Jvbmc=",),
    (b"Authorization: Basic \xff\xff\xff",),
    (b"Authorization: Basic " + b"QUFB" * 2000,),
    (b"Authorization: Bearer " + b"A" * 20_000,),
    (b"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",),
    (b"Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6InNoYXJlK2p3dCJ9.e30.AAAA",),
    (b"Authorization: Bearer \xc3\xa9",),
    (b"Authorization: Negotiate YII=",),
    (b"authorization: Basic YTpi", b"Authorization: Basic YTpi"),
    (b"Proxy-Authorization: Basic YWxpY2U6c2VjcmV0", b"X-Forwarded-User: alice", b"Remote-User: alice"),
    (b"Cookie: token=alice", b"X-Api-Key: alice"),
)
_DEEP = 20_000
DOCUMENTS = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[null]",
    b"[" * _DEEP,
    b'{"a":' * _DEEP,
    b'"' + b"\\ud800" * 10 + b'"',
    b"1e99999",
    b"9" * 5000,
    b"\xff\xfe{\x00}\x00",
    b'{"resources": 5, "source": [], "items": {}, "expires_in": "x"}',
    b'{"resources": [[]], "expires_in": NaN}',
    b'{"resources": [{"study": "../../etc/passwd"}], "expires_in": -1}',
    b'{"resources": [{"study": "1.2.3", "series": null, "instance": {}}], "expires_in": 1e400}',
    json.dumps({"resources": [{"study": "1.2.3"}] * 5000}).encode(),
    json.dumps([{"00100010": {"vr": "PN", "Value": [{"Alphabetic": ["x"]}]}, "00400100": 5}]).encode(),
    json.dumps([{"00400100": {"vr": "SQ", "Value": [None, 5, {"00400001": {"vr": []}}]}}]).encode(),
    json.dumps([{"00080018": {"vr": "UI", "BulkDataURI": "http://127.0.0.1:1/x"}}]).encode(),
)
_LAUGHS = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 9))
XML = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">'
    + _LAUGHS
    + b"]><NativeDicomModel>&a8;</NativeDicomModel>"
)
_PART = b"--b\r\nContent-Type: %s\r\n\r\n%s\r\n"


def _related(inner: bytes, *parts: bytes) -> tuple[list[bytes], bytes]:
    kind = b'Content-Type: multipart/related; type="%s"; boundary=b' % inner
    return [kind], b"".join(_PART % (inner, part) for part in parts) + b"--b--"


def bodies(file: bytes) -> Iterator[tuple[list[bytes], bytes]]:
    """Bodies that could be stored, or nearly so, with the headers that say what they are."""
    for document in DOCUMENTS:
        yield [b"Content-Type: application/json"], document
        yield _related(b"application/dicom+json", document)
    yield _related(b"application/dicom+xml", XML)
    for bad in (b"", b"MZ" + file[2:300], file[: len(file) // 2], file[:132] + b"\xff" * 400, bytes(5000)):
        yield _related(b"application/dicom", bad, bad)
        yield [b"Content-Type: application/dicom"], bad
    bomb = bytes(8 << 20)
    for coding, packed in (
        (b"gzip", gzip.compress(gzip.compress(bomb))),
        (b"gzip", gzip.compress(bomb)),
        (b"deflate", zlib.compress(bomb)),
        (b"gzip", b"\x1f\x8b" + b"\xff" * 50),
    ):
        yield [b"Content-Type: application/dicom", b"Content-Encoding: " + coding], packed
    yield [b"Content-Type: multipart/related; boundary=b"], b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\n--b--"
    yield (
        [b"Content-Type: multipart/form-data; boundary=b"],
        b'--b\r\nContent-Disposition: form-data; name="../x"',
    )
    yield [b"Content-Type: text/plain"], file


@dataclass(frozen=True, slots=True)
class Request:
    """A request, but for the credentials."""

    method: bytes
    target: bytes
    headers: tuple[bytes, ...] = ()
    body: bytes = b""


def requests(
    method: str, path: str, there: Mapping[str, str], file: bytes, *, turn: int, turns: int = 6
) -> Iterator[Request]:
    """Hostile requests of a route: its parameters are of what is `there` but for one that is not.

    Of queries and heads every route has those whose `turn` it is, out of so many `turns`.
    """
    verb = method.encode("ascii")
    names = re.findall(r"{(\w+)(?::path)?}", path)

    def target(**instead: bytes) -> bytes:
        values = {name: value.encode("ascii") for name, value in there.items()} | instead
        return re.sub(rb"{(\w+)(?::path)?}", lambda one: values[one[1].decode()], path.encode("ascii"))

    plain = target()
    for name in names:
        yield from (Request(verb, target(**{name: segment})) for segment in SEGMENTS)
    at = turn % turns
    yield from (Request(verb, plain + b"?" + query) for query in QUERIES[at::turns])
    yield from (Request(verb, plain, headers) for headers in HEADERS[at::turns])
    if verb in (b"POST", b"PUT"):
        yield from (Request(verb, plain, tuple(headers), body) for headers, body in bodies(file))
