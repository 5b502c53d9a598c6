"""The codes that audit events are written in (PS3.16 CIDs 400 to 405, PS3.15 A.5.1)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A code, whose it is, and what it means."""

    value: str
    meaning: str
    system: str = "DCM"


# What happened (CID 400).
APPLICATION_ACTIVITY = Code("110100", "Application Activity")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
IMPORT = Code("110107", "Import")
ORDER_RECORD = Code("110109", "Order Record")
PROCEDURE_RECORD = Code("110111", "Procedure Record")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

# Of which kind (CID 401, 403).
APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
SECURITY_ATTRIBUTES_CHANGED = Code("110135", "Object Security Attributes Changed")

# As what somebody took part (CID 402).
APPLICATION = Code("110150", "Application")
APPLICATION_LAUNCHER = Code("110151", "Application Launcher")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
SOURCE_MEDIA = Code("110155", "Source Media")

# What an identifier is one of (CID 404; the others are those of RFC 3881 5.5.4).
STUDY_UID = Code("110180", "Study Instance UID")
SOP_CLASS_UID = Code("110181", "SOP Class UID")
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
SEARCH_CRITERIA = Code("10", "Search Criteria", "RFC-3881")
URI = Code("12", "URI", "RFC-3881")

# How it ended (PS3.15 A.5.1, EventOutcomeIndicator).
SUCCESS = 0
MINOR_FAILURE = 4
SERIOUS_FAILURE = 8

# What was done (PS3.15 A.5.1, EventActionCode).
CREATE, READ, UPDATE, DELETE, EXECUTE = "C", "R", "U", "D", "E"

APPLICATION_SERVER = "4"  # what reports it is one of (AuditSourceTypeCode)
