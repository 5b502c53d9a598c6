"""ICC profiles, against an independent colour engine where there is one."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from service.dicom.errors import NotAcceptable
from service.pixels.profiles import convert, profile_of, read_space, standard_profile, with_profile
from tests.pixels.pictures import attributes_of

SPACES = ("srgb", "adobergb", "rommrgb")


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", SPACES)
def test_our_own_profiles_are_read_back(name, colours):
    space = read_space(standard_profile(name))
    assert space is not None
    assert np.abs(convert(colours, space, space).astype(int) - colours).max() <= 1


@pytest.mark.parametrize("source", SPACES)
@pytest.mark.parametrize("target", SPACES)
def test_conversions_are_those_of_little_cms(source, target, colours):
    imagecms = pytest.importorskip("PIL.ImageCms", reason="Pillow is not installed.")
    image = pytest.importorskip("PIL.Image").fromarray(colours)
    profiles = [imagecms.ImageCmsProfile(io.BytesIO(standard_profile(name))) for name in (source, target)]
    expected = np.asarray(imagecms.profileToProfile(image, *profiles, renderingIntent=1)).astype(int)
    here, there = (read_space(standard_profile(name)) for name in (source, target))
    assert here is not None and there is not None
    # Dark values of one space are less than a step of the other's curve apart.
    assert np.abs(convert(colours, here, there) - expected).max() <= 2


def test_neutral_stays_neutral():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    source, target = read_space(standard_profile("srgb")), read_space(standard_profile("adobergb"))
    assert source is not None and target is not None
    converted = convert(grey, source, target).astype(int)
    assert (converted.max(axis=2) - converted.min(axis=2)).max() <= 1


def test_a_real_profile_of_curves_is_the_palette_s_own(real_data):
    profile = profile_of(attributes_of(pydicom.dcmread(real_data / "pr/hotiron.dcm")))
    assert profile is not None
    assert read_space(profile) is not None


def test_the_profile_of_a_slide_is_that_of_its_optical_path():
    made, path = Dataset(), Dataset()
    path.ICCProfile = standard_profile("adobergb")
    made.OpticalPathSequence = [path]
    assert profile_of(attributes_of(made)) == standard_profile("adobergb")


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(500), standard_profile("srgb")[:100]])
def test_what_is_no_profile_is_not_sent(content):
    made = Dataset()
    made.ICCProfile = content + bytes(len(content) % 2)
    assert profile_of(attributes_of(made)) is None


def test_profiles_go_along_as_asked(colours):
    own = standard_profile("adobergb")
    assert with_profile(colours, own, None)[1] == own
    assert with_profile(colours, own, "no")[1] is None
    assert with_profile(colours, own, "yes")[1] == own
    assert with_profile(colours, None, None)[1] is None
    assert with_profile(colours, None, "yes")[1] == standard_profile("srgb")
    assert with_profile(colours[..., 0], own, "srgb")[1] is None
    same, profile = with_profile(colours, None, "srgb")
    assert same is colours and profile == standard_profile("srgb")
    other, profile = with_profile(colours, own, "srgb")
    assert profile == standard_profile("srgb")
    assert not np.array_equal(other, colours)


def test_profiles_of_tables_cannot_be_converted(colours):
    broken = bytearray(standard_profile("srgb"))
    broken[broken.index(b"rTRC") : broken.index(b"rTRC") + 4] = b"A2B0"
    assert read_space(bytes(broken)) is None
    assert with_profile(colours, bytes(broken), "yes")[1] == bytes(broken)
    with pytest.raises(NotAcceptable):
        with_profile(colours, bytes(broken), "srgb")


@pytest.mark.parametrize("seed", range(50))
def test_mutated_profiles_do_no_harm(seed):
    random = np.random.default_rng(seed)
    content = bytearray(standard_profile("srgb"))
    for place in random.integers(0, 300, 10):
        content[place] = random.integers(0, 256)
    read_space(bytes(content[: random.integers(0, len(content))]))
    read_space(bytes(content))
