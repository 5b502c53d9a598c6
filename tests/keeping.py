"""Files put into a site, and the metadata that it tells of them."""

import json
from typing import Any

from tests.sites import ROOT, Site


def path_of(site: Site, *files: bytes) -> str:
    """Store the files; the path of the last one's instance."""
    response = site.post_parts(*files)
    assert response.status_code in (200, 202), response.text
    url = response.json()["00081199"]["Value"][-1]["00081190"]["Value"][0]
    return str(url).removeprefix(ROOT)


def written(site: Site, *files: bytes) -> str:
    """The metadata of the last of the files, as they are written in JSON."""
    response = site.get(path_of(site, *files) + "/metadata")
    assert response.status_code == 200
    return response.content.decode("utf-8")


def object_of(site: Site, *files: bytes) -> dict[str, Any]:
    """The same, read by a parser that refuses what is not JSON."""
    found: list[dict[str, Any]] = json.loads(written(site, *files), parse_constant=_refused)
    assert len(found) == 1
    return found[0]


def _refused(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
