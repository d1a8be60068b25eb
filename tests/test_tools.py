"""The scripts in tools/ that tell about the project."""

import email
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_jax.data.embedded import load_embedded
from tests.test_packaging import required
from tools import fetch_three, fit_rejector, licenses

ROOT = Path(__file__).parents[1]


def test_every_package_of_the_main_installation_is_listed_with_what_it_is_for():
    words = [sys.executable, "tools/packages.py", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    listed = json.loads(done.stdout)
    rows = {row["package"]: row for row in listed["packages"]}
    assert required() <= set(rows)
    assert all(rows[name]["purpose"] for name in required())
    assert all(row["purpose"] or row["required_by"] for row in rows.values())
    assert listed["bytes"] == sum(row["bytes"] for row in rows.values())
    # What is promised to whoever installs it.
    assert listed["num_packages"] == len(rows) <= 75
    assert "pytest" not in rows and "wandb" not in rows


def test_the_license_of_a_package_is_told_wherever_its_metadata_has_it():
    class Package:
        def __init__(self, text):
            self.metadata = email.message_from_string(text)

    told = {
        "License-Expression: MIT\nLicense: other\n": "MIT",
        "Classifier: License :: OSI Approved :: BSD License\nClassifier: Topic :: X\n": "BSD License",
        "License: Apache 2.0\n": "Apache 2.0",
        "Name: none\n": "",
    }
    for text, expected in told.items():
        assert licenses.license_of(Package(text)) == expected


@pytest.mark.parametrize("kind", [*fit_rejector.NON_DIGITS, *fit_rejector.DIGITS])
def test_drawings_to_fit_to_are_in_mnists_form_and_the_same_every_time(kind, monkeypatch):
    train = load_embedded().train
    monkeypatch.setattr(
        fit_rejector, "_images", np.resize(train.images[..., 0], (50_000, 28, 28)), raising=False
    )
    monkeypatch.setattr(fit_rejector, "_labels", np.resize(train.labels, 50_000), raising=False)
    made = [example for i in range(4) if (example := fit_rejector.make_example(kind, i)) is not None]
    assert made
    for example in made:
        assert (example.image.shape, example.image.dtype) == (
            (28, 28),
            np.uint8,
        ) and example.image.max() > 100
        assert (example.label == 10) == (kind in fit_rejector.NON_DIGITS)
    again = [example for i in range(4) if (example := fit_rejector.make_example(kind, i)) is not None]
    np.testing.assert_array_equal([e.image for e in made], [e.image for e in again])


def test_the_fit_learns_what_is_none(monkeypatch):
    monkeypatch.setattr(fit_rejector, "STEPS", 200)
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 0.1, (300, 648)).astype(np.float32)
    classes = np.arange(300) % 11
    features[np.arange(300), classes] = 1
    weights = fit_rejector.fit(features, classes)
    hidden = np.maximum(features @ weights.hidden + weights.hidden_bias, 0)
    found = (hidden @ weights.output + weights.output_bias).argmax(axis=1)
    assert (found == classes).mean() > 0.95


def test_three_js_is_what_was_published_and_its_notice_says_so(tmp_path):
    assert fetch_three.find_changed(fetch_three.FOLDER) == []
    assert len(fetch_three.find_changed(tmp_path)) == 3
    notice = (fetch_three.FOLDER / "NOTICE.md").read_text()
    assert fetch_three.VERSION in notice and all(sha256 in notice for sha256 in fetch_three.SHA256.values())
