"""S3 stores for tests: toward our own double, or toward a server of somebody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import create_loader
from starlette.types import Receive, Scope, Send

from service.store.s3.options import S3Options
from service.store.s3.store import S3Store
from tests.s3_double import ACCESS, BUCKET, SECRET, S3Double
from tests.s3_serving import serving

CLIENTS = ("obstore", "boto3")
_LOADER = create_loader()


def aws_environment(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    """Nothing of AWS is in the environment but `given`, by default the credentials of the double."""
    settings = given or {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # What AWS's services look like is a tenth of a second of reading for each client.
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: _LOADER)


@dataclass
class Place:
    """A double that answers at `endpoint`, and stores on it."""

    double: S3Double
    endpoint: str

    def store(self, client: str = "obstore", **options: Any) -> S3Store:
        """A store below a prefix of its own; it gives up soon."""
        chosen = {"prefix": "archive/one", "patience_s": 0.6, "part_bytes": 5 << 20, **options}
        return S3Store(S3Options(BUCKET, endpoint=self.endpoint, client=client, **chosen))


class Stage:
    """An application on which one double after the other appears, so that a server starts once."""

    def __init__(self) -> None:
        self.double: S3Double | None = None
        self.endpoint = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.double is not None
        await self.double(scope, receive, send)

    def appear(self, root: Path) -> Place:
        """Have a double on files below `root`."""
        self.double = S3Double(root)
        return Place(self.double, self.endpoint)


@contextmanager
def stage(**options: Any) -> Iterator[Stage]:
    """A server for doubles; `options` are of uvicorn."""
    made = Stage()
    with serving(made, **options) as address:
        made.endpoint = f"{'https' if options else 'http'}://{address}"
        yield made
