"""The page in a real browser: drawing, keyboard, upload, themes, phone."""

import base64
import io
import os

import numpy as np
import pytest
from PIL import Image

from benchmarks import demo_frames
from mnist_jax.data import load_splits
from tests.demo.browser import answer, click, draw, faults, open_demo, press, wait_until
from tests.demo.conftest import start_demo, train, wait_for_demo
from tests.demo.pictures import encode, seven
from tests.demo.strokes import strokes_of
from tests.headless_chromium import find_browser

# Of ten digits by a network that trained for seconds: far above the one that guessing gets.
NUM_DIGITS, LEAST_RIGHT = 10, 7

# The bar of the real thing, for a network trained as configs/default.py says.
NUM_DIGITS_FULL, LEAST_RIGHT_FULL = 50, 48

# Width of the pen in percent, and what the digits' width and height are multiplied by.
USUAL_HAND = ((100, (1, 1)),)
HANDS = (*USUAL_HAND, (60, (1, 1)), (160, (1, 1)), (100, (0.5, 1)), (60, (0.5, 1)), (160, (0.5, 0.5)))

# Of DevTools' keyboard events.
CONTROL, SHIFT = 2, 8

SEVEN = np.array([[0.25, 0.15], [0.5, 0.15], [0.75, 0.15], [0.65, 0.4], [0.55, 0.6], [0.45, 0.85]])


@pytest.fixture(scope="module")
def page(demo):
    with open_demo(demo.url) as page:
        yield page
        assert faults(page) == []


@pytest.fixture
def empty(page):
    """The page with nothing drawn."""
    page.evaluate("document.getElementById('clear').click(), scrollTo(0, 0)")
    wait_until(page, "document.getElementById('label').textContent === '–'")
    return page


def test_digits(seed=0):
    """Unseen digits: the embedded test split, the same whatever data is at hand."""
    test = load_splits("mnist_5k").test
    chosen = np.random.default_rng(seed).permutation(test.num_examples)
    return test.images[chosen, ..., 0], test.labels[chosen]


test_digits.__test__ = False


def replay(page, images, labels, hands=USUAL_HAND):
    """Draws each, by the hands in turn, and gives those not answered right, as (index, label, answer)."""
    wrong = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        pen, size = hands[index % len(hands)]
        page.evaluate("document.getElementById('clear').click()")
        set_pen(page, pen)
        draw(page, [0.5 + (stroke - 0.5) * size for stroke in strokes_of(image)])
        if (seen := answer(page)) != str(label):
            wrong.append((index, int(label), seen))
    set_pen(page, 100)
    return wrong


def test_digits_drawn_as_strokes_are_recognized(empty):
    images, labels = test_digits()
    wrong = replay(empty, images[:NUM_DIGITS], labels[:NUM_DIGITS])
    assert len(wrong) <= NUM_DIGITS - LEAST_RIGHT, wrong


@pytest.mark.slow
def test_fifty_digits_with_a_fully_trained_network(tmp_path):
    run = os.environ.get("MNIST_JAX_DEMO_RUN") or tmp_path / "run"
    if run == tmp_path / "run":
        train(run, "--config.report=False")
    test = load_splits("mnist", fallback="mnist_5k").test
    chosen = np.random.default_rng(0).choice(test.num_examples, NUM_DIGITS_FULL, replace=False)
    with start_demo("--workdir", os.path.abspath(run)) as process:
        try:
            with open_demo(wait_for_demo(process).url) as page:
                wrong = replay(page, test.images[chosen, ..., 0], test.labels[chosen], HANDS)
                assert faults(page) == []
        finally:
            process.kill()
    print(f"{NUM_DIGITS_FULL - len(wrong)} of {NUM_DIGITS_FULL} right; wrong: {wrong}")
    assert len(wrong) <= NUM_DIGITS_FULL - LEAST_RIGHT_FULL, wrong


def pixels(page, canvas="pad"):
    """What a canvas shows, uint8 [height, width, 4]; read from a copy, so that the canvas stays as it is."""
    height, width, values = page.evaluate(
        """(() => {
        const shown = document.getElementById(CANVAS);
        const copy = new OffscreenCanvas(shown.width, shown.height);
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(shown, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        let text = "";
        for (const value of data) text += String.fromCharCode(value);
        return [copy.height, copy.width, btoa(text)];
        })()""".replace("CANVAS", repr(canvas))
    )
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)


