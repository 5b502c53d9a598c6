"""What is agreed on as media type and transfer syntax (PS3.18 8.7), and what clients ask for literally."""

import pytest

from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests.conformance.agreed import (
    CODESTREAM,
    DICOM,
    HTJ2K,
    J2K,
    J2K_MANY,
    J2K_ONE,
    JPEG,
    JSON,
    JXL,
    NATIVE,
    OCTETS,
    PICTURE,
    RLE,
    SERIES,
    XML,
    keep_images,
    many,
    one,
    told,
)
from tests.conformance.rows import row
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.reading import data_set, parts_of
from tests.sites import Site


@pytest.fixture
def kept(site: Site) -> Site:
    return keep_images(site)


# A resource with the type of the parts that a multipart of it has, and their transfer syntax.
MULTIPART = {
    "/studies": many(XML),
    SERIES + "/metadata": many(XML),
    "/studies/1.1": many(DICOM, EXPLICIT_LE),
    NATIVE: many(DICOM, EXPLICIT_LE),
    NATIVE + "/frames/1,3": many(OCTETS, EXPLICIT_LE),
    NATIVE + "/bulkdata/7FE00010": many(OCTETS, EXPLICIT_LE),
}
# How a multipart of items of a type may be asked for; each is seen in a client or in a peer's bug list.
SPELLINGS = [
    row("PS3.18 8.7.3", "type in quotes", 'multipart/related; type="{type}"'),
    row("spec 3.1", "type without quotes", "multipart/related; type={type}"),
    row("spec 3.1", "no space behind the semicolon", 'multipart/related;type="{type}"'),
    row("spec 3.1", "spaces around = and ;", 'multipart/related ; type = "{type}" ; q = 0.5'),
    row("RFC 9110 8.3.1", "types and parameter names in upper case", 'MULTIPART/Related; TYPE="{type}"; Q=1'),
    row("RFC 9110 8.3.1", "the type parameter's value in upper case", 'multipart/related; type="{TYPE}"'),
    row("spec 3.1", "q without a leading zero", "multipart/related; type={type};q=.2"),
    row("RFC 9110 12.4.2", "q of three decimals", "multipart/related; type={type}; q=0.125"),
    row("spec 3.1", "q before the other parameters", 'multipart/related; q=0.7; type="{type}"'),
    row("spec 3.1", "without type: the default of the resource", "multipart/related"),
    row("spec 3.1", "without type, any transfer syntax", "multipart/related; transfer-syntax=*"),
    row("spec 3.1", "any type (dicomweb-client, Python)", 'multipart/related; type="*/*"'),
    row("spec 3.1", "a boundary inside Accept", 'multipart/related; type="{type}"; boundary="a,b;c"'),
    row(
        "spec 3.1",
        "transfer-syntax=* in quotes (OHIF)",
        'multipart/related; type="{type}"; transfer-syntax="*"',
    ),
    row("PS3.18 8.7.3.5.2", "transfer-syntax=*", "multipart/related; type={type}; transfer-syntax=*"),
    row(
        "PS3.18 8.7.3.5.2",
        "the syntax by its UID",
        "multipart/related; type={type}; transfer-syntax=" + EXPLICIT_LE,
    ),
    row("spec 3.1", "parameters in another order", 'multipart/related; transfer-syntax=*; type="{type}"'),
    row("spec 3.1", "several ranges of different types", 'image/png, multipart/related; type="{type}"'),
    row(
        "PS3.18 8.7.7",
        "ranges that make no sense are ignored",
        'nonsense, ;;=, /, x/y/z, multipart/related; type="{type}"',
    ),
    row(
        "PS3.18 8.7.7",
        "a range with an invalid q is ignored",
        'application/pdf;q=7, multipart/related; type="{type}"',
    ),
    row(
        "PS3.18 8.7.7",
        "a range with an unknown syntax is ignored",
        'multipart/related; type="{type}"; transfer-syntax=1.2.3, multipart/related; type="{type}";q=0.1',
    ),
    row("spec 3.1", "parameters nobody knows", 'multipart/related; type="{type}"; frobnicate="1"; level=3'),
    row("spec 3.1", "any multipart", "multipart/*"),
]


