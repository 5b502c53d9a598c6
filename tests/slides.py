"""Tiled slides made for tests: a pyramid of levels whose tiles all tell where they lie.

A tile is of one colour, by its place and its level, that gets redder to the right and greener to the bottom:
tiles that are exchanged, turned or of another level are seen to be.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.making import a_data_set, a_file, add_pixels, new_uid

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
TILE = 256
_SLOPE = 24
_MICRONS = 0.25  # of a pixel of the largest level

type Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Slide:
    """A square slide of `pixels` a side, halved from level to level until one tile holds it.

    `texture` is the deviation of the noise in the tiles, which decides how many bytes they take.
    """

    pixels: int
    texture: float = 0.0
    study: str = field(default_factory=new_uid)
    series: str = field(default_factory=new_uid)
    _frame_of_reference: str = field(default_factory=new_uid)
    _pyramid: str = field(default_factory=new_uid)

    @functools.cached_property
    def levels(self) -> "list[Level]":
        """The levels, the largest one first."""
        made: list[Level] = []
        pixels = self.pixels
        while not made or made[-1].across > 1:
            made.append(Level(self, len(made), pixels))
            pixels = -(-pixels // 2)
        return made

    @property
    def tiles(self) -> int:
        """The number of tiles of all levels."""
        return sum(level.across**2 for level in self.levels)


@dataclass(frozen=True)
class Level:
    """One image of a slide, of `pixels` × `pixels`."""

    slide: Slide
    number: int
    pixels: int
    instance: str = field(default_factory=new_uid)

    @property
    def across(self) -> int:
        """How many tiles lie side by side, and one below the other."""
        return -(-self.pixels // TILE)

    def tile(self, frame: int) -> Picture:
        """The picture of a frame (1-based) before it is compressed: 256 × 256 × 3."""
        down, across = divmod(frame - 1, self.across)
        return _tile(self.number, down % 16, across % 16, self.slide.texture)

    def codestream(self, frame: int) -> bytes:
        """The JPEG of a frame (1-based)."""
        down, across = divmod(frame - 1, self.across)
        return _codestream(self.number, down % 16, across % 16, self.slide.texture)

    def region(self, top: int, left: int, rows: int, columns: int) -> Picture:
        """The pixels of a rectangle of the level, of tiles as they are decoded: rows × columns × 3."""
        first_down, first_across = top // TILE, left // TILE
        last_down, last_across = (top + rows - 1) // TILE, (left + columns - 1) // TILE
        strips = [
            np.concatenate(
                [self._decoded(down, across) for across in range(first_across, last_across + 1)], 1
            )
            for down in range(first_down, last_down + 1)
        ]
        whole = np.concatenate(strips, 0)
        top, left = top - first_down * TILE, left - first_across * TILE
        return whole[top : top + rows, left : left + columns]

    def file(self) -> bytes:
        """The level as a DICOM file, JPEG Baseline, TILED_FULL (PS3.3 C.7.6.17.3)."""
        made = a_data_set(
            study=self.slide.study, series=self.slide.series, instance=self.instance, sop_class=SLIDE_CLASS
        )
        blank = bytes(TILE * TILE * 3)
        add_pixels(made, [blank], rows=TILE, columns=TILE, bits=8, samples=3, photometric="YBR_FULL_422")
        for keyword, value in _description(self).items():
            setattr(made, keyword, value)
        return a_file(made, JPEG_BASELINE, codestreams=list(self._codestreams()))

    def _codestreams(self) -> Iterator[bytes]:
        return (self.codestream(frame) for frame in range(1, self.across**2 + 1))

    def _decoded(self, down: int, across: int) -> Picture:
        return _decoded(self.number, down % 16, across % 16, self.slide.texture)


@functools.cache
def _tile(level: int, down: int, across: int, texture: float) -> Picture:
    rise = np.arange(TILE) * _SLOPE / TILE
    picture = np.empty((TILE, TILE, 3))
    picture[..., 0] = 16 + 12 * across + rise
    picture[..., 1] = 16 + 12 * down + rise[:, None]
    picture[..., 2] = 40 + 24 * (level % 8)
    if texture:
        noise = np.random.default_rng([level, down, across]).normal(0, texture, (TILE, TILE, 1))
        picture += noise
    return np.clip(picture, 0, 255).astype(np.uint8)


@functools.cache
def _codestream(level: int, down: int, across: int, texture: float) -> bytes:
    picture = _tile(level, down, across, texture)
    return bytes(imagecodecs.jpeg8_encode(picture, level=90, subsampling="422"))


@functools.cache
def _decoded(level: int, down: int, across: int, texture: float) -> Picture:
    picture: Picture = imagecodecs.jpeg8_decode(_codestream(level, down, across, texture))
    return picture


def _description(level: Level) -> dict[str, Any]:
    """What a viewer has to know of a level, by keyword (PS3.3 A.32.8)."""
    millimetres = level.slide.pixels * _MICRONS / 1000
    spacing = millimetres / level.pixels
    return {
        "Modality": "SM",
        "ImageType": ["ORIGINAL" if level.number == 0 else "DERIVED", "PRIMARY", "VOLUME",
                      "NONE" if level.number == 0 else "RESAMPLED"],
        "InstanceNumber": level.number + 1,
        "NumberOfFrames": level.across**2,
        "FrameOfReferenceUID": level.slide._frame_of_reference,
        "PyramidUID": level.slide._pyramid,
        "PositionReferenceIndicator": "SLIDE_CORNER",
        "ContainerIdentifier": "S1",
        "VolumetricProperties": "VOLUME",
        "BurnedInAnnotation": "NO",
        "SpecimenLabelInImage": "NO",
        "FocusMethod": "AUTO",
        "ExtendedDepthOfField": "NO",
        "LossyImageCompression": "01",
        "LossyImageCompressionMethod": "ISO_10918_1",
        "LossyImageCompressionRatio": "20",
        "DimensionOrganizationType": "TILED_FULL",
        "TotalPixelMatrixColumns": level.pixels,
        "TotalPixelMatrixRows": level.pixels,
        "TotalPixelMatrixFocalPlanes": 1,
        "NumberOfOpticalPaths": 1,
        "ImagedVolumeWidth": millimetres,
        "ImagedVolumeHeight": millimetres,
        "ImagedVolumeDepth": 1.0,
        "ImageOrientationSlide": [0, -1, 0, -1, 0, 0],
        "AcquisitionDateTime": "20240131101500",
        "TotalPixelMatrixOriginSequence": _item(
            XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0
        ),
        "OpticalPathSequence": _item(
            OpticalPathIdentifier="1",
            IlluminationTypeCodeSequence=_code("111744", "Brightfield illumination"),
            IlluminationColorCodeSequence=_code("R-102C0", "Full Spectrum", "SRT"),
        ),
        "SharedFunctionalGroupsSequence": _item(
            PixelMeasuresSequence=_item(PixelSpacing=[spacing, spacing], SliceThickness=0.001),
            WholeSlideMicroscopyImageFrameTypeSequence=_item(
                FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
            ),
            OpticalPathIdentificationSequence=_item(OpticalPathIdentifier="1"),
        ),
    }  # fmt: skip


def _item(**attributes: Any) -> Sequence:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return Sequence([made])


def _code(value: str, meaning: str, scheme: str = "DCM") -> Sequence:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
