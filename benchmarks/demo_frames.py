"""``python -m benchmarks.demo_frames``: the frame rate of the demo's view in space on a phone's page."""

import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.demo_load import port_of
from benchmarks.result_files import JSON_FILE, KEEP, make_result, write_result
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import RunError
from tests.headless_chromium import Page, find_browser, open_page

COMMAND = cli.Command(
    "python -m benchmarks.demo_frames",
    "Starts the demo, draws a seven on its page in a headless Chromium as large as a phone, opens the view\n"
    "in space and turns it at every frame. Tells frames a second, of 60 at most, and who drew them: without\n"
    "a graphics card that is a software renderer, which says little about a phone.",
    (
        cli.WORKDIR,
        cli.Flag("width", 390, "of the page, in CSS pixels", at_least=100, metavar="PIXELS"),
        cli.Flag("height", 844, "of the page, in CSS pixels", at_least=100, metavar="PIXELS"),
        cli.Flag("pixel_ratio", 3.0, "pixels of the screen a CSS pixel", at_least=0.5, metavar="N"),
        cli.Flag("seconds", 10.0, "for how long it is turned", at_least=0.5, metavar="S"),
        JSON_FILE,
        KEEP,
    ),
)

_SEVEN = ((0.25, 0.15), (0.75, 0.15), (0.65, 0.4), (0.55, 0.6), (0.45, 0.85))

# Compiling what tells of the layers takes the longest.
_WAIT_SECONDS = 180

_SOFTWARE = ("swiftshader", "llvmpipe", "softpipe", "software")

# Every press of a key turns the view and asks for a frame, so each frame is drawn anew. The page's own part
# of a frame is timed by itself: what is left is the renderer's.
_TURN = """new Promise((done) => {
  const space = document.getElementById("space"), frame = window.requestAnimationFrame.bind(window);
  const press = { key: "ArrowLeft", bubbles: true, cancelable: true };
  const times = [], scripts = [];
  window.requestAnimationFrame = (draw) => frame((now) => {
    const start = performance.now();
    draw(now);
    scripts.push(performance.now() - start);
  });
  const step = (now) => {
    times.push(now);
    if (now - times[0] < MILLISECONDS) {
      space.dispatchEvent(new KeyboardEvent("keydown", press));
      frame(step);
    } else {
      window.requestAnimationFrame = frame;
      done({ times, scripts });
    }
  };
  frame(step);
})"""

_RENDERER = """(() => {
  const context = document.querySelector("#space canvas").getContext("webgl2");
  const names = context && context.getExtension("WEBGL_debug_renderer_info");
  return context ? context.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : context.RENDERER) : "";
})()"""


def main(arguments: cli.Arguments) -> int:
    """Starts the demo and a browser, measures, and prints one line for each figure."""
    from mnist_jax.runtime.environment import collect_versions, describe_device

    browser = find_browser()
    if browser is None:
        raise RunError("no Chromium is installed, which draws the page; Debian has it as chromium")
    command = [sys.executable, "-m", "mnist_jax.demo", "--port=0", f"--workdir={arguments['workdir']}"]
    settings = {name: arguments[name] for name in ("width", "height", "pixel_ratio", "seconds")}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            figures = measure(browser, f"http://127.0.0.1:{port_of(demo)}/", **settings)
        finally:
            demo.kill()
    print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in figures.items()))
    if figures["is_software_renderer"]:
        print("drawn by a software renderer on the CPU, slower than a graphics card: no phone's frame rate")
    device = str(describe_device()["device"])
    result = make_result("demo_frames", device, settings, figures, collect_versions())
    write_result(result, arguments["json"], arguments["keep"])
    return 0


def measure(
    browser: str, url: str, width: int, height: int, pixel_ratio: float, seconds: float
) -> dict[str, Any]:
    """Opens a demo's page and turns its view in space.

    Args:
        browser: the program.
        url: of the page.
        width: of the page, in CSS pixels, as `height`.
        height: of the page.
        pixel_ratio: pixels of the screen a CSS pixel.
        seconds: for how long it is turned.

    Raises:
        RunError: the page does not get that far.
    """
    with open_page(browser) as page:
        size = {"width": width, "height": height, "deviceScaleFactor": pixel_ratio, "mobile": True}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        page.open(url)
        _wait_until(page, "document.querySelectorAll('#bars li').length > 0")
        _draw(page)
        _wait_until(page, "document.getElementById('spoken').textContent")
        page.evaluate("document.getElementById('open-network').click()")
        _wait_until(page, "document.querySelector('#names .best') !== null")
        page.evaluate("document.getElementById('space').scrollIntoView({ block: 'center' })")
        page.evaluate(_TURN.replace("MILLISECONDS", "500"))  # the first frames fill the renderer's caches
        turned = page.evaluate(_TURN.replace("MILLISECONDS", str(1000 * seconds)))
        canvas = page.evaluate(
            "(({ width, height }) => [width, height])(document.querySelector('#space canvas'))"
        )
        browser_version = page.call("Browser.getVersion")["product"]
        return {
            **summarize(turned["times"], turned["scripts"]),
            "canvas_pixels": canvas,
            "browser": browser_version,
            **describe_renderer(page.evaluate(_RENDERER)),
        }


def summarize(times: list[float], scripts: list[float]) -> dict[str, Any]:
    """Puts frames into figures.

    Args:
        times: when each frame began, in milliseconds.
        scripts: how long the page's own part of each took, in milliseconds.
    """
    apart = sorted(after - before for before, after in zip(times, times[1:], strict=False))
    return {
        "frames": len(apart),
        "frames_per_second": round(1000 * len(apart) / (times[-1] - times[0]), 1),
        "median_ms_a_frame": round(statistics.median(apart), 1),
        "slowest_of_100_ms": round(apart[int(0.99 * len(apart))], 1),
        "median_ms_of_script": round(statistics.median(scripts), 2),
    }


def describe_renderer(name: str) -> dict[str, Any]:
    """Tells who drew, by WebGL's name for it, and whether that is a program on the CPU."""
    is_software = not name or any(word in name.lower() for word in _SOFTWARE)
    return {"renderer": name or "none: a still image", "is_software_renderer": is_software}


def _wait_until(page: Page, expression: str) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise RunError(f"the page did not get as far as {expression} within {_WAIT_SECONDS} seconds")
        time.sleep(0.05)


def _draw(page: Page) -> None:
    box = page.evaluate("document.getElementById('pad').getBoundingClientRect().toJSON()")
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in _SEVEN]
    kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1)]
    for kind, (x, y) in [*zip(kinds, points, strict=True), ("mouseReleased", points[-1])]:
        button = {"button": "left", "buttons": int(kind != "mouseReleased"), "clickCount": 1}
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
