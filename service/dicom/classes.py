"""SOP classes whose instances belong to no study (PS3.3 A.1.2.3, PS3.18 12)."""

from collections.abc import Mapping

from service.dicom.errors import ClassUnsupported

_ROOT = "1.2.840.10008.5.1.4"

# PS3.4 Table GG.3-1, and the directory of a medium, which is no instance to be stored at all.
OF_NO_PATIENT: Mapping[str, str] = {
    _ROOT + ".1.1.200.1": "CT Defined Procedure Protocol",
    _ROOT + ".1.1.200.3": "Protocol Approval",
    _ROOT + ".1.1.200.7": "XA Defined Procedure Protocol",
    _ROOT + ".1.1.201.1": "Inventory",
    _ROOT + ".38.1": "Hanging Protocol",
    _ROOT + ".39.1": "Color Palette",
    _ROOT + ".43.1": "Generic Implant Template",
    _ROOT + ".44.1": "Implant Assembly Template",
    _ROOT + ".45.1": "Implant Template Group",
    "1.2.840.10008.1.3.10": "Media Storage Directory",
}


def require_of_patient(sop_class: str) -> None:
    """`ClassUnsupported` if instances of `sop_class` belong to no study."""
    name = OF_NO_PATIENT.get(sop_class)
    if name is not None:
        raise ClassUnsupported(
            f"Instances of {name} Storage belong to no study, and only studies are kept here."
        )
