"""What a shell command of the documentation asks for, checked without doing it."""

import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Sequence
from types import ModuleType

from mnist_jax import cli
from mnist_jax.__main__ import COMMANDS
from mnist_jax.cli.help import help_text
from tests.docs.pages import ROOT

# Programs of others, whose arguments are taken on trust.
_OTHERS = ("cd", "git", "tail", "tensorboard", "jupyter", "kubectl", "sbatch", "ls", "unzip")
_PLACEHOLDERS = {
    "FILE": "configs/default.py",
    "KEY": "seed",
    "VALUE": "1",
    "DIR": "runs/default",
    "IMAGE": "seven.png",
    "STEP": "20",
    "PYTHON": "python",
    "N": "2",
    "K": "2",
}


def command_lines(text: str) -> list[str]:
    """The commands of a block: comments, prompts and empty lines left out, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line.strip() for line in joined.splitlines() if shlex.split(line, comments=True)]


def check_command(line: str) -> tuple[ModuleType, list[str]] | None:
    """Checks one command line.

    Returns:
        the module and the arguments of a command of this project, else None.

    Raises:
        ConfigError: the command's own parser refuses it.
        AssertionError: it names a target, an extra or a program that is not there.
    """
    words = shlex.split(line, comments=True)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[0] in ("srun", "mpirun"):
        words = words[words.index("python") :]
    program, arguments = words[0], words[1:]
    if program == "python" and arguments[0] == "-m":
        return _check_module(arguments[1], arguments[2:])
    if program == "mnist-jax":
        assert "mnist-jax" in _project()["project"]["scripts"]
        assert arguments[0] in COMMANDS, f"mnist-jax has no command {arguments[0]}"
        return _check_module(COMMANDS[arguments[0]][1], arguments[1:])
    if program == "make":
        return _check_make(arguments)
    if program == "pip":
        return _check_pip(arguments)
    if program == "pytest":
        paths = [word for word in arguments if "/" in word]
        assert all((ROOT / path.split("::")[0]).exists() for path in paths), line
        return None
    if program == "curl":
        routes = (ROOT / "mnist_jax" / "demo" / "app.py").read_text()
        (path,) = re.findall(r"http://[^/]+(/\S+)", line)
        assert f'"{path}"' in routes, f"{path} is no route of the demo"
        return None
    assert program in _OTHERS or (ROOT / program).is_file(), f"{program}: not a command known here"
    return None


def fill_placeholders(line: str) -> str:
    """A command as a table gives it, ``[--json] latest|best|STEP DIR …``, with a value for each word."""
    line = line.replace("\\|", "|").replace("[", "").replace("]", "")
    line = re.sub(r"(\S+?)\|\S+", r"\1", line)
    line = re.sub(r"\s*(\.\.\.|…)", "", line)
    return re.sub(r"\b[A-Z]+\b", lambda match: _PLACEHOLDERS.get(match[0], match[0]), line)


def _check_module(name: str, arguments: Sequence[str]) -> tuple[ModuleType, list[str]] | None:
    if name in ("pytest", "pip"):
        return check_command(shlex.join([name, *arguments]))
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"there is no module {name}"
    module = importlib.import_module(f"{name}.__main__" if spec.submodule_search_locations else name)
    if "--help" in arguments:
        help_text(module.COMMAND, arguments)
        return None
    parsed = cli.parse(module.COMMAND, arguments)
    if name == "mnist_jax.launch":
        _check_module(parsed["module"], parsed.positional)
    return module, list(arguments)


def _check_make(arguments: Sequence[str]) -> None:
    text = (ROOT / "Makefile").read_text()
    for word in arguments:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{re.escape(name)} *\?=" if is_variable else rf"^{re.escape(name)}:"
        assert re.search(pattern, text, re.MULTILINE), f"the Makefile has no {name}"


def _check_pip(arguments: Sequence[str]) -> None:
    extras = _project()["project"]["optional-dependencies"]
    for word in arguments:
        for extra in re.findall(r"^\.\[(.*)\]$", word):
            assert set(extra.split(",")) <= set(extras), f"pyproject.toml has no extra {extra}"


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