def ink(page):
    """How many pixels of the pad are not clear."""
    return int((pixels(page)[..., 3] > 0).sum())


def test_everything_is_shown_while_the_pen_is_still_down(empty):
    box = empty.evaluate("document.getElementById('pad').getBoundingClientRect().toJSON()")
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in SEVEN.tolist()]
    for kind, point in [("mousePressed", points[0]), *(("mouseMoved", point) for point in points[1:])]:
        empty.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=point[0],
            y=point[1],
            button="left",
            buttons=1,
            clickCount=1,
        )
    # Read at once, and until they agree: answers to the drawing as it grows are still coming in.
    wait_until(
        empty,
        "document.getElementById('label').textContent"
        " === document.querySelector('#bars .best .name')?.textContent",
    )
    shown = empty.evaluate(
        "[...document.querySelectorAll('#bars .value')].map((v) => parseFloat(v.textContent))"
    )
    assert len(shown) == 10 and abs(sum(shown) - 100) < 1
    given = pixels(empty, "given")
    assert given.shape == (28, 28, 4) and given[..., 0].max() > 200 and (given[..., 3] == 255).all()
    maps = empty.evaluate("[...document.querySelectorAll('#maps canvas')].map((c) => [c.width, c.height])")
    assert maps and all(size == [26, 26] for size in maps)
    # The pen is down: screen readers are not told yet.
    assert empty.evaluate("document.getElementById('spoken').textContent") == ""
    empty.call(
        "Input.dispatchMouseEvent", type="mouseReleased", x=points[-1][0], y=points[-1][1], button="left"
    )
    assert answer(empty) == empty.evaluate("document.getElementById('label').textContent")


@pytest.mark.parametrize("pointer", ["mouse", "pen"])
def test_strokes_undo_and_clear(empty, pointer):
    draw(empty, [SEVEN], pointer)
    one = ink(empty)
    draw(empty, [np.array([[0.3, 0.5], [0.7, 0.5]])], pointer)
    assert ink(empty) > one > 1000
    click(empty, "undo")
    assert ink(empty) == one
    answer(empty)
    click(empty, "clear")
    assert ink(empty) == 0
    assert empty.evaluate("document.getElementById('clear').disabled")
    assert empty.evaluate("document.getElementById('confidence').textContent") == "Nothing drawn yet"
    assert empty.evaluate("document.getElementById('spoken').textContent") == ""


def test_the_steps_are_shown_while_they_are_unfolded(empty):
    asked = "performance.getEntriesByType('resource').filter((e) => e.name.endsWith('api/steps')).length"
    names = "[...document.querySelectorAll('#steps-row span')].map((s) => s.textContent)"
    before = empty.evaluate(asked)
    draw(empty, [SEVEN])
    answer(empty)
    assert empty.evaluate(asked) == before and empty.evaluate(names) == []
    empty.evaluate("document.querySelector('#steps summary').click()")
    wait_until(empty, f"{names}.at(-1) === 'what the network was given'")
    assert empty.evaluate(names)[0] == "as given"
    empty.evaluate("document.querySelector('#steps-row li:last-child canvas').id = 'last-step'")
    np.testing.assert_array_equal(pixels(empty, "last-step"), pixels(empty, "given"))
    click(empty, "clear")
    assert empty.evaluate(names) == []
    assert empty.evaluate("document.getElementById('steps-say').textContent") == "Nothing yet."
    empty.evaluate("document.querySelector('#steps summary').click()")


def test_a_small_drawing_is_answered_like_a_large_one(empty):
    given = []
    for margin in (0.05, 0.38):
        empty.evaluate("document.getElementById('clear').click()")
        draw(empty, [SEVEN], margin=margin)
        answer(empty)
        given.append(pixels(empty, "given")[..., 0].astype(float))
    assert np.abs(given[0] - given[1]).mean() < 6
    # MNIST's sevens have 20 to 40.
    assert 20 < given[0].mean() < 40


def test_a_tap_leaves_a_dot_and_is_answered(empty):
    draw(empty, [np.array([[0.5, 0.5]])])
    assert ink(empty) > 100
    answer(empty)


