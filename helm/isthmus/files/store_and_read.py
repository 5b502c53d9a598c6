"""Stores an instance, finds it, reads it back and deletes it, and has every bridge answer a C-ECHO.

Run by `helm test` in the image: `python store_and_read.py --web=ROOT --dimse=TITLE@HOST:PORT …`. With
`--guarded` a proxy has to refuse who does not say who they are, and nothing is stored. Ends with 1 and a
sentence where something is amiss.
"""

import argparse
import asyncio
import json
import ssl
import struct
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_VERIFICATION = "1.2.840.10008.1.1"
_PATIENCE_S = 30.0


class Amiss(Exception):
    """What was expected and what came."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Test what is named; the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--web", metavar="ROOT")
    parser.add_argument("--guarded", action="store_true")
    parser.add_argument("--dimse", metavar="TITLE@HOST:PORT", action="append", default=[])
    asked = parser.parse_args(arguments)
    try:
        if asked.web and asked.guarded:
            be_refused(asked.web)
        elif asked.web:
            store_and_read(asked.web)
        for address in asked.dimse:
            asyncio.run(be_echoed(address))
    except (Amiss, OSError) as error:
        sys.stderr.write(f"amiss: {error}\n")
        return 1
    return 0


def store_and_read(root: str) -> None:
    """An instance through STOW-RS, QIDO-RS, WADO-RS and away again."""
    study, series, instance = (f"2.25.{uuid.uuid4().int}" for _ in range(3))
    data_set = _data_set(study, series, instance)
    file = _part10(instance, data_set)
    told = json.loads(
        _answer(root, "/studies", body=file, content="application/dicom", accept="application/dicom+json")
    )
    if "00081198" in told or len(told.get("00081199", {}).get("Value", [])) != 1:
        raise Amiss(f"the instance was not stored: {told}")
    try:
        found = json.loads(
            _answer(root, f"/instances?SOPInstanceUID={instance}", accept="application/dicom+json")
        )
        if [one["00080018"]["Value"] for one in found] != [[instance]]:
            raise Amiss(f"the search found {len(found)} instances instead of one")
        place = f"/studies/{study}/series/{series}/instances/{instance}"
        read = _answer(root, place, accept="application/dicom; transfer-syntax=*")
        if not read.endswith(data_set):
            raise Amiss("what was read is not what was stored")
    finally:
        _answer(root, f"/studies/{study}", method="DELETE")
    sys.stdout.write(f"stored, found, read and deleted an instance at {root}\n")


def be_refused(root: str) -> None:
    """Nobody is answered who does not say who they are."""
    opener = urllib.request.build_opener(_Unfollowed, urllib.request.HTTPSHandler(context=_believing()))
    try:
        with opener.open(f"{root}/studies?limit=1", timeout=_PATIENCE_S) as answer:
            raise Amiss(f"a search without a token was answered {answer.status}")
    except urllib.error.HTTPError as refused:
        if refused.code not in (301, 302, 303, 307, 401, 403):
            raise Amiss(f"a search without a token was answered {refused.code}") from None
    sys.stdout.write(f"{root} refuses who does not say who they are\n")


async def be_echoed(address: str) -> None:
    """A C-ECHO of the bridge `TITLE@HOST:PORT`."""
    from bridge import scu
    from bridge.peers import Peer
    from bridge.settings import Limits
    from service.dicom.errors import ArchiveError

    title, _, place = address.rpartition("@")
    host, _, port = place.rpartition(":")
    peer = Peer("bridge", title, host, int(port))
    try:
        proposal = scu.Proposal(_VERIFICATION, ("1.2.840.10008.1.2",))
        association = await scu.connect(peer, [proposal], Limits(), calling="HELMTEST")
        context = scu.context_for(association, _VERIFICATION)
        if context is None:
            raise Amiss(f"{address} accepts no Verification")
        status = await scu.echo(association, context.context_id, timeout_s=_PATIENCE_S)
        await association.release()
    except ArchiveError as error:
        raise Amiss(f"{address} takes no association: {error}") from error
    if status != 0:
        raise Amiss(f"{address} answers a C-ECHO with {status}")
    sys.stdout.write(f"{address} answers a C-ECHO\n")


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _believing() -> ssl.SSLContext:
    """The certificate is in the name that clients use, which is not that of the Service."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _answer(
    root: str,
    path: str,
    *,
    method: str = "",
    body: bytes | None = None,
    content: str = "",
    accept: str = "*/*",
) -> bytes:
    """The body of a good answer."""
    headers = {"Accept": accept, **({"Content-Type": content} if content else {})}
    request = urllib.request.Request(root + path, data=body, headers=headers, method=method or None)
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S, context=_believing()) as answer:
            whole: bytes = answer.read()
            return whole
    except urllib.error.HTTPError as refused:
        said = refused.read(500).decode("utf-8", "replace")
        raise Amiss(f"{request.get_method()} {path} was answered {refused.code}: {said}") from None


def _data_set(study: str, series: str, instance: str) -> bytes:
    """A picture of 4 × 4 pixels in Explicit VR Little Endian."""
    return b"".join(
        [
            _element(0x00080016, "UI", _SECONDARY_CAPTURE),
            _element(0x00080018, "UI", instance),
            _element(0x00080060, "CS", "OT"),
            _element(0x00100010, "PN", "HELM^TEST"),
            _element(0x00100020, "LO", "HELM-TEST"),
            _element(0x0020000D, "UI", study),
            _element(0x0020000E, "UI", series),
            _element(0x00280002, "US", 1),
            _element(0x00280004, "CS", "MONOCHROME2"),
            _element(0x00280010, "US", 4),
            _element(0x00280011, "US", 4),
            _element(0x00280100, "US", 8),
            _element(0x00280101, "US", 8),
            _element(0x00280102, "US", 7),
            _element(0x00280103, "US", 0),
            _element(0x7FE00010, "OW", bytes(range(16))),
        ]
    )


def _part10(instance: str, data_set: bytes) -> bytes:
    """A file of PS3.10 7.1."""
    meta = b"".join(
        [
            _element(0x00020001, "OB", b"\0\1"),
            _element(0x00020002, "UI", _SECONDARY_CAPTURE),
            _element(0x00020003, "UI", instance),
            _element(0x00020010, "UI", _EXPLICIT_LITTLE_ENDIAN),
            _element(0x00020012, "UI", "2.25.1"),
        ]
    )
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(meta))
    return bytes(128) + b"DICM" + length + meta + data_set


def _element(tag: int, vr: str, value: str | int | bytes) -> bytes:
    """An element of PS3.5 7.1.2, its value made even."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode("ascii")
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    length = struct.pack("<HI", 0, len(value)) if vr in ("OB", "OW") else struct.pack("<H", len(value))
    return head + length + value


if __name__ == "__main__":
    sys.exit(main())