@pytest.mark.parametrize("path", MULTIPART)
@pytest.mark.parametrize("accept", SPELLINGS)
def test_a_multipart_may_be_asked_for_in_many_spellings(kept, accept, path):
    expected = MULTIPART[path]
    spelt = accept.replace("{type}", expected.item).replace("{TYPE}", expected.item.upper())
    assert told(kept.get(path, spelt)) == expected


CHOICES = [
    # search and metadata
    *(
        choice
        for path in ("/studies", "/studies/1.1/metadata", NATIVE + "/metadata")
        for choice in (
            row("PS3.18 Table 8.7.2-1", f"the default is DICOM JSON ({path})", path, "*/*", one(JSON)),
            row("PS3.18 8.7.7", f"a wildcard over the default ({path})", path, "application/*", one(JSON)),
            row("spec 3.1", f"a bare * ({path})", path, "*", one(JSON)),
            row("spec 3.1", f"no Accept header ({path})", path, None, one(JSON)),
            row("spec 3.1", f"application/json ({path})", path, "application/json", one(JSON)),
            row(
                "PS3.18 8.7.8",
                f"q decides ({path})",
                path,
                f'{JSON};q=0.3, multipart/related; type="{XML}";q=0.4',
                many(XML),
            ),
            row(
                "PS3.18 8.7.8",
                f"q=0 excludes ({path})",
                path,
                f"{JSON};q=0, multipart/related;type={XML}",
                many(XML),
            ),
            row(
                "RFC 9110 12.5.1",
                f"the most specific range decides ({path})",
                path,
                f"*/*, {JSON};q=0",
                many(XML),
            ),
            row(
                "spec 3.1",
                f"the list that Java sends ({path})",
                path,
                "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
                one(JSON),
            ),
            row(
                "spec 3.1",
                f"the list that browsers send ({path})",
                path,
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
                one(JSON) if "instances" not in path else one(XML),
            ),
            row("PS3.18 8.7.7", f"nothing acceptable ({path})", path, "image/png", 406),
            row("PS3.18 8.7.7", f"all excluded ({path})", path, "*/*;q=0", 406),
            row("PS3.18 8.7.7", f"only nonsense ({path})", path, "nonsense", 406),
        )
    ),
    row("spec 3.1", "XML without a multipart, of one instance", NATIVE + "/metadata", XML, one(XML)),
    row("spec 3.1", "XML by its general name", NATIVE + "/metadata", "application/xml", one(XML)),
    row("PS3.18 Table 10.4.4-1", "XML without a multipart, of many", "/studies/1.4/metadata", XML, 406),
    # objects
    row("PS3.18 Table 10.4.4-1", "the default is a multipart", NATIVE, "*/*", many(DICOM, EXPLICIT_LE)),
    row("spec 3.1", "no Accept header is */*", NATIVE, None, many(DICOM, EXPLICIT_LE)),
    row("PS3.18 Table 10.4.4-1", "one instance alone", NATIVE, DICOM, one(DICOM, EXPLICIT_LE)),
    row(
        "PS3.18 Table 10.4.4-1",
        "a range of types is of single parts",
        NATIVE,
        "application/*",
        one(DICOM, EXPLICIT_LE),
    ),
    row("PS3.18 Table 10.4.4-1", "a series has no single part", SERIES, DICOM, 406),
    row("PS3.18 Table 10.4.4-1", "a study has no single part", "/studies/1.1", DICOM, 406),
    row(
        "PS3.18 Table 10.4.4-1",
        "what has no single part is ignored",
        SERIES,
        f"{DICOM}, */*;q=0.1",
        many(DICOM, EXPLICIT_LE),
    ),
    row(
        "PS3.18 8.7.3.5.2",
        "no transfer-syntax is Explicit VR Little Endian",
        NATIVE,
        f"{DICOM};q=1",
        one(DICOM, EXPLICIT_LE),
    ),
    row("PS3.18 8.7.3.5.2", "* is as stored", J2K_ONE, f"{DICOM}; transfer-syntax=*", one(DICOM, J2K)),
    row("PS3.18 8.7.3.5.2", "by UID", J2K_ONE, f"{DICOM}; transfer-syntax={J2K}", one(DICOM, J2K)),
    row("spec 3.3", "a UID in quotes", J2K_ONE, f'{DICOM}; transfer-syntax="{J2K}"', one(DICOM, J2K)),
    row(
        "spec 3.3",
        "alternatives are ranges with q",
        J2K_ONE,
        f"{DICOM}; transfer-syntax={RLE}-none;q=1, {DICOM}; transfer-syntax={J2K};q=.1",
        one(DICOM, J2K),
    ),
    row(
        "spec 3.3", "a syntax that cannot be produced", NATIVE, f"{DICOM}; transfer-syntax={UIDS}.4.57.9", 406
    ),
    row("spec 3.3", "a text that is no UID", NATIVE, f"{DICOM}; transfer-syntax=implicit", 406),
    row(
        "PS3.18 8.7.3.5.2",
        "Implicit VR is never sent",
        NATIVE,
        f"{DICOM}; transfer-syntax={IMPLICIT_LE}",
        406,
    ),
    row(
        "PS3.18 8.7.3.5.2", "Big Endian is never sent", NATIVE, f"{DICOM}; transfer-syntax={EXPLICIT_BE}", 406
    ),
    row(
        "spec 3.1",
        "two transfer-syntax parameters (OHIF): any, where the first is not there",
        J2K_ONE,
        f'multipart/related; type="{DICOM}"; transfer-syntax={RLE}.9; transfer-syntax=*',
        many(DICOM, J2K),
    ),
    row(
        "PS3.18 8.7.3.5.2", "only lossy: as stored", PICTURE, f"{DICOM}; transfer-syntax=*", one(DICOM, JPEG)
    ),
    # frames
    row("PS3.18 Table 10.4.4-1", "octets by default", NATIVE + "/frames/2", "*/*", many(OCTETS, EXPLICIT_LE)),
    row("spec 3.2", "one frame alone", NATIVE + "/frames/2", OCTETS, one(OCTETS, EXPLICIT_LE)),
    row("spec 3.2", "several frames have no single part", NATIVE + "/frames/1,2", OCTETS, 406),
    row(
        "spec 3.4",
        "octets in any syntax are as stored",
        J2K_MANY + "/frames/1,2",
        f'multipart/related; type="{OCTETS}"; transfer-syntax="*"',
        many("image/jp2", J2K),
    ),
    row(
        "spec 3.4",
        "alone, too",
        J2K_MANY + "/frames/2",
        f"{OCTETS}; transfer-syntax=*",
        one("image/jp2", J2K),
    ),
    row("spec 3.1", "of equals, what is stored", J2K_MANY + "/frames/1", "*/*", many("image/jp2", J2K)),
    row("spec 3.1", "of equals, what is stored, of objects", J2K_ONE, "*/*", many(DICOM, J2K)),
    row(
        "PS3.18 Table 8.7.3-3",
        "image/jp2 means its default",
        J2K_MANY + "/frames/1",
        "multipart/related; type=image/jp2",
        many("image/jp2", J2K),
    ),
    row(
        "spec 3.2",
        "one compressed frame alone",
        J2K_ONE + "/frames/1",
        f"image/jp2; transfer-syntax={J2K}",
        one("image/jp2", J2K),
    ),
    row(
        "spec 3.2",
        "several compressed frames have no single part",
        J2K_MANY + "/frames/1,2",
        "image/jp2",
        406,
    ),
    row(
        "spec 3.1",
        "type=image/*",
        J2K_MANY + "/frames/1",
        'multipart/related; type="image/*"',
        many("image/jp2", J2K),
    ),
    row(
        "spec 3.1",
        "image/dicom+jp2",
        J2K_MANY + "/frames/1",
        "multipart/related; type=image/dicom+jp2",
        many("image/jp2", J2K),
    ),
    row(
        "spec 3.1",
        "image/dicom+jpeg",
        PICTURE + "/frames/1",
        "multipart/related; type=image/dicom+jpeg",
        many("image/jpeg", JPEG),
    ),
    row(
        "spec 3.3",
        "two parameters: the UID",
        J2K_MANY + "/frames/1",
        f"multipart/related; type={OCTETS}; transfer-syntax={J2K}; transfer-syntax=*",
        many("image/jp2", J2K),
    ),
    row(
        "spec 3.3",
        "two parameters: any",
        J2K_MANY + "/frames/1",
        f"multipart/related; type={OCTETS}; transfer-syntax={RLE}; transfer-syntax=*",
        many("image/jp2", J2K),
    ),
    row(
        "PS3.18 8.7.7", "a video is no frame", NATIVE + "/frames/1", "multipart/related; type=video/mp4", 406
    ),
    # bulk data
    row(
        "PS3.18 Table 10.4.4-1",
        "octets by default",
        NATIVE + "/bulkdata/7FE00010",
        "*/*",
        many(OCTETS, EXPLICIT_LE),
    ),
    row("spec 3.2", "one value alone", NATIVE + "/bulkdata/7FE00010", OCTETS, one(OCTETS, EXPLICIT_LE)),
    row(
        "spec 3.2",
        "compressed, a part for each frame",
        J2K_MANY + "/bulkdata/7FE00010",
        f"multipart/related; type={OCTETS}; transfer-syntax=*",
        many("image/jp2", J2K),
    ),
    row("PS3.18 8.7.7", "nothing acceptable", NATIVE + "/bulkdata/7FE00010", "text/plain", 406),
]


