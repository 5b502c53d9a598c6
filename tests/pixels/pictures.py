"""Real images as the renderer gets them: stored metadata and decoded pixels."""

import io
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filewriter import write_dataset

from service.dicom.header import read_data_set
from service.dicom.record import BASE_SLOT
from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, EXPLICIT_LE
from service.pixels.attributes import Attributes
from service.pixels.codecs import decode
from service.pixels.frame import Frame, FrameShape, Pixels

_PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def attributes_of(made: Dataset) -> Attributes:
    """A data set's attributes as they are stored: walked by us, with large values left in place."""
    bare = Dataset({tag: made[tag] for tag in list(made.keys()) if tag.group != 0x7FE0 and tag.element != 0})
    for name in ("_read_little", "_read_implicit"):
        setattr(bare, name, getattr(made, name, None))
    file = pydicom.filebase.DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    with warnings.catch_warnings():  # pydicom's, about odd values in real files
        warnings.simplefilter("ignore")
        write_dataset(file, bare)
    walker = read_data_set(BY_UID[EXPLICIT_LE], file.getvalue())
    members = orjson.loads(walker.json().replace(BASE_SLOT, b""))
    return Attributes(members, lambda place: value_at(bare, place))


def value_at(made: Dataset, place: str) -> bytes:
    """The bytes, little endian, behind a BulkDataURI."""
    *path, last = place.removeprefix("/bulkdata/").split("/")
    for tag, number in zip(path[::2], path[1::2], strict=True):
        made = made[int(tag, 16)].value[int(number) - 1]
    element = made[int(last, 16)]
    if isinstance(element.value, bytes):
        return element.value
    numbers = np.atleast_1d(np.asarray(element.value))
    return numbers.astype({"US": "<u2", "SS": "<i2", "FL": "<f4", "FD": "<f8"}[element.VR]).tobytes()


class RealImage:
    """A DICOM file with pixel data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.dataset = pydicom.dcmread(path, force=True)
            self.dataset.decode()

    @cached_property
    def attributes(self) -> Attributes:
        return attributes_of(self.dataset)

    @property
    def frames(self) -> int:
        return int(self.dataset.get("NumberOfFrames") or 1)

    def pixels(self, number: int = 1) -> Pixels:
        made = self.dataset
        name = next(name for name in _PIXEL_DATA if name in made)
        allocated = {"PixelData": made.get("BitsAllocated"), "FloatPixelData": 32}.get(name, 64)
        shape = FrameShape(
            rows=made.Rows,
            columns=made.Columns,
            samples=made.SamplesPerPixel,
            bits_allocated=allocated,
            bits_stored=made.get("BitsStored", allocated),
            high_bit=made.get("HighBit", allocated - 1),
            signed=made.get("PixelRepresentation", 0) == 1,
            photometric=made.PhotometricInterpretation,
            planar=made.get("PlanarConfiguration") or 0,
            floating=name != "PixelData",
        )
        syntax = made.file_meta.get("TransferSyntaxUID", EXPLICIT_LE)
        value = made[name].value
        if BY_UID[syntax].encapsulated:
            payload = get_frame(value, number - 1, number_of_frames=self.frames)
        elif shape.bits_allocated == 1:
            bits = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")
            payload = np.packbits(
                bits[(number - 1) * shape.pixels :][: shape.pixels], bitorder="little"
            ).tobytes()
        else:
            payload = value[(number - 1) * shape.native_bytes :][: shape.native_bytes]
            if syntax != EXPLICIT_BE:
                syntax = EXPLICIT_LE
        return decode(Frame(payload, syntax, shape))


def pixels_of(array: NDArray[Any], photometric: str = "MONOCHROME2", *, bits: int | None = None) -> Pixels:
    """An array as decoded pixels."""
    width = 8 * array.dtype.itemsize
    return Pixels(
        array,
        FrameShape(
            rows=array.shape[0],
            columns=array.shape[1],
            samples=array.shape[2] if array.ndim == 3 else 1,
            bits_allocated=width,
            bits_stored=bits or width,
            high_bit=(bits or width) - 1,
            signed=array.dtype.kind == "i",
            photometric=photometric,
            floating=array.dtype.kind == "f",
        ),
    )


def read_pnm(content: bytes) -> NDArray[Any]:
    """A binary PGM or PPM of up to 16 bits, as DCMTK writes it."""
    file = io.BytesIO(content)
    words: list[bytes] = []
    while len(words) < 4:
        line = file.readline()
        assert line, "no image"
        words += line.split(b"#")[0].split()
    kind, columns, rows, top = words[0], int(words[1]), int(words[2]), int(words[3])
    dtype = np.dtype(np.uint8 if top < 256 else ">u2")
    shape = (rows, columns, 3) if kind == b"P6" else (rows, columns)
    return np.frombuffer(file.read(), dtype, count=int(np.prod(shape))).reshape(shape)
