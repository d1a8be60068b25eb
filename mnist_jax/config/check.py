"""Configurations: built from the schema, completed, and checked before any work starts."""

import difflib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from mnist_jax.config.conflicts import Conflict, find_conflicts
from mnist_jax.config.field import LARGEST_INT, Value, short
from mnist_jax.config.schema import FIELDS, FIELDS_BY_NAME, GROUPS, fields_of
from mnist_jax.config.text import parse_text
from mnist_jax.config.variants import parse_settings, parse_variants
from mnist_jax.errors import ConfigError

Problem = tuple[str, str]  # the dotted name of the field, and what is wrong with it


def default_config() -> ConfigDict:
    """A configuration with every field at its default, for a ``get_config()`` to change.

    It takes any value and any new name: `validate` then lists every slip of a file, not only the first.
    """
    return _nested({field.name: field.default for field in FIELDS}, type_safe=False)


def check(config: ConfigDict | Mapping) -> ConfigDict:
    """Completes a configuration with defaults and brings every value to its type.

    Returns:
        A new configuration with every field, locked: it takes no new names and no values of another type.
        A relative ``data.dir`` or ``init.run`` is made absolute.

    Raises:
        ConfigError: with everything that `validate` finds.
    """
    problems = validate(config)
    if problems:
        raise ConfigError(problems)
    values: dict[str, Any] = _convert(config)[0]
    for name in ("data.dir", "init.run"):
        if values[name]:
            # A run records it, and is evaluated from other folders.
            values[name] = os.path.abspath(os.path.expanduser(values[name]))
    return _nested(values, type_safe=True).lock()


def from_dict(mapping: Mapping) -> ConfigDict:
    """Restores the configuration of an earlier run from what `as_dict` gave and JSON kept.

    Fields that are newer than the run get their defaults.

    Raises:
        ConfigError: for names that are not known and values that are not allowed.
    """
    return check(mapping)


def as_dict(config: ConfigDict) -> dict:
    """The configuration as plain nested dicts that JSON keeps as they are (tuples become lists)."""

    def plain(value: object) -> object:
        if isinstance(value, ConfigDict):
            return {key: plain(value[key]) for key in value}
        return list(value) if isinstance(value, tuple) else value

    return {key: plain(config[key]) for key in config}


def with_variant(config: ConfigDict, variant: str) -> ConfigDict:
    """A checked configuration with the settings of one of ``ensemble.variants``, of which it has none itself.

    Raises:
        ConfigError: as `check`; not for a variant of a configuration that has passed it.
    """
    return check(_changed(dict(flatten(config)), variant))


def validate(config: ConfigDict | Mapping) -> list[str]:
    """Lists everything wrong with a configuration, one line each; a missing field counts as its default."""
    return [describe(problem) for problem in find_problems(config)]


def find_problems(config: ConfigDict | Mapping) -> list[Problem]:
    """As `validate`, with the name of the field apart from the text, for those who know where it was set."""
    values, problems = _convert(config)
    wrong = {name for name, _ in problems}
    # A rule over several fields has nothing to say where one of them is wrong by itself.
    return problems + [
        (names[0], text)
        for names, text in (*find_conflicts(values), *_variant_problems(values))
        if not wrong.intersection(names)
    ]


def describe(problem: Problem, prefix: str = "") -> str:
    """A problem as one line."""
    return f"{prefix}{problem[0]}: {problem[1]}"


def check_against_data(config: ConfigDict, num_train: int) -> None:
    """Refuses what cannot be done with a data set of this size.

    Args:
        config: a configuration that `check` has passed, its automatic values chosen.
        num_train: training images of the data set, before any are left out or held out.

    Raises:
        ConfigError: with one line.
    """
    taken, held_out = config.data.train_examples, config.data.validation_examples
    used = min(taken or num_train, num_train)
    remaining = used - held_out
    steps = remaining // config.batch_size * config.num_epochs
    accumulated = config.optim.accumulation_steps
    if remaining < 1:
        problem = f"data.validation_examples: {held_out} held out of {used} leave no image to train on"
    elif config.batch_size > remaining:
        problem = f"batch_size: {config.batch_size} is more than the {remaining} training images there are"
    elif steps < accumulated:
        problem = f"optim.accumulation_steps: {accumulated} batches make an update; the run has {steps}"
    elif steps > LARGEST_INT:
        problem = f"num_epochs: {config.num_epochs} epochs are {steps} steps; {LARGEST_INT} can be counted"
    else:
        return
    raise ConfigError([problem])


