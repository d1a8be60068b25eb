"""Versions, commit, device and memory as a run's files name them."""

import importlib.metadata
import os
import pwd
import subprocess
import sys
import tempfile

import jax
import pytest

import mnist_jax
from mnist_jax.runtime import environment


def git(folder, *arguments):
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *settings, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package folder and one commit."""
    root = tmp_path / "a checkout"
    package = root / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "start")
    return root


def test_versions_are_those_of_the_running_libraries():
    versions = environment.collect_versions()
    assert set(versions) == {
        "python",
        "mnist_jax",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax",
        "numpy",
        "compiler",
    }
    assert versions["jax"] == jax.__version__
    assert versions["mnist_jax"] == mnist_jax.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_library_that_is_not_installed_is_none(monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGES", ("jax", "no-such-distribution"))
    versions = environment.collect_versions()
    assert versions["jax"] and versions["no-such-distribution"] is None


def test_the_version_of_source_that_is_not_installed(monkeypatch):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    assert environment.package_version() == mnist_jax.__version__


def test_the_cache_folder_follows_the_xdg_specification(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.user_cache_dir() == tmp_path / "mnist_jax"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative", "./relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert environment.user_cache_dir() == tmp_path / "home" / ".cache" / "mnist_jax"


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A user with neither a HOME nor an entry in passwd, as containers start them; the temporary folder."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_the_cache_is_a_folder_of_ones_own_below_tmp(homeless):
    folder = environment.user_cache_dir()
    assert folder == homeless / f"mnist_jax-{os.getuid()}" and folder.stat().st_mode & 0o777 == 0o700
    assert environment.user_cache_dir() == folder


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(mode=0o777), lambda path: path.symlink_to("/")])
def test_a_folder_below_tmp_that_others_can_write_is_not_trusted(homeless, spoil):
    theirs = homeless / f"mnist_jax-{os.getuid()}"
    spoil(theirs)
    if not theirs.is_symlink():
        theirs.chmod(0o777)
    assert environment.user_cache_dir() != theirs
    assert environment.user_cache_dir().stat().st_mode & 0o777 == 0o700


def test_commit_of_a_clean_and_of_a_changed_checkout(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert environment.git_commit(checkout / "package") == commit
    (checkout / "new.txt").write_text("untracked files change nothing that runs from the commit")
    assert environment.git_commit(checkout / "package") == commit
    (checkout / "package" / "__init__.py").write_text("changed = True")
    assert environment.git_commit(checkout / "package") == f"{commit}-dirty"


def test_a_process_keeps_the_commit_it_started_from(monkeypatch):
    answers = iter(["one", "two"])
    monkeypatch.setattr(environment, "git_commit", lambda: next(answers))
    environment.running_commit.cache_clear()
    try:
        assert [environment.running_commit(), environment.running_commit()] == ["one", "one"]
    finally:
        environment.running_commit.cache_clear()


def test_commit_ignores_the_current_folder_and_git_variables(checkout, tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "package"
    installed.mkdir(parents=True)
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    assert environment.git_commit(installed) is None


def test_commit_ignores_a_repository_around_the_virtual_environment(checkout):
    installed = checkout / ".venv" / "site-packages" / "package"
    installed.mkdir(parents=True)
    assert environment.git_commit(installed) is None


def test_commit_is_none_without_git_or_without_a_commit(checkout, tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet", "empty")
    (tmp_path / "empty" / "package").mkdir()
    assert environment.git_commit(tmp_path / "empty" / "package") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_commit(checkout / "package") is None


def test_device_says_platform_model_and_counts():
    description = environment.describe_device()
    assert description["device"].startswith(f"{jax.default_backend()}: ")
    assert description["num_devices"] == jax.device_count()
    assert description["num_processes"] == 1


def test_an_accelerator_is_named_by_its_kind():
    assert environment.describe_platform("gpu", "NVIDIA H100 80GB HBM3") == "gpu: NVIDIA H100 80GB HBM3"


def test_cpu_model_name_is_read_or_replaced_by_the_architecture(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: AMD  EPYC 7B13\nflags\t: fpu\n")
    assert environment.cpu_model_name(cpuinfo) == "AMD EPYC 7B13"
    cpuinfo.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert environment.cpu_model_name(cpuinfo) in (os.uname().machine, environment.platform.processor())
    assert environment.cpu_model_name(tmp_path / "missing") == environment.cpu_model_name(cpuinfo)


def test_peak_memory_grows_with_what_is_touched():
    program = (
        "from mnist_jax.runtime.environment import peak_host_memory_bytes as peak\n"
        "before = peak(); block = b'x' * 2**27; print(before, peak())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(int, result.stdout.split())
    assert 2**20 < before < 2**27
    assert 2**27 <= after < before + 2**28


def test_importing_does_not_import_jax():
    program = "import sys, mnist_jax.runtime.environment; print('jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
