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


def load_config_file(path_and_argument: str) -> ConfigDict:
    """Runs a configuration file and returns what its ``get_config()`` gives, unchecked.

    Args:
        path_and_argument: path of the file, relative to the working directory or absolute. As in
            config_flags, what follows a colon is passed on: ``file.py:text`` calls ``get_config("text")``.

    Raises:
        ConfigError: with one line, for a file that is missing, cannot be read or run, or gives none.
    """
    path, colon, argument = path_and_argument, "", ""
    # os.path, because Path.exists() raises for a name that is too long.
    if not os.path.exists(path):
        path, colon, argument = path_and_argument.partition(":")
    source = _read(path)
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
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError([_describe(error, path)]) from error
    if not isinstance(config, ConfigDict):
        forgotten = " (is its return missing?)" if config is None else ""
        text = f"expected an ml_collections.ConfigDict from get_config(), got {short(config)}{forgotten}"
        raise ConfigError([f"{path}: {text}"])
    return config


def _read(path: str) -> bytes:
    if not path:
        raise ConfigError(
            ["--config: the name of a file is missing; for example --config configs/default.py"]
        )
    shown = short(path, limit=200)
    if os.path.isdir(path):
        files = ", ".join(sorted(file.name for file in Path(path).glob("*.py")))
        has = f"; it has {files}" if files else ""
        raise ConfigError([f"config file {shown} is a folder, expected a Python file with get_config(){has}"])
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ConfigError([f"config file {shown} does not exist{_suggest_file(Path(path))}"]) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"config file {shown} cannot be read: {reason}"]) from error


def _suggest_file(path: Path) -> str:
    if not os.path.isdir(path.parent):
        return f", nor does the folder {str(path.parent)!r}; paths are relative to the working directory"
    names = sorted(file.name for file in path.parent.glob("*.py"))
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {str(path.with_name(near[0]))!r}?"
    return f"; that folder has {', '.join(names)}" if names else "; that folder has no Python files"


def _describe(error: BaseException, path: str) -> str:
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == path else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == path:
            line = frame.lineno
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    where = f"{path}, line {line}" if line else path
    return f"{where}: {type(error).__name__}: {text}".rstrip(": ")
