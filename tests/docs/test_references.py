"""What the documentation names is there: files, links, modules, tests, fields of the configuration."""

import functools
import importlib
import re

import pytest

from mnist_jax.config.schema import FIELDS_BY_NAME, GROUPS
from tests.docs.pages import PAGES, ROOT, page_id, read_page

_PATH = re.compile(r"`((?:mnist_jax|configs|tests|benchmarks|docs)/[\w./*-]+)`")
_FIELD = re.compile(rf"`((?:{'|'.join(group for group in GROUPS if group)})\.\w+)[`=]")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_lead_somewhere(path):
    _, prose = read_page(path)
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(there.read_text()), f"{target} has no such heading"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_files_that_are_named_exist(path):
    for name in _PATH.findall(path.read_text()):
        assert list(ROOT.glob(name.rstrip("/"))), f"{name} is not there"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_fields_that_are_named_exist(path):
    unknown = set(_FIELD.findall(path.read_text())) - set(FIELDS_BY_NAME)
    unknown = {name for name in unknown if not name.endswith((".py", ".json", ".md"))}
    assert not unknown


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_modules_that_are_named_exist(path):
    for name in re.findall(r"`(mnist_jax(?:\.\w+)+)", path.read_text()):
        assert _resolves(name), f"{name} is not there"


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            functools.reduce(getattr, parts[length:], module)
        except AttributeError:
            return False
        return True
    return False


def test_the_tests_that_the_table_of_faults_names_exist():
    page = (ROOT / "docs" / "faults.md").read_text()
    # "`rows` is `e2e/test_fault_rows.py`"
    short = {name: _read_test(file) for name, file in re.findall(r"`(\w+)` is\s`([\w/]+\.py)`", page)}
    cells = [line.rstrip(" |").rpartition(" | ")[2] for line in page.splitlines() if line.startswith("| ")]
    text, num_checked = "", 0
    for word, quoted in re.findall(r"(?:(\w+) )?`([^`]+)`", "\n".join(cells)):
        if quoted.endswith(".py"):
            assert _read_test(quoted)
            continue
        text = short.get(word, text)
        name, _, case = quoted.removesuffix("]").partition("[")
        assert f"def {name.removesuffix('...')}" in text, quoted
        assert case in text, quoted
        num_checked += 1
    assert num_checked > 40


def _read_test(file: str) -> str:
    return (ROOT / "tests" / file).read_text()
