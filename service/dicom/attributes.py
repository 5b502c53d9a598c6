"""What each level stores, matches and returns: the attribute tables as rows of data.

PS3.18 Tables 10.6.1-5 (keys) and 10.6.3-3 to -5 (what a search returns), PS3.4 Tables C.6-1 to C.6-5.
Attributes of the patient are kept with the study.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.dicom.dictionary import entry_of, tag_of
from service.dicom.resource import Level
from service.dicom.values import TEXTS

GROUP_SUFFIXES = ("", "_ideographic", "_phonetic")

REQUESTS = 0x00400275  # Request Attributes Sequence
STEP_ID = 0x00400009
PROCEDURE_ID = 0x00401001
CONCEPT_NAME = 0x0040A043

MODALITIES = 0x00080061
CLASSES = 0x00080062
AVAILABILITY = 0x00080056
CHARACTER_SET = 0x00080005
TIMEZONE = 0x00080201
RETRIEVE_URL = 0x00081190
AVAILABLE_SYNTAXES = 0x00083002
STUDY_SERIES = 0x00201206
STUDY_INSTANCES = 0x00201208
SERIES_INSTANCES = 0x00201209


class Returned(enum.Enum):
    """When a search returns an attribute that the request does not name."""

    ALWAYS = "even when it has no value"
    IF_PRESENT = "when the object has it"
    ON_REQUEST = "never"


class Origin(enum.Enum):
    """Where an attribute's value comes from."""

    OBJECT = "the data set, kept in a column of the attribute's name"
    KEY = "the record itself: UIDs, class, syntax"
    COMPUTED = "the instances that the archive holds"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that the index knows.

    `path` leads from the data set through sequences to it. `column` is its column in the table of its
    level, empty if it cannot be matched; person names have a column for each group (`GROUP_SUFFIXES`).
    """

    path: tuple[int, ...]
    keyword: str
    vr: str
    level: Level
    column: str
    returned: Returned = Returned.ON_REQUEST
    origin: Origin = Origin.OBJECT

    @property
    def tag(self) -> int:
        return self.path[-1]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns in the order of the groups; one unless it is a person name."""
        if not self.column:
            return ()
        return tuple(self.column + suffix for suffix in (GROUP_SUFFIXES if self.vr == "PN" else ("",)))

    @property
    def many(self) -> bool:
        """Whether every value counts in matching; of others only the first does (they have VM 1)."""
        computed = self.origin is Origin.COMPUTED
        return computed or (self.vr in TEXTS and self.vr != "UI" and self.column != "modality")


