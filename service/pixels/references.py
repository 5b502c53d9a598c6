"""What the items of a presentation state refer to, and the colours they name."""

from dataclasses import dataclass

from service.pixels.attributes import Attributes

_SERIES_SEQUENCE, _IMAGE_SEQUENCE = 0x00081115, 0x00081140
_SOP_CLASS, _SOP_INSTANCE, _FRAME_NUMBER = 0x00081150, 0x00081155, 0x00081160
_OWN_INSTANCE, _SERIES = 0x00080018, 0x0020000E


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image that a presentation state is for; `frames` is empty for all of them."""

    series: str
    sop_class: str
    instance: str
    frames: tuple[int, ...]


def referenced_images(state: Attributes) -> list[ImageReference]:
    """The images that a presentation state is for, in its order (PS3.3 C.11.11)."""
    return [
        ImageReference(
            series.text(_SERIES), image.text(_SOP_CLASS), image.text(_SOP_INSTANCE), _frames(image)
        )
        for series in state.items(_SERIES_SEQUENCE)
        for image in series.items(_IMAGE_SEQUENCE)
    ]


def applies(item: Attributes, image: Attributes, frame: int) -> bool:
    """Whether an item counts for a frame of an image: it names none, this one, or all of its frames."""
    references = item.items(_IMAGE_SEQUENCE)
    return not references or any(
        one.text(_SOP_INSTANCE) == image.text(_OWN_INSTANCE) and frame in (_frames(one) or (frame,))
        for one in references
    )


def lab_to_rgb(encoded: list[float]) -> tuple[int, int, int]:
    """An encoded CIELab value (PS3.3 C.10.7.1.1) in sRGB, of 8 bits, out of gamut clipped."""
    lightness = encoded[0] * 100 / 0xFFFF
    a, b = (part * 255 / 0xFFFF - 128 for part in encoded[1:3])
    fy = (lightness + 16) / 116
    # To XYZ under D50, the white of profile connection space, then to linear sRGB by Bradford's adaption.
    x, y, z = (
        white * _uncompressed(f) for white, f in ((0.9642, fy + a / 500), (1.0, fy), (0.8249, fy - b / 200))
    )
    linear = (
        3.1338561 * x - 1.6168667 * y - 0.4906146 * z,
        -0.9787684 * x + 1.9161415 * y + 0.0334540 * z,
        0.0719453 * x - 0.2289914 * y + 1.4052427 * z,
    )
    red, green, blue = (_encoded(part) for part in linear)
    return red, green, blue


def _uncompressed(f: float) -> float:
    return f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29)


def _encoded(linear: float) -> int:
    part = min(max(linear, 0.0), 1.0)
    curve = 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055
    return int(curve * 255 + 0.5)


def _frames(reference: Attributes) -> tuple[int, ...]:
    return tuple(int(number) for number in reference.numbers(_FRAME_NUMBER))