def unknown_field(name: str) -> str:
    """What to say of a field name that does not exist, with the one that was probably meant."""
    suggestion = suggest_field(name)
    if suggestion:
        return f"there is no such field; did you mean '{suggestion}'?"
    group = name.partition(".")[0]
    members = [_last_part(field.name) for field in fields_of(group)]
    if group in GROUPS and members:
        return f"there is no such field; {group} has {', '.join(members)}"
    return "there is no such field; --help lists them"


def suggest_field(name: str) -> str:
    """The existing field or group that was probably meant by a name; empty where none is near."""
    group, _, last = name.rpartition(".")
    whole = {known: known for known in FIELDS_BY_NAME}
    same_group = {_last_part(known): known for known in whole if known.rpartition(".")[0] == group}
    anywhere = {_last_part(known): known for known in reversed(whole)}
    groups = {known: known for known in GROUPS if known}
    return (
        _nearest(last, same_group)
        or anywhere.get(last, "")
        or ("" if group else _nearest(name, whole) or _nearest(name, groups))
        or _nearest(last, anywhere)
        or whole.get(group, "")
    )


def _last_part(name: str) -> str:
    return name.rpartition(".")[2]


def _nearest(wanted: str, candidates: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(wanted, list(candidates), n=1, cutoff=0.75)
    # `rotation` for rotation_degrees, `optimizer` for optim: too far apart for difflib, clear to a person.
    near += [known for known in candidates if len(wanted) > 2 and known.startswith(wanted)]
    near += [known for known in candidates if len(known) > 2 and wanted.startswith(known)]
    return candidates[near[0]] if near else ""


def _nested(values: Mapping[str, Value], type_safe: bool) -> ConfigDict:
    nested: dict = {}
    for name, value in values.items():
        group, _, last = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[last] = value
    return ConfigDict(nested, type_safe=type_safe)


def _convert(config: ConfigDict | Mapping) -> tuple[dict[str, Value], list[Problem]]:
    values: dict[str, Value] = {field.name: field.default for field in FIELDS}
    problems: list[Problem] = []
    for name, value in flatten(config):
        field = FIELDS_BY_NAME.get(name)
        if field is not None:
            try:
                values[name] = field.convert(value)
            except ValueError as error:
                problems.append((name, str(error)))
        elif name in GROUPS:
            problems.append((name, f"expected a group of fields ({GROUPS[name]}), got {short(value)}"))
        else:
            problems.append((name, unknown_field(name)))
    return values, problems


def flatten(config: ConfigDict | Mapping) -> Iterator[tuple[str, object]]:
    """Yields dotted names and values as they are, whether or not the schema knows them.

    A mapping from dotted names to values is itself a configuration to the functions of this module.
    """
    for key in config:
        value = _item(config, key)
        if key in GROUPS and isinstance(value, (ConfigDict, Mapping)):
            yield from ((f"{key}.{_one_line(inner)}", _plain(_item(value, inner))) for inner in value)
        else:
            yield _one_line(key), value


def _changed(values: Mapping[str, Any], variant: str) -> dict[str, Any]:
    settings = {
        name: parse_text(FIELDS_BY_NAME[name], text) if name in FIELDS_BY_NAME else text
        for name, text in parse_settings(variant).items()
    }
    return {**values, **settings, "ensemble.variants": ""}


def _plain(value: object) -> object:
    # ml_collections makes one of every dict that it is given.
    return value.to_dict() if isinstance(value, ConfigDict) else value


def _item(config: ConfigDict | Mapping, key: object) -> object:
    try:
        return config[key]
    except Exception as error:
        # ml_collections computes references and refuses unset placeholders only when they are read.
        return error


def _one_line(key: object) -> str:
    return key if isinstance(key, str) and key.isprintable() else short(key)


def _variant_problems(values: Mapping[str, Any]) -> Iterator[Conflict]:
    variants = parse_variants(values["ensemble.variants"])
    for number, variant in enumerate(variants, start=1):
        settings = parse_settings(variant)
        if "model.name" in settings:
            yield ("ensemble.variants",), "model.name: networks are named by ensemble.models"
        elif variant and (problems := find_problems(_changed(values, variant))):
            yield ("ensemble.variants", *settings), f"variant {number}: {describe(problems[0])}"
