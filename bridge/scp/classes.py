"""Which SOP classes are of the storage service (PS3.4 annex B, GG and PS3.6 Table A-1)."""

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY_FIND = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_STUDY_ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_GET = "1.2.840.10008.5.1.4.1.2.3.3"

_STANDARD = "1.2.840.10008."
_STORAGE_SERVICE = "1.2.840.10008.4.2"

# Everything the standard registers that is not stored: single UIDs, and with a dot at the end all below.
_NOT_STORED = (
    "1.2.840.10008.1.",  # verification, media directory, commitment, event logging, context groups
    "1.2.840.10008.2.",  # dictionaries
    "1.2.840.10008.3.",  # patient, visit, study and results management; procedure steps
    "1.2.840.10008.4.",  # service classes
    "1.2.840.10008.10.",  # real-time communication (PS3.22)
    "1.2.840.10008.5.1.1.",  # printing, media creation, display
    "1.2.840.10008.5.1.4.1.1.200.4",  # CT protocol find, move, get
    "1.2.840.10008.5.1.4.1.1.200.5",
    "1.2.840.10008.5.1.4.1.1.200.6",
    "1.2.840.10008.5.1.4.1.1.201.1.1",  # storage management instance
    "1.2.840.10008.5.1.4.1.1.201.2",  # inventory find, move, get, creation; repository query
    "1.2.840.10008.5.1.4.1.1.201.3",
    "1.2.840.10008.5.1.4.1.1.201.4",
    "1.2.840.10008.5.1.4.1.1.201.5",
    "1.2.840.10008.5.1.4.1.1.201.6",
    "1.2.840.10008.5.1.4.1.2.",  # query and retrieve
    "1.2.840.10008.5.1.4.20.",  # defined procedure protocol
    "1.2.840.10008.5.1.4.31",  # modality worklist
    "1.2.840.10008.5.1.4.32",  # general purpose worklist
    "1.2.840.10008.5.1.4.32.",
    "1.2.840.10008.5.1.4.33",  # instance availability
    "1.2.840.10008.5.1.4.34.4.",  # unified procedure steps of the supplement, and of the standard
    "1.2.840.10008.5.1.4.34.5",
    "1.2.840.10008.5.1.4.34.5.",
    "1.2.840.10008.5.1.4.34.6",
    "1.2.840.10008.5.1.4.34.6.",
    "1.2.840.10008.5.1.4.34.8",  # RT machine verification
    "1.2.840.10008.5.1.4.34.9",
    "1.2.840.10008.5.1.4.37.",  # relevant patient information
    "1.2.840.10008.5.1.4.38.2",  # hanging protocol find, move, get
    "1.2.840.10008.5.1.4.38.3",
    "1.2.840.10008.5.1.4.38.4",
    "1.2.840.10008.5.1.4.39.2",  # colour palette
    "1.2.840.10008.5.1.4.39.3",
    "1.2.840.10008.5.1.4.39.4",
    "1.2.840.10008.5.1.4.41",  # product characteristics, substance approval
    "1.2.840.10008.5.1.4.42",
    "1.2.840.10008.5.1.4.43.2",  # implant templates, their assemblies and groups
    "1.2.840.10008.5.1.4.43.3",
    "1.2.840.10008.5.1.4.43.4",
    "1.2.840.10008.5.1.4.44.2",
    "1.2.840.10008.5.1.4.44.3",
    "1.2.840.10008.5.1.4.44.4",
    "1.2.840.10008.5.1.4.45.2",
    "1.2.840.10008.5.1.4.45.3",
    "1.2.840.10008.5.1.4.45.4",
)
_SINGLE = frozenset(uid for uid in _NOT_STORED if not uid.endswith("."))
_FAMILIES = tuple(uid for uid in _NOT_STORED if uid.endswith("."))


def is_storage(abstract: str, service_class: str = "") -> bool:
    """Whether instances of the class are stored: all but those known to be of another service.

    Private classes and standard ones of later editions are stored too. `service_class` is what common
    extended negotiation said of it (PS3.7 D.3.3.6), which decides where it is given.
    """
    if service_class:
        return service_class == _STORAGE_SERVICE
    if not abstract.startswith(_STANDARD):
        return True
    return abstract not in _SINGLE and not abstract.startswith(_FAMILIES)
