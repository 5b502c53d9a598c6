"""The fallback client: boto3, also for stores that answer a range with status 200."""

import re
import time
from collections.abc import Buffer, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError

from service.dicom.errors import BadExtent
from service.dicom.frames import Extent
from service.store.port import Opening
from service.store.s3.calling import called
from service.store.s3.options import S3Options
from service.store.s3.port import DIGEST, MEDIA_TYPE, Listed, digest_of, require
from service.store.s3.retrying import Transient

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_BLOCK = 1 << 20


class Boto3Client:
    """Requests of one object each."""

    def __init__(self, client: Any, options: S3Options) -> None:
        """`client` is one of boto3, used by many threads."""
        self._client = client
        self._bucket = options.bucket
        self._within_s = 2 * options.attempt_s

    def get(self, key: str, extent: Extent, tag: str = "") -> Buffer:
        wanted = f"bytes={extent.offset}-{extent.end - 1}"
        answer = called(self._client.get_object, Bucket=self._bucket, Key=key, Range=wanted)
        body = answer["Body"]
        try:
            require(tag, answer.get("ETag"))
            begin, end = _told(answer)
            if end < extent.end:
                raise BadExtent("The extent reaches past the end of the object.")
            self._read(body, extent.offset - begin)
            return self._read(body, extent.length)
        finally:
            body.close()

    def opening(self, key: str, length: int) -> Opening:
        try:
            answer = called(
                self._client.get_object, Bucket=self._bucket, Key=key, Range=f"bytes=0-{length - 1}"
            )
        except BadExtent:  # nothing is in it, not even a first byte
            answer = called(self._client.get_object, Bucket=self._bucket, Key=key)
        body = answer["Body"]
        try:
            told = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            size = int(told[3]) if told else int(answer["ContentLength"])
            metadata = {name.lower(): value for name, value in answer["Metadata"].items()}
            head, digest = self._read(body, min(length, size)), digest_of(metadata.get(DIGEST))
            return Opening(head, size, digest, answer.get("ETag", ""))
        finally:
            body.close()

    def put(self, key: str, body: bytes, digest: bytes) -> None:
        called(
            self._client.put_object,
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ContentType=MEDIA_TYPE,
            Metadata={DIGEST: digest.hex()} if digest else {},
        )

    def delete(self, key: str) -> None:
        called(self._client.delete_object, Bucket=self._bucket, Key=key)

    def page(self, prefix: str, after: str) -> Sequence[Listed]:
        answer = called(self._client.list_objects_v2, Bucket=self._bucket, Prefix=prefix, StartAfter=after)
        return [
            Listed(one["Key"], one["LastModified"].timestamp(), int(one["Size"]), one.get("ETag", ""))
            for one in answer.get("Contents", ())
        ]

    def _read(self, body: Any, length: int) -> bytes:
        """The next `length` bytes. A store that trickles is as bad as one that does not answer."""
        deadline = time.monotonic() + self._within_s
        blocks: list[bytes] = []
        while length:
            try:
                block = body.read(min(length, _BLOCK))
            except BotoCoreError as error:
                raise Transient("the answer breaks off") from error
            if not block or time.monotonic() > deadline:
                raise Transient("the answer breaks off")
            blocks.append(block)
            length -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _told(answer: Any) -> tuple[int, int]:
    """Which run of the object an answer holds, whatever its status says."""
    told = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
    if told is not None:
        return int(told[1]), int(told[2]) + 1
    return 0, int(answer["ContentLength"])
