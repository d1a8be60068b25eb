"""``mnist-jax completion``: scripts with which a shell completes commands, flags, fields and their choices.

The scripts are static: pressing TAB starts no Python. Both shells share the function that says what may stand
at a place; it is written in what the two have in common.
"""

from collections.abc import Callable, Mapping, Sequence

from mnist_jax.cli.parse import CONFIG, Arguments, Command, Flag
from mnist_jax.config.field import Field
from mnist_jax.config.file import shipped_configs
from mnist_jax.config.schema import FIELDS
from mnist_jax.errors import ConfigError

COMMAND = Command(
    "mnist-jax completion",
    "Prints a script that completes commands and flags. Add to ~/.bashrc:\n"
    'eval "$(mnist-jax completion bash)", or to ~/.zshrc, after compinit: eval "$(mnist-jax completion zsh)"',
    positional="bash|zsh",
    positional_description="the shell",
)

_BASH = """
_mnist_jax() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} offer
    # --flag=value arrives as three words.
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    [[ $word == "=" ]] && word=
    if (( COMP_CWORD == 1 )); then before= COMP_WORDS[1]=; fi
    _mnist_jax_offer "${COMP_WORDS[1]}" "$before" "$word"
    COMPREPLY=($(compgen -W "$offer" -- "$word"))
}
complete -o default -F _mnist_jax mnist-jax
"""
_ZSH = """
_mnist_jax() {
    local word=$words[CURRENT] before=$words[CURRENT-1] command=$words[2] offer
    if [[ $word == --*=* ]]; then
        before=${word%%=*}
        word=${word#*=}
        compset -P '*='
    fi
    if (( CURRENT == 2 )); then before= command=; fi
    _mnist_jax_offer "$command" "$before" "$word"
    if [[ -n $offer ]]; then compadd -- ${=offer}; else _files; fi
}
compdef _mnist_jax mnist-jax
"""


def make_main(commands: Mapping[str, Command]) -> Callable[[Arguments], int]:
    """Returns the command's main, which completes `commands`."""

    def main(arguments: Arguments) -> int:
        shells = COMMAND.positional.split("|")
        if len(arguments.positional) != 1 or arguments.positional[0] not in shells:
            got = " ".join(arguments.positional) or "nothing"
            raise ConfigError([f"expected one of {', '.join(shells)}, got {got}"])
        script = completion_script(arguments.positional[0], commands)
        arguments.print_json({"shell": arguments.positional[0], "script": script})
        print(script, end="")
        return 0

    return main


def completion_script(shell: str, commands: Mapping[str, Command]) -> str:
    """Writes the script for one shell."""
    configs = f"    */--{CONFIG.name}) offer={_quoted(shipped_configs())}; return ;;"
    fields = [_values("*", f"--config.{field.name}", field) for field in FIELDS]
    flags = [
        _values(name, f"--{flag.name}", flag)
        for name, command in commands.items()
        for flag in command.flags
        if flag.type is not bool
    ]
    return "\n".join(
        [
            f"# Completes mnist-jax in {shell}; made by: mnist-jax completion {shell}",
            "# Sets $offer to what may stand after COMMAND, BEFORE, for WORD; empty means files.",
            "_mnist_jax_offer() {",
            "    offer=",
            '    case "$1/$2" in',
            *[f"    {line}" for line in [configs, *fields, *flags] if line],
            "        */--config.*) return ;;",
            "    esac",
            '    case "$1/$3" in',
            f"        /*) offer={_quoted([*commands, '--help', '--version'])} ;;",
            *[line for name, command in commands.items() for line in _words(name, command)],
            "    esac",
            "}",
            (_BASH if shell == "bash" else _ZSH).strip("\n"),
            "",
        ]
    )


def _values(command: str, spelled: str, field: Field) -> str:
    """The line for the values of a flag; a field without choices is left to the line for all fields."""
    choices: Sequence[str] = [str(choice) for choice in field.choices or () if choice != ""]
    if field.type is bool:
        choices = ("true", "false")
    elif isinstance(field, Flag) and not choices:
        choices = [word for word in field.metavar.split("|") if word.islower()]
    if not choices and not isinstance(field, Flag):
        return ""
    offer = f"offer={_quoted(choices)}; " if choices else ""
    return f"    {command}/{spelled}) {offer}return ;;"


def _words(name: str, command: Command) -> list[str]:
    flags = [f"--{flag.name}" for flag in command.all_flags] + ["--help", "--version"]
    if command.takes_config:
        flags += [f"--config.{field.name}" for field in FIELDS]
    if not command.positional:
        return [f"        {name}/*) offer={_quoted(flags)} ;;"]
    words = [word for word in command.positional.split("|") if word.islower()]
    return [f"        {name}/-*) offer={_quoted(flags)} ;;", f"        {name}/*) offer={_quoted(words)} ;;"]


def _quoted(words: Sequence[str] | Mapping[str, object]) -> str:
    return f"'{' '.join(words)}'"