def _rows() -> tuple[Attribute, ...]:
    always, present, asked = Returned.ALWAYS, Returned.IF_PRESENT, Returned.ON_REQUEST
    key, computed, read = Origin.KEY, Origin.COMPUTED, Origin.OBJECT
    study, series, instance = Level.STUDY, Level.SERIES, Level.INSTANCE
    rows: list[tuple[int, str, str, Level, str, Returned, Origin]] = [
        (0x00080020, "StudyDate", "DA", study, "study_date", always, read),
        (0x00080030, "StudyTime", "TM", study, "study_time", always, read),
        (0x00080050, "AccessionNumber", "SH", study, "accession_number", always, read),
        (AVAILABILITY, "InstanceAvailability", "CS", study, "availability", present, computed),
        (MODALITIES, "ModalitiesInStudy", "CS", study, "modalities", always, computed),
        (CLASSES, "SOPClassesInStudy", "UI", study, "sop_classes", asked, computed),
        (0x00080080, "InstitutionName", "LO", study, "institution_name", asked, read),
        (0x00080090, "ReferringPhysicianName", "PN", study, "referring_physician", always, read),
        (TIMEZONE, "TimezoneOffsetFromUTC", "SH", study, "", present, read),
        (0x00081030, "StudyDescription", "LO", study, "study_description", present, read),
        (RETRIEVE_URL, "RetrieveURL", "UR", study, "", always, computed),
        (0x00100010, "PatientName", "PN", study, "patient_name", always, read),
        (0x00100020, "PatientID", "LO", study, "patient_id", always, read),
        (0x00100021, "IssuerOfPatientID", "LO", study, "issuer_of_patient_id", asked, read),
        (0x00100030, "PatientBirthDate", "DA", study, "birth_date", always, read),
        (0x00100040, "PatientSex", "CS", study, "sex", always, read),
        (0x0020000D, "StudyInstanceUID", "UI", study, "study_uid", always, key),
        (0x00200010, "StudyID", "SH", study, "study_id", always, read),
        (STUDY_SERIES, "NumberOfStudyRelatedSeries", "IS", study, "series_count", always, computed),
        (STUDY_INSTANCES, "NumberOfStudyRelatedInstances", "IS", study, "study_count", always, computed),
        (0x00080021, "SeriesDate", "DA", series, "series_date", asked, read),
        (0x00080031, "SeriesTime", "TM", series, "series_time", asked, read),
        (0x00080060, "Modality", "CS", series, "modality", always, read),
        (0x00080070, "Manufacturer", "LO", series, "manufacturer", asked, read),
        (0x00081010, "StationName", "SH", series, "station_name", asked, read),
        (0x0008103E, "SeriesDescription", "LO", series, "series_description", present, read),
        (0x00081040, "InstitutionalDepartmentName", "LO", series, "department_name", asked, read),
        (0x00081050, "PerformingPhysicianName", "PN", series, "performing_physician", asked, read),
        (0x00081090, "ManufacturerModelName", "LO", series, "model_name", asked, read),
        (0x00180015, "BodyPartExamined", "CS", series, "body_part", asked, read),
        (0x00181030, "ProtocolName", "LO", series, "protocol_name", asked, read),
        (0x0020000E, "SeriesInstanceUID", "UI", series, "series_uid", always, key),
        (0x00200011, "SeriesNumber", "IS", series, "series_number", always, read),
        (0x00200060, "Laterality", "CS", series, "laterality", asked, read),
        (SERIES_INSTANCES, "NumberOfSeriesRelatedInstances", "IS", series, "series_size", always, computed),
        (0x00400244, "PerformedProcedureStepStartDate", "DA", series, "step_date", present, read),
        (0x00400245, "PerformedProcedureStepStartTime", "TM", series, "step_time", present, read),
        (0x00400253, "PerformedProcedureStepID", "SH", series, "step_id", asked, read),
        (REQUESTS, "RequestAttributesSequence", "SQ", series, "", present, read),
        (0x00080008, "ImageType", "CS", instance, "image_type", asked, read),
        (0x00080016, "SOPClassUID", "UI", instance, "sop_class", always, key),
        (0x00080018, "SOPInstanceUID", "UI", instance, "instance_uid", always, key),
        (0x00080023, "ContentDate", "DA", instance, "content_date", asked, read),
        (0x00080033, "ContentTime", "TM", instance, "content_time", asked, read),
        (0x0008002A, "AcquisitionDateTime", "DT", instance, "acquired", asked, read),
        # Matched by the stored syntax; what is returned is filled in by who knows what can be made.
        (AVAILABLE_SYNTAXES, "AvailableTransferSyntaxUID", "UI", instance, "syntax", present, key),
        (0x00200013, "InstanceNumber", "IS", instance, "instance_number", always, read),
        (0x00280008, "NumberOfFrames", "IS", instance, "frame_count", present, read),
        (0x00280010, "Rows", "US", instance, "pixel_rows", present, read),
        (0x00280011, "Columns", "US", instance, "pixel_columns", present, read),
        (0x00280100, "BitsAllocated", "US", instance, "bits_allocated", present, read),
        (CONCEPT_NAME, "ConceptNameCodeSequence", "SQ", instance, "", asked, read),
        (0x00700080, "ContentLabel", "CS", instance, "content_label", asked, read),
    ]
    nested = [
        ((CONCEPT_NAME, 0x00080100), "CodeValue", "SH", "concept_code"),
        ((CONCEPT_NAME, 0x00080102), "CodingSchemeDesignator", "SH", "concept_scheme"),
        ((CONCEPT_NAME, 0x00080104), "CodeMeaning", "LO", "concept_meaning"),
    ]
    return (
        *(
            Attribute((tag,), word, vr, level, column, when, origin)
            for tag, word, vr, level, column, when, origin in rows
        ),
        *(Attribute(path, word, vr, instance, column) for path, word, vr, column in nested),
    )


