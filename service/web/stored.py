"""The answer to a store request: status, headers, and the Store Instances Response module (PS3.18 I.1)."""

from collections.abc import Sequence

import orjson
from starlette.responses import Response

from service.archive.port import Outcome, Refused, Stored
from service.dicom.dicomxml import DICOM_XML, xml_document
from service.dicom.media import DICOM_JSON, Representation
from service.dicom.multipart import closing, new_boundary, part_head

_OUT_OF_RESOURCES = 0xA700
RETRY_AFTER_S = "5"

# The type application/xml is understood, but never sent.
OFFERS = (
    *(Representation(name) for name in (DICOM_JSON, DICOM_XML, "application/xml")),
    Representation(DICOM_XML, multipart=True),
)


def answer(
    outcomes: Sequence[Outcome], agreed: Representation, base: str, headers: dict[str, str]
) -> Response:
    """The response that tells `outcomes`, of which there is one at least, in the agreed representation."""
    stored = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    status = store_status(stored, refused)
    if status == 503:
        headers["Retry-After"] = RETRY_AFTER_S
    study = _study_url(stored, base)
    if study and not all(one.already for one in stored):
        headers |= {"Location": study, "Content-Location": study}
    kind, body = _represented(store_response(stored, refused, base), agreed)
    return Response(body, status, {"Content-Type": kind, **headers})


def store_status(stored: Sequence[Stored], refused: Sequence[Refused]) -> int:
    """PS3.18 Table 10.5.3-1; 503 and 413 where everything failed for want of resources or for its size."""
    if not stored:
        if all(one.transient for one in refused):
            return 503
        too_large = all(one.reason == _OUT_OF_RESOURCES and not one.transient for one in refused)
        return 413 if too_large else 409
    clean = not refused and all(one.warning is None for one in stored)
    return 200 if clean else 202


def store_response(
    stored: Sequence[Stored], refused: Sequence[Refused], base: str
) -> dict[str, dict[str, object]]:
    """The Store Instances Response module (PS3.18 Table I.1-1) as a DICOM JSON object."""
    study = _study_url(stored, base)
    response = {"00081190": _element("UR", study) if study else _element("UR")}
    named = [one for one in refused if one.sop_class and one.sop_instance]
    unnamed = [one for one in refused if not (one.sop_class and one.sop_instance)]
    if named:
        response["00081198"] = _element("SQ", *(_failed_item(one) for one in named))
    if stored:
        response["00081199"] = _element("SQ", *(_stored_item(one, base) for one in stored))
    if unnamed:
        response["0008119A"] = _element("SQ", *(_other_failure(one) for one in unnamed))
    return response


def _represented(module: dict[str, dict[str, object]], agreed: Representation) -> tuple[str, bytes]:
    if agreed.media_type == DICOM_JSON:
        return DICOM_JSON, orjson.dumps(module)
    document = xml_document(module)
    if not agreed.multipart:
        return DICOM_XML, document
    boundary = new_boundary()
    head = part_head(boundary, DICOM_XML, length=len(document), first=True)
    return agreed.multipart_type(boundary), head + document + closing(boundary)


def _study_url(stored: Sequence[Stored], base: str) -> str:
    """The URL of the study that all the stored instances are of, empty if there is no such one."""
    studies = {one.key.study for one in stored}
    return f"{base}/studies/{studies.pop()}" if len(studies) == 1 else ""


def _stored_item(one: Stored, base: str) -> dict[str, dict[str, object]]:
    item = {
        "00081150": _element("UI", one.sop_class),
        "00081155": _element("UI", one.key.instance),
        "00081190": _element("UR", base + one.key.path),
    }
    if one.warning is not None:
        item["00081196"] = _element("US", one.warning)
    return item


def _failed_item(one: Refused) -> dict[str, dict[str, object]]:
    return {
        "00081150": _element("UI", one.sop_class),
        "00081155": _element("UI", one.sop_instance),
        **_other_failure(one),
    }


def _other_failure(one: Refused) -> dict[str, dict[str, object]]:
    # Error Comment is not among the module's attributes; clients ignore it, people read it.
    return {"00000902": _element("LO", one.message), "00081197": _element("US", one.reason)}


def _element(vr: str, *values: object) -> dict[str, object]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
