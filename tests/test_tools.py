"""The scripts in tools/ that tell about the project."""

import json
import subprocess
import sys
from pathlib import Path

from tests.test_packaging import required

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
