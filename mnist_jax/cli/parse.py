"""What a main takes, and how its command line is read: all slips are found, not only the first.

Spellings are those of absl and ml_collections' config_flags: ``--name=value`` and ``--name value``, one dash
or two, ``--flag`` and ``--noflag``, ``--config.a.b=value``, ``--noconfig.a.b``. Of a flag given twice the
last counts; overrides may stand before ``--config``.

Own code, because config_flags stops at the first slip with a traceback and shows no fields, and tyro checks
no bounds and refuses ``--config.report=false``.
"""

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from ml_collections import ConfigDict

from mnist_jax.config.check import check, describe, find_problems, flatten, suggest_field, unknown_field
from mnist_jax.config.field import Field, Value
from mnist_jax.config.file import load_config_file
from mnist_jax.config.schema import FIELDS_BY_NAME, GROUPS, fields_of
from mnist_jax.config.text import parse_text
from mnist_jax.errors import ConfigError
from mnist_jax.storage.json_files import CONFIG_FILE, plain_json


@dataclass(frozen=True)
class Flag(Field):
    """A flag of a command: a `Field` that is set with ``--NAME=VALUE``."""

    # What stands for the value in the help; DIR, FILE and PATH are paths, in which ``~`` is expanded.
    metavar: str = "VALUE"
    required: bool = False  # whether the command cannot do without it
    num_values: int = 1  # words it takes; with more than one, its value is a tuple of texts
    replaces_config: bool = False  # whether it stands instead of ``--config`` and the overrides
    sets: str = ""  # the field of the configuration that it sets
    # Whether ``--config`` may be left out where it is given: the configuration is that of ``--workdir`` then.
    continues: bool = False

    def convert(self, value: object) -> Value:
        """Checks a value, see `Field.convert`; in a path a leading ``~`` becomes the home folder.

        The shell leaves it alone in ``--workdir=~/x``, which would make a folder named ``~``.
        """
        converted = super().convert(value)
        if self.metavar.split()[0] in ("DIR", "FILE", "PATH") and isinstance(converted, str):
            expanded = os.path.expanduser(converted)
            if expanded.startswith("~"):
                raise ValueError(
                    f"{expanded.partition('/')[0]} is not known here; give the folder in full, or "
                    f"./{expanded} for a folder of that name"
                )
            return expanded
        return converted


@dataclass(frozen=True)
class Command:
    """What a main takes."""

    name: str  # as it is typed: ``python -m mnist_jax.predict``
    summary: str  # what it does, in one or a few lines
    flags: tuple[Flag, ...] = ()  # its own; every command has --json, --debug, --help and --version
    takes_config: bool = False  # whether it takes ``--config FILE`` and ``--config.KEY=VALUE``
    positional: str = ""  # what stands for the other arguments, as in ``IMAGE``; empty where there are none
    positional_description: str = ""  # what they are

    @property
    def all_flags(self) -> tuple[Flag, ...]:
        """``--config`` where it is taken, the command's own flags, and those of every command."""
        return (*((CONFIG,) if self.takes_config else ()), *self.flags, *self.common_flags)

    @property
    def common_flags(self) -> tuple[Flag, ...]:
        """Those of every command that this one has not itself, as a benchmark has --json FILE."""
        own = {flag.name for flag in self.flags}
        return tuple(flag for flag in (JSON, DEBUG) if flag.name not in own)


@dataclass(frozen=True)
class Arguments:
    """A command line that was found to be in order; ``arguments["workdir"]`` is the value of a flag."""

    # The configuration, complete and checked; empty for a command that takes none.
    config: ConfigDict = field(default_factory=ConfigDict)
    config_file: str = ""  # what ``--config`` named
    positional: tuple[str, ...] = ()  # the arguments that are no flags
    # Value of each flag, defaults included.
    flags: Mapping[str, Value | tuple[str, ...]] = field(default_factory=dict)
    answers: IO[str] | None = None  # where `print_json` prints; None without ``--json``

    def __getitem__(self, name: str) -> Any:
        """The value of a flag."""
        return self.flags[name]

    def print_json(self, answer: Mapping[str, Any] | Sequence[Any]) -> None:
        """Prints what a command found out as one line of JSON, where ``--json`` asks for it.

        Every command calls this once. With ``--json`` all else that it prints goes to stderr, see `run_main`.

        Args:
            answer: plain values, NumPy's among them; numbers that are not finite become null.
        """
        if self.answers is not None:
            print(json.dumps(plain_json(answer), allow_nan=False), file=self.answers, flush=True)


