"""The commands that make a run once more."""

import shlex
from collections.abc import Mapping
from typing import Any

from mnist_jax.config.check import as_dict, check, flatten
from mnist_jax.config.file import load_config_file, shipped_configs
from mnist_jax.errors import ConfigError


def train_command(config: Mapping[str, Any], workdir: str) -> str:
    """Writes the command that trains with a configuration.

    A run does not keep the name of its configuration file, so the command starts from the nearest of those
    that come with the package and sets every field in which it differs. The run gets this very configuration.

    Args:
        config: a complete configuration, as ``config.json`` has it.
        workdir: a new folder for the new run.
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
    flags = [_flag(key, value) for key, value in overrides.items()]
    return " ".join(
        [f"python -m mnist_jax.train --config {name}", *flags, f"--workdir {shlex.quote(workdir)}"]
    )


def _flag(key: str, value: Any) -> str:
    text = repr(tuple(value)) if isinstance(value, list | tuple) else str(value)
    return f"--config.{key}={shlex.quote(text) if text else ''}"
