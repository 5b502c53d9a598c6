"""The viewer: scrolling, windows by dragging and by keys, zoom, cine, what is no image, and failures."""

import numpy as np
import pytest

from tests.browsing import Tab
from tests.making import a_data_set, a_file, add_pixels, new_uid

ROWS, COLUMNS = 64, 64
RAMP = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 4096
# The levels that are on the screen in the middle of the canvas, at actual size.
ON_SCREEN = """
(() => {
  const canvas = document.querySelector("canvas.viewport");
  const [x, y] = [Math.round(canvas.width / 2 - %d / 2), Math.round(canvas.height / 2 - %d / 2)];
  const { data } = canvas.getContext("2d").getImageData(x, y, %d, %d);
  return Array.from({ length: data.length / 4 }, (_, at) => data[4 * at]);
})()
"""


def a_slice(number: int, study: str, series: str, **more: object) -> bytes:
    made = a_data_set(study=study, series=series, InstanceNumber=number, PatientName="Viewer^V")
    values = (RAMP + 40 * number) % 4096
    add_pixels(made, [values.astype("<u2").tobytes()], rows=ROWS, columns=COLUMNS)
    made.BitsStored, made.HighBit = 12, 11
    made.WindowCenter, made.WindowWidth = 2000, 3000
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return a_file(made)


@pytest.fixture
def series(page) -> str:
    """The place of a series of twelve slices."""
    study, uid = new_uid(), new_uid()
    page.store_together([a_slice(number, study, uid) for number in range(1, 13)])
    return f"/studies/{study}/series/{uid}"


def opened(page, place: str, **size: int) -> Tab:
    tab: Tab = page.open(f"#{place}", **size)
    tab.wait_for("document.querySelector('.sw div')")
    return tab


def at(tab: Tab, number: int, of: int = 12) -> None:
    """Wait until an image is the one that is shown."""
    tab.wait_for(
        f"document.querySelector('.position').textContent === '{number} / {of}'"
        "&& !document.querySelector('.viewer.behind')"
    )


