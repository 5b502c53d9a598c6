"""Deletion of studies, series and instances: outside of PS3.18, as vendors' servers offer it."""

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Forgets, Identifies
from service.dicom.resource import Resource
from service.web.noted import Notes, notes_of
from service.web.request import archive_of, house, resource_of


async def forget(request: Request) -> Response:
    """`DELETE` of a study, series or instance: 204 when nobody can find it any more."""
    archive = archive_of(request)
    assert isinstance(archive, Forgets)
    await house(request).stores.run(_forget, archive, resource_of(request), notes_of(request.scope))
    return Response(status_code=204)


def _forget(archive: Forgets, resource: Resource, notes: Notes | None) -> None:
    """Let go of `resource`; whom it was of is noted before, since nobody can say so afterwards."""
    if notes is not None and isinstance(archive, Identifies):
        patient = archive.patient_of(resource.study)
        notes.patients = (patient,) if patient else ()
    archive.forget(resource)
