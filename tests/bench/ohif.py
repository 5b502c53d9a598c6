"""OHIF in a headless Chromium: how long until a CT series shows its first image, and its requests.

The same build before the service, which serves it itself (`ISTHMUS_OHIF`), and before Debian's Orthanc with
DICOMweb, where nginx serves it on the same origin, with the configuration that OHIF has for Orthanc. Each
round has a series that was just stored and a browsing context of its own. WebGL is drawn in software.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import packages
from tests.bench import baselines, orthanc
from tests.bench.figures import MILLISECONDS, Figure, Skipped
from tests.bench.retrieve import post_plain
from tests.bench.rig import Failed, Rig, free_port, listens, running, until
from tests.bench.slices import SLICES, a_series, study_and_series
from tests.bench.stow import post_all
from tests.browsing import SOFTWARE_WEBGL, Browser, installed

NAME = "ohif"
_BEHIND = f"{orthanc.NAME} behind nginx"
_WARMING = 1  # rounds that are not counted
_SHOWN = """
(() => {
  const [element] = window.cornerstone ? cornerstone.getEnabledElements() : [];
  const image = element && cornerstone.cache.getImage(element.viewport.getCurrentImageId());
  if (!image || element.viewport.viewportStatus !== "rendered") return false;
  const asked = performance.getEntriesByType("resource").filter((one) => one.name.includes("/dicom-web/"));
  window.firstImage ??= {
    shown: performance.now(), begun: Math.min(...asked.map((one) => one.startTime)), asked: asked.length,
  };
  return true;
})()
"""
_NGINX = """\
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    types {{
        text/html html; text/css css; text/javascript js mjs; application/json json;
        application/wasm wasm; image/svg+xml svg; image/png png; font/woff2 woff2;
    }}
    access_log off;
    sendfile on;
    tcp_nodelay on;
    gzip on;
    gzip_types text/css text/javascript application/json application/wasm;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/unused; uwsgi_temp_path {folder}/unused; scgi_temp_path {folder}/unused;
    upstream archive {{ server 127.0.0.1:{archive}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        root {build};
        location / {{ try_files $uri /index.html; }}
        location = /app-config.js {{ alias {folder}/app-config.js; }}
        location /dicom-web/ {{
            proxy_pass http://archive;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Milliseconds to the first image, and requests to the archive until then."""
    nginx = baselines.nginx_program()
    if installed() is None or nginx is None or not orthanc.installed():
        yield Skipped(NAME, _BEHIND, "chromium, nginx, orthanc and orthanc-dicomweb are not all installed")
        return
    try:
        build = packages.ohif(rig.new_folder("ohif")) / "dist"
    except packages.Unavailable as error:
        yield Skipped(NAME, _BEHIND, str(error))
        return
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(rig.service(ISTHMUS_OHIF=str(build)))
        other = stack.enter_context(orthanc.orthanc(rig))
        port = stack.enter_context(_behind_nginx(rig, nginx, build, other.port))
        browser = stack.enter_context(Browser.start(*SOFTWARE_WEBGL))
        ours = _Viewed(browser, f"http://127.0.0.1:{site.port}/ohif/")
        theirs = _Viewed(browser, f"http://127.0.0.1:{port}/")
        for turn in range(_WARMING + rounds):
            number = rig.next_series()
            files = a_series(number)
            post_all(site.port, 20, files)
            post_plain(other.port, files)
            for side in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
                side.open(study_and_series(number)[0], counted=turn >= _WARMING)
    what = f"CT of {SLICES} just stored, first image"
    yield Figure(NAME, what, MILLISECONDS, ours.times, _BEHIND, theirs.times)
    what = "of that since the first question"
    yield Figure(NAME, what, MILLISECONDS, ours.waited, _BEHIND, theirs.waited)
    yield Figure(NAME, "requests until then", "", ours.requests, _BEHIND, theirs.requests)


@dataclass
class _Viewed:
    """The viewer at an address.

    What was measured there: milliseconds from the start of the page and from its first request to the
    archive, each to the first image, and the number of such requests.
    """

    browser: Browser
    address: str
    times: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)

    def open(self, study: str, *, counted: bool) -> None:
        """Open a study in a browsing context of its own. `Failed` if no image ever appears."""
        address = f"{self.address}viewer?StudyInstanceUIDs={study}"
        try:
            tab = self.browser.open(address, width=1200, height=800)
            try:
                tab.wait_for(_SHOWN)
                told = tab.run("window.firstImage")
            finally:
                tab.close()
        except AssertionError as error:
            raise Failed(f"OHIF showed no image at {address}: {error}") from error
        if counted:
            self.times.append(told["shown"])
            self.waited.append(told["shown"] - told["begun"])
            self.requests.append(told["asked"])


@contextlib.contextmanager
def _behind_nginx(rig: Rig, binary: str, build: Path, archive: int) -> Iterator[int]:
    """nginx that serves the build and leads its requests to an archive: its port."""
    folder, port = rig.new_folder("viewer"), free_port()
    (folder / "app-config.js").write_text(f"window.config = {json.dumps(_configuration())};\n")
    # Started as root, its workers would be someone who may not enter the temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    told = _NGINX.format(folder=folder, port=port, archive=archive, build=build, user=user)
    (folder / "nginx.conf").write_text(told)
    command = [binary, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"]
    with running(command, folder / "nginx.log") as process:
        until(lambda: listens(port), process, "nginx")
        yield port


def _configuration() -> dict[str, object]:
    """What OHIF is told of Orthanc: its DICOMweb is below the same origin."""
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "orthanc",
        "configuration": {
            "friendlyName": "Orthanc",
            "name": "orthanc",
            "qidoRoot": "/dicom-web",
            "wadoRoot": "/dicom-web",
            "wadoUriRoot": "/dicom-web",
            "qidoSupportsIncludeField": True,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": True,
            "supportsWildcard": True,
            "omitQuotationForMultipartRequest": True,
        },
    }
    return {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "showWarningMessageForCrossOrigin": False,
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "defaultDataSourceName": "orthanc",
        "dataSources": [source],
    }
