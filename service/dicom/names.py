"""Person names in the form in which they are compared (PS3.5 6.2.1, PS3.4 C.2.2.2.1)."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

# Accents of Latin, Greek and Cyrillic. The voicing marks of kana are not accents and stay.
_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_COMPONENTS = 5  # PS3.5 6.2.1.1
_WORD_END = re.compile(r"[\s^]+")


def fold(text: str) -> str:
    """`text` without case, accents and compatibility variants, so that `Müller` equals `MULLER`."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", plain))


def fold_group(text: str) -> str:
    """One component group, folded: spaces around components and trailing empty components are gone."""
    # Folding may turn full-width signs into those that separate values and groups.
    folded = fold(text).replace("\\", " ").replace("=", " ").replace("\0", "")
    components = [" ".join(component.split()) for component in folded.split("^")]
    return "^".join(components).rstrip("^")


def fold_name(value: object) -> tuple[str, str, str]:
    """The three groups of a DICOM JSON person name, folded; a group it does not have is empty.

    A bare string, which some senders write instead of an object, is split at `=`.
    """
    groups: Sequence[object]
    if isinstance(value, Mapping):
        groups = [value.get(group) for group in GROUPS]
    elif isinstance(value, str):
        groups = [*value.split("="), "", "", ""][:3]
    else:
        return ("", "", "")
    alphabetic, ideographic, phonetic = (fold_group(g) if isinstance(g, str) else "" for g in groups)
    return (alphabetic, ideographic, phonetic)


def name_patterns(text: str) -> tuple[tuple[str, ...], ...]:
    """What a person name key asks of each group: alternatives per group, none where it asks nothing.

    A key without `=` gives one entry, meant for any group; otherwise there is one for each group given.
    `*` asks nothing, so that a name without the group has it too.
    `Doe^*` also asks for `Doe`, since trailing empty components do not count, and `*^*` asks nothing.
    """
    parts = text.split("=")[:3] if "=" in text else [text]
    return tuple(_alternatives(fold_group(part)) for part in parts)


def words(text: str) -> tuple[str, ...]:
    """The folded words of a name or of a fuzzy key, whatever components they stand in."""
    return tuple(word for word in _WORD_END.split(fold_group(text)) if word)


def _alternatives(pattern: str) -> tuple[str, ...]:
    if not pattern.strip("*"):
        return ()
    found = [pattern]
    while pattern.endswith("^*") and len(found) < _COMPONENTS:
        pattern = pattern[:-2].rstrip("^")
        if pattern and not pattern.strip("*"):
            return ()
        found.append(pattern)
    return tuple(filter(None, found))
