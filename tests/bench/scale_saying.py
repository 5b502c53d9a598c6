"""The attributes of the synthetic archive's instances, as a device would send them, in DICOM JSON."""

from typing import Any

from tests.bench.scale_people import ASSUMED

_SAME = """
00080005 CS ISO_IR 192|00080080 LO St. Elsewhere|00081010 SH ROOM{series}|00081040 LO Radiology
00081090 LO Example {modality} 128|00080070 LO Example Scanners|00100040 CS F|00101010 AS 062Y
00101020 DS 1.68|00101030 DS 64|00180015 CS CHEST|00180022 CS HELICAL MODE|00180050 DS 1.25|00180060 DS 120
00180090 DS 500|00181000 LO 10042|00181020 LO 4.2|00181030 LO {series}.1 {what}|00181100 DS 380
00181110 DS 1085.6|00181111 DS 595|00181120 DS 0|00181130 DS 151|00181140 CS CW|00181150 IS 500
00181151 IS 188|00181152 IS 94|00181160 SH WEDGE_3|00181170 IS 22|00181190 DS 1.2|00181210 SH B31f
00185100 CS FFS
0020000D UI {study_uid}|0020000E UI {series_uid}|00200010 SH {accession}|00200011 IS {series}|00200012 IS 2
00200013 IS {instance}|00200052 UI {series_uid}.1|00201040 LO SN|00201041 DS {instance}.5
00280002 US 1|00280004 CS MONOCHROME2|00280010 US 512|00280011 US 512|00280100 US 16|00280101 US 12
00280102 US 11|00280103 US 0|00281052 DS -1024|00281053 DS 1|00281054 LO HU|00282110 CS 00
00204000 LT Position {noise}
00080016 UI {sop_class}|00080018 UI {instance_uid}|00080060 CS {modality}|00081030 LO {what}
0008103E LO {what} {series}|00080050 SH {accession}|00100020 LO {patient}|00100030 DA {birth}
00080020 DA {date}|00080021 DA {date}|00080022 DA {date}|00080023 DA {date}|0008002A DT {moment}
00080030 TM {time}|00080031 TM {time}|00080032 TM {time}|00080033 TM {time}
00400244 DA {date}|00400245 TM {time}|00400253 SH PPS{series}|00400254 LO {what}
"""


def elements(modality: str, sop_class: str, what: str, series: int, instance: int) -> dict[str, Any]:
    """The elements of one place in a shape by tag, with `ASSUMED` where identities differ."""
    told = {**ASSUMED, "modality": modality, "sop_class": sop_class, "what": what}
    numbers = {"series": series + 1, "instance": instance + 1}
    found: dict[str, Any] = {}
    for entry in _SAME.replace("\n", "|").strip("|").split("|"):
        tag, vr, text = entry.split(" ", 2)
        value: str | int = text.format(**told, **numbers)
        found[tag] = {"vr": vr, "Value": [int(value) if vr == "US" else value]}
    found["00080008"] = {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    found["00280030"] = {"vr": "DS", "Value": ["0.7421875", "0.7421875"]}
    found["00200032"] = {"vr": "DS", "Value": ["-190", "-312.5", f"{instance}.5"]}
    found["00281050"] = {"vr": "DS", "Value": ["50", "-600"]}
    found["00100010"] = _name(ASSUMED["name"])
    found["00080090"] = found["00081050"] = _name(ASSUMED["doctor"])
    if not series:
        step = {"vr": "SH", "Value": [ASSUMED["step"]]}
        item = {"00400009": step, "00401001": {"vr": "SH", "Value": [ASSUMED["procedure"]]}}
        found["00400275"] = {"vr": "SQ", "Value": [item]}
    return found


def _name(text: str) -> dict[str, Any]:
    return {"vr": "PN", "Value": [{"Alphabetic": text}]}
