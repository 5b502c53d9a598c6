"""Objects in a bucket."""

import contextlib
import logging
import time
from collections.abc import Buffer, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, unquote

from service.dicom.errors import BadExtent, ObjectMissing, StoreUnavailable
from service.dicom.frames import Extent
from service.store.port import Opening, Upload, Version
from service.store.s3.by_boto3 import Boto3Client
from service.store.s3.by_obstore import ObstoreClient
from service.store.s3.multipart import Begun, Multipart
from service.store.s3.options import S3Options
from service.store.s3.port import Client, Listed
from service.store.s3.retrying import Retrying
from service.store.s3.session import open_session
from service.store.s3.upload import S3Upload, Ways

_MAX_READ = 8 << 20
_INCOMING = ".incoming/"
_log = logging.getLogger("isthmus.store")


class S3Store:
    """An object store in a bucket of S3, or of a store that speaks like it, below a prefix.

    Uploads in parts that nobody ended are listed, and deleted, as `.incoming/{upload}/{key}`.
    """

    def __init__(self, options: S3Options) -> None:
        """`SettingError` where bucket or credentials are none."""
        session = open_session(options)
        self._client: Client = (
            Boto3Client(session.client, options)
            if options.client == "boto3"
            else ObstoreClient(session, options)
        )
        self._retrying = Retrying(options.patience_s)
        self._multipart = Multipart(session.client, options.bucket, self._retrying)
        senders = ThreadPoolExecutor(options.part_threads, thread_name_prefix="part")
        self._ways = Ways(self._client, self._multipart, self._retrying, senders, options)
        self._prefix = self._ways.prefix

    def begin(self) -> Upload:
        return S3Upload(self._ways)

    def read(self, key: str, extent: Extent) -> Buffer:
        if extent.length > _MAX_READ:
            raise BadExtent(f"A read covers at most {_MAX_READ} bytes.")
        if not extent.length:
            if extent.offset > self.opening(key, 1).size:
                raise BadExtent("The extent reaches past the end of the object.")
            return b""
        return self._retrying.run("get", lambda: self._client.get(self._prefix + key, extent))

    def opening(self, key: str, length: int) -> Opening:
        return self._retrying.run("open", lambda: self._client.opening(self._prefix + key, length))

    def delete(self, key: str) -> None:
        if key.startswith(_INCOMING):
            identifier, _, rest = key.removeprefix(_INCOMING).partition("/")
            self._multipart.abort(Begun(self._prefix + rest, unquote(identifier)))
            return
        with contextlib.suppress(ObjectMissing):  # some say so, and it is success
            self._retrying.run("delete", lambda: self._client.delete(self._prefix + key))

    def keys(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        # Ages are told by two clocks; S3 refuses requests of one that is off by a quarter of an hour.
        if prefix.startswith(_INCOMING) or _INCOMING.startswith(prefix):
            yield from self._unfinished(prefix)
        if not prefix.startswith(_INCOMING):
            yield from (
                (one.key.removeprefix(self._prefix), _age(one.written)) for one in self._listed(prefix)
            )

    def read_version(self, key: str, version: str, extent: Extent) -> Buffer:
        if extent.length > _MAX_READ:
            raise BadExtent(f"A read covers at most {_MAX_READ} bytes.")
        return self._retrying.run("get", lambda: self._client.get(self._prefix + key, extent, version))

    def versions(self, prefix: str = "") -> Iterator[Version]:
        for one in self._listed(prefix):
            yield Version(one.key.removeprefix(self._prefix), one.size, one.tag)

    def _listed(self, prefix: str) -> Iterator[Listed]:
        wanted, after = self._prefix + prefix, ""
        while True:
            page = self._retrying.run("list", lambda after=after: self._client.page(wanted, after))  # type: ignore[misc]
            fresh = [one for one in page if one.key > after]
            for one in fresh:
                if one.key.startswith(wanted):
                    yield one
            if not fresh:
                if page:
                    raise StoreUnavailable("The object store lists the same keys again and again.")
                return
            after = fresh[-1].key

    def _unfinished(self, prefix: str) -> Iterator[tuple[str, float]]:
        try:
            for upload in self._multipart.unfinished(self._prefix):
                name = upload.key.removeprefix(self._prefix)
                key = f"{_INCOMING}{quote(upload.identifier, '')}/{name}"
                if key.startswith(prefix):
                    yield key, _age(upload.begun)
        except StoreUnavailable as error:
            # Some stores cannot list them; a rule of the bucket's life cycle has to end them there.
            _log.warning("unfinished_uploads=unknown error=%s", type(error).__name__)


def _age(written: float) -> float:
    """Seconds since `written`."""
    return max(time.time() - written, 0.0)