@pytest.mark.parametrize(("path", "accept", "expected"), CHOICES)
def test_a_representation_is_chosen(kept, path, accept, expected):
    if accept is None:
        kept.client.headers.pop("accept")
    assert told(kept.get(path, accept)) == expected


LEGACY = [
    row("spec 3.1", f"{name} is {item}", syntax, name, item)
    for name, syntax, item in (
        ("image/x-jls", UIDS + ".4.80", "image/jls"),
        ("image/dicom+jpeg-ls", UIDS + ".4.80", "image/jls"),
        ("image/x-dicom-rle", RLE, "image/dicom-rle"),
        ("image/dicom+rle", RLE, "image/dicom-rle"),
        ("image/dicom+jpx", UIDS + ".4.92", "image/jpx"),
        ("image/dicom+jp2", J2K, "image/jp2"),
        ("image/dicom+jpeg", UIDS + ".4.70", "image/jpeg"),
        ("image/jhc", UIDS + ".4.201", "image/jphc"),
    )
]


@pytest.mark.parametrize(("syntax", "name", "item"), LEGACY)
def test_names_of_former_editions_are_understood_and_never_sent(site, syntax, name, item):
    made = add_pixels(a_data_set(study="1.1", series="1.2", instance="1.3"), [bytes(32)])
    assert site.post(a_file(made, syntax, codestreams=[CODESTREAM])).status_code == 200
    response = site.get(NATIVE + "/frames/1", f"multipart/related; type={name}; transfer-syntax={syntax}")
    assert told(response) == many(item, syntax)


