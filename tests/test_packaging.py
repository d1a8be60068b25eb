"""What is built of the project is complete: installed elsewhere, it runs without the checkout."""

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_files():
    """Every file of the package, as the wheel is to have it."""
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "mnist_jax").rglob("*") if path.is_file()}
    files |= {f"mnist_jax/{path.relative_to(ROOT)}" for path in (ROOT / "configs").glob("*.py")}
    return {file for file in files if "__pycache__" not in file}


def test_every_folder_is_a_package_and_every_other_file_is_named():
    package = ROOT / "mnist_jax"
    for path in package.rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), path
    named = {
        path
        for pattern in PROJECT["tool"]["setuptools"]["package-data"]["mnist_jax"]
        for path in package.glob(pattern)
    }
    there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there == named


def canonical(name):
    return name.lower().replace("_", "-").replace(".", "-")


def required(*extras):
    lines = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        lines += PROJECT["project"]["optional-dependencies"][extra]
    return {canonical(line.partition(">=")[0].partition("[")[0]) for line in lines}


def test_what_is_imported_is_required():
    """A package that only another one brings may be gone with the other one's next version."""
    imported = set()
    for path in (ROOT / "mnist_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    imported -= {"mnist_jax", *sys.stdlib_module_names}
    providers = packages_distributions()
    known = required(*PROJECT["project"]["optional-dependencies"].keys() - {"test", "dev"})
    missing = {
        name
        for name in imported
        if name in providers and not {canonical(provider) for provider in providers[name]} & known
    }
    assert missing == set()


def test_training_needs_none_of_the_test_packages():
    assert not required() & {"pytest", "onnx", "onnxruntime", "pandas", "scikit-learn", "mlxtend"}


def run(*command, cwd, **environment):
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XLA_FLAGS")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(source distribution, the wheel made of it), from a copy: building leaves files in its folder."""
    folder = tmp_path_factory.mktemp("build")
    source, out = folder / "source", folder / "out"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "runs", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    out.mkdir()
    make = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
    run(sys.executable, "-c", make, cwd=source)
    (sdist,) = out.glob("*.tar.gz")
    shutil.rmtree(source)
    words = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", out, sdist]
    run(sys.executable, "-m", "pip", *words, cwd=folder)
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_the_wheel_has_every_file_and_the_source_distribution_what_tests_need(built):
    sdist, wheel = built
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == package_files()
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "tests/conftest.py", "configs/default.py", "benchmarks/README.md"} <= inside


@pytest.fixture(scope="module")
def tool(built, tmp_path_factory):
    """Returns `start(*words)`: runs the installed ``mnist-jax`` in a folder that began empty."""
    environment, folder = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    python = environment / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    # The libraries of this environment, but not the editable mnist_jax: its .pth is not followed from here.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    words = ["--python", python, "install", "--no-deps", "--no-index", built[1]]
    run(sys.executable, "-m", "pip", *words, cwd=folder)

    def start(*words):
        cache = str(environment / "cache")
        return run(environment / "bin" / "mnist-jax", *words, cwd=folder, XDG_CACHE_HOME=cache)

    start.folder, start.site = folder, site
    return start


@pytest.mark.slow
def test_the_installed_tool_trains_predicts_and_reports_without_the_checkout(tool):
    rows = json.loads(tool("list", "configs", "--json"))
    assert {Path(row["file"]).parent for row in rows} == {tool.site / "mnist_jax" / "configs"}

    assert "test" in tool("train", "--config", "smoke", "--workdir", "run")
    summary = json.loads((tool.folder / "run" / "summary.json").read_text())
    assert summary["dataset"]["sha256"] and summary["git_commit"] is None

    pixels = np.zeros((40, 30), np.uint8)
    pixels[5:35, 13:17] = 255
    Image.fromarray(pixels).save(tool.folder / "one.png")
    (answer,) = json.loads(tool("predict", "--workdir", "run", "one.png", "--json"))
    assert answer["file"] == "one.png" and len(answer["probabilities"]) == 10

    tool("report", "--workdir", "run")
    page = (tool.folder / "run" / "report.html").read_text()
    assert "mnist_jax.train --config smoke" in page
    evaluated = json.loads(tool("evaluate", "--workdir", "run", "--json"))
    assert evaluated["test_errors"] == summary["test_errors"]
