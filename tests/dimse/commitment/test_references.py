"""The data sets of storage commitment, written and read."""

import io
import random

import pytest
from pynetdicom.dsutils import decode, encode

from bridge.commitment.references import CommitmentRequest, Reference, read_request, write_report
from service.dicom.errors import BadRequest
from service.dicom.syntaxes import BY_UID
from tests.dimse.committing import asking
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE, a_uid


def some(count: int) -> list[Reference]:
    return [Reference(CT_IMAGE, a_uid()) for _ in range(count)]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("count", [1, 3, 500])
def test_a_request_is_read_as_pydicom_writes_it(syntax: str, count: int):
    references, transaction = some(count), a_uid()
    asked = asking([(each.sop_class, each.instance) for each in references], transaction)
    for undefined in (False, True):
        asked["ReferencedSOPSequence"].is_undefined_length = undefined
        content = encode(asked, is_implicit_vr=syntax == IMPLICIT_LE, is_little_endian=True)
        assert content is not None

        request = read_request(content, BY_UID[syntax])

        assert request == CommitmentRequest(transaction, tuple(references))


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize(("good", "bad"), [(3, 0), (0, 2), (2, 1), (700, 300)])
def test_a_report_is_read_by_pydicom_as_it_is_meant(explicit: bool, good: int, bad: int):
    committed, failed = some(good), [(each, 0x0112) for each in some(bad)]

    content = write_report("1.2.3", committed, failed, retrieve_ae_title="ODD", explicit=explicit)

    read = decode(io.BytesIO(content), is_implicit_vr=not explicit, is_little_endian=True)
    tags = [element.tag for element in read]
    assert tags == sorted(tags)
    assert read.TransactionUID == "1.2.3"
    assert read.get("RetrieveAETitle") == ("ODD" if good else None)
    assert [
        Reference(each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID)
        for each in read.get("ReferencedSOPSequence", [])
    ] == committed
    assert [
        (Reference(each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID), each.FailureReason)
        for each in read.get("FailedSOPSequence", [])
    ] == failed


@pytest.mark.parametrize("explicit", [True, False])
def test_mutated_requests_are_read_or_refused(explicit: bool):
    chance = random.Random(4711)
    whole = write_report(a_uid(), some(5), [], retrieve_ae_title="A", explicit=explicit)
    syntax = BY_UID[EXPLICIT_LE if explicit else IMPLICIT_LE]
    refused = 0
    for _ in range(1000):
        mutated = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        try:
            request = read_request(bytes(mutated[: chance.randint(1, 2 * len(mutated))]), syntax)
            assert request.references
        except BadRequest:
            refused += 1

    assert 0 < refused < 1000
