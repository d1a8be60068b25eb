"""The text of ``--help``: usage, flags, and every field of the configuration with its value."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence

from mnist_jax.cli.parse import CONFIG, Command, Flag, parse
from mnist_jax.config.check import default_config, flatten
from mnist_jax.config.field import Field
from mnist_jax.config.schema import GROUPS, fields_of
from mnist_jax.errors import ConfigError


def help_text(command: Command, argv: Sequence[str]) -> str:
    """Explains a command; where `argv` names a configuration in order, its fields show that one's values."""
    width = max(50, min(shutil.get_terminal_size().columns, 100))
    flags = (
        *command.all_flags,
        Flag("help", False, "show this and stop (also -h)"),
        Flag("version", False, "show the version and stop"),
    )
    parts = [_usage(command, width), textwrap.fill(command.summary, width)]
    if command.positional:
        parts.append(_entry(f"{command.positional} ...", command.positional_description, width))
    parts.append("flags:\n" + "\n".join(_flag_entry(flag, width) for flag in flags))
    if command.takes_config:
        parts += _config_parts(command, argv, width)
    return "\n\n".join(parts)


def _usage(command: Command, width: int) -> str:
    words = [f"--config {CONFIG.metavar}"] if command.takes_config else []
    for flag in command.flags:
        spelled = f"--{flag.name}" if flag.type is bool else f"--{flag.name} {flag.metavar}"
        words.append(spelled if flag.required else f"[{spelled}]")
    words += ["[--config.KEY=VALUE ...]"] if command.takes_config else []
    words += [f"{command.positional} ..."] if command.positional else []
    words += [f"[--{flag.name}]" for flag in command.common_flags]
    line = " ".join(["usage:", command.name, *words])
    return textwrap.fill(
        line, width, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False
    )


def _flag_entry(flag: Flag, width: int) -> str:
    title = f"--{flag.name}" if flag.type is bool else f"--{flag.name} {flag.metavar}"
    needed = "; required" if flag.required or flag.name == "config" else ""
    default = f"; default {flag.default}" if flag.default not in ("", False) and not needed else ""
    return _entry(title, f"{flag.description}{needed}{default}", width)


def _config_parts(command: Command, argv: Sequence[str], width: int) -> list[str]:
    values, source = _values(command, argv)
    intro = f"configuration, set with --config.KEY=VALUE (the values shown are {source}):"
    parts = [textwrap.fill(intro, width, break_on_hyphens=False)]
    for group, title in GROUPS.items():
        entries = "\n".join(_field_entry(field, values[field.name], width) for field in fields_of(group))
        parts.append(f"{group or 'general'}: {title}\n{entries}")
    return parts


def _values(command: Command, argv: Sequence[str]) -> tuple[Mapping[str, object], str]:
    defaults = dict(flatten(default_config()))
    words = [word for word in argv if word not in ("-h", "--help")]
    if not any(word.startswith(("--config", "-config")) for word in words):
        return defaults, "the defaults"
    # Only what concerns the configuration: a flag that is still missing is why the help was asked for.
    flags = tuple(Flag(flag.name, flag.default, flag.description) for flag in command.flags)
    only_config = Command(command.name, "", flags, takes_config=True)
    try:
        arguments = parse(only_config, words)
    except ConfigError as error:
        return defaults, f"the defaults, because of: {error.problems[0]}"
    return dict(flatten(arguments.config)), f"those of {arguments.config_file} and this command line"


def _field_entry(field: Field, value: object, width: int) -> str:
    allowed = field.expected() if field.choices or field.pattern else field.bounds()
    text = f"{field.description} ({allowed})" if allowed else field.description
    return _entry(f"{field.name} ({field.type.__name__}) = {value!r}", text, width)


def _entry(title: str, text: str, width: int) -> str:
    indent = " " * 6
    return f"  {title}\n" + textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)