def on_screen(tab: Tab) -> list[int]:
    drawn = tab.run("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
    assert drawn is None or drawn
    levels: list[int] = tab.run(ON_SCREEN % (COLUMNS, ROWS, COLUMNS, ROWS))
    return levels


def middle(tab: Tab) -> tuple[float, float]:
    x, y = tab.run(
        "(() => { const r = document.querySelector('canvas.viewport').getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    return x, y


def rendered(tab: Tab, place: str, window: str = "") -> list[int]:
    """The levels of the server's picture."""
    url = f"dicom-web{place}/rendered{f'?window={window}' if window else ''}"
    levels: list[int] = tab.run(
        f"fetch('{url}', {{headers: {{Accept: 'image/png'}}}}).then((answer) => answer.blob())"
        ".then(createImageBitmap).then((bitmap) => {"
        "const {width, height} = bitmap;"
        "const context = Object.assign(document.createElement('canvas'), {width, height}).getContext('2d');"
        "context.drawImage(bitmap, 0, 0);"
        "const {data} = context.getImageData(0, 0, width, height);"
        "return Array.from({length: data.length / 4}, (_, at) => data[4 * at]); })"
    )
    return levels


def instance_of(page, series: str, number: int) -> str:
    (found,) = page.get(f"{series}/instances?InstanceNumber={number}").json()
    return f"{series}/instances/{found['00080018']['Value'][0]}"


def test_what_is_on_the_screen_is_what_the_server_renders(page, series):
    tab = opened(page, series)
    at(tab, 1)

    tab.press("a")

    assert on_screen(tab) == rendered(tab, instance_of(page, series, 1))


def test_dragging_changes_the_window_to_one_that_the_server_knows_too(page, series):
    tab = opened(page, series)
    at(tab, 1)
    tab.press("a")
    x, y = middle(tab)

    tab.drag((x, y), (x + 50, y - 30))
    tab.wait_for("document.querySelector('.presets').value === 'free'")

    # To the right is wider, up is a lower centre: a three hundredth of the width for each pixel.
    assert tab.text(".sw div") == "C 1700  W 3500"
    assert on_screen(tab) == rendered(tab, instance_of(page, series, 1), "1700,3500,linear")


def test_presets_and_inversion(page, series):
    tab = opened(page, series)
    at(tab, 1)
    tab.press("a")

    tab.press("3")  # behind the image's own and soft tissue: lung
    tab.wait_for("document.querySelector('.sw').innerText.includes('C -600  W 1500')")
    expected = rendered(tab, instance_of(page, series, 1), "-600,1500,linear")
    assert on_screen(tab) == expected
    tab.press("i")
    assert on_screen(tab) == [255 - level for level in expected]
    tab.press("x")
    tab.press("a")

    assert on_screen(tab) == rendered(tab, instance_of(page, series, 1))


def test_scrolling_by_wheel_keys_and_slider(page, series):
    tab = opened(page, series)
    at(tab, 1)
    x, y = middle(tab)

    tab.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=120)
    at(tab, 2)
    tab.press("PageDown")
    at(tab, 12)
    tab.press("ArrowUp")
    at(tab, 11)
    tab.press("a")
    assert on_screen(tab) == rendered(tab, instance_of(page, series, 11))
    tab.press("Home")
    at(tab, 1)
    tab.run(
        "(() => { const slider = document.querySelector('.foot input[type=range]'); slider.value = 7;"
        "slider.dispatchEvent(new Event('input')); })()"
    )
    at(tab, 7)


def test_cine_goes_round(page, series):
    tab = opened(page, series)
    at(tab, 1)

    tab.press(" ")

    tab.wait_for("document.querySelector('.position').textContent === '12 / 12'")
    tab.wait_for("document.querySelector('.position').textContent === '1 / 12'")
    tab.press(" ")
    assert tab.run("document.querySelector('.when-playing').hidden")


def test_zoom_move_turn_and_fit(page, series):
    tab = opened(page, series)
    at(tab, 1)
    tab.press("a")
    plain = on_screen(tab)

    tab.press("h")
    mirrored = np.reshape(on_screen(tab), (ROWS, COLUMNS))
    assert mirrored[:, ::-1].reshape(-1).tolist() == plain
    tab.press("h")
    tab.press("r")
    turned = np.reshape(on_screen(tab), (ROWS, COLUMNS))
    assert np.rot90(turned).reshape(-1).tolist() == plain
    tab.press("h")
    assert np.reshape(on_screen(tab), (ROWS, COLUMNS)).tolist() == turned[:, ::-1].tolist()
    tab.press("v")
    assert np.reshape(on_screen(tab), (ROWS, COLUMNS)).tolist() == turned[::-1, ::-1].tolist()
    tab.press("x")
    tab.press("+")
    zoomed = tab.text(".sw")
    tab.press("f")

    assert tab.text(".sw") != zoomed


def sides(tab: Tab) -> str:
    """The letters at the top, right, bottom and left."""
    found: str = tab.run(
        "['top', 'right', 'bottom', 'left']"
        ".map((side) => document.querySelector(`.side.${side}`).textContent).join(' ')"
    )
    return found


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "A L P R"),  # axial
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "H P F A"),  # sagittal
        ({"ImageOrientationPatient": [0.8, 0, -0.6, 0, 1, 0]}, "A LF P RH"),
        ({"PatientOrientation": ["A", "FR"]}, "HL A FR P"),
        ({"PatientOrientation": ["LE", "V"], "AnatomicalOrientationType": "QUADRUPED"}, "   "),
        ({}, "   "),
    ],
    ids=lambda value: str(value),
)
def test_the_sides_of_the_patient_stand_at_the_edges(page, told, shown):
    (path,) = page.store(a_slice(1, new_uid(), new_uid(), **told))

    assert sides(opened(page, path)) == shown


def test_the_sides_go_with_the_image(page):
    axial = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    (path,) = page.store(a_slice(1, new_uid(), new_uid(), **axial))
    tab = opened(page, path)

    found = []
    for key in ("r", "h", "v", "x"):
        tab.press(key)
        found.append(sides(tab))

    assert found == ["R A L P", "R P L A", "L P R A", "A L P R"]


def test_what_is_said_of_the_image_is_of_the_one_on_the_screen(page, series):
    last = instance_of(page, series, 12)
    tab = page.open_holding(f"{last}/frames/", f"#{series}")
    at(tab, 1)

    tab.press("End")
    tab.wait_for("document.querySelector('.position').textContent === '12 / 12'")
    assert "Image 1\n" in tab.text(".ne") + "\n"
    tab.wait_for("window.held.length === 1")
    tab.run("release()")
    at(tab, 12)

    assert "Image 12" in tab.text(".ne")


