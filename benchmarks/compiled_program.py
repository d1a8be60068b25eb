"""What a compiled training program does in one step: kernels, launches, cycles and collectives, counted.

Of the optimized program the loop with the largest body is the training loop; the rest is done once a call.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

# Nothing is launched for these.
_FREE = {"get-tuple-element", "bitcast", "parameter", "tuple", "constant", "after-all", "partition-id"}
_COLLECTIVES = re.compile(r"^(all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)(-start)?$")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\(")
_OPERATION_NAME = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(r"calls=%?([\w.\-]+)")
_CYCLES = re.compile(r'estimated_cycles\\?":\\?"(\d+)')
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
_LAYER = re.compile(r"(transpose\()?jvp\(\w+\)+/(\w+)")
_THUNK = re.compile(r"^( *)\d+: (k\w+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of an optimized program that does work.

    Attributes:
        name: of the instruction.
        shape: of its result, as the program's text has it.
        opcode: ``fusion``, ``custom-call``, ``all-reduce``, ...
        line: all of it.
    """

    name: str
    shape: str
    opcode: str
    line: str

    @property
    def operation(self) -> str:
        """The path of named scopes and the operation that it is named after."""
        found = _OPERATION_NAME.search(self.line)
        return found[1] if found else ""

    @property
    def cycles(self) -> int | None:
        """XLA's estimate for a TPU; None where it has none."""
        found = _CYCLES.search(self.line)
        return int(found[1]) if found else None


def read_computations(hlo_text: str) -> dict[str, list[Instruction]]:
    """Reads the instructions of each computation of a program's text."""
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in hlo_text.splitlines():
        if start := _COMPUTATION.match(line):
            current = computations.setdefault(start[1], [])
        elif found := _INSTRUCTION.match(line):
            current.append(Instruction(found[1], found[2], found[3], line))
    return computations


def training_loop(computations: Mapping[str, list[Instruction]]) -> tuple[list[Instruction], int]:
    """Finds the loop over steps.

    Returns:
        the instructions of its body, and how often it runs.

    Raises:
        ValueError: no loop's count is known.
    """
    loops = [i for body in computations.values() for i in body if i.opcode == "while"]
    found = []
    for loop in loops:
        body = re.search(r"body=%?([\w.\-]+)", loop.line)
        if body and (trips := _trip_count(loop, computations)):
            found.append((computations[body[1]], trips))
    if not found:
        raise ValueError("the program has no loop whose count is known; expected the loop over steps")
    return max(found, key=lambda loop: len(loop[0]))


def _trip_count(loop: Instruction, computations: Mapping[str, list[Instruction]]) -> int | None:
    """How often a loop runs: said of it, or for a TPU the one number that its condition compares with."""
    if said := re.search(r'known_trip_count\\?":\{\\?"n\\?":\\?"(\d+)', loop.line):
        return int(said[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.line)
    lines = [instruction.line for instruction in computations.get(condition[1], [])] if condition else []
    limits = [int(found[1]) for line in lines if (found := re.search(r" constant\((\d+)\)", line))]
    return limits[0] if len(limits) == 1 and "direction=LT" in lines[-1] else None


def working_instructions(body: list[Instruction]) -> list[Instruction]:
    """Leaves out what costs nothing."""
    return [instruction for instruction in body if instruction.opcode not in _FREE]


def layer_of(operation: str) -> str:
    """Names the layer, and whether forward or backward, of an operation's path."""
    if found := _LAYER.search(operation):
        return f"{found[2].lower()} {'backward' if found[1] else 'forward'}"
    if "augment_batch" in operation:
        return "augmentation"
    if "jvp()" in operation:
        return "loss"
    return "optimizer, averages and the rest"


def kernels_by_layer(body: list[Instruction]) -> dict[str, int]:
    """Counts a GPU's kernels, the layer with the most first."""
    counts = collections.Counter(layer_of(i.operation) for i in working_instructions(body))
    return dict(counts.most_common())


def cycles_by_layer(body: list[Instruction]) -> dict[str, int]:
    """Adds up the estimated cycles of a TPU's instructions, the dearest layer first."""
    cycles: collections.Counter[str] = collections.Counter()
    for instruction in body:
        cycles[layer_of(instruction.operation)] += instruction.cycles or 0
    return {layer: count for layer, count in cycles.most_common() if count}


def count_unpriced_gathers(body: list[Instruction], computations: Mapping[str, list[Instruction]]) -> int:
    """Counts the gathers that XLA has no estimate for: what a TPU does worst."""
    return sum(
        any(inner.opcode == "gather" for inner in computations.get(called[1], []))
        for instruction in body
        if instruction.opcode == "fusion" and instruction.cycles is None
        if (called := _CALLED.search(instruction.line))
    )


def find_collectives(body: list[Instruction]) -> list[dict[str, object]]:
    """Lists what a step sends between devices: ``kind``, ``dtypes`` and ``bytes`` of each."""
    return [
        {
            "kind": found[1],
            "dtypes": sorted({dtype for dtype, _ in _arrays(instruction.shape)}),
            "bytes": sum(size for _, size in _arrays(instruction.shape)),
        }
        for instruction in body
        if (found := _COLLECTIVES.match(instruction.opcode))
    ]


def _arrays(shape: str) -> Iterator[tuple[str, int]]:
    """Each array of a result's shape: its dtype and its bytes."""
    for dtype, sides in _ARRAY.findall(shape):
        if bits := re.search(r"\d+$", dtype):
            yield dtype, math.prod(int(side) for side in sides.split(",") if side) * int(bits[0]) // 8


def count_launches(thunks: str) -> dict[str, int | bool]:
    """Counts what the host launches, from XLA's list of a program's thunks.

    A kernel, a convolution or a copy is a launch, and so is a command buffer with any number of them.

    Returns:
        ``per_iteration`` of the training loop, ``once`` around it, and ``loop_is_one_graph``.

    Raises:
        ValueError: no loop is there.
    """
    lines = thunks.splitlines()
    bodies = {}
    for number, line in enumerate(lines):
        if line.strip() == "body:":
            bodies[number] = _block(lines, number + 1)
    if not bodies:
        raise ValueError("the list of thunks has no loop; expected the loop over steps")
    number, body = max(bodies.items(), key=lambda item: len(item[1]))
    outermost = [kind for indent, kind in _block(lines, 0) if not indent]
    # A loop of the host's own stands at the left edge and its body one level in.
    in_graph = len(lines[number]) - len(lines[number].lstrip()) > 2
    top = [kind for depth, kind in body if not depth]
    return {
        "per_iteration": 0 if in_graph else len(top),
        "once": len([kind for kind in outermost if kind != "kWhile"]),
        "loop_is_one_graph": in_graph,
    }


def _block(lines: list[str], start: int) -> list[tuple[int, str]]:
    """The thunks from a line on, as deep as the first or deeper: how much deeper, and the kind."""
    block: list[tuple[int, str]] = []
    first = None
    for line in lines[start:]:
        if not (found := _THUNK.match(line)):
            if first is not None and len(line) - len(line.lstrip()) < first:
                break
            continue
        indent = len(found[1])
        first = indent if first is None else first
        if indent < first:
            break
        block.append((indent - first, found[2]))
    return block