WORKDIR = Flag("workdir", "", "folder of the run", non_empty=True, metavar="DIR", required=True)
CHECKPOINT = Flag(
    "checkpoint",
    "latest",
    "which checkpoint: the newest, the best by validation accuracy, or that of a step",
    pattern=r"latest|best|\d{1,10}",
    pattern_means="latest, best or the number of a step",
    metavar="latest|best|STEP",
)
JSON = Flag("json", False, "print one line of JSON to standard output, and the text for people to stderr")
DRY_RUN = Flag(
    "dry_run",
    False,
    "check everything and say what it would take (layers, steps, memory, minutes), and stop there",
)
DEBUG = Flag("debug", False, "show the traceback of an error")
CONFIG = Flag(
    "config",
    "",
    "configuration: a name, such as default (mnist-jax list configs), or a Python file of yours",
    non_empty=True,
    metavar="NAME|FILE",
)


def parse(command: Command, argv: Sequence[str]) -> Arguments:
    """Reads a command line (without the name of the program).

    Raises:
        ConfigError: with every problem of flags, overrides, configuration file and other arguments.
    """
    reader = _Reader(command)
    reader.read(argv)
    problems = list(reader.problems)
    for flag in reader.flags.values():
        if flag.required and flag.name not in reader.values and flag.name not in reader.wrong:
            problems.append(f"--{flag.name}: is missing; give --{flag.name} {flag.metavar}")
    config, cause = ConfigDict(), None
    given = {*reader.values, *reader.wrong}
    replaces = [flag.name for flag in command.flags if flag.replaces_config and flag.name in given]
    if replaces and ("config" in reader.values or reader.overrides):
        problems.append(f"--{replaces[0]}: takes no --config and no overrides; leave them out")
    elif command.takes_config and not replaces:
        try:
            config = _build_config(reader)
        except ConfigError as error:
            problems += error.problems
            cause = error.__cause__
    if problems:
        raise ConfigError(problems) from cause
    values = {flag.name: flag.default for flag in reader.flags.values()} | reader.values
    return Arguments(config, str(values.pop("config", "")), tuple(reader.positional), values)


def _build_config(reader: "_Reader") -> ConfigDict:
    path = reader.values.get("config")
    continues = any(reader.flags[name].continues for name in reader.values)
    if path is None and continues and "workdir" in reader.values:
        path = os.path.join(str(reader.values["workdir"]), CONFIG_FILE)
    if path is None:
        known = "config" in reader.wrong
        raise ConfigError([] if known else ["--config: is missing; give one, such as --config default"])
    loaded = load_config_file(str(path))
    # Refused values stay in for now: rules over several fields must not judge what they were to replace.
    merged = {**dict(flatten(loaded)), **reader.overrides, **reader.wrong_overrides}
    problems = [problem for problem in find_problems(merged) if problem[0] not in reader.wrong_overrides]
    if problems or reader.wrong_overrides:
        origin = {name: "--config." for name in reader.overrides}
        raise ConfigError([describe(found, origin.get(found[0], f"{path}: ")) for found in problems])
    return check(merged)


