"""The commands to start, one small run that was never interrupted, and commands within this process."""

import importlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_jax import cli
from tests.e2e.training_runs import ROOT, SMALL, Commands


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def uninterrupted(commands: Commands, made_once: Callable[..., Path]) -> Path:
    """A finished run of the small configuration; ``finished`` is a copy to change."""
    return made_once("uninterrupted", commands.train)


@pytest.fixture
def finished(uninterrupted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(uninterrupted, tmp_path / "run")


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> Callable[..., subprocess.CompletedProcess]:
    """Runs a main as its process would, without the seconds that a process takes to start.

    There is no data folder and no network.
    """
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in NO_NETWORK.items():
        monkeypatch.setenv(name, value)

    def run(main: str, *words: str) -> subprocess.CompletedProcess:
        module = importlib.import_module(f"mnist_jax.{main}")
        words = (*SMALL, *words) if main == "train" else words
        code = cli.run_main(module.main, module.COMMAND, words)
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, captured.out, captured.err)

    return run


# A proxy where nobody listens.
NO_NETWORK = {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
}
