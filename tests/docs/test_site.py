"""The documentation as a site: every page is in it, and it is built without a warning."""

import importlib.util
import os
import subprocess
import sys

import pytest
import yaml

from tests.docs.pages import ROOT

NAVIGATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]


def pages(entry):
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]


def test_every_page_is_in_the_navigation_once():
    assert sorted(pages(NAVIGATION)) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
    reason="needs the extra docs; `make docs` builds the site in CI",
)
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'id="mnist_jax.run.loop.train_and_evaluate"' in (tmp_path / "api" / "index.html").read_text()
    home = (tmp_path / "index.html").read_text()
    # It opens without the network.
    assert "https://fonts" not in home and "commands/" in home
