"""The demo's page in a headless Chromium, and a pen in it."""

import contextlib
import time

import pytest

from tests.headless_chromium import find_browser, open_page

WAIT_SECONDS = 60


@contextlib.contextmanager
def open_demo(url, width=1366, height=768, dark=False, touch=False):
    """Opens the page and waits until it knows its model; skips the test where there is no browser."""
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with open_page(browser) as page:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )
        page.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        page.open(url)
        wait_until(page, "document.querySelectorAll('#bars li').length > 0")
        yield page


def wait_until(page, expression):
    """Waits until a JavaScript expression gives something true, and returns that."""
    end = time.monotonic() + WAIT_SECONDS
    while not (value := page.evaluate(expression)):
        if time.monotonic() > end:
            raise TimeoutError(f"{expression} did not become true within {WAIT_SECONDS} seconds")
        time.sleep(0.02)
    return value


def draw(page, strokes, pointer="mouse", margin=0.12):
    """Draws polylines of (x, y) in [0, 1] on the pad, by events of the mouse, a pen or a finger."""
    box = page.evaluate("document.getElementById('pad').getBoundingClientRect().toJSON()")
    for stroke in strokes:
        at = margin + (1 - 2 * margin) * stroke
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in at.tolist()]
        if pointer == "touch":
            _touch(page, points)
        else:
            _move(page, points, pointer)


def _move(page, points, pointer):
    def send(kind, point, buttons):
        options = {"button": "left", "buttons": buttons, "clickCount": 1, "pointerType": pointer}
        page.call("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], **options)

    send("mousePressed", points[0], 1)
    for point in points[1:]:
        send("mouseMoved", point, 1)
    send("mouseReleased", points[-1], 0)


def _touch(page, points):
    for kind, point in [("touchStart", points[0]), *(("touchMove", point) for point in points[1:])]:
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": point[0], "y": point[1]}])
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def press(page, key, modifiers=0):
    """Presses one key, as `KeyboardEvent.key` names it."""
    text = {" ": " ", "Enter": "\r"}.get(key, "")
    codes = {"Tab": 9, "Enter": 13, " ": 32}
    options = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": codes.get(key, 0)}
    page.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **options)
    page.call("Input.dispatchKeyEvent", type="keyUp", **options)


def click(page, element):
    """Clicks the element with an id."""
    box = page.evaluate(f"document.getElementById({element!r}).getBoundingClientRect().toJSON()")
    point = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    _move(page, [point], "mouse")


def answer(page):
    """The label that the page has settled on for all that was drawn."""
    spoken = wait_until(page, "document.getElementById('spoken').textContent")
    return spoken.partition(":")[0]


def faults(page):
    """What the page reported as wrong: exceptions, console errors, requests to elsewhere or failed ones."""
    page.evaluate("1")  # what was reported before this answer has come by now
    requests = [event["request"]["url"] for event in page.named("Network.requestWillBeSent")]
    origin = page.evaluate("location.origin")
    entries = [event["entry"]["text"] for event in page.named("Log.entryAdded")]
    return [
        *(str(event["exceptionDetails"]) for event in page.named("Runtime.exceptionThrown")),
        *(text for text in entries if "GL Driver Message" not in text),
        *(url for url in requests if not url.startswith(f"{origin}/")),
    ]
