"""Multipart uploads: bodies that go out in parts and become an object all at once, or never.

boto3 does these for either client: a part is 8 MiB, beside which what boto3 costs for each request is
little, and it tells the identifier by which an upload can be ended.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.dicom.errors import ObjectMissing, StoreUnavailable, TooLarge
from service.store.s3.calling import called
from service.store.s3.port import MEDIA_TYPE
from service.store.s3.retrying import Retrying

_MOST_PARTS = 10_000  # of S3
_LOST = "The object store lost an upload; send the object again."


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that was begun; `begun` is when, in seconds since 1970 by the store's clock."""

    key: str
    identifier: str
    begun: float = 0.0


class Multipart:
    """Begins, feeds and ends multipart uploads in one bucket; any thread may call."""

    def __init__(self, client: Any, bucket: str, retrying: Retrying) -> None:
        """`client` is one of boto3."""
        self._client = client
        self._bucket = bucket
        self._retrying = retrying

    def begin(self, key: str) -> Begun:
        """Begin an upload. One whose answer is lost is never fed, and swept some day."""
        answer = self._retrying.run(
            "begin",
            lambda: called(
                self._client.create_multipart_upload,
                Bucket=self._bucket,
                Key=key,
                ContentType=MEDIA_TYPE,
            ),
        )
        return Begun(key, answer["UploadId"])

    def part(self, upload: Begun, number: int, body: Sequence[memoryview]) -> str:
        """Send part `number`, counted from 1; its tag."""
        if number > _MOST_PARTS:
            raise TooLarge(f"The object is larger than {_MOST_PARTS} parts.")
        try:
            answer = self._retrying.run(
                "part",
                lambda: called(
                    self._client.upload_part,
                    Bucket=self._bucket,
                    Key=upload.key,
                    UploadId=upload.identifier,
                    PartNumber=number,
                    Body=Pieces(body),
                ),
            )
        except ObjectMissing as error:
            raise StoreUnavailable(_LOST) from error
        return str(answer["ETag"])

    def complete(self, upload: Begun, tags: Sequence[str], size: int) -> None:
        """Make the object of the parts with these tags; it is durable on return."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]

        def attempt() -> None:
            try:
                called(
                    self._client.complete_multipart_upload,
                    Bucket=self._bucket,
                    Key=upload.key,
                    UploadId=upload.identifier,
                    MultipartUpload={"Parts": parts},
                )
            except ObjectMissing:
                # There is no such upload: an attempt whose answer was lost may have ended it.
                head = called(self._client.head_object, Bucket=self._bucket, Key=upload.key)
                if int(head["ContentLength"]) != size:
                    raise StoreUnavailable(_LOST) from None

        try:
            self._retrying.run("complete", attempt)
        except ObjectMissing as error:
            raise StoreUnavailable(_LOST) from error

    def abort(self, upload: Begun) -> None:
        """Drop the parts; already ended is success."""
        try:
            self._retrying.run(
                "abort",
                lambda: called(
                    self._client.abort_multipart_upload,
                    Bucket=self._bucket,
                    Key=upload.key,
                    UploadId=upload.identifier,
                ),
            )
        except ObjectMissing:
            return

    def unfinished(self, prefix: str) -> Iterator[Begun]:
        """The uploads whose keys begin with `prefix` and that nobody has ended."""
        marks: dict[str, str] = {}
        while True:
            page = self._retrying.run(
                "uploads",
                lambda given=dict(marks): called(  # type: ignore[misc]
                    self._client.list_multipart_uploads, Bucket=self._bucket, Prefix=prefix, **given
                ),
            )
            for one in page.get("Uploads", ()):
                yield Begun(one["Key"], one["UploadId"], one["Initiated"].timestamp())
            if not page.get("IsTruncated"):
                return
            after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
            if after == marks:
                raise StoreUnavailable("The object store lists the same uploads again and again.")
            marks = after


class Pieces:
    """Buffers one after the other as a file to read, which boto3 sends as they are.

    A piece is given whole however few bytes of it are asked for: boto3 asks for, and sends, 16 KiB of a
    file at a time, and a copy of all the pieces costs more than sending them.
    """

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = buffers
        self._size = sum(len(buffer) for buffer in buffers)
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes | memoryview:
        """The rest of the piece at the position; all that is left where no size is given."""
        start = 0
        for number, buffer in enumerate(self._buffers):
            if self._position < start + len(buffer):
                rest = buffer[self._position - start :]
                if size is None or size < 0:
                    self._position = self._size
                    return b"".join((rest, *self._buffers[number + 1 :]))
                self._position += len(rest)
                return rest
            start += len(buffer)
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place; the new position."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position
