"""The commands that make a run once more."""

from collections.abc import Mapping
from typing import Any

from mnist_jax.config.check import as_dict, check, flatten
from mnist_jax.config.file import load_config_file, shipped_configs
from mnist_jax.errors import ConfigError
from mnist_jax.run.resume import Settings
from mnist_jax.terminal.format import quote_word


def train_command(config: Mapping[str, Any], workdir: str, command: str = "train", flags: str = "") -> str:
    """Writes the command that trains with a configuration.

    A run does not keep the name of its configuration file, so the command starts from the nearest of those
    that come with the package and sets every field in which it differs. The run gets this very configuration.

    Args:
        config: a complete configuration, as ``config.json`` has it.
        workdir: a new folder for the new run.
        command: ``train``, or another one that takes a configuration.
        flags: what that one takes beside it.
    """
    wanted = dict(flatten(as_dict(check(config))))
    name, overrides = "default", wanted
    for candidate, path in shipped_configs().items():
        try:
            found = dict(flatten(as_dict(check(load_config_file(str(path))))))
        except ConfigError:
            continue  # made for another command, or somebody's work in progress
        differing = {key: value for key, value in wanted.items() if found[key] != value}
        if len(differing) < len(overrides):
            name, overrides = candidate, differing
    words = [f"python -m mnist_jax.{command} --config {name}", *([flags] if flags else [])]
    words += [_flag(key, value) for key, value in overrides.items()]
    return " ".join([*words, f"--workdir {quote_word(workdir)}"])


def extension_commands(config: Mapping[str, Any], run: Mapping[str, Any], workdir: str) -> list[str]:
    """Writes the commands that extend a run as it was extended, after that of `first_configuration`.

    Args:
        config: as ``config.json`` has it.
        run: what it has under ``run``.
        workdir: of the new run.
    """
    settings = Settings(dict(config), dict(run))
    commands = []
    for number, extension in enumerate(settings.extensions, 1):
        then = dict(flatten(settings.until(number).config))
        flags = [_flag(name, then[name]) for name in extension["before"] if name != "num_epochs"]
        words = [f"--workdir {quote_word(workdir)}", f"--extend {then['num_epochs']}", *flags]
        commands.append(" ".join(["python -m mnist_jax.train", *words]))
    return commands


def first_configuration(config: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a run was started with, before it was extended; arguments as above."""
    return Settings(dict(config), dict(run)).until(0).config


def _flag(key: str, value: Any) -> str:
    text = repr(tuple(value)) if isinstance(value, list | tuple) else str(value)
    return f"--config.{key}={quote_word(text) if text else ''}"
