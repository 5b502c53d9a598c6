"""Pictures of 8 bits for eyes: the media types of rendered resources, written and read (PS3.18 8.7.4)."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import imagecodecs
import numpy as np
from isal import isal_zlib

from service.dicom.errors import NotAcceptable, TooLarge, Undecodable
from service.pixels.codecs import gif
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.codecs.jpeg2000 import quantisation_step
from service.pixels.frame import Samples

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_UP = 2
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_ICC_CHUNK = 65519  # what a JPEG segment holds beside the profile's marker (ICC.1 B.4)
_MOST_CHUNKS = 255
_DEFAULT_LIMIT = 512 << 20
_SRGB, _GREY = 16, 17  # enumerated colour spaces of a JP2 or JPH file (T.800 I.5.3.3)

CARRIES_PROFILE: frozenset[str] = frozenset(("image/jpeg", "image/png"))
"""The media types in which an ICC profile goes along."""


@dataclass(frozen=True, slots=True, eq=False)
class Display:
    """Pictures as a consumer format holds them: one, or the images of an animation.

    Rows × columns of grey, or × 3 of RGB, of 8 or 16 bits; transparency is laid over black.
    """

    images: tuple[Samples, ...]
    delays_ms: tuple[int, ...]


def encode_display(
    images: Samples | Sequence[Samples],
    media_type: str,
    *,
    quality: int = 90,
    icc: bytes | None = None,
    delay_ms: int = 100,
) -> bytes:
    """One picture, or for image/gif any number of equal size, as a file of the media type.

    Pictures are of unsigned bytes, rows × columns of grey or × 3 of RGB. PNG and GIF have no quality.
    """
    pictures = [images] if isinstance(images, np.ndarray) else list(images)
    pictures = [np.ascontiguousarray(picture, np.uint8) for picture in pictures]
    if media_type == "image/gif":
        return gif.encode(pictures, delay_ms)
    if len(pictures) != 1:
        raise NotAcceptable(f"{media_type} holds one picture, not {len(pictures)}.")
    picture = pictures[0]
    match media_type:
        case "image/jpeg":
            return _jpeg(picture, quality, icc)
        case "image/png":
            return _png(picture, icc)
        case "image/webp":
            colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
            return encoded(imagecodecs.webp_encode, colour, level=quality, lossless=False, method=0)
        case "image/jxl":
            distance = max(0.1, 0.1 + (100 - quality) * 0.09)
            return encoded(
                    imagecodecs.jpegxl_encode,
                    picture, distance=distance, effort=3, usecontainer=True, numthreads=1,
            )  # fmt: skip
        case "image/jp2":
            return encoded(
                    imagecodecs.jpeg2k_encode,
                    picture, level=5 + quality / 2, codecformat="jp2", reversible=False, numthreads=1,
            )  # fmt: skip
        case "image/jph":
            return _jph(picture, quality)
    raise NotAcceptable(f"Pictures are not rendered as {media_type}.")


def decode_display(payload: bytes, media_type: str, *, limit: int = _DEFAULT_LIMIT) -> Display:
    """The pictures in a PNG or GIF file, of no more than `limit` bytes together.

    `Undecodable` if the file is damaged or of another type, `TooLarge` beyond the limit.
    """
    if media_type == "image/png":
        return Display((_read_png(payload, limit),), (0,))
    if media_type == "image/gif":
        images, delays = gif.decode(payload, limit)
        return Display(images, delays)
    raise Undecodable(f"{media_type} is not read here.")


def _jpeg(picture: Samples, quality: int, icc: bytes | None) -> bytes:
    """Baseline JPEG: grey, or YCbCr with chroma halved below the best qualities."""
    if picture.ndim == 2:
        file = encoded(imagecodecs.jpeg8_encode, picture, level=quality)
    else:
        file = encoded(
            imagecodecs.jpeg8_encode,
            picture,
            level=quality,
            colorspace="rgb",
            outcolorspace="ycbcr",
            subsampling="444" if quality >= 95 else "420",
        )
    if not icc:
        return file
    if len(icc) > _MOST_CHUNKS * _ICC_CHUNK:
        raise NotAcceptable("The image's colour profile is larger than JPEG holds: ask for iccprofile=no.")
    chunks = [icc[at : at + _ICC_CHUNK] for at in range(0, len(icc), _ICC_CHUNK)]
    segments = [
        b"\xff\xe2"
        + struct.pack(">H", len(chunk) + 16)
        + b"ICC_PROFILE\0"
        + bytes((number, len(chunks)))
        + chunk
        for number, chunk in enumerate(chunks, 1)
    ]
    # Behind JFIF, which comes first (T.871 10.1).
    behind = 4 + int.from_bytes(file[4:6]) if file[2:4] == b"\xff\xe0" else 2
    return b"".join((file[:behind], *segments, file[behind:]))


def _png(picture: Samples, icc: bytes | None) -> bytes:
    """PNG by the filter Up and a fast deflate, which serves medical pictures well."""
    rows, columns = picture.shape[:2]
    lines = picture.reshape(rows, -1)
    filtered = np.empty((rows, lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = _PNG_UP
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0 if picture.ndim == 2 else 2, 0, 0, 0)
    chunks = [_PNG, _png_chunk(b"IHDR", header)]
    if icc:
        chunks.append(_png_chunk(b"iCCP", b"ICC profile\0\0" + isal_zlib.compress(icc)))
    chunks.append(_png_chunk(b"IDAT", isal_zlib.compress(filtered, 1)))
    chunks.append(_png_chunk(b"IEND", b""))
    return b"".join(chunks)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _read_png(payload: bytes, limit: int) -> Samples:
    if payload[:8] != _PNG or payload[12:16] != b"IHDR" or len(payload) < 33:
        raise Undecodable("The file is not PNG.")
    columns, rows, depth, colour = struct.unpack_from(">IIBB", payload, 16)
    channels = _PNG_CHANNELS.get(colour)
    if channels is None or not rows or not columns:
        raise Undecodable("The PNG file's header is damaged.")
    # A transparent colour makes a fourth channel of three.
    if rows * columns * 4 * (2 if depth == 16 else 1) > limit:
        raise TooLarge(f"The picture is of {rows} × {columns} pixels, more than is taken.")
    array: Samples = decoded(imagecodecs.png_decode, payload)
    if array.ndim == 3 and array.shape[2] in (2, 4):
        alpha = array[..., -1:].astype(np.uint32)
        top = int(np.iinfo(array.dtype).max)
        over_black = (array[..., :-1] * alpha + top // 2) // top
        array = over_black.astype(array.dtype)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return array


def _jph(picture: Samples, quality: int) -> bytes:
    """HTJ2K in its file format (ITU-T T.814 annex D)."""
    rows, columns = picture.shape[:2]
    channels = 1 if picture.ndim == 2 else 3
    codestream = encoded(
        imagecodecs.htj2k_encode,
        picture,
        level=quantisation_step(5 + quality / 2, mixed=channels == 3),
        rgb=True if channels == 3 else None,
        reversible=False,
    )
    image_header = struct.pack(">IIHBBBB", rows, columns, channels, 7, 7, 0, 0)
    colour = struct.pack(">BBBI", 1, 0, 0, _SRGB if channels == 3 else _GREY)
    return b"".join(
        (
            _box(b"jP  ", b"\r\n\x87\n"),
            _box(b"ftyp", b"jph \0\0\0\0jph "),
            _box(b"jp2h", _box(b"ihdr", image_header) + _box(b"colr", colour)),
            _box(b"jp2c", codestream),
        )
    )


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content
