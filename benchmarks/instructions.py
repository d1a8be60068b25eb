"""Instructions of a compiled training program: the kind of work each is, and how long it took in a trace."""

import collections
import dataclasses
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import optax

from mnist_jax.run.experiment import Experiment

KINDS = (
    "convolution products",
    "convolution copies and sums",
    "BatchNorm, ReLU and biases",
    "pooling",
    "dense layers",
    "optimizer and averages",
    "augmentation",
    "other",
)

# The first that matches decides. Paths are those of named scopes: the flax module, then the operation.
_KIND_BY_PATH = (
    (r"augment_batch/", "augmentation"),
    (r"update_params/", "optimizer and averages"),
    (r"convolution\)*/.*(dot_general|conv_general_dilated|ffi_call)", "convolution products"),
    (r"convolution\)*/", "convolution copies and sums"),
    (r"(dense|head|Dense_\d+)/dot_general", "dense layers"),
    (r"max_pool\)*/", "pooling"),
    (r"CNN\)+/", "BatchNorm, ReLU and biases"),
)
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPERATION_NAME = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
# An instruction that only holds others; its time is theirs.
_PRODUCT = re.compile(r" (dot|convolution)\(|custom_call_target=\"mnist_jax_")
_CONTAINERS = re.compile(r" (while|conditional|call)\(")


def name_parts(experiment: Experiment) -> Experiment:
    """Puts the update into a named scope, so that a trace can tell it apart."""
    tx = experiment.tx
    named_tx = optax.GradientTransformationExtraArgs(tx.init, jax.named_scope("update_params")(tx.update))
    return dataclasses.replace(experiment, tx=named_tx)


def kind_of(operation: str) -> str:
    """Gives the kind of work of an operation's path, such as ``jvp(CNN)/conv1/dot_general``."""
    for pattern, kind in _KIND_BY_PATH:
        if re.search(pattern, operation):
            return kind
    return "other"


def describe_instructions(hlo_text: str) -> dict[str, dict[str, str]]:
    """Gives ``kind`` and ``operation`` of every instruction of a program that does work of its own.

    A fusion with a product in it is that product. Another is what its result is named after; where that name
    says nothing (the last addition of an update), what most of the operations in it are.

    Args:
        hlo_text: of the compiled program.
    """
    inside: dict[str, list[str]] = collections.defaultdict(list)
    lines: dict[str, str] = {}
    computation = ""
    for line in hlo_text.splitlines():
        if start := _COMPUTATION.match(line):
            computation = start[1]
        elif instruction := _INSTRUCTION.match(line):
            lines[instruction[1]] = line
            inside[computation].append(line)
    return {name: _describe(line, inside) for name, line in lines.items() if not _CONTAINERS.search(line)}


def _describe(line: str, inside: Mapping[str, list[str]]) -> dict[str, str]:
    operation = _operation(line)
    called = _CALLED.search(line)
    body = inside.get(called[1], []) if called else []
    kind = kind_of(operation)
    products = [part for part in [line, *body] if _PRODUCT.search(part)]
    if products:
        kind = kind_of(_operation(products[0]))
    elif kind == "convolution products":
        # Named after the product that reads it.
        kind = "convolution copies and sums"
    elif kind == "other":
        kinds = collections.Counter(kind_of(_operation(part)) for part in body)
        del kinds["other"]
        kind = kinds.most_common(1)[0][0] if kinds else kind
    return {"kind": kind, "operation": operation}


def _operation(line: str) -> str:
    found = _OPERATION_NAME.search(line)
    return re.sub(r"^jit\(run\)/(while/body/)?(closed_call/)?", "", found[1]) if found else ""


def traced_milliseconds(run: Callable[[], None]) -> dict[str, float]:
    """Traces a call and adds up the milliseconds of each instruction that the profiler names."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        traces = list(Path(folder).rglob("*.xplane.pb"))
        profile = jax.profiler.ProfileData.from_file(str(traces[0]))
    milliseconds: dict[str, float] = collections.defaultdict(float)
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                name = next((value for key, value in event.stats if key == "hlo_op"), None)
                if name and not event.name.startswith("end:"):
                    milliseconds[str(name)] += event.duration_ns / 1e6
    return milliseconds