ATTRIBUTES: tuple[Attribute, ...] = _rows()
BY_PATH: Mapping[tuple[int, ...], Attribute] = {attribute.path: attribute for attribute in ATTRIBUTES}

# The keys inside Request Attributes Sequence that are matched without reading documents; they have VM 1.
REQUEST_PATHS: Mapping[tuple[int, ...], str] = {
    (REQUESTS, STEP_ID): "step_id",
    (REQUESTS, PROCEDURE_ID): "procedure_id",
}

# A date and the time of day that belongs to it: ranges of both are one interval (PS3.18 8.3.4.1.1).
DATE_TIMES: tuple[tuple[int, int], ...] = (
    (0x00080020, 0x00080030),
    (0x00080021, 0x00080031),
    (0x00080023, 0x00080033),
    (0x00400244, 0x00400245),
)
# Those that are moments in the time zone of their object; a date of birth, for instance, is none.
ZONED: tuple[tuple[int, int], ...] = (*DATE_TIMES, (0x00080012, 0x00080013), (0x00080022, 0x00080032))

# The column, of each level, of the object's time zone in minutes east of UTC.
ZONE_COLUMN = "zone"

# The levels of attributes that have no row, as far as an instance does not own them: modules of patient,
# study and visit; of series, equipment and frame of reference (PS3.3 C.7.1 to C.7.5).
_STUDY_GROUPS = frozenset((0x0010, 0x0012, 0x0032, 0x0038))
_STUDY_TAGS = frozenset(
    (0x00080051, 0x00080096, 0x0008009C, 0x0008009D, 0x00081032, 0x00081048, 0x00081049, 0x00081060)
    + (0x00081062, 0x00081080, 0x00081084, 0x00081110, 0x00081120, 0x00401012, CHARACTER_SET)
)
_SERIES_TAGS = frozenset(
    (0x00080068, 0x00080081, 0x00080082, 0x0008103F, 0x00081041, 0x00081052, 0x00081070, 0x00081072)
    + (0x00081111, 0x00081250, 0x00120071, 0x00120072, 0x00181000, 0x00181002, 0x00181008, 0x00181018)
    + (0x00181020, 0x00181200, 0x00181201, 0x00185100, 0x00200052, 0x00201040, 0x00400250, 0x00400251)
    + (0x00400254, 0x00400260, 0x00400280)
)


def level_of(tag: int) -> Level:
    """The level that owns an attribute; whatever is not known to belong higher belongs to the instance."""
    row = BY_PATH.get((tag,))
    if row is not None:
        return row.level
    if tag in _SERIES_TAGS:
        return Level.SERIES
    return Level.STUDY if tag in _STUDY_TAGS or tag >> 16 in _STUDY_GROUPS else Level.INSTANCE


_KEYWORDS: Mapping[str, tuple[int, str]] = {row.keyword: (row.tag, row.vr) for row in ATTRIBUTES} | {
    "ScheduledProcedureStepID": (STEP_ID, "SH"),
    "RequestedProcedureID": (PROCEDURE_ID, "SH"),
    "SpecificCharacterSet": (CHARACTER_SET, "CS"),
}
_VRS: Mapping[int, str] = dict(_KEYWORDS.values())
_HEX = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]{1,63}", re.ASCII)


def find_tag(name: str) -> tuple[int, str] | None:
    """Tag and VR of a keyword or of 8 hexadecimal digits; `None` if `name` is no attribute.

    The VR is empty where it is not known, as with private attributes.
    """
    if _HEX.fullmatch(name):
        tag = int(name, 16)
        return tag, _VRS.get(tag) or _dictionary_vr(tag)
    if name in _KEYWORDS:
        return _KEYWORDS[name]
    if not _KEYWORD.fullmatch(name):
        return None
    known = tag_of(name)
    return None if known is None else (known, _dictionary_vr(known))


def attribute_name(path: Sequence[int]) -> str:
    """The path in keywords where the tables have them, else in hexadecimal digits."""
    words = {tag: word for word, (tag, _) in _KEYWORDS.items()}
    return ".".join(words.get(tag) or f"{tag:08X}" for tag in path)


def _dictionary_vr(tag: int) -> str:
    entry = entry_of(tag)
    return entry[0][:2] if entry is not None else ""  # the first of "US or SS", "OB or OW"
