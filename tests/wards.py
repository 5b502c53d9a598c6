"""Wards: an archive in memory, and a client of its web face that asks in the name of whoever is wanted."""

from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.identity import ANYONE, KEY, Identity
from service.archive.objects import ObjectArchive
from service.dicom.confinement import Confinement
from tests.making import a_ct, new_uid
from tests.sites import ROOT

MINE, OTHERS = "P-MINE", "P-OTHERS"
_VOLATILE = ("date", "x-request-id", "server-timing")


class As:
    """Passes requests on as those of `identity`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.identity = ANYONE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, KEY: self.identity}, receive, send)


@dataclass(frozen=True)
class Ids:
    """The UIDs of an instance."""

    study: str
    series: str
    instance: str

    def fill(self, path: str) -> str:
        values = {"study": self.study, "series": self.series, "instance": self.instance}
        path = path.replace("{frames}", "1").replace("{path:path}", "7FE00010")
        return path.format(**values)

    def blank(self, text: str) -> str:
        for uid in (self.instance, self.series, self.study):
            text = text.replace(uid, "UID")
        return text

    def confinement(self, kind: str) -> Confinement:
        """Who may know of this study alone, told by its UID or by its patient."""
        if kind == "study":
            return Confinement(frozenset([self.study]))
        return Confinement(patients=frozenset([MINE]))


def some_ids() -> Ids:
    """UIDs of one length, so that sizes tell nothing of them."""
    return Ids(*(f"2.25.{900_000_000 + int(new_uid().removeprefix('2.25.7700'))}" for _ in range(3)))


def a_file_of(ids: Ids, patient: str | list[str], **attributes: Any) -> bytes:
    return a_ct(study=ids.study, series=ids.series, instance=ids.instance, PatientID=patient, **attributes)


@dataclass
class Ward:
    """An archive and a client of its web face, whose requests are those of whoever is named."""

    archive: ObjectArchive
    app: As
    client: TestClient

    def be(self, within: Confinement | None, name: str = "somebody") -> None:
        """Be somebody who is confined to `within`, or anyone."""
        self.app.identity = ANYONE if within is None else Identity(name, ANYONE.scopes, within)

    def ask(self, method: str, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
        url = path if path.startswith("http") else ROOT + path
        told = {**({"Accept": accept} if accept else {}), **headers}
        return self.client.request(method, url, headers=told)

    def get(self, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
        return self.ask("GET", path, accept, **headers)

    def store(self, *files: bytes, path: str = "/studies") -> httpx.Response:
        head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + file + b"\r\n" for file in files) + b"--bnd--"
        kind = 'multipart/related; type="application/dicom"; boundary=bnd'
        return self.client.post(ROOT + path, content=body, headers={"Content-Type": kind})


def told(response: httpx.Response, ids: Ids) -> tuple[int, str, dict[str, str]]:
    """What an answer says, but for UIDs."""
    headers = {k: ids.blank(v) for k, v in response.headers.items() if k not in _VOLATILE}
    return response.status_code, ids.blank(response.content.decode("latin-1")), headers


def failures(response: httpx.Response) -> list[int]:
    items = response.json().get("00081198", {}).get("Value", [])
    return [item["00081197"]["Value"][0] for item in items]
