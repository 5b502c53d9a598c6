"""OHIF below /ohif: a made-up build, told its place, sent once, and never more than the build."""

import os
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
import zstandard
from starlette.testclient import TestClient

from service.app import create_app
from service.environment import SettingError
from service.http1 import BoundedHttp
from service.settings import Settings
from service.web import ohif
from tests.sites import Site

HERE = "http://testserver"
HASHED = "app.bundle.0123456789abcdef.js"
PAGE = b"""<!DOCTYPE html><link href="/styles.css"><link href="//cdn.example/x.css">
<script>window.PUBLIC_URL = "/";</script><script src="/app-config.js"></script>
<script src="/app.bundle.0123456789abcdef.js"></script>"""
FILES = {
    "index.html": PAGE,
    "app-config.js": b"window.config = {dataSources: ['https://somebody.example']};",
    HASHED: b'__webpack_require__.p="/";a.p = "/";b.p="/other";' + b"work();" * 300,
    "styles.css": b"@font-face{src:url(/font.woff2)}b{background:url(//cdn.example/y)}c{d:url(data:x)}",
    "font.woff2": bytes(range(256)) * 8,
    "deep/er/logo.svg": b"<svg/>",
}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build of six files."""
    folder = tmp_path / "build"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def viewer(build: Path, open_site: Callable[..., Site]) -> Site:
    return open_site(ohif=str(build))


def get(site: Site, path: str, **headers: str):
    told = {"Accept-Encoding": "identity", **{name.replace("_", "-"): to for name, to in headers.items()}}
    return site.client.get(HERE + path, headers=told, follow_redirects=False)


def configured(body: bytes) -> dict[str, Any]:
    found = re.fullmatch(rb"window\.config = (.*);\n", body, re.DOTALL)
    assert found
    told: dict[str, Any] = orjson.loads(found[1])
    return told


@pytest.mark.parametrize("path", ["", "viewer", "viewer/dicomweb", "segmentation?StudyInstanceUIDs=1.2.3"])
def test_every_view_of_the_viewer_is_its_page(viewer, path):
    response = get(viewer, f"/ohif/{path}")

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert b'src="/ohif/app-config.js"' in response.content


def test_the_page_is_told_where_it_lies(viewer):
    body = get(viewer, "/ohif/").content

    assert b'href="/ohif/styles.css"' in body
    assert b'PUBLIC_URL = "/ohif/"' in body
    assert b'href="//cdn.example/x.css"' in body


def test_scripts_and_styles_are_told_where_they_lie(viewer):
    script, style = get(viewer, f"/ohif/{HASHED}").content, get(viewer, "/ohif/styles.css").content

    assert script.startswith(b'__webpack_require__.p="/ohif/";a.p = "/ohif/";b.p="/other";')
    assert b"url(/ohif/font.woff2)" in style
    assert b"url(//cdn.example/y)" in style
    assert b"url(data:x)" in style


def test_everything_else_is_sent_as_it_is(viewer):
    for name, kind in {"font.woff2": "font/woff2", "deep/er/logo.svg": "image/svg+xml"}.items():
        response = get(viewer, f"/ohif/{name}")
        assert response.content == FILES[name]
        assert response.headers["content-type"] == kind


def test_the_configuration_names_this_server_alone(viewer):
    told = configured(get(viewer, "/ohif/app-config.js").content)

    assert told["routerBasename"] == "/ohif"
    (source,) = told["dataSources"]
    roots = source["configuration"]
    assert (roots["qidoRoot"], roots["wadoRoot"], roots["wadoUriRoot"]) == (
        "/dicom-web",
        "/dicom-web",
        "/wado",
    )


def test_without_a_slash_it_leads_to_the_page(viewer):
    response = get(viewer, "/ohif")
    assert (response.status_code, response.headers["location"]) == (308, "/ohif/")


@pytest.mark.parametrize(("prefix", "root"), [("/dicom-web", "/ohif"), ("/pacs/web", "/pacs/ohif")])
def test_it_lies_beside_the_dicomweb_root_too(build, open_site, prefix, root):
    site = open_site(ohif=str(build), prefix=prefix)
    assert get(site, f"{root}/font.woff2").content == FILES["font.woff2"]
    assert get(site, "/ohif/font.woff2").content == FILES["font.woff2"]


def test_a_trusted_proxy_may_put_it_below_a_path(build, site):
    settings = Settings.from_environment({"ISTHMUS_OHIF": str(build), "ISTHMUS_TRUSTED_PROXIES": "10.0.0.1"})
    client = TestClient(create_app(site.archive, settings), client=("10.0.0.1", 4711))
    app = create_app(site.archive, settings)
    stranger = TestClient(app, base_url="http://127.0.0.1", client=("10.0.0.2", 4711))
    told = {"X-Forwarded-Prefix": "/ward"}

    assert b'src="/ward/ohif/app-config.js"' in client.get("/ohif/", headers=told).content
    source = configured(client.get("/ohif/app-config.js", headers=told).content)["dataSources"][0]
    assert source["configuration"]["qidoRoot"] == "/ward/dicom-web"
    assert b'src="/ohif/app-config.js"' in stranger.get("/ohif/", headers=told).content


@pytest.mark.parametrize("prefix", ['/a"><script>', "//evil.example", "/a/../b", "/a\\g<0>"])
def test_a_path_that_would_be_markup_or_another_host_is_refused(build, site, prefix):
    settings = Settings.from_environment({"ISTHMUS_OHIF": str(build), "ISTHMUS_TRUSTED_PROXIES": "10.0.0.1"})
    client = TestClient(create_app(site.archive, settings), client=("10.0.0.1", 4711))

    for path in ("/ohif", "/ohif/", "/ohif/app-config.js"):
        response = client.get(path, headers={"X-Forwarded-Prefix": prefix}, follow_redirects=False)
        assert response.status_code == 400, response.headers


def test_a_public_url_is_where_it_lies(build, open_site):
    site = open_site(ohif=str(build), public_url="https://pacs.example.org/ward/dicom-web")
    assert b'src="/ward/ohif/app-config.js"' in get(site, "/ohif/").content


@pytest.mark.parametrize(
    ("offered", "coding"),
    [("gzip", "gzip"), ("gzip, zstd", "zstd"), ("br", None), ("zstd;q=0, gzip", "gzip")],
)
def test_texts_are_compressed_as_the_client_likes(viewer, offered, coding):
    with viewer.client.stream(
        "GET", f"{HERE}/ohif/{HASHED}", headers={"Accept-Encoding": offered}
    ) as response:
        raw = b"".join(response.iter_raw())

    assert response.headers.get("content-encoding") == coding
    assert response.headers["vary"] == "Accept-Encoding, Origin"
    plain = {
        "gzip": lambda: zlib.decompress(raw, 31),
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
        None: lambda: raw,
    }[coding]()
    assert plain == get(viewer, f"/ohif/{HASHED}").content


def test_what_is_no_text_is_not_compressed(viewer):
    response = get(viewer, "/ohif/font.woff2", Accept_Encoding="gzip, zstd")
    assert "content-encoding" not in response.headers
    assert response.content == FILES["font.woff2"]


def test_a_name_with_a_hash_is_kept_for_ever_and_others_are_asked_for_again(viewer):
    assert "immutable" in get(viewer, f"/ohif/{HASHED}").headers["cache-control"]
    for name in ("index.html", "app-config.js", "styles.css", "viewer"):
        assert get(viewer, f"/ohif/{name}").headers["cache-control"] == "no-cache"


def test_what_the_client_has_is_not_sent_again(viewer):
    first = get(viewer, "/ohif/styles.css")
    again = get(viewer, "/ohif/styles.css", If_None_Match=first.headers["etag"])
    zipped = get(viewer, "/ohif/styles.css", Accept_Encoding="gzip")

    assert (again.status_code, again.content) == (304, b"")
    assert zipped.headers["etag"] != first.headers["etag"]
    assert get(viewer, "/ohif/styles.css", If_Match='"another"').status_code == 412


def test_a_build_that_is_replaced_is_seen(viewer, build):
    before = get(viewer, "/ohif/styles.css")
    (build / "styles.css").write_bytes(b"e{}")
    os.utime(build / "styles.css", (1, 1))

    after = get(viewer, "/ohif/styles.css", If_None_Match=before.headers["etag"])

    assert (after.status_code, after.content) == (200, b"e{}")


@pytest.mark.parametrize("name", ["gone.js", "deep/gone.png", "deep/er/.hidden", "sw.js"])
def test_a_file_that_the_build_has_not_is_not_there(viewer, name):
    assert get(viewer, f"/ohif/{name}").status_code == 404


def test_a_file_that_went_away_is_not_there_any_more(viewer, build):
    (build / "styles.css").unlink()
    assert get(viewer, "/ohif/styles.css").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/ohif/../secret.txt",
        "/ohif/%2e%2e/secret.txt",
        "/ohif/..%2fsecret.txt",
        "/ohif/deep/../../secret.txt",
        "/ohif//etc/passwd.txt",
        "/ohif/%2fetc%2fpasswd",
        "/ohif/styles.css%00.js",
        "/ohif/..\\secret.txt",
    ],
)
def test_nothing_beside_the_build_is_sent(viewer, build, path):
    (build.parent / "secret.txt").write_bytes(b"SECRET")
    response = get(viewer, path)
    assert b"SECRET" not in response.content
    assert b"root:" not in response.content
    assert response.status_code in (200, 404)


def test_links_that_lead_out_of_the_build_are_no_files_of_it(build, open_site):
    (build.parent / "secret.txt").write_bytes(b"SECRET")
    (build.parent / "apart").mkdir()
    (build.parent / "apart" / "secret.txt").write_bytes(b"SECRET")
    (build / "link.txt").symlink_to(build.parent / "secret.txt")
    (build / "folder").symlink_to(build.parent / "apart")
    (build / "nowhere.txt").symlink_to(build / "nowhere.txt")
    (build / "inside.css").symlink_to(build / "styles.css")
    site = open_site(ohif=str(build))

    for name in ("link.txt", "folder/secret.txt", "nowhere.txt"):
        assert get(site, f"/ohif/{name}").status_code == 404
    assert get(site, "/ohif/inside.css").status_code == 200


def test_what_is_no_file_is_not_waited_for(build, open_site):
    os.mkfifo(build / "pipe.js")
    site = open_site(ohif=str(build))
    assert get(site, "/ohif/pipe.js").status_code == 404


def test_a_page_that_leads_out_of_the_build_is_none(build, open_site):
    (build / "index.html").unlink()
    (build.parent / "other.html").write_bytes(b"SECRET")
    (build / "index.html").symlink_to(build.parent / "other.html")
    assert get(open_site(ohif=str(build)), "/ohif/").status_code == 404


def test_no_more_than_a_bounded_part_of_a_build_is_kept_in_memory(build, open_site, monkeypatch):
    monkeypatch.setattr(ohif, "_KEPT_BYTES", 3000)
    kept = ohif.Ohif(build)
    monkeypatch.setattr(ohif, "Ohif", lambda folder: kept)
    site = open_site(ohif=str(build))

    for name in (HASHED, "font.woff2", "styles.css", "deep/er/logo.svg", HASHED):
        assert get(site, f"/ohif/{name}").status_code == 200

    assert sum(len(one.body) for one in kept._kept.values()) == kept._kept_bytes <= 3000


def test_the_viewer_may_share_memory_with_its_workers_and_talk_to_nobody_else(viewer):
    headers = get(viewer, "/ohif/").headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["x-content-type-options"] == "nosniff"
    assert "connect-src 'self' data: blob:;" in headers["content-security-policy"]


def test_without_a_build_there_is_no_viewer(site):
    assert get(site, "/ohif/").status_code == 404


@pytest.mark.parametrize("given", ["", "dist"])
def test_a_package_may_be_named_or_the_folder_in_it(build, given):
    (build.parent / "package").mkdir()
    build.rename(build.parent / "package" / "dist")
    named = build.parent / "package" / given

    assert Settings.from_environment({"ISTHMUS_OHIF": str(named)}).ohif.endswith("package/dist")


def test_a_folder_without_a_build_is_refused_at_the_start(tmp_path):
    with pytest.raises(SettingError, match="ISTHMUS_OHIF"):
        Settings.from_environment({"ISTHMUS_OHIF": str(tmp_path)})


@pytest.fixture
def large(build: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A server of which every file of the build is too large for its memory."""
    monkeypatch.setattr(ohif, "_LARGEST_IN_MEMORY", 1000)
    app = create_app(site.archive, Settings(ohif=str(build)))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=BoundedHttp, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(20)


def spoken(address: tuple[str, int], *requests: str) -> bytes:
    """What the server says to requests on one connection, the last of which closes it."""
    with socket.create_connection(address, 20) as client:
        client.sendall("".join(f"{one}\r\nHost: localhost\r\n\r\n" for one in requests).encode())
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def test_a_large_file_goes_out_as_it_is_read(large):
    told = spoken(large, "GET /ohif/font.woff2 HTTP/1.1\r\nConnection: close")
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == FILES["font.woff2"]


def test_a_large_file_that_the_client_has_leaves_the_connection_whole(large):
    path = "/ohif/font.woff2 HTTP/1.1"
    head = spoken(large, f"HEAD {path}\r\nConnection: close").partition(b"\r\n\r\n")[0].lower()
    tag = re.search(rb'etag: ("[0-9a-f]+")', head)
    assert tag and b"content-length: 2048" in head

    told = spoken(
        large,
        f"GET {path}\r\nIf-None-Match: {tag[1].decode()}",
        f'GET {path}\r\nIf-Match: "another"\r\nConnection: close',
    )

    first, _, rest = told.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 304 ")
    assert rest.startswith(b"HTTP/1.1 412 ")
