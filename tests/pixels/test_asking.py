"""The query parameters of rendered images, row by row (PS3.18 8.3.5 and 9.5)."""

import pytest

from service.dicom.errors import BadRequest
from service.pixels.asking import Asked, read_rendered, read_thumbnail, read_uri
from service.pixels.geometry import Region, Viewport
from service.pixels.voi import Function, Window


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("annotation", "patient", Asked(annotation=("patient",))),
        ("annotation", "technique,patient", Asked(annotation=("technique", "patient"))),
        ("annotation", "patient,measurements", Asked(annotation=("patient",), unsupported=("measurements",))),
        ("quality", "1", Asked(quality=1)),
        ("quality", "100", Asked(quality=100)),
        ("viewport", "512,256", Asked(viewport=Viewport(512, 256))),
        ("viewport", "512,256,10,20.5,100,50", Asked(viewport=Viewport(512, 256, Region(10, 20.5, 100, 50)))),
        ("viewport", "512,256,,,-100,50", Asked(viewport=Viewport(512, 256, Region(0, 0, -100, 50)))),
        ("viewport", "512,256,10", Asked(viewport=Viewport(512, 256, Region(10)))),
        ("viewport", "512,256,,,,", Asked(viewport=Viewport(512, 256))),
        ("viewport", "512,256,,30,,-40", Asked(viewport=Viewport(512, 256, Region(0, 30, None, -40)))),
        ("window", "40,400,linear", Asked(window=Window(40, 400))),
        ("window", "-600.5,1500,linear-exact", Asked(window=Window(-600.5, 1500, Function.LINEAR_EXACT))),
        ("window", "1e3,.5,sigmoid", Asked(window=Window(1000, 0.5, Function.SIGMOID))),
        ("iccprofile", "srgb", Asked(profile="srgb")),
        ("unknown", "whatever", Asked()),
    ],
)
def test_what_is_asked_of_rendered_images(name, value, expected):
    assert read_rendered([(name, value)]) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("annotation", ""),
        ("annotation", "patient,"),
        ("annotation", "<script>"),
        *(("quality", value) for value in ("0", "101", "-1", "abc", "", "50.5", "1e1", "٣")),
        *(
            ("viewport", value)
            for value in ("", "512", "0,512", "-5,5", "5.5,5", "a,b", "99999,5", "1,2,3,4,5,6,7")
        ),
        *(
            ("viewport", value)
            for value in ("5,5,-1,0", "5,5,0,0,0,5", "5,5,nan,0", "5,5,0,0,inf,5", "5,5,x")
        ),
        *(("window", value) for value in ("", "40", "40,400", ",400,linear", "40,,linear", "40,400,cubic")),
        *(
            ("window", value)
            for value in ("40,0,linear", "40,0.5,linear", "40,0,sigmoid", "40,-1,linear-exact")
        ),
        *(
            ("window", value)
            for value in ("nan,400,linear", "40,inf,linear", "40,400,linear,1", "4_0,400,linear")
        ),
        ("iccprofile", ""),
        ("iccprofile", "cmyk"),
    ],
)
def test_what_cannot_be_asked(name, value):
    with pytest.raises(BadRequest):
        read_rendered([(name, value)])


def test_a_parameter_with_two_values_is_refused():
    with pytest.raises(BadRequest):
        read_rendered([("quality", "50"), ("quality", "60")])


def test_a_presentation_state_has_its_own_window_and_area():
    assert read_rendered([("viewport", "5,6")], presentation=True).viewport == Viewport(5, 6)
    for name, value in (("window", "40,400,linear"), ("viewport", "5,6,1,1,1,1")):
        with pytest.raises(BadRequest):
            read_rendered([(name, value)], presentation=True)


def test_thumbnails_take_a_size_only():
    assert read_thumbnail([("viewport", "64,64"), ("window", "nonsense")]) == Asked(viewport=Viewport(64, 64))
    with pytest.raises(BadRequest):
        read_thumbnail([("viewport", "64,64,0,0,10,10")])


@pytest.mark.parametrize("media_type", ["image/gif", "text/html", "video/mp4"])
def test_a_type_without_profiles_takes_none(media_type):
    Asked(profile="no").require_profile(media_type)
    Asked().require_profile(media_type)
    with pytest.raises(BadRequest):
        Asked(profile="yes").require_profile(media_type)
    Asked(profile="yes").require_profile("image/png")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"frameNumber": "3"}, Asked(frame=3)),
        ({"imageQuality": "80"}, Asked(quality=80)),
        ({"windowCenter": "40", "windowWidth": "400"}, Asked(window=Window(40, 400))),
        ({"rows": "100", "columns": "200"}, Asked(viewport=Viewport(200, 100))),
        ({"rows": "100"}, Asked(viewport=Viewport(None, 100))),
        (
            {"region": "0.25,0.5,0.75,1"},
            Asked(viewport=Viewport(region=Region(0.25, 0.5, 0.5, 0.5, relative=True))),
        ),
        ({"annotation": "patient"}, Asked(annotation=("patient",))),
        ({"imageAnnotation": "technique"}, Asked(annotation=("technique",))),
        ({"presentationUID": "1.2", "presentationSeriesUID": "1.3"}, Asked(presentation=("1.3", "1.2"))),
        ({"objectUID": "1.2.3", "contentType": "image/png"}, Asked()),
    ],
)
def test_what_is_asked_by_the_uri_service(query, expected):
    assert read_uri(query.items()) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"windowCenter": "40"},
        {"windowWidth": "40"},
        {"windowCenter": "40", "windowWidth": "0"},
        {"windowCenter": "x", "windowWidth": "10"},
        {"frameNumber": "0"},
        {"frameNumber": "1.5"},
        {"rows": "0"},
        {"columns": "-3"},
        {"rows": "100000"},
        {"region": "0,0,1"},
        {"region": "0,0,0,1"},
        {"region": "0.5,0,0.2,1"},
        {"region": "0,0,1,1.1"},
        {"imageQuality": "0"},
        {"annotation": ""},
        {"presentationUID": "1.2"},
        {"presentationSeriesUID": "1.2"},
        {"presentationUID": "one", "presentationSeriesUID": "1.2"},
        {"presentationUID": "1.2", "presentationSeriesUID": "1.3", "windowCenter": "1", "windowWidth": "2"},
    ],
)
def test_what_the_uri_service_refuses(query):
    with pytest.raises(BadRequest):
        read_uri(query.items())