class _Reader:
    """Goes through the words of a command line once, keeping values and problems."""

    def __init__(self, command: Command):
        self.command = command
        self.flags = {flag.name: flag for flag in command.all_flags}
        self.values: dict[str, Value | tuple[str, ...]] = {}
        self.overrides: dict[str, Value] = {}
        self.positional: list[str] = []
        self.problems: list[str] = []
        self.wrong: dict[str, object] = {}
        self.wrong_overrides: dict[str, object] = {}

    def read(self, argv: Sequence[str]) -> None:
        """Reads all words; ``--`` makes what follows it no flags."""
        words = list(argv)
        while words:
            word = words.pop(0)
            if word == "--":
                self._take_positional(words)
                return
            is_flag = word.startswith("-") and word != "-" and not word[1:2].isdigit()
            if is_flag:
                self._take_flag(word, words)
            else:
                self._take_positional([word])

    def _take_positional(self, words: Sequence[str]) -> None:
        self.positional += words
        if not self.command.positional:
            self.problems += [f"stray argument {word!r}: flags are given as --name=value" for word in words]

    def _take_flag(self, word: str, words: list[str]) -> None:
        name, equals, text = word.lstrip("-").partition("=")
        target, negated = self._find(name)
        if target is None:
            self._refuse_unknown(word.partition("=")[0], name, bool(equals), words)
            return
        spelled = word.partition("=")[0]
        if negated:
            if equals:
                self._refuse(target, spelled, f"takes no value; give --{name[2:]}={text}", text)
            else:
                self._set(target, spelled, False)
            return
        if isinstance(target, Flag) and target.num_values > 1:
            self._take_several(target, spelled, [text] if equals else [], words)
            return
        if not equals:
            if target.type is bool:
                # absl leaves `--flag false` with a true flag and a stray word; nobody means that.
                is_value = bool(words) and not isinstance(parse_text(target, words[0]), str)
                text = words.pop(0) if is_value else "true"
            elif words and not words[0].startswith("--"):
                text = words.pop(0)
            else:
                self._refuse(target, spelled, f"a value is missing, expected {target.expected()}", None)
                return
        self._set(target, spelled, parse_text(target, text))

    def _take_several(self, flag: Flag, spelled: str, values: list[str], words: list[str]) -> None:
        while words and len(values) < flag.num_values and not words[0].startswith("--"):
            values.append(words.pop(0))
        try:
            if len(values) < flag.num_values:
                raise ValueError(f"expected {flag.metavar}, got {len(values)} of {flag.num_values}")
            self.values[flag.name] = tuple(str(flag.convert(value)) for value in values)
        except ValueError as error:
            self._refuse(flag, spelled, str(error), values)

    def _find(self, name: str) -> tuple[Field | None, bool]:
        for key, negated in ((name, False), (name.removeprefix("no"), name.startswith("no"))):
            is_override = self.command.takes_config and key.startswith("config.")
            target = FIELDS_BY_NAME.get(key[7:]) if is_override else self.flags.get(key)
            if target is not None and (not negated or target.type is bool):
                return target, negated
        return None, False

    def _set(self, target: Field, spelled: str, value: object) -> None:
        try:
            converted = target.convert(value)
        except ValueError as error:
            self._refuse(target, spelled, str(error), value)
            return
        (self.values if isinstance(target, Flag) else self.overrides)[target.name] = converted
        if isinstance(target, Flag) and target.sets:
            self.overrides[target.sets] = converted

    def _refuse(self, target: Field, spelled: str, problem: str, value: object) -> None:
        (self.wrong if isinstance(target, Flag) else self.wrong_overrides)[target.name] = value
        self.problems.append(f"{spelled}: {problem}")

    def _refuse_unknown(self, spelled: str, name: str, has_value: bool, words: list[str]) -> None:
        probably: Field | None = None
        if self.command.takes_config and name.startswith("config."):
            self.problems.append(f"{spelled}: {_unknown_override(name[7:])}")
            probably = FIELDS_BY_NAME.get(suggest_field(name[7:]))
        elif self.command.takes_config and name.startswith("noconfig."):
            only = "only a field that is True or False is set this way"
            self.problems.append(
                f"{spelled}: {only if name[9:] in FIELDS_BY_NAME else unknown_field(name[9:])}"
            )
            return
        else:
            near = difflib.get_close_matches(name, [*self.flags, "help", "version"], n=1, cutoff=0.6)
            as_field = suggest_field(name) if self.command.takes_config and not near else ""
            suggestion = near[0] if near else f"config.{as_field}" if as_field else ""
            probably = self.flags.get(suggestion) or FIELDS_BY_NAME.get(as_field)
            meant = f"; did you mean --{suggestion}?" if suggestion else "; --help lists them"
            self.problems.append(f"{spelled}: there is no such flag{meant}")
        # The value of a misspelled flag is no stray argument.
        takes_value = not has_value and (probably is None or probably.type is not bool)
        if takes_value and words and not words[0].startswith("-") and not self.command.positional:
            words.pop(0)


def _unknown_override(name: str) -> str:
    if name in GROUPS:
        return f"is a group of fields; set one of them, as in --config.{fields_of(name)[0].name}=VALUE"
    return unknown_field(name)
