"""GIF 89a: animations of grey or colour, written; any, read.

The library packs and unpacks single images; their frame of blocks is ours, because it writes no delays.
"""

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from service.dicom.errors import NotAcceptable, TooLarge, Undecodable
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.frame import Samples

_MAX_BLOCKS = 100_000
_GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
# Colours beyond 256 fall on a cube of 6 × 7 × 6: the eye tells green best.
_CUBE = (6, 7, 6)
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16
_LOOP_FOREVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"


def encode(pictures: Sequence[Samples], delay_ms: int) -> bytes:
    """The pictures, of one size, shown one after the other without end."""
    if not pictures or len({picture.shape[:2] for picture in pictures}) != 1:
        raise NotAcceptable("An animation needs pictures of one size.")
    rows, columns = pictures[0].shape[:2]
    if max(rows, columns) > 0xFFFF:
        raise NotAcceptable("GIF holds no picture with more than 65,535 rows or columns.")
    indexed, palette = _indexed(pictures)
    parts = [
        b"GIF89a" + struct.pack("<HHBBB", columns, rows, 0xF7, 0, 0),
        palette.tobytes(),
    ]
    if len(indexed) > 1:
        parts.append(_LOOP_FOREVER)
    hundredths = min(max(round(delay_ms / 10), 2), 0xFFFF)  # browsers take less for ten
    for image in indexed:
        if len(indexed) > 1:
            parts.append(b"\x21\xf9\x04\x04" + struct.pack("<H", hundredths) + b"\0\0")
        parts.append(_image_block(image, palette))
    parts.append(b"\x3b")
    return b"".join(parts)


def decode(payload: bytes, limit: int) -> tuple[tuple[Samples, ...], tuple[int, ...]]:
    """The images in RGB, each as it is shown, with the time for which it is; `limit` is in bytes."""
    columns, rows, delays_ms = _survey(payload)
    if rows * columns * 3 * len(delays_ms) > limit:
        raise TooLarge(
            f"The animation is of {len(delays_ms)} × {rows} × {columns} pixels, more than is taken."
        )
    array: Samples = decoded(imagecodecs.gif_decode, payload, asrgb=True)
    images = array.reshape(-1, rows, columns, array.shape[-1])[..., :3]
    if len(images) != len(delays_ms):
        raise Undecodable("The GIF file is damaged.")
    return tuple(images), delays_ms


def _indexed(pictures: Sequence[Samples]) -> tuple[list[Samples], NDArray[np.uint8]]:
    """The pictures as places in one palette of 256 colours."""
    if all(picture.ndim == 2 for picture in pictures):
        return list(pictures), _GREYS
    coloured = [
        picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2) for picture in pictures
    ]
    exact = _few_colours(coloured)
    if exact is not None:
        return exact
    return [_dithered(picture) for picture in coloured], _cube_palette()


def _few_colours(pictures: Sequence[Samples]) -> tuple[list[Samples], NDArray[np.uint8]] | None:
    """The pictures in their own colours, `None` if these are more than 256."""
    colours = np.empty(0, np.uint32)
    for picture in pictures:
        colours = np.union1d(colours, np.unique(_codes(picture)))
        if len(colours) > 256:
            return None
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    return [np.searchsorted(colours, _codes(picture)).astype(np.uint8) for picture in pictures], palette


def _codes(picture: Samples) -> NDArray[np.uint32]:
    """Each pixel's colour as one number."""
    red, green, blue = (picture[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


def _dithered(picture: Samples) -> Samples:
    """The nearest colours of the cube, the rest spread over neighbours in an ordered pattern."""
    rows, columns = picture.shape[:2]
    pattern = np.tile(_BAYER, (-(-rows // 4), -(-columns // 4)))[:rows, :columns]
    index = np.zeros((rows, columns), np.uint8)
    for channel, steps in enumerate(_CUBE):
        level = picture[..., channel].astype(np.float32)
        level *= (steps - 1) / 255
        level += pattern
        index *= np.uint8(steps)
        index += np.minimum(level, steps - 1).astype(np.uint8)
    return index


def _cube_palette() -> NDArray[np.uint8]:
    red, green, blue = (np.rint(np.linspace(0, 255, steps)).astype(np.uint8) for steps in _CUBE)
    palette = np.zeros((256, 3), np.uint8)
    cube = np.stack(np.meshgrid(red, green, blue, indexing="ij"), axis=-1).reshape(-1, 3)
    palette[: len(cube)] = cube
    return palette


def _image_block(image: Samples, palette: NDArray[np.uint8]) -> bytes:
    """The image descriptor and packed samples of one image, out of a file with just that."""
    image = np.ascontiguousarray(image)
    # Noise grows by a half when packed; the library's own guess is too small for it.
    room = 2 * image.size + 4096
    file = encoded(imagecodecs.gif_encode, image, colormap=palette, out=room)
    start = _first_block(file)
    while file[start] != 0x2C:
        start = _behind_blocks(file, start + 2)
    end = _behind_blocks(file, start + 11)
    return file[start:end]


def _first_block(file: bytes) -> int:
    """The place behind the header and the global palette."""
    return 13 + (3 << ((file[10] & 7) + 1) if file[10] & 0x80 else 0)


def _behind_blocks(file: bytes, position: int) -> int:
    """The place behind the data sub-blocks at `position`."""
    while position < len(file):
        size = file[position]
        position += size + 1
        if not size:
            return position
    raise Undecodable("The GIF file ends inside an image.")


def _survey(payload: bytes) -> tuple[int, int, tuple[int, ...]]:
    """Columns, rows, and how long each image is shown, in milliseconds."""
    if payload[:6] not in (b"GIF87a", b"GIF89a") or len(payload) < 14:
        raise Undecodable("The file is not GIF.")
    columns, rows = struct.unpack_from("<HH", payload, 6)
    position = _first_block(payload)
    delays: list[int] = []
    delay = 0
    for _ in range(_MAX_BLOCKS):
        kind = payload[position : position + 1]
        if kind == b"\x21":
            if payload[position + 1 : position + 3] == b"\xf9\x04":
                delay = 10 * int.from_bytes(payload[position + 4 : position + 6], "little")
            position = _behind_blocks(payload, position + 2)
        elif kind == b"\x2c" and position + 11 <= len(payload):
            left, top, width, height, packed = struct.unpack_from("<HHHHB", payload, position + 1)
            if left + width > columns or top + height > rows:
                raise Undecodable("An image of the GIF file reaches beyond its screen.")
            local = 3 << ((packed & 7) + 1) if packed & 0x80 else 0
            position = _behind_blocks(payload, position + 11 + local)
            delays.append(delay)
            delay = 0
        elif kind == b"\x3b" or not kind:
            break
        else:
            raise Undecodable("The GIF file is damaged.")
    if not delays or not rows or not columns:
        raise Undecodable("The GIF file has no image.")
    return columns, rows, tuple(delays)
