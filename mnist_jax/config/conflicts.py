"""Fields whose values are allowed, each for itself, and do not go together."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mnist_jax.config.field import LARGEST_FLOAT
from mnist_jax.config.optimizers import OPTIMIZERS, OWN_FIELDS
from mnist_jax.config.patterns import is_group_pattern, parse_scales
from mnist_jax.config.schema import FIELDS_BY_NAME

Conflict = tuple[tuple[str, ...], str]  # the fields, the one to blame first, and what is wrong


def find_conflicts(values: Mapping[str, Any]) -> Iterator[Conflict]:
    """Yields the fields that do not go together, the one to blame first, and what is wrong."""
    features, pool_after = values["model.features"], values["model.pool_after"]
    beyond = [index for index in pool_after if index >= len(features)]
    if beyond:
        text = f"expected convolutions from 0 to {len(features) - 1} (model.features), got {beyond[0]}"
        yield ("model.pool_after", "model.features"), text
    if len(set(pool_after)) < len(pool_after):
        yield ("model.pool_after",), f"expected each convolution once, got {pool_after}"
    if values["model.kwargs"] and ":" not in values["model.name"]:
        name = values["model.name"]
        text = f"are for a network of your own (model.name = 'package.module:Class'), not for {name}"
        yield ("model.kwargs", "model.name"), text
    taken, held_out = values["data.train_examples"], values["data.validation_examples"]
    if taken and held_out >= taken:
        text = f"{held_out} held out of data.train_examples = {taken} leave no image to train on"
        yield ("data.validation_examples", "data.train_examples"), text
    elif taken and values["batch_size"] > taken - held_out:
        text = f"{values['batch_size']} is more than the {taken - held_out} images of data.train_examples"
        yield ("batch_size", "data.train_examples", "data.validation_examples"), text
    periods = ("checkpoint.every_epochs", "checkpoint.every_steps", "checkpoint.every_seconds")
    if values["checkpoint.enabled"] and not any(values[name] for name in periods):
        text = f"no checkpoint would be written: {', '.join(periods)} are all 0; set one, or this to False"
        yield ("checkpoint.enabled", *periods), text
    if values["pseudo_label.views"] and not values["augment.enabled"]:
        text = f"{values['pseudo_label.views']} augmented copies of each image need augment.enabled = True"
        yield ("pseudo_label.views", "augment.enabled"), text
    yield from _query_problems(values)
    if problem := _pattern_problem(values["data.group"]):
        yield ("data.group",), problem
    yield from _early_stopping_problems(values)
    yield from _optimizer_problems(values)
    yield from _group_problems(values)
    yield from _distributed_problems(values)


def _query_problems(values: Mapping[str, Any]) -> Iterator[Conflict]:
    name = "pseudo_label.queried_examples"
    queried, labeled = values[name], values["pseudo_label.labeled_examples"]
    if queried and queried >= labeled:
        yield (
            (name, "pseudo_label.labeled_examples"),
            f"{queried} of {labeled} labels leave none to train the teacher on",
        )
    if queried and (pool := values["pseudo_label.pool"]) != "train":
        text = f"labels are asked for where they are known, in pseudo_label.pool = train; it is {pool}"
        yield (name, "pseudo_label.pool"), text


def _pattern_problem(pattern: str) -> str:
    """What is wrong with a regular expression that tells groups; a name without parentheses is a column."""
    if not is_group_pattern(pattern):
        return ""
    try:
        found = re.compile(pattern).groups
    except re.error as error:
        return f"{pattern!r} is no regular expression ({error})"
    return "" if found == 1 else f"expected one group in parentheses, {pattern!r} has {found}"


def _early_stopping_problems(values: Mapping[str, Any]) -> Iterator[Conflict]:
    needed = {
        "data.validation_examples": "validation images to stop by",
        "checkpoint.enabled": "checkpoints, for the best epoch is kept as one",
        "checkpoint.keep_best": "the best checkpoint to be kept",
    }
    for name, reason in needed.items():
        if values["early_stopping.patience"] and not values[name]:
            text = f"needs {reason}; {name} is {values[name]}, set it too"
            yield ("early_stopping.patience", name), text


def _optimizer_problems(values: Mapping[str, Any]) -> Iterator[Conflict]:
    name, momentum = values["optim.name"], values["optim.momentum"]
    taken = OPTIMIZERS[name].fields
    for field in OWN_FIELDS:
        is_set = values[f"optim.{field}"] != FIELDS_BY_NAME[f"optim.{field}"].default
        if is_set and field not in taken:
            text = f"optim.name={name} does not take it; it takes {', '.join(taken)}"
            yield (f"optim.{field}", "optim.name"), text
    if -1 < momentum < 0:
        yield ("optim.momentum",), f"expected -1, or at least 0 and below 1, got {momentum}"
    if name == "schedule_free_adamw":
        reason = f"optim.name={name} averages the weights in place of"
        if values["optim.schedule"] != "constant":
            text = f"{reason} a schedule; expected constant, got {values['optim.schedule']!r}"
            yield ("optim.schedule", "optim.name"), text
        if values["optim.ema_fraction"]:
            text = f"{reason} an average of its own kind; expected 0, got {values['optim.ema_fraction']}"
            yield ("optim.ema_fraction", "optim.name"), text
        if not values["optim.b1"]:
            yield ("optim.b1", "optim.name"), f"expected more than 0 for optim.name={name}, got 0.0"


def _group_problems(values: Mapping[str, Any]) -> Iterator[Conflict]:
    if values["init.freeze"] and not values["init.run"]:
        yield ("init.freeze", "init.run"), "nothing is trained that could stay as it is; give init.run too"
    for pattern, factor in parse_scales(values["optim.rate_scales"]).items():
        if not 0 < factor <= LARGEST_FLOAT:
            text = f"expected finite factors above 0, got {pattern}={factor:g}; init.freeze makes layers rest"
            yield ("optim.rate_scales",), text
    if values["optim.rate_scales"] and values["optim.name"] == "schedule_free_adamw":
        text = "optim.name=schedule_free_adamw moves all parameters at one rate; expected nothing"
        yield ("optim.rate_scales", "optim.name"), text


def _distributed_problems(values: Mapping[str, Any]) -> Iterator[Conflict]:
    count, index = values["distributed.num_processes"], values["distributed.process_id"]
    names = ("distributed.process_id", "distributed.num_processes")
    if index >= 0 and count == 0:
        yield names, f"process {index} of how many? set distributed.num_processes too"
    elif index >= count > 0:
        yield names, f"expected 0 to {count - 1} with distributed.num_processes = {count}, got {index}"
