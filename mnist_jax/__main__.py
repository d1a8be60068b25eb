"""``mnist-jax COMMAND ...``, or ``python -m mnist_jax COMMAND ...``: all commands as one tool."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnist_jax import cli

# Purpose and module of each command. A module is imported only when its command is called.
COMMANDS = {
    "train": ("train a network; the same command resumes a stopped run", "mnist_jax.train"),
    "evaluate": ("measure a checkpoint on the test set", "mnist_jax.evaluate"),
    "predict": ("classify picture files", "mnist_jax.predict"),
    "report": ("write a run, study or ensemble as one HTML page", "mnist_jax.report.__main__"),
    "compare": ("write several runs on one HTML page", "mnist_jax.compare.__main__"),
    "verify": ("check a run against its certificate, or train it again", "mnist_jax.verify.__main__"),
    "demo": ("serve a page to draw digits on", "mnist_jax.demo.__main__"),
    "export": ("write a network as StableHLO or ONNX", "mnist_jax.export.__main__"),
    "find_rate": ("suggest a learning rate from one epoch", "mnist_jax.find_rate.__main__"),
    "study": ("train many seeds, or compare two such studies", "mnist_jax.study"),
    "ensemble": ("train networks that vote", "mnist_jax.ensemble"),
    "pseudo_label": ("train on few labels and many unlabeled images", "mnist_jax.pseudo_label"),
    "launch": ("start several processes of one command", "mnist_jax.launch"),
    "list": ("list the configurations, models, optimizers and data sets there are", "mnist_jax.cli.listing"),
    "completion": ("print a completion script for bash or zsh", "mnist_jax.cli.completion"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names.

    Args:
        argv: the command line without the program; by default that of this process.

    Returns:
        The exit code; 2 where there is no such command. A command that ran ends the process itself.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else ""
    if name in COMMANDS:
        from mnist_jax import cli

        run, command = load_command(name)
        cli.run_and_exit(run, command, words[1:])
    if name in ("-h", "--help", "help"):
        if len(words) > 1 and words[1] in COMMANDS:
            return main([words[1], "--help"])
        print(_help_text())
        return 0
    if name == "--version":
        from mnist_jax.runtime.environment import package_version

        print(f"mnist-jax {package_version()}")
        return 0
    if not name:
        print(_help_text(), file=sys.stderr)
    else:
        print(f"error: {_unknown(name)}", file=sys.stderr)
    return 2


def load_command(name: str) -> tuple[Callable[["cli.Arguments"], int], "cli.Command"]:
    """Imports a command: its main, and what it takes, under the name it has in this tool."""
    module = importlib.import_module(COMMANDS[name][1])
    if name == "completion":
        # The one command that is about the others.
        commands = {other: load_command(other)[1] for other in COMMANDS if other != name}
        run = module.make_main({**commands, name: module.COMMAND})
    else:
        run = module.main
    return run, replace(module.COMMAND, name=f"{_program()} {name}")


def _program() -> str:
    return "python -m mnist_jax" if sys.argv[0] == __file__ else "mnist-jax"


def _help_text() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, (purpose, _) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {_program()} COMMAND ... | --help | --version",
            "",
            "Trains image classifiers in JAX on CPU, GPU or TPU, measures and uses them.",
            "",
            "commands:",
            *lines,
            "",
            f"{_program()} COMMAND --help tells what a command takes. To begin:",
            f"  {_program()} train --config smoke",
        ]
    )


def _unknown(name: str) -> str:
    import difflib

    if name.startswith("-"):
        return f"{name}: there is no such flag here; the command comes first, as in {_program()} train {name}"
    near = difflib.get_close_matches(name.replace("-", "_"), COMMANDS, n=1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    return f"{name!r} is no command; {meant}"


if __name__ == "__main__":
    sys.exit(main())
