"""`python -m tests.s3_program FOLDER SECONDS`: the S3 double as a program, for pods that share a bucket.

What changes something takes up to so many seconds to come, and its answer to go, as where S3 is far away.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from tests.s3_double import ACCESS, BUCKET, SECRET, Request, S3Double
from tests.s3_serving import serving

_ROOT = Path(__file__).resolve().parents[1]


class _Forgotten(list[Request]):
    """What came is not kept: a program runs longer than a test, and requests have bodies."""

    def append(self, item: Request, /) -> None:
        return


class _Far:
    """The double behind a line that takes its time; what a client does not wait for is not done."""

    def __init__(self, double: S3Double, slow_s: float) -> None:
        self._double, self._slow_s = double, slow_s
        self._chance = random.Random(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._pass()
            await send(message)

        if scope["method"] in ("GET", "HEAD"):
            await self._double(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        if not await self._left(receive):
            await self._double(scope, again, sent)

    async def _left(self, receive: Receive) -> bool:
        """Whether the client leaves while its request is on its way."""
        try:
            await asyncio.wait_for(receive(), self._chance.uniform(0, self._slow_s))
        except TimeoutError:
            return False
        return True

    async def _pass(self) -> None:
        await asyncio.sleep(self._chance.uniform(0, self._slow_s))


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket whose server runs beside the test; its objects are files below `folder`."""

    folder: Path
    endpoint: str

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a pod that keeps its objects here."""
        return {
            "ISTHMUS_STORE": f"s3://{BUCKET}/archive",
            "ISTHMUS_S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def objects(self) -> dict[str, Path]:
        """The file of each object by its key in the archive."""
        described = (path for path in (self.folder / "objects").glob("*.json"))
        named = {json.loads(path.read_text())["key"]: path.with_suffix("") for path in described}
        return {key.removeprefix("archive/"): path for key, path in named.items() if path.exists()}

    def uploads(self) -> list[Path]:
        """The uploads in parts that were begun and not ended."""
        return sorted((self.folder / "uploads").iterdir())

    def age(self, seconds: float) -> None:
        """Make everything in it older."""
        for path in (*self.objects().values(), *(upload / "begun" for upload in self.uploads())):
            moment = path.stat().st_mtime - seconds
            os.utime(path, (moment, moment))


@contextmanager
def a_bucket(folder: Path, *, slow_s: float = 0.0) -> Iterator[Bucket]:
    """A bucket on files below `folder`, which is made; its server ends with the block, or with the test.

    What changes something takes up to `slow_s` seconds to come, and so does its answer.
    """
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.s3_program", str(folder), str(slow_s)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None and server.stdout is not None
    with server:
        try:
            yield Bucket(folder, f"http://{server.stdout.readline().strip()}")
        finally:
            server.stdin.close()  # which tells it to end
            server.wait(20)


def main() -> None:
    """Serve until the parent has gone, or closes the pipe."""
    double = S3Double(Path(sys.argv[1]))
    double.seen = _Forgotten()
    with serving(_Far(double, float(sys.argv[2]))) as address:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
