"""The scripts in tools/ that tell about the project."""

import email
import json
import subprocess
import sys
from pathlib import Path

from tests.test_packaging import required
from tools import licenses

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
