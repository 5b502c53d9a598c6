"""The objects that are measured with: a CT series as a scanner would send it, and a long encapsulated one."""

import functools
import random
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.making import a_data_set, a_file, add_pixels

SLICES = 200
FRAME_BYTES = 512 * 512 * 2
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_PLACEHOLDER = b"2.25.7700000000"

# What a CT scanner writes beside the identification and the pixel description, by keyword.
_SAME_IN_EACH: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "InstanceCreationDate": "20240131",
    "InstanceCreationTime": "101742.113000",
    "SeriesDate": "20240131",
    "AcquisitionDate": "20240131",
    "ContentDate": "20240131",
    "SeriesTime": "101630.500000",
    "AcquisitionTime": "101655.250000",
    "ContentTime": "101742.113000",
    "Manufacturer": "Example Scanners",
    "InstitutionName": "St. Elsewhere",
    "InstitutionAddress": "1 Harbour Road",
    "ReferringPhysicianName": "Roe^Richard",
    "StationName": "CT01",
    "StudyDescription": "CT chest and abdomen with contrast",
    "SeriesDescription": "Thorax 1.0 B31f",
    "InstitutionalDepartmentName": "Radiology",
    "PerformingPhysicianName": "Poe^Edith",
    "OperatorsName": "Low^Ada",
    "ManufacturerModelName": "Example 128",
    "PatientBirthDate": "19610712",
    "PatientSex": "F",
    "PatientAge": "062Y",
    "PatientSize": "1.68",
    "PatientWeight": "64",
    "BodyPartExamined": "CHEST",
    "ContrastBolusAgent": "APPLIED",
    "ScanOptions": "HELICAL MODE",
    "SliceThickness": "1",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "10042",
    "SoftwareVersions": ["4.2", "b17"],
    "ProtocolName": "5.1 Thorax routine",
    "ContrastBolusVolume": "80",
    "ContrastBolusStartTime": "101630",
    "ContrastBolusTotalDose": "80",
    "ContrastFlowRate": "3.5",
    "ContrastFlowDuration": "23",
    "ContrastBolusIngredientConcentration": "350",
    "ReconstructionDiameter": "380",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "151",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "188",
    "Exposure": "94",
    "FilterType": "WEDGE_3",
    "GeneratorPower": "22",
    "FocalSpots": "1.2",
    "DateOfLastCalibration": "20240131",
    "TimeOfLastCalibration": "070122.000000",
    "ConvolutionKernel": "B31f",
    "PatientPosition": "FFS",
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 38.4,
    "TableSpeed": 57.6,
    "TableFeedPerRotation": 28.8,
    "SpiralPitchFactor": 0.75,
    "EstimatedDoseSaving": 12.5,
    "CTDIvol": 7.31,
    "AcquisitionNumber": "2",
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "FrameOfReferenceUID": "2.25.7788880001",
    "PositionReferenceIndicator": "SN",
    "ImageComments": "Made for measurements",
    "PixelSpacing": ["0.7421875", "0.7421875"],
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 4095,
    "WindowCenter": ["50", "-600"],
    "WindowWidth": ["350", "1200"],
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenterWidthExplanation": ["MEDIASTINUM", "LUNG"],
    "LossyImageCompression": "00",
    "RequestingPhysician": "Roe^Richard",
    "RequestingService": "Surgery",
    "RequestedProcedureDescription": "CT chest and abdomen",
    "PerformedProcedureStepStartDate": "20240131",
    "PerformedProcedureStepStartTime": "101500",
    "PerformedProcedureStepID": "PPS77",
    "PerformedProcedureStepDescription": "CT chest and abdomen",
    "CommentsOnThePerformedProcedureStep": "None",
}


def a_series(number: int, slices: int = SLICES) -> list[bytes]:
    """The files of series `number`, slices of about 527 kB; no two numbers share a UID."""
    ours = b"2.25.77%08d" % number
    return [head.replace(_PLACEHOLDER, ours) + _pixels() for head in _heads(slices)]


def study_and_series(number: int) -> tuple[str, str]:
    """The UIDs of the study and of the series that `a_series(number)` makes."""
    return f"2.25.77{number:08}9001", f"2.25.77{number:08}9002"


def an_encapsulated_object(number: int, frames: int) -> tuple[bytes, list[bytes]]:
    """One object of `frames` frames in small fragments, its UIDs like those of a series, and the frames."""
    study, series = study_and_series(number)
    chance = random.Random(number)
    codestreams = [b"\xff\xd8" + chance.randbytes(4 * chance.randrange(60, 90)) for _ in range(frames)]
    made = a_data_set(study=study, series=series, instance=f"2.25.77{number:08}0001")
    made = add_pixels(made, [b"\0" * 256], rows=16, columns=16, bits=8)
    made.NumberOfFrames = frames
    return a_file(made, JPEG_BASELINE, codestreams=codestreams), codestreams


@functools.cache
def _pixels() -> bytes:
    noise = random.Random(512)
    row = b"".join((1000 + noise.randrange(64)).to_bytes(2, "little") for _ in range(FRAME_BYTES // 32))
    return row * 16


@functools.cache
def _heads(slices: int) -> list[bytes]:
    """Each slice's file up to its pixels, with a placeholder where the number of the series goes."""
    return [a_file(_slice(number)).removesuffix(_pixels()) for number in range(1, slices + 1)]


def _slice(number: int) -> Dataset:
    study, series = study_and_series(0)
    made = a_data_set(study=study, series=series, instance=f"2.25.7700000000{number:04}", **_SAME_IN_EACH)
    made.InstanceNumber = number
    made.SliceLocation = f"{number * 0.7:.1f}"
    made.ImagePositionPatient = ["-190", "-312.5", f"{number * 0.7:.1f}"]
    for keyword in ("ReferencedImageSequence", "SourceImageSequence", "ReferencedStudySequence"):
        named = Dataset()
        named.ReferencedSOPClassUID = made.SOPClassUID
        named.ReferencedSOPInstanceUID = f"2.25.7788889{number:04}"
        setattr(made, keyword, Sequence([named]))
    private = made.private_block(0x0029, "EXAMPLE SCANNERS", create=True)
    for place in range(24):
        private.add_new(place, "LO", f"private value {place} of slice {number}")
    return add_pixels(made, [_pixels()], rows=512, columns=512)
