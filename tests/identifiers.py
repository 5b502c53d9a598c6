"""Identifiers of queries, written and read by pydicom: an implementation that is not ours."""

import io
from typing import Any

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from service.dicom.identifier import Identifier, read_identifier
from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

PLAIN = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)


def a_query(level: str = "STUDY", **keys: Any) -> Dataset:
    """An identifier of these keys, by keyword."""
    made = Dataset()
    with disable_value_validation():  # what careless peers send is no error here
        if level:
            made.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(made, keyword, value)
    return made


def encoded(dataset: Dataset, syntax: str = IMPLICIT_LE) -> bytes:
    """The bytes of `dataset`."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT_LE
    buffer.is_little_endian = syntax != EXPLICIT_BE
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def decoded(content: bytes, syntax: str = IMPLICIT_LE) -> Dataset:
    """The data set that `content` encodes, its text decoded."""
    found = read_dataset(io.BytesIO(content), syntax == IMPLICIT_LE, syntax != EXPLICIT_BE)
    found.decode()
    return found


def identifier_of(dataset: Dataset, syntax: str = IMPLICIT_LE, *, fallback: str = "") -> Identifier:
    """What we read of `dataset`."""
    return read_identifier(encoded(dataset, syntax), BY_UID[syntax], fallback=fallback)
