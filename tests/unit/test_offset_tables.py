"""Frames of several fragments, told apart by the Extended Offset Table (PS3.3 C.7.6.3.1.8)."""

import struct

import pytest

from service.dicom.scan import Scan
from tests.making import a_data_set, a_file, add_pixels

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


@pytest.mark.parametrize("frames", [3, 200])  # a table that stands in the header, and one that is passed over
@pytest.mark.parametrize("block", [100, 1 << 20])
def test_the_extended_offset_table_tells_frames_apart(frames: int, block: int) -> None:
    # given: two fragments a frame, none of which begins as a codestream does, and an empty Basic Offset Table
    fragment = b"\xfe\xff\x00\xe0" + struct.pack("<I", 10) + bytes(10)
    made = add_pixels(a_data_set(), [bytes(16)], bits=8)
    made.NumberOfFrames = frames
    made.PixelData = b"\xfe\xff\x00\xe0" + bytes(4) + fragment * (2 * frames)
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    offsets = [2 * len(fragment) * number for number in range(frames)]
    made.add_new(0x7FE00001, "OV", struct.pack(f"<{frames}Q", *offsets))
    made.add_new(0x7FE00002, "OV", struct.pack(f"<{frames}Q", *[20] * frames))
    file = memoryview(a_file(made, JPEG_BASELINE))

    scan = Scan(header_limit=1 << 20)
    for begin in range(0, len(file), block):
        scan.push(file[begin : begin + block])
    found = scan.finish()

    assert found.frames is not None
    assert found.pixels is not None
    first = found.pixels.extent.offset + 8
    assert list(found.frames.offsets) == [first + offset for offset in (*offsets, 2 * len(fragment) * frames)]
    assert found.findings == ()
