"""Colours through the look-up tables of ICC profiles, by Little CMS (ICC.1 10.10 to 10.12)."""

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from service.dicom.errors import NotAcceptable

_MOST_BYTES = 8 << 20
# Colours as they were measured, since the targets are so too: AToB1Tag where there is one, else AToB0Tag.
# Perceptual tables are for targets of the same making.
_INTENT = imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC
# Each pixel goes through the tables themselves: what they are boiled down to is up to 6 of 255 off.
_FLAGS = imagecodecs.CMS.FLAGS.NOOPTIMIZE


def converted(image: NDArray[np.uint8], profile: bytes, target: bytes) -> NDArray[np.uint8]:
    """Red, green and blue of 8 bits, rows × columns × 3, of one profile in the colours of another.

    `NotAcceptable` for a profile that is damaged, or larger than any that is meant.
    """
    if len(profile) > _MOST_BYTES:
        raise NotAcceptable("The image's colour profile is larger than any that is converted here.")
    try:
        found: NDArray[np.uint8] = imagecodecs.cms_transform(
            np.ascontiguousarray(image),
            profile,
            target,
            colorspace="rgb",
            outcolorspace="rgb",
            intent=_INTENT,
            flags=_FLAGS,
        )
    except MemoryError:
        raise
    except Exception as cause:  # its own class, and ValueError or TypeError
        raise NotAcceptable("The image's colour profile is damaged; iccprofile=yes sends it.") from cause
    return found
