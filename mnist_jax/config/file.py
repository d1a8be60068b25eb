"""Reads configuration files: Python with a ``get_config()``, as config_flags has them."""

import difflib
import os
import sys
import traceback
import types
from pathlib import Path

from ml_collections import ConfigDict

from mnist_jax.config.field import short
from mnist_jax.errors import ConfigError
from mnist_jax.runtime.regular_file import parse_json, read_named

_MAX_BYTES = 2**24
_LONGEST_REASON = 500


def shipped_configs() -> dict[str, Path]:
    """Returns the configurations that come with the package: ``{"default": Path(".../default.py"), ...}``."""
    package = Path(__file__).parents[1]
    # In an installed package they lie inside it, in a checkout beside it.
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}
    return {}


def load_config_file(name: str) -> ConfigDict:
    """Runs a configuration file and returns what its ``get_config()`` gives, unchecked.

    Args:
        name: path of the file, relative to the working directory or absolute, or the name of a configuration
            that comes with the package, such as ``default``; a file of that name goes first. As in
            config_flags, what follows a colon is passed on: ``file.py:text`` calls ``get_config("text")``. A
            name that ends in ``.json`` is the ``config.json`` of a run.

    Raises:
        ConfigError: with one line, for a file that is missing, cannot be read or run, or gives none.
    """
    path, colon, argument = name, "", ""
    # os.path, because Path.exists() raises for a name that is too long.
    if not os.path.exists(path):
        path, colon, argument = name.partition(":")
    if not os.path.isfile(path):
        path = str(shipped_configs().get(path, path))
    source = _read(path)
    if path.endswith(".json"):
        return _from_json(path, source)
    # Not through an import: its __pycache__ would hide an edit of the same length within the same second.
    module = types.ModuleType("mnist_jax_config_file")
    module.__file__ = path
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, path, "exec"), module.__dict__)
        get_config = getattr(module, "get_config", None)
        if not callable(get_config):
            raise ConfigError([f"{path}: there is no function get_config() in this file"])
        config = get_config(argument) if colon else get_config()
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:
        # It is anybody's Python: it may raise what is no Exception, or call sys.exit.
        raise ConfigError([_describe(error, path)]) from error
    if not isinstance(config, ConfigDict):
        forgotten = " (is its return missing?)" if config is None else ""
        text = f"expected an ml_collections.ConfigDict from get_config(), got {short(config)}{forgotten}"
        raise ConfigError([f"{path}: {text}"])
    return config


def _from_json(path: str, source: bytes) -> ConfigDict:
    try:
        content = parse_json(source)
        content.pop("run", None)
        return ConfigDict(content, type_safe=False)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError([f"{path}: expected the JSON that a run writes ({error})"]) from error


def _read(path: str) -> bytes:
    if not path:
        raise ConfigError(["--config: the name of a configuration is missing; for example --config default"])
    shown = short(path, limit=200)
    if os.path.isdir(path):
        files = ", ".join(sorted(file.name for file in Path(path).glob("*.py")))
        has = f"; it has {files}" if files else ""
        raise ConfigError([f"config file {shown} is a folder, expected a Python file with get_config(){has}"])
    try:
        return read_named(path, _MAX_BYTES)
    except FileNotFoundError as error:
        raise ConfigError([f"config file {shown} does not exist{_suggest_file(Path(path))}"]) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"config file {shown} cannot be read: {reason}"]) from error


def _suggest_file(path: Path) -> str:
    shipped = shipped_configs()
    if path.name == str(path) and not path.suffix:
        near = difflib.get_close_matches(path.name, shipped, n=3)
        meant = f"did you mean {' or '.join(near)}?" if near else f"by name there are {', '.join(shipped)}"
        return f", nor does a configuration of that name; {meant}"
    by_name = f"; --config {path.stem} finds the one that comes with the package"
    hint = by_name if path.name == f"{path.stem}.py" and path.stem in shipped else ""
    if not os.path.isdir(path.parent):
        missing = f", nor does the folder {str(path.parent)!r}"
        return missing + (hint or "; paths are relative to the working directory")
    names = sorted(file.name for file in path.parent.glob("*.py"))
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {str(path.with_name(near[0]))!r}?"
    return hint or (f"; that folder has {', '.join(names)}" if names else "; that folder has no Python files")


def _describe(error: BaseException, path: str) -> str:
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == path else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == path:
            line = frame.lineno
    try:
        text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())[:_LONGEST_REASON]
    except Exception:
        text = ""  # an exception of one's own may fail to tell what it is
    where = f"{path}, line {line}" if line else path
    return f"{where}: {type(error).__name__}: {text}".rstrip(": ")
