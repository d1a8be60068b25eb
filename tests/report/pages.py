"""What every page of the project is held to, as text and in a browser."""

import contextlib
import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.headless_chromium import Page, find_browser, open_page

_EMPTY_TAGS = ("meta", "link", "img", "br")


def section(page: str, name: str) -> str:
    """The text of one section, tags included."""
    return re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]


def text_of(page: str) -> str:
    """What a reader sees of it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


class _Checker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open_tags, self.addresses, self.ids = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in _EMPTY_TAGS:
            self.open_tags.append(tag)
        found = dict(attributes)
        assert tag != "img" or found["alt"]
        assert tag != "svg" or found["aria-label"]
        self.addresses += [
            found[name] for name in ("src", "href", "srcset", "action", "data") if name in found
        ]
        self.ids += [found["id"]] if "id" in found else []

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in _EMPTY_TAGS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


def check_page(page: str) -> None:
    """Well formed, every picture described, nothing from elsewhere, every link within leads somewhere."""
    checker = _Checker()
    checker.feed(page)
    assert not checker.open_tags
    assert all(address.startswith(("data:", "#")) for address in checker.addresses)
    assert len(checker.ids) == len(set(checker.ids))
    anchors = {address[1:] for address in checker.addresses if address.startswith("#")}
    assert anchors <= set(checker.ids)
    assert "<script" not in page and "@import" not in page and "url(http" not in page


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """A page of a headless Chromium; the test is skipped where there is none."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    with open_page(program) as opened:
        yield opened


def look_at(page: Page, path: Path) -> list[tuple[int, int]]:
    """Opens a file in both themes, wide and on a phone: complete, quiet, nothing sticks out.

    Returns the numbers of pictures and of figures, each time.
    """
    seen = []
    for theme in ("light", "dark"):
        for width in (1200, 360):
            size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
            page.call("Emulation.setDeviceMetricsOverride", **size)
            scheme = [{"name": "prefers-color-scheme", "value": theme}]
            page.call("Emulation.setEmulatedMedia", features=scheme)
            page.open(path.as_uri())
            requests = [event["request"]["url"] for event in page.named("Network.requestWillBeSent")]
            assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
            assert not page.named("Log.entryAdded")
            assert not page.named("Runtime.consoleAPICalled") + page.named("Runtime.exceptionThrown")
            pictures = page.evaluate(
                "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
            )
            assert min(pictures, default=2) > 1
            figures = page.evaluate(
                "[...document.querySelectorAll('svg')].map(svg => [svg.clientWidth, svg.clientHeight])"
            )
            assert np.min(figures, initial=101) > 100
            assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out"
            ink, paper = page.evaluate(
                "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
            )
            brightness = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (ink, paper)]
            assert (brightness[0] < brightness[1]) == (theme == "light")
            assert abs(brightness[0] - brightness[1]) > 450
            seen.append((len(pictures), len(figures)))
    return seen
