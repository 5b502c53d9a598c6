"""What Cornerstone's image loader makes of frames that it fetches from the running service."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import numpy as np
from numpy.typing import NDArray
from pydicom import FileDataset
from pydicom.uid import generate_uid

from tests.browsing import Tab
from tests.e2e.conftest import Program
from tests.e2e.ohif.viewing import as_file

PATIENCE_S = 120.0
_ARRAYS = {
    "Uint8Array": "u1", "Int8Array": "i1", "Uint16Array": "<u2", "Int16Array": "<i2",
    "Uint32Array": "<u4", "Int32Array": "<i4", "Float32Array": "<f4",
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """A frame as the loader decoded it: rows × columns × samples, and the transfer syntax that it came in."""

    samples: NDArray[Any]
    transfer_syntax: str | None


@dataclass(frozen=True)
class Loader:
    """The loader in a page, before a running service."""

    program: Program
    tab: Tab

    def stored(self, image: FileDataset) -> str:
        """Store an image under UIDs of its own; the URL of the instance."""
        image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.Modality = image.get("Modality") or "OT"  # the loader does not go on without one
        self._store(as_file(image))
        series = f"{self.program.root}/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        return f"{series}/instances/{image.SOPInstanceUID}"

    def made_into(self, instance: str, syntax: str) -> None:
        """Put the same image in another transfer syntax, as the service makes it, in its place."""
        accept = {"Accept": f"application/dicom; transfer-syntax={syntax}"}
        made = httpx.get(instance, headers=accept, timeout=PATIENCE_S)
        assert made.status_code == 200, made.text
        assert httpx.delete(instance, timeout=PATIENCE_S).status_code == 204
        self._store(made.content)

    def frame(self, instance: str, number: int, **options: Any) -> Loaded:
        """A frame (1-based) by WADO-RS; `options` say how the loader retrieves it."""
        return self._told(f"loader.load({json.dumps(instance)}, {number}, {json.dumps(options)})")

    def frame_of_object(self, url: str, number: int) -> Loaded:
        """A frame (1-based) of an object that is fetched as a whole."""
        return self._told(f"loader.loadObject({json.dumps(url)}, {number})")

    def _store(self, file: bytes) -> None:
        answer = httpx.post(
            f"{self.program.root}/studies",
            content=file,
            headers={"Content-Type": "application/dicom"},
            timeout=PATIENCE_S,
        )
        assert answer.status_code == 200, answer.text

    def _told(self, call: str) -> Loaded:
        told = self.tab.run(call)
        samples = np.frombuffer(base64.b64decode(told["samples"]), _ARRAYS[told["type"]])
        return Loaded(samples.reshape(told["rows"], told["columns"], -1), told["transferSyntax"])