# PS3.18 8.7.3.5.2: the syntax that each type means when it names none.
DEFAULTS = [
    row("PS3.18 8.7.3.5.2", f"{item} means {syntax}", item, syntax)
    for item, syntax in (
        ("image/jpeg", UIDS + ".4.70"),
        ("image/dicom-rle", RLE),
        ("image/jls", UIDS + ".4.80"),
        ("image/jp2", J2K),
        ("image/jpx", UIDS + ".4.92"),
        ("image/jphc", HTJ2K),
        ("image/jxl", JXL),
    )
]


@pytest.mark.parametrize(("item", "syntax"), DEFAULTS)
def test_a_type_without_a_transfer_syntax_means_its_default(site, item, syntax):
    made = add_pixels(a_data_set(study="1.1", series="1.2", instance="1.3"), [bytes(32)])
    known = HTJ2K if syntax == JXL else syntax  # pydicom does not know JPEG XL; the UIDs are equally long
    file = a_file(made, known, codestreams=[CODESTREAM]).replace(known.encode(), syntax.encode())
    assert site.post(file).status_code == 200
    response = site.get(NATIVE + "/frames/1", f"multipart/related; type={item}")
    assert told(response) == many(item, syntax)


NEVER_SENT = [
    row(
        "PS3.18 8.7.3.5.2",
        f"{name} leaves in Explicit VR Little Endian ({asked or 'none named'})",
        syntax,
        asked,
    )
    for syntax, name in ((IMPLICIT_LE, "Implicit VR"), (EXPLICIT_BE, "Big Endian"), (DEFLATED, "Deflated"))
    for asked in ("", "; transfer-syntax=*", f"; transfer-syntax={EXPLICIT_LE}")
]


