"""The Dockerfile as far as it can be checked without building it."""

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from mnist_jax.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
KNOWN = {"FROM", "WORKDIR", "COPY", "ARG", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


def instructions():
    """(name, rest) of each instruction, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


def sources():
    """What is copied out of the checkout."""
    copied = [rest.split() for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    return [path for words in copied for path in words[:-1]]


def is_ignored(path):
    """Whether .dockerignore leaves a path out: of the patterns that match, the last counts."""
    ignored = False
    for pattern in (ROOT / ".dockerignore").read_text().split():
        name = pattern.removeprefix("!").removeprefix("**/")
        if any(fnmatch.fnmatch(str(part), name) for part in (path, *path.parents, path.name)):
            ignored = not pattern.startswith("!")
    return ignored


def test_every_instruction_is_known_and_stages_are_named():
    found = instructions()
    assert {name for name, _ in found} == KNOWN and found[0][0] == "FROM"
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.findall(r"--from=(\w+)", (ROOT / "Dockerfile").read_text()) == stages


def test_what_is_copied_is_there_and_not_ignored():
    assert sources()
    for source in sources():
        assert (ROOT / source).exists(), source
        assert not is_ignored(Path(source)), source
    assert not is_ignored(Path("mnist_jax/train.py")) and is_ignored(Path("mnist_jax/__pycache__/x.pyc"))
    assert is_ignored(Path(".git")) and is_ignored(Path("tests/conftest.py"))


def test_what_is_copied_is_what_a_wheel_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {project["readme"], "pyproject.toml", "setup.py", "configs", "mnist_jax"}
    needed |= {path.split("/")[0] for path in project["license-files"]}
    assert needed <= set(sources())


def test_it_runs_the_tool_as_no_root_on_a_python_that_is_allowed():
    found = instructions()
    (entry,) = [json.loads(rest) for name, rest in found if name == "ENTRYPOINT"]
    assert entry == ["/opt/mnist_jax/bin/mnist-jax"]
    last_user = [rest for name, rest in found if name == "USER"][-1]
    assert last_user == "runner" and any("useradd" in rest and "runner" in rest for _, rest in found)
    for name, rest in found:
        if name == "FROM":
            assert tuple(map(int, re.match(r"python:(\d+)\.(\d+)", rest).groups())) >= (3, 11)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.search(r"JAX_EXTRA=(\w+)", (ROOT / "Dockerfile").read_text())[1] in extras


def test_the_commands_in_its_comments_are_those_of_the_tool():
    text = (ROOT / "Dockerfile").read_text()
    used = re.findall(r"docker run .* mnist_jax (\w+) (.*)", text)
    assert [name for name, _ in used] == ["train", "demo"] and {name for name, _ in used} <= set(COMMANDS)
    for name, words in used:
        shown = subprocess.run(
            [sys.executable, "-m", "mnist_jax", name, "--help"], capture_output=True, text=True, timeout=60
        ).stdout
        assert all(f"--{flag}" in shown for flag in re.findall(r"--(\w+)", words))
