"""A configuration from what a program gives: a name, a file or a ConfigDict, and settings."""

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from mnist_jax.config.check import check, describe, find_problems, flatten
from mnist_jax.config.file import load_config_file
from mnist_jax.errors import ConfigError

DEFAULT = "default"

Config: TypeAlias = str | os.PathLike[str] | ConfigDict | Mapping[str, Any]


def is_config(value: object) -> bool:
    """Whether a value stands for a configuration."""
    return isinstance(value, str | os.PathLike | ConfigDict | Mapping)


def merge_settings(
    config: Config | None, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> ConfigDict:
    """Loads a configuration and changes it.

    Args:
        config: a name such as ``"default"``, a file, a ConfigDict (or mappings that say the same), or None
            for ``configs/default.py``.
        settings: fields by dotted name, ``{"optim.learning_rate": 2e-3}``, or by group,
            ``{"optim": {"learning_rate": 2e-3}}``.
        defaults: fields by dotted name that ``settings`` may change, but not the configuration.

    Returns:
        the complete, checked configuration.

    Raises:
        ConfigError: with everything that is wrong.
    """
    if config is None or isinstance(config, str | os.PathLike):
        config = load_config_file(os.fspath(config or DEFAULT))
    merged = {**dict(flatten(config)), **(defaults or {}), **dict(flatten(settings))}
    problems = find_problems(merged)
    if problems:
        raise ConfigError([describe(problem) for problem in problems])
    return check(merged)
