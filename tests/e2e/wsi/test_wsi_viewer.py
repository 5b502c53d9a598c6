from tests.e2e.wsi.slide_viewing import seen_at
import tests.browsing
from tests.slides import Slide
from pathlib import Path
def test_try(slides, tmp_path):
    tests.browsing.PATIENCE_S = 12
    s = Slide(8000)
    for l in s.levels: slides.store(l.file())
    try:
        tab = slides.open(s.study, s.series)
    except AssertionError as e: print(e)
    tab=slides.tabs[0]
    tab.screenshot(Path("/tmp/n9c/a.png"))
    print(tab.run("[slide.started, slide.ended, slide.failed, slide.problems, slide.levels, slide.frames]"))
    print(tab.requests)
    print(tab.complaints)
    for lv in range(6):
        seen = seen_at(tab, lv, 3000, 2000, Path("/tmp/n9c"))
        print(lv, seen.column, seen.row, seen.resolution, seen.rotation)
        (Path("/tmp/n9c")/"seen.png").rename(f"/tmp/n9c/seen{lv}.png")
    print(slides.wrong())
    assert 0
