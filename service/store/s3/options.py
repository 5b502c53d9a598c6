"""Where objects lie in S3 and how they are reached."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.environment import SettingError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(?:/[A-Za-z0-9!_.*'()-]+)*")
CLIENTS = ("obstore", "boto3")


@dataclass(frozen=True, slots=True)
class S3Options:
    """A place in a bucket, and the bounds of what is asked of it. Sizes in bytes, times in seconds.

    `attempt_s` is how long one request may take without a byte moving, `patience_s` how long one
    operation is tried again. `connections` is how many threads use the store at once. A body waits in
    memory up to `part_bytes`, all of them together up to `keep_together`, beyond it in a file.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    client: str = "obstore"
    connections: int = 48
    connect_s: float = 3.0
    attempt_s: float = 10.0
    patience_s: float = 20.0
    part_bytes: int = 8 << 20
    parts_ahead: int = 2
    part_threads: int = 8
    keep_together: int = 256 << 20

    def __post_init__(self) -> None:
        """`SettingError` names the variable that cannot be used."""
        if not _BUCKET.fullmatch(self.bucket):
            raise SettingError(f"ISTHMUS_STORE must name a bucket, s3://BUCKET; it names {self.bucket!r}.")
        if self.prefix and (not _PREFIX.fullmatch(self.prefix) or ".." in self.prefix.split("/")):
            raise SettingError(
                "ISTHMUS_STORE must have a prefix of letters, digits and -_.!*'() between single slashes; "
                f"it has {self.prefix!r}."
            )
        endpoint = urlsplit(self.endpoint)
        plain = endpoint.path in ("", "/") and not endpoint.query and endpoint.username is None
        if self.endpoint and not (endpoint.scheme in ("http", "https") and endpoint.hostname and plain):
            raise SettingError(
                "ISTHMUS_S3_ENDPOINT must be a scheme and a host, such as http://127.0.0.1:9000, without "
                "path, user or password."
            )


def s3_options(path: str, *, endpoint: str, client: str, connections: int) -> S3Options:
    """The options of `s3://{path}`, where `path` is the bucket and perhaps a prefix."""
    bucket, _, prefix = path.partition("/")
    return S3Options(
        bucket, prefix.removesuffix("/"), endpoint.removesuffix("/"), client=client, connections=connections
    )
