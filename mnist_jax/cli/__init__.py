"""The command line that every command shares: flags, ``--config`` and overrides, help, errors, exit codes."""

from mnist_jax.cli.callable_module import make_callable
from mnist_jax.cli.main import run_and_exit, run_main
from mnist_jax.cli.parse import CHECKPOINT, DRY_RUN, WORKDIR, Arguments, Command, Flag, parse

__all__ = [
    "CHECKPOINT",
    "DRY_RUN",
    "WORKDIR",
    "Arguments",
    "Command",
    "Flag",
    "make_callable",
    "parse",
    "run_and_exit",
    "run_main",
]
