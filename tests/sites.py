"""A site: an archive in memory and a client of its web face."""

from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
from starlette.testclient import TestClient

from service.archive.objects import ObjectArchive
from service.store.memory import MemoryStore
from service.web.request import House

ROOT = "http://testserver/dicom-web"


@dataclass
class Site:
    """An archive and a client of its web face; paths are below the DICOMweb root."""

    archive: ObjectArchive
    store: MemoryStore
    client: TestClient

    @property
    def house(self) -> House:
        """What the application was made with."""
        app: Any = self.client.app
        while not hasattr(app, "state"):
            app = app._app
        house = app.state.house
        assert isinstance(house, House)
        return house

    def get(self, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
        """GET; `path` may be a whole URL."""
        url = path if path.startswith("http") else ROOT + path
        return self.client.get(url, headers={**({"Accept": accept} if accept else {}), **headers})

    def post(
        self, content: bytes, media_type: str = "application/dicom", path: str = "/studies"
    ) -> httpx.Response:
        """POST of one body."""
        return self.client.post(ROOT + path, content=content, headers={"Content-Type": media_type})

    def post_parts(self, *parts: bytes, path: str = "/studies") -> httpx.Response:
        """POST of a multipart body of DICOM files."""
        head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + part + b"\r\n" for part in parts) + b"--bnd--"
        return self.post(body, 'multipart/related; type="application/dicom"; boundary=bnd', path)