def test_an_image_on_the_screen_is_not_given_up_before_the_next_one_is_there(page):
    tab = page.open()

    found = tab.run(
        """(async () => {
          const { Loader } = await import("./page/loader.js");
          const [closed, waiting] = [[], new Map()];
          const load = (place) => new Promise((done) => waiting.set(place, () =>
            done({ bytes: 10, close: () => closed.push(place) })));
          const loader = new Loader(100, load, { atOnce: 8, mostBytes: 30 });
          const arrive = async (place) => { waiting.get(place)(); await 0; await 0; await 0; };
          loader.focus(0);
          await arrive(0);
          loader.focus(50);
          for (const place of [...waiting.keys()].filter((one) => one > 50)) await arrive(place);
          const seen = closed.includes(0);
          await arrive(50);
          loader.focus(51);
          for (const place of waiting.keys()) await arrive(place);
          return { seen, loaded: loader.loaded, later: closed.includes(0) };
        })()"""
    )

    assert found["seen"] is False
    assert found["later"] is True
    assert found["loaded"] <= 3


def test_a_number_of_frames_that_is_made_up_takes_no_memory(page):
    (path,) = page.store(a_slice(1, new_uid(), new_uid(), NumberOfFrames=2_000_000_000))
    tab = page.open(f"#{path}")

    tab.wait_for("document.querySelector('.position')?.textContent.startsWith('1 / ')")

    assert int(tab.text(".position").split()[-1]) < 1_000_000
    page.expected.append("Failed to load resource")


def test_neighbours_are_loaded_ahead_and_each_frame_once(page, series):
    tab = opened(page, series)
    tab.wait_for(
        "performance.getEntriesByType('resource')"
        ".filter(({ name }) => name.includes('/frames/')).length === 12"
    )

    tab.press("End")
    at(tab, 12)
    tab.press("Home")
    at(tab, 1)

    frames = [url for url in tab.requests if "/frames/" in url]
    assert len(frames) == len(set(frames)) == 12


def test_an_instance_has_an_address_of_its_own(page, series):
    tab = opened(page, instance_of(page, series, 5))

    at(tab, 5)


def test_a_report_is_shown_as_text(page, real_data):
    (path,) = page.store((real_data / "sr/reportsi.dcm").read_bytes())
    tab = page.open(f"#{path}")

    tab.wait_for("document.querySelector('pre.report')?.textContent.length > 100")

    assert tab.run("document.querySelector('pre.report').children.length") == 0


def test_a_long_report_is_read_from_its_beginning_and_by_keys(page, real_data):
    (path,) = page.store((real_data / "sr/99+PhoenixDocument+00001.dcm").read_bytes())
    tab = page.open(f"#{path}")
    tab.wait_for("document.querySelector('pre.report')?.textContent.length > 100")
    cut = "document.querySelector('.over').getBoundingClientRect().top"
    cut += " - document.querySelector('pre.report').getBoundingClientRect().top"
    assert tab.run(cut) <= 0

    for key in ("i", "0", "x"):  # which are for images
        tab.press(key)
    tab.press("PageDown")
    tab.wait_for("document.querySelector('.over').scrollTop > 0")

    assert len(tab.text("pre.report")) > 100


def test_pixels_that_cannot_be_decoded_are_told(page):
    made = add_pixels(a_data_set(), [bytes(32)])
    (path,) = page.store(a_file(made, "1.2.840.10008.1.2.4.90", codestreams=[b"no codestream"]))
    tab = page.open(f"#{path}")

    tab.wait_for("document.querySelector('.over .message')")

    assert "The image could not be shown" in tab.text(".over")
    page.expected.append("Failed to load resource")


def test_a_series_that_is_gone_is_told(page):
    tab = page.open("#/studies/1.2.3/series/1.2.4")

    tab.wait_for("document.querySelector('.over .message')")

    assert "could not be opened" in tab.text(".over")
    page.expected.append("Failed to load resource")


def test_pixels_that_are_not_square_are_shown_in_proportion(page):
    (path,) = page.store(a_slice(1, new_uid(), new_uid(), PixelSpacing=[2, 1]))
    tab = opened(page, path, width=900, height=900)

    scale = int(tab.text(".sw").split("%")[0].split()[-1])
    width, height = tab.run(
        "(({ width, height }) => [width, height])(document.querySelector('canvas.viewport'))"
    )

    assert scale == round(100 * min(width / COLUMNS, height / (2 * ROWS)))


def test_touch_zooms_with_two_fingers(page, series):
    tab = opened(page, series, width=390, height=800)
    tab.resize(390, 800, touch=True)
    at(tab, 1)
    before = tab.text(".sw")
    x, y = middle(tab)

    def points(apart: float) -> list[dict[str, float]]:
        return [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]

    tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=points(30))
    tab.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=points(90))
    tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    assert tab.text(".sw") != before