@pytest.mark.parametrize(("syntax", "asked"), NEVER_SENT)
def test_some_transfer_syntaxes_are_never_sent(site, syntax, asked):
    site.post(a_ct(study="1.1", series="1.2", instance="1.3", syntax=syntax))
    for accept in (DICOM + asked, f'multipart/related; type="{DICOM}"{asked}'):
        response = site.get(NATIVE, accept)
        alone = accept.startswith(DICOM)
        assert told(response) == (one if alone else many)(DICOM, EXPLICIT_LE)
        file = response.content if alone else parts_of(response)[0].content
        assert data_set(file).file_meta.TransferSyntaxUID == EXPLICIT_LE


REFUSALS = [
    row("PS3.18 8.7.7", f"a refusal lists what is available ({path})", path, accept, some)
    for path, accept, some in (
        ("/studies", "image/png", {JSON, f'multipart/related; type="{XML}"'}),
        (NATIVE + "/metadata", "image/png", {JSON, f'multipart/related; type="{XML}"', XML}),
        (SERIES + "/metadata", "image/png", {JSON, f'multipart/related; type="{XML}"'}),
        (NATIVE, "text/css", {f'multipart/related; type="{DICOM}"; transfer-syntax={EXPLICIT_LE}'}),
        (NATIVE, "text/css", {f"{DICOM}; transfer-syntax={EXPLICIT_LE}"}),
        (SERIES, "text/css", {f'multipart/related; type="{DICOM}"; transfer-syntax={EXPLICIT_LE}'}),
        (J2K_ONE, "text/css", {f"{DICOM}; transfer-syntax={J2K}"}),
        (NATIVE + "/frames/1", "text/css", {f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"}),
        (
            J2K_MANY + "/frames/1,2",
            "text/css",
            {f'multipart/related; type="image/jp2"; transfer-syntax={J2K}'},
        ),
        (NATIVE + "/bulkdata/7FE00010", "text/css", {f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"}),
        (NATIVE + "/findings", "text/css", {"application/json"}),
    )
]


@pytest.mark.parametrize(("path", "accept", "some"), REFUSALS)
def test_a_refusal_lists_what_is_available(kept, path, accept, some):
    response = kept.get(path, accept)
    assert response.status_code == 406
    assert some <= set(response.json()["available"])
    for listed in some:  # and what is listed can be asked for, literally
        assert kept.get(path, listed).status_code == 200
