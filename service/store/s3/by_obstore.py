"""The client that moves the bytes: obstore, which lets go of the interpreter while it waits and copies."""

import re
from collections.abc import Buffer, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, InvalidPathError, UnauthenticatedError
from obstore.store import S3Store

from service.dicom.errors import BadExtent, StoreUnavailable
from service.dicom.frames import Extent
from service.store.port import Opening
from service.store.s3.failures import failure
from service.store.s3.options import S3Options
from service.store.s3.port import DIGEST, MEDIA_TYPE, Listed, digest_of, require
from service.store.s3.retrying import Transient
from service.store.s3.session import S3Session

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, S3Config

# obstore tells the status of an answer and its body in the text of the error only.
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_WHOLE = "non-partial response"
_PAGE = 1000


class ObstoreClient:
    """Requests of one object each; obstore keeps the connections."""

    def __init__(self, session: S3Session, options: S3Options) -> None:
        transport: ClientConfig = {
            "allow_http": session.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=options.connect_s),
            "read_timeout": timedelta(seconds=options.attempt_s),
            "timeout": timedelta(seconds=2 * options.attempt_s),
            "pool_max_idle_per_host": str(options.connections),
        }
        if session.certificates:
            transport["root_certificate"] = session.certificates
        place: S3Config = {
            "region": session.region,
            # A certificate for all buckets does not cover one with a dot in its name.
            "virtual_hosted_style_request": not session.endpoint and "." not in options.bucket,
            "disable_bulk_delete": True,
        }
        if session.endpoint:
            place["endpoint"] = session.endpoint
        self._store = S3Store(
            options.bucket,
            config=place,
            client_options=transport,
            retry_config={"max_retries": 0},  # `Retrying` does that for both clients
            credential_provider=session.credentials,
        )

    def get(self, key: str, extent: Extent, tag: str = "") -> Buffer:
        if tag:
            return self._get_version(key, extent, tag)
        found = _asked(lambda: obstore.get_range(self._store, key, start=extent.offset, length=extent.length))
        if len(found) < extent.length:
            raise BadExtent("The extent reaches past the end of the object.")
        return memoryview(found)

    def _get_version(self, key: str, extent: Extent, tag: str) -> Buffer:
        def ask() -> Buffer:
            found = obstore.get(self._store, key, options={"range": (extent.offset, extent.end)})
            require(tag, found.meta["e_tag"])
            return memoryview(found.bytes())

        block = memoryview(_asked(ask))
        if len(block) < extent.length:
            raise BadExtent("The extent reaches past the end of the object.")
        return block

    def opening(self, key: str, length: int) -> Opening:
        def ask() -> Opening:
            found = obstore.get(self._store, key, options={"range": (0, length)})
            return _opening(found, memoryview(found.bytes()))

        try:
            return _asked(ask)
        except BadExtent:  # nothing is in it, not even a first byte
            return _opening(_asked(lambda: obstore.get(self._store, key)), b"")

    def put(self, key: str, body: bytes, digest: bytes) -> None:
        attributes = {"Content-Type": MEDIA_TYPE, **({DIGEST: digest.hex()} if digest else {})}
        _asked(lambda: obstore.put(self._store, key, body, attributes=attributes, use_multipart=False))

    def delete(self, key: str) -> None:
        _asked(lambda: obstore.delete(self._store, key))

    def page(self, prefix: str, after: str) -> Sequence[Listed]:
        # Prefixes count by whole folders here.
        folder = prefix.rpartition("/")[0] or None

        def ask() -> list[Listed]:
            pages = obstore.list(self._store, folder, offset=after or None, chunk_size=_PAGE)
            return [
                Listed(one["path"], one["last_modified"].timestamp(), one["size"], one["e_tag"] or "")
                for one in next(iter(pages), ())
            ]

        return _asked(ask)


def _opening(found: "GetResult", head: Buffer) -> Opening:
    digest = digest_of(found.attributes.get(DIGEST))
    return Opening(head, found.meta["size"], digest, found.meta["e_tag"] or "")


def _asked[T](request: Callable[[], T]) -> T:
    """What `request` gives, its errors as ours."""
    try:
        return request()
    except (BaseError, OSError) as error:
        raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is not None:
        return failure(int(status[1]), code[1] if code else "")
    if _WHOLE in text:
        return StoreUnavailable(
            "The object store answers ranges with whole objects; ISTHMUS_S3_CLIENT=boto3 can read from it."
        )
    if isinstance(error, InvalidPathError):
        return StoreUnavailable("obstore cannot name this object; ISTHMUS_S3_CLIENT=boto3 can.")
    if isinstance(error, UnauthenticatedError):
        return Transient("no credentials")
    return Transient("no answer")
