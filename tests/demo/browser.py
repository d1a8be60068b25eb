"""A headless Chromium and a pen in it."""

import shutil

import pytest

WAIT_SECONDS = 20


def open_browser(profile, size=(1200, 1000)):
    """Starts Chromium with an empty profile; skips the test where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with its driver is installed (Debian: chromium, chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
        f"--window-size={size[0]},{size[1]}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def wait_until(driver, script, *arguments):
    """Waits until a script gives something true, and returns it."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(driver, WAIT_SECONDS, 0.05).until(lambda d: d.execute_script(script, *arguments))


def draw(driver, strokes, pointer="mouse", margin=0.12):
    """Draws polylines of (x, y) in [0, 1] on the pad, by real pointer events."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    box = driver.execute_script("return document.getElementById('pad').getBoundingClientRect().toJSON()")
    for stroke in strokes:
        at = margin + (1 - 2 * margin) * stroke
        xs, ys = box["x"] + at[:, 0] * box["width"], box["y"] + at[:, 1] * box["height"]
        points = [(round(float(x)), round(float(y))) for x, y in zip(xs, ys, strict=True)]
        actions = ActionBuilder(driver, mouse=PointerInput(pointer, "drawing " + pointer), duration=0)
        pen = actions.pointer_action
        pen.move_to_location(*points[0]).pointer_down()
        for point in points[1:]:
            pen.move_to_location(*point)
        pen.pointer_up()
        actions.perform()


def answer(driver):
    """The label shown once the page has the answer to all that was drawn."""
    return wait_until(driver, "const s = document.getElementById('spoken').textContent; return s && s.split(':')[0]")
