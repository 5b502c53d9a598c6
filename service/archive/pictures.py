"""Pictures of formats that no transfer syntax has, as native pixel data (PS3.18 10.5.2)."""

from service.dicom.codestream import Picture
from service.dicom.errors import NotDicom, TooLarge, Undecodable
from service.dicom.syntaxes import EXPLICIT_LE

TRANSFORMED = ("image/png", "image/gif")
"""The media types that have no transfer syntax; their pixels are kept without loss, uncompressed."""

MOST_BYTES = 64 << 20
MOST_DECODED = 512 << 20
"""The most bytes of samples that one instance is decoded to."""


def as_native(payload: bytes, media_type: str, *, limit: int) -> tuple[Picture, list[bytes]]:
    """What the file's pictures have in common, and the samples of each, little endian and by pixel.

    `NotDicom` if the file is damaged, `TooLarge` beyond `limit` bytes of samples.
    """
    # The codecs take half a second to load, which the start of the program need not wait for.
    from service.pixels.codecs import decode_display

    try:
        images = decode_display(payload, media_type, limit=limit).images
    except Undecodable as error:
        raise NotDicom(f"The pixel data are not {media_type}, or damaged.") from error
    first = images[0]
    if any(one.shape != first.shape or one.dtype != first.dtype for one in images):
        raise NotDicom("The pictures of the pixel data are not all of one size.")
    samples = 1 if first.ndim == 2 else int(first.shape[2])
    bits = 8 * first.dtype.itemsize
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    rows, columns = int(first.shape[0]), int(first.shape[1])
    described = Picture(EXPLICIT_LE, rows, columns, samples, bits, False, photometric)
    return described, [one.astype(f"<u{bits // 8}").tobytes() for one in images]


def require_readable(size: int) -> None:
    """`TooLarge` for a file of so many bytes that it is not read at once."""
    if size > MOST_BYTES:
        raise TooLarge(f"Pictures that have to be transformed are taken up to {MOST_BYTES >> 20} MiB.")
