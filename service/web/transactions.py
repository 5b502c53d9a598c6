"""What each method of each resource takes and gives: the description beside the map of routes.

The Capabilities Description (PS3.18 8.9) is made from this table and the map; tests compare both with
the OpenAPI document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.dicom.attributes import ATTRIBUTES, REQUEST_PATHS, attribute_name
from service.dicom.dicomxml import DICOM_XML
from service.dicom.media import DICOM, DICOM_JSON, MULTIPART
from service.dicom.resource import Level
from service.dicom.syntaxes import OCTETS, SYNTAXES
from service.web.renderable import PICTURES, TEXTS

STUDY = "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"
SHARES = STUDY + "/shares"
JSON = "application/json"
WADL = "application/vnd.sun.wadl+xml"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter; `values` are all that it may have, where they can be listed."""

    name: str
    values: tuple[str, ...] = ()
    required: bool = False
    repeating: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One method of a resource, named `identity` as in PS3.18 Table H-1.

    `gives` are the media types of its answer and `takes` those of its body, the default first.
    `successes` and `failures` are the statuses it may end in.
    """

    identity: str
    gives: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    successes: tuple[int, ...] = (200,)
    failures: tuple[int, ...] = (400, 401, 403, 404, 503)


_ACCEPT = Parameter("accept")
_FLAG = ("true", "false")
_SEARCH = (
    Parameter("fuzzymatching", _FLAG, default="false"),
    Parameter("emptyvaluematching", _FLAG, default="false"),
    Parameter("multiplevaluematching", _FLAG, default="false"),
    Parameter("includefield", repeating=True),
    Parameter("limit"),
    Parameter("offset", default="0"),
    Parameter("orderby", repeating=True),
    _ACCEPT,
)
_MANY_DOCUMENTS = f'{MULTIPART}; type="{DICOM_XML}"'
_STORED = (DICOM, DICOM_JSON, DICOM_XML)
_MANY_OBJECTS = f'{MULTIPART}; type="{DICOM}"'
_ZIP = "application/zip"
_PIXEL_TYPES = tuple(dict.fromkeys(row.media_type or OCTETS for row in SYNTAXES))
_MANY_PIXELS = tuple(f'{MULTIPART}; type="{name}"' for name in _PIXEL_TYPES)
_PIXELS = (*_MANY_PIXELS, *_PIXEL_TYPES)
_BULK = (*_PIXELS, "application/pdf")  # or whatever type an encapsulated document says that it has
_RETRIEVE_FAILURES = (400, 401, 403, 404, 406, 412, 416, 503)
_PROFILES = ("no", "yes", "srgb", "adobergb", "rommrgb")
_VIEWPORT = Parameter("viewport")
_SHOWN_AS = (*PICTURES, *TEXTS, "application/pdf", "video/mp4", "video/mpeg", "video/H265", "video/mp2t")
_MANY_PICTURES = tuple(f'{MULTIPART}; type="{name}"' for name in PICTURES)
_RENDERED = (*_SHOWN_AS, *(f'{MULTIPART}; type="{name}"' for name in _SHOWN_AS))
_RENDERING = (
    Parameter("annotation"),
    Parameter("quality"),
    _VIEWPORT,
    Parameter("window"),
    Parameter("iccprofile", _PROFILES),
    _ACCEPT,
)


def _search(identity: str, level: Level) -> Transaction:
    return Transaction(
        identity,
        (DICOM_JSON, _MANY_DOCUMENTS),
        parameters=(*_SEARCH, *(Parameter(name) for name in _match_names(level))),
        successes=(200, 204),
        failures=(400, 401, 403, 406, 413, 503),
    )


def _match_names(level: Level) -> list[str]:
    """The attributes that are matched without reading whole objects, by keyword."""
    paths = [row.path for row in ATTRIBUTES if row.level <= level and row.column]
    if level >= Level.SERIES:
        paths += REQUEST_PATHS
    return [attribute_name(path) for path in paths]


def _retrieve(identity: str, *gives: str) -> Transaction:
    return Transaction(
        identity, gives, parameters=(_ACCEPT,), successes=(200, 206, 304), failures=_RETRIEVE_FAILURES
    )


def _rendered(identity: str) -> Transaction:
    return Transaction(
        identity,
        _RENDERED,
        parameters=_RENDERING,
        successes=(200, 206, 304),
        failures=(400, 401, 403, 404, 406, 412, 413, 416, 503),
    )


def _thumbnail(identity: str) -> Transaction:
    return Transaction(
        identity,
        (*PICTURES, *_MANY_PICTURES),
        parameters=(_VIEWPORT, _ACCEPT),
        successes=(200, 304),
        failures=(400, 401, 403, 404, 406, 412, 503),
    )


def _metadata(identity: str, *more: str) -> Transaction:
    return Transaction(
        identity,
        (DICOM_JSON, _MANY_DOCUMENTS, *more),
        parameters=(Parameter("includefield", repeating=True), _ACCEPT),
        successes=(200, 304),
        failures=(400, 401, 403, 404, 406, 412, 503),
    )


def _store(identity: str) -> Transaction:
    return Transaction(
        identity,
        (DICOM_JSON, DICOM_XML, _MANY_DOCUMENTS),
        (*(f'{MULTIPART}; type="{name}"' for name in (*_STORED, OCTETS)), *_STORED),
        parameters=(_ACCEPT,),
        successes=(200, 202),
        failures=(400, 401, 403, 406, 408, 409, 413, 415, 503),
    )


def _forget(identity: str) -> Transaction:
    return Transaction(identity, successes=(204,))


_URI = Transaction(
    "RetrieveInstanceByURI",
    (*_SHOWN_AS, DICOM),
    parameters=(
        Parameter("requestType", ("WADO",), required=True),
        Parameter("studyUID"),
        Parameter("seriesUID"),
        Parameter("objectUID", required=True),
        Parameter("contentType"),
        Parameter("charset"),
        Parameter("transferSyntax"),
        Parameter("annotation"),
        Parameter("imageAnnotation"),
        Parameter("rows"),
        Parameter("columns"),
        Parameter("region"),
        Parameter("windowCenter"),
        Parameter("windowWidth"),
        Parameter("frameNumber"),
        Parameter("imageQuality"),
        Parameter("iccprofile", _PROFILES),
        Parameter("presentationSeriesUID"),
        Parameter("presentationUID"),
    ),
    successes=(200, 206, 304),
    failures=(400, 401, 403, 404, 406, 412, 413, 416, 503),
)

# The method of the root that describes all others, and itself not (PS3.18 Table H-1).
CAPABILITIES = "RetrieveCapabilities"

# Beside ISTHMUS_PREFIX, the names of what may be asked there.
BESIDE: Mapping[tuple[str, str], str] = {
    ("GET", "/wado"): "RetrieveInstanceByURI",
    ("GET", "/openapi.json"): "RetrieveDescription",
    ("GET", "/api"): "RetrieveDescriptionPage",
    ("GET", "/healthz"): "Alive",
    ("GET", "/readyz"): "Ready",
    ("GET", "/metrics"): "Metrics",
    ("GET", "/"): "RetrievePage",
    ("GET", "/config.json"): "RetrieveConfiguration",
    ("GET", "/identity.json"): "RetrieveIdentity",
    ("GET", "/page/{name}"): "RetrievePageFile",
}

# Below ISTHMUS_PREFIX, by method and path.
DESCRIBED: Mapping[tuple[str, str], Transaction] = {
    ("GET", "/studies"): _search("SearchForStudies", Level.STUDY),
    ("POST", "/studies"): _store("StoreInstances"),
    ("GET", STUDY): _retrieve("RetrieveStudy", _MANY_OBJECTS, *_MANY_PIXELS, _ZIP),
    ("POST", STUDY): _store("StoreStudyInstances"),
    ("DELETE", STUDY): _forget("DeleteStudy"),
    ("GET", STUDY + "/metadata"): _metadata("RetrieveStudyMetadata"),
    ("GET", STUDY + "/series"): _search("SearchForStudySeries", Level.SERIES),
    ("GET", STUDY + "/instances"): _search("SearchForStudyInstances", Level.INSTANCE),
    ("GET", SERIES): _retrieve("RetrieveSeries", _MANY_OBJECTS, *_MANY_PIXELS, _ZIP),
    ("DELETE", SERIES): _forget("DeleteSeries"),
    ("GET", SERIES + "/metadata"): _metadata("RetrieveSeriesMetadata"),
    ("GET", SERIES + "/instances"): _search("SearchForStudySeriesInstances", Level.INSTANCE),
    ("GET", INSTANCE): _retrieve("RetrieveInstance", _MANY_OBJECTS, DICOM, *_MANY_PIXELS),
    ("DELETE", INSTANCE): _forget("DeleteInstance"),
    ("GET", INSTANCE + "/metadata"): _metadata("RetrieveInstanceMetadata", DICOM_XML),
    ("GET", INSTANCE + "/findings"): Transaction(
        "RetrieveFindings", (JSON,), parameters=(_ACCEPT,), failures=(400, 401, 403, 404, 406, 503)
    ),
    ("GET", INSTANCE + "/frames/{frames}"): _retrieve("RetrieveFrames", *_PIXELS),
    ("GET", INSTANCE + "/bulkdata/{path}"): _retrieve("RetrieveBulkdata", *_BULK),
    ("GET", INSTANCE + "/bulk/{path}"): _retrieve("RetrieveBulk", *_BULK),
    ("GET", INSTANCE + "/bulkdata"): _retrieve("RetrieveInstanceBulkdata", *_BULK),
    ("GET", SERIES + "/bulkdata"): _retrieve("RetrieveSeriesBulkdata", *_MANY_PIXELS),
    ("GET", STUDY + "/bulkdata"): _retrieve("RetrieveStudyBulkdata", *_MANY_PIXELS),
    ("GET", INSTANCE + "/pixeldata"): _retrieve("RetrieveInstancePixelData", *_PIXELS),
    ("GET", INSTANCE + "/frames"): _retrieve("RetrieveAllFrames", *_PIXELS),
    ("GET", SERIES + "/pixeldata"): _retrieve("RetrieveSeriesPixelData", *_MANY_PIXELS),
    ("GET", STUDY + "/pixeldata"): _retrieve("RetrieveStudyPixelData", *_MANY_PIXELS),
    ("GET", STUDY + "/rendered"): _rendered("RetrieveRenderedStudy"),
    ("GET", SERIES + "/rendered"): _rendered("RetrieveRenderedSeries"),
    ("GET", INSTANCE + "/rendered"): _rendered("RetrieveRenderedInstance"),
    ("GET", INSTANCE + "/frames/{frames}/rendered"): Transaction(
        "RetrieveRenderedFrames",
        (*PICTURES, *_MANY_PICTURES),
        parameters=_RENDERING,
        successes=(200, 304),
        failures=(400, 401, 403, 404, 406, 412, 413, 503),
    ),
    ("GET", STUDY + "/thumbnail"): _thumbnail("RetrieveStudyThumbnail"),
    ("GET", SERIES + "/thumbnail"): _thumbnail("RetrieveSeriesThumbnail"),
    ("GET", INSTANCE + "/thumbnail"): _thumbnail("RetrieveInstanceThumbnail"),
    ("GET", INSTANCE + "/frames/{frames}/thumbnail"): _thumbnail("RetrieveFramesThumbnail"),
    ("GET", "/series"): _search("SearchForSeries", Level.SERIES),
    ("GET", "/instances"): _search("SearchForInstances", Level.INSTANCE),
    ("POST", SHARES): Transaction(
        "ShareStudy", (JSON,), (JSON,), successes=(201,), failures=(400, 401, 403, 404, 408, 413, 415, 503)
    ),
    ("GET", "/wado"): _URI,
    ("GET", "/"): replace(_URI, identity="RetrieveInstanceByURIOfTheRoot"),
}