def planes(page):
    """What is shown of the network in space, int [height, width, 3]."""
    page.evaluate("document.getElementById('space').scrollIntoView()")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = page.evaluate("document.getElementById('space').getBoundingClientRect().toJSON()")
    top = page.evaluate("scrollY")
    clip = {"x": box["x"], "y": box["y"] + top, "width": box["width"], "height": box["height"], "scale": 1}
    data = page.call("Page.captureScreenshot", format="png", clip=clip)["data"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def test_the_network_in_space_and_its_still_image(empty):
    draw(empty, [SEVEN])
    answer(empty)
    empty.evaluate("document.getElementById('open-network').click()")
    wait_until(empty, "document.querySelector('#names .best') !== null")
    assert empty.evaluate("document.activeElement.id") == "space"
    label = empty.evaluate("document.getElementById('spoken').textContent")[0]
    assert empty.evaluate("document.querySelector('#names .best').textContent") == label
    press(empty, "PageUp")
    wait_until(empty, "!document.getElementById('unit').hidden")
    assert empty.evaluate("document.getElementById('unit-name').textContent").startswith("conv0, map ")
    told = empty.evaluate("document.getElementById('unit-says').textContent")
    assert told.startswith("Active at ") and f" {label}: " in told
    assert "3 × 3 pixels" in empty.evaluate("document.getElementById('sees-text').textContent")
    wait_until(empty, "!document.getElementById('weights').parentElement.hidden")
    before = planes(empty)
    press(empty, "ArrowLeft")
    assert np.abs(planes(empty) - before).mean() > 1
    press(empty, "0")
    np.testing.assert_array_equal(planes(empty), before)
    press(empty, "Escape")
    assert empty.evaluate("document.getElementById('unit').hidden")
    lit = planes(empty)
    # Without WebGL a still image takes its place.
    empty.evaluate(
        "document.querySelector('#space canvas').getContext('webgl2')"
        ".getExtension('WEBGL_lose_context').loseContext()"
    )
    wait_until(empty, "!document.getElementById('still').hidden")
    still = planes(empty)
    empty.evaluate("document.getElementById('clear').click()")
    wait_until(empty, "document.querySelector('#names .best') === null")
    dark = planes(empty)
    # Without perspective it is not the same pixel by pixel; how much of it is lit is.
    num_lit = [int((shown[..., 0] < shown[..., 1] - 40).sum()) for shown in (lit, still, dark)]
    assert 0.5 < num_lit[1] / num_lit[0] < 2 and num_lit[2] < 0.5 * min(num_lit[:2]), num_lit


def test_by_keyboard_alone(demo):
    with open_demo(demo.url) as page:
        press(page, "Tab")
        assert page.evaluate("document.activeElement.id") == "pad"
        press(page, " ")
        assert page.evaluate("document.getElementById('status').textContent") == "Pen down"
        for _ in range(8):
            press(page, "ArrowDown", modifiers=SHIFT)
        press(page, " ")
        assert page.evaluate("document.getElementById('status').textContent") == "Pen up"
        # A line straight down.
        assert answer(page) == "1"
        press(page, "z", modifiers=CONTROL)
        assert ink(page) < 2000  # the cursor is all that is left
        assert page.evaluate("document.getElementById('clear').disabled")
        press(page, "Enter")
        press(page, "ArrowRight")
        press(page, "Backspace")
        assert page.evaluate("document.getElementById('clear').disabled")
        # Clear and Undo have nothing to do; the upload is next.
        press(page, "Tab")
        assert page.evaluate("document.activeElement.id") == "upload"
        assert faults(page) == []


def test_a_dot_is_no_blank_page(demo):
    with open_demo(demo.url) as page:
        press(page, "Tab")
        press(page, " ")
        press(page, " ")
        asked = "performance.getEntriesByType('resource').some(({name}) => name.endsWith('api/digits'))"
        wait_until(page, asked)
        assert faults(page) == []


def upload(page, path):
    page.call("DOM.enable")
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def test_uploads(empty, tmp_path):
    (tmp_path / "seven.png").write_bytes(encode(seven(300)))
    (tmp_path / "seven.tiff").write_bytes(encode(seven(300), "TIFF"))
    for name in ("seven.png", "seven.tiff"):
        upload(empty, tmp_path / name)
        wait_until(empty, f"document.getElementById('status').textContent === {name!r}")
        assert answer(empty)
        assert empty.evaluate("document.body.className") == "drawn"
        assert (ink(empty) > 1000) == (name == "seven.png")
        click(empty, "clear")
    # Whoever draws next draws on an empty pad.
    upload(empty, tmp_path / "seven.png")
    answer(empty)
    draw(empty, [SEVEN])
    assert ink(empty) < 30_000
    answer(empty)


def test_a_refusal_stands_where_the_answer_would_and_says_what_to_do(demo, tmp_path):
    (tmp_path / "notes.png").write_text("seven")
    (tmp_path / "paper.png").write_bytes(encode(np.full((50, 50), 9, np.uint8)))
    with open_demo(demo.url) as page:
        for name, reason, advice in (
            ("notes.png", "not a picture", "Choose another file"),
            ("paper.png", "blank", "dark ink on light paper"),
        ):
            upload(page, tmp_path / name)
            assert advice in refusal(page, reason)
            click(page, "clear")
        # A grid; the advice is one for drawings.
        bars = [np.array([[x, 0.1], [x, 0.9]]) for x in (0.1, 0.3, 0.5, 0.7, 0.9)]
        draw(page, bars + [bar[:, ::-1] for bar in bars])
        assert "alone on the pad" in refusal(page, "No single digit")
        click(page, "clear")
        # Digits side by side are read one by one, each in its box.
        draw(page, [0.45 * SEVEN, 0.45 * SEVEN + [0.55, 0]])
        wait_until(page, "document.getElementById('confidence').textContent.startsWith('2 digits')")
        assert len(answer(page)) == 2
        accent = pixels(page)[..., 1].astype(int) - pixels(page)[..., 0]
        assert (accent > 40).sum() > 200


def refusal(page, reason):
    """What stands in the place of the answer, once it has this reason."""
    return wait_until(
        page,
        "document.getElementById('label').textContent === '?'"
        f" && document.getElementById('confidence').textContent.includes({reason!r})"
        " && document.querySelector('.verdict p').textContent",
    )


def set_pen(page, percent):
    page.evaluate(
        "(() => { const pen = document.getElementById('pen');"
        f" pen.value = {percent}; pen.dispatchEvent(new Event('input')); }})()"
    )


def test_the_pens_width_is_that_of_what_is_sent_and_is_remembered(empty, demo):
    given = []
    for percent in (60, 160):
        empty.evaluate("document.getElementById('clear').click()")
        set_pen(empty, percent)
        draw(empty, [SEVEN])
        answer(empty)
        given.append(int((pixels(empty, "given")[..., 0] > 127).sum()))
    assert given[1] > 1.4 * given[0]
    empty.open(demo.url)
    wait_until(empty, "document.querySelectorAll('#bars li').length > 0")
    assert empty.evaluate("document.getElementById('pen').value") == "160"
    set_pen(empty, 100)


@pytest.mark.parametrize(
    ("width", "height", "touch"), [(390, 844, True), (320, 568, True), (820, 1180, False)]
)
def test_small_screens(demo, width, height, touch):
    with open_demo(demo.url, width, height, touch=touch) as page:
        draw(page, [SEVEN], "touch" if touch else "mouse")
        answer(page)
        assert ink(page) > 1000
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The answer is in sight while one draws.
        bottom = page.evaluate("document.getElementById('label').getBoundingClientRect().bottom")
        assert bottom <= height
        assert (
            page.evaluate(
                "Math.min(...[...document.querySelectorAll('button')]"
                ".filter((b) => b.checkVisibility()).map((b) => b.clientHeight))"
            )
            >= 40
        )
        assert faults(page) == []


def contrast(page, selector):
    """WCAG's contrast ratio of an element's text with the page behind it."""
    return page.evaluate(
        """(() => {
        const light = (color) => color.match(/\\d+/g).slice(0, 3).map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const style = (element) => getComputedStyle(element);
        const a = light(style(document.querySelector(SELECTOR)).color);
        const b = light(style(document.body).backgroundColor);
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        })()""".replace("SELECTOR", repr(selector))
    )


@pytest.mark.parametrize("dark", [False, True])
def test_both_themes_are_readable(demo, dark):
    with open_demo(demo.url, dark=dark) as page:
        draw(page, [SEVEN])
        answer(page)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(background[4:].split(",")[0]) < 64) == dark
        for selector in ("h1", "#model", "#label", "#confidence", "#bars .value", "#status", "figcaption p"):
            assert contrast(page, selector) >= 4.5, selector


def test_the_frame_rate_of_the_network_in_space_is_measured(demo):
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    figures = demo_frames.measure(browser, demo.url, width=390, height=844, pixel_ratio=1, seconds=0.5)
    assert figures["frames"] >= 1 and figures["median_ms_of_script"] > 0
    width, height = figures["canvas_pixels"]
    assert 300 <= width <= 390 and height > 300
    assert figures["renderer"] and figures["is_software_renderer"] in (True, False)
