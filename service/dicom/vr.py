"""Value representations: how long their length fields are, how wide their words, and which an attribute has.

The attribute dictionaries are pydicom's. They are read at the first attribute whose value representation
the object itself does not tell, which objects in explicit VR seldom have.
"""

from collections.abc import Mapping

from service.dicom.dictionary import entry_of, private_vr_of

# PS3.5 Table 7.1-1: these have two reserved bytes and a 32-bit length in explicit VR; the rest 16 bits.
LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
SHORT = frozenset(
    (
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FD",
        "FL",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "SL",
        "SS",
        "ST",
        "TM",
    )
    + ("UI", "UL", "US")
)
KNOWN = LONG | SHORT

# Values that may be large binaries and never become JSON values (PS3.18 F.2.2).
BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
# The others that PS3.18 10.4.1.1.2 allows to be replaced by a BulkDataURI.
DETACHABLE = BINARY | frozenset(
    ("DS", "FL", "FD", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV")
)

# The width in bytes of the words that byte ordering turns around (PS3.5 7.3).
WORD: Mapping[str, int] = {
    "AT": 2, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2,
    "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8,
}  # fmt: skip

PIXEL_DATA = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

# The first and the third value of a lookup table descriptor are never signed (PS3.3 C.11.1.1.1, C.7.6.3.1.5).
LUT_DESCRIPTORS = frozenset(
    (0x00281100, 0x00281101, 0x00281102, 0x00281103, 0x00281111, 0x00281112, 0x00281113, 0x00283002)
)

_SIGN_DEPENDENT = "US or SS"


def is_private_creator(tag: int) -> bool:
    """Whether `tag` reserves a block of private elements (PS3.5 7.8.1)."""
    return tag & 0x10000 != 0 and 0x10 <= tag & 0xFFFF <= 0xFF


def block_of(tag: int) -> int:
    """What private elements of one block share: group and block number, as `gggg00bb` is reserved by."""
    return (tag >> 16 << 16) | (tag >> 8 & 0xFF)


def depends_on_sign(entry: str) -> bool:
    """Whether a dictionary entry is settled by Pixel Representation (0028,0103)."""
    return entry.startswith(_SIGN_DEPENDENT)


def dictionary_entry(tag: int) -> str | None:
    """The value representation that PS3.6 gives a standard attribute, as printed there ("US or SS").

    `None` for an attribute that is not in it; group lengths are UL (PS3.5 7.2).
    """
    if tag & 0xFFFF == 0:
        return "UL"
    entry = entry_of(tag)
    return None if entry is None or entry[0] == "NONE" else entry[0]


def private_entry(creator: str, tag: int) -> str | None:
    """The value representation that the vendor of `creator` gives a private element, where known."""
    entry = private_vr_of(creator, tag)
    return "OB or OW" if entry == "OB_OW" else entry


def settle(entry: str | None, *, signed: bool, words: int) -> str:
    """One value representation for a dictionary entry that may name several.

    `signed` is Pixel Representation; `words` the number of 16-bit words in the value.
    """
    if entry is None:
        return "UN"
    if len(entry) == 2:
        return entry
    if entry == "US or OW":  # LUT Data: numbers when there is one, else words (PS3.3 C.11.1.1.1)
        return "US" if words == 1 else "OW"
    if entry == "US or SS or OW":  # Gray Lookup Table Data, retired
        return "OW"
    if entry == _SIGN_DEPENDENT:
        return "SS" if signed else "US"
    return "OW"  # "OB or OW" is OW where the VR is not written out (PS3.5 A.1)
