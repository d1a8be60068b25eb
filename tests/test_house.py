"""The architecture: imports point down, close no circle, and the top of the package holds few files.

Every import counts, also inside functions, under ``TYPE_CHECKING``, and those of the lazy ``__init__``.
"""

import ast
import graphlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mnist_jax"
MOST_FILES_AT_THE_TOP = 10
DEEPEST = 8  # rooms on the longest chain of imports

# A room is a file or folder at the top of the package. It may import rooms of its own floor and below.
FLOORS = {
    room: floor
    for floor, rooms in {
        8: "__main__",
        7: "train study ensemble pseudo_label find_rate",
        6: "__init__ api evaluate predict studies report compare export demo verify",
        5: "run",
        4: "checkpoints launch",
        3: "training storage cli",
        2: "models config data runtime",
        1: "ops metrics terminal corruptions",
        0: "errors",
    }.items()
    for room in rooms.split()
}

Graph = dict[str, set[str]]


def read_imports(package: Path) -> Graph:
    """Each module of a package, and those of its modules that it imports."""
    files = {_module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    graph = {}
    for module, path in files.items():
        parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
        graph[module] = set(_imported(ast.parse(path.read_text("utf-8")), parent, files)) - {module}
    return graph


def _module_name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def _imported(tree: ast.AST, parent: str, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            above = parent.split(".")[: len(parent.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                # A name that is no module is taken from the package's own file.
                found = f"{base}.{alias.name}" if f"{base}.{alias.name}" in files else base
                if found in files:
                    yield found


def room_of(module: str) -> str:
    """The file or folder at the top of the package that a module belongs to."""
    return [*module.split("."), "__init__"][1]


def between_rooms(graph: Graph) -> Graph:
    """Each room, and the other rooms it imports."""
    rooms: Graph = {}
    for module, imported in graph.items():
        room = room_of(module)
        rooms.setdefault(room, set()).update({room_of(other) for other in imported} - {room})
    return rooms


def circle_in(graph: Graph) -> list[str]:
    """One circle, or nothing."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def depth_of(graph: Graph) -> int:
    """The number of nodes on the longest chain of a graph without circles."""
    depth: dict[str, int] = {}
    for node in graphlib.TopologicalSorter(graph).static_order():
        depth[node] = 1 + max((depth[other] for other in graph[node]), default=0)
    return max(depth.values())


def find_faults(package: Path, floors: Mapping[str, int]) -> list[str]:
    """Everything by which a package breaks the rules, one line each."""
    graph = read_imports(package)
    rooms = between_rooms(graph)
    faults = [f"{room} has no floor" for room in sorted(rooms) if room not in floors]
    for module, imported in graph.items():
        for other in sorted(imported):
            low, high = floors.get(room_of(module), 99), floors.get(room_of(other), 0)
            if low < high:
                faults.append(f"{module} (floor {low}) imports {other} (floor {high})")
    circles = [circle for circle in (circle_in(graph), circle_in(rooms)) if circle]
    faults += [f"circle: {' <- '.join(circle)}" for circle in circles]
    if not circles and depth_of(rooms) > DEEPEST:
        faults.append(f"imports are {depth_of(rooms)} rooms deep; expected at most {DEEPEST}")
    num_files = len(list(package.glob("*.py")))
    if num_files > MOST_FILES_AT_THE_TOP:
        faults.append(f"{num_files} files at the top of {package.name}; expected {MOST_FILES_AT_THE_TOP}")
    return faults


def test_the_package_keeps_the_rules():
    assert find_faults(PACKAGE, FLOORS) == []


def test_every_floor_is_of_a_room_that_exists():
    assert set(FLOORS) == set(between_rooms(read_imports(PACKAGE)))


# A small package to break each rule in.
FACE = """
    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from house.upper.loop import go


    def __getattr__(name):
        from house.upper import loop

        return getattr(loop, name)
"""
SOUND = {
    "__init__.py": FACE,
    "upper/__init__.py": "",
    "upper/loop.py": "import json\nimport house.lower.step\nfrom ..lower import step\n\n\ndef go(): ...",
    "lower/__init__.py": "from house.lower.step import walk",
    "lower/step.py": "from house import errors\n\n\ndef walk(): ...",
    "errors.py": "import os",
}
HOUSE_FLOORS = {"__init__": 3, "upper": 2, "lower": 1, "errors": 0}


def faults_of(tmp_path, **changed):
    package = tmp_path / "house"
    for name, text in {**SOUND, **changed}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return find_faults(package, HOUSE_FLOORS)


def test_a_sound_package_has_no_fault(tmp_path):
    assert faults_of(tmp_path) == []
    assert read_imports(tmp_path / "house") == {
        "house": {"house.upper.loop"},
        "house.upper": set(),
        "house.upper.loop": {"house.lower.step"},
        "house.lower": {"house.lower.step"},
        "house.lower.step": {"house.errors"},
        "house.errors": set(),
    }


def test_an_import_that_points_up_is_found_wherever_it_stands(tmp_path):
    up = "house.errors (floor 0) imports house.upper.loop (floor 2)"
    for text in (
        "from house.upper.loop import go",
        "def late():\n    import house.upper.loop",
        "def late():\n    from .upper import loop",
        "import typing\nif typing.TYPE_CHECKING:\n    from house.upper.loop import go",
    ):
        assert up in faults_of(tmp_path, **{"errors.py": text})


def test_reading_the_package_itself_points_up_to_its_lazy_init(tmp_path):
    up = "house.errors (floor 0) imports house (floor 3)"
    for text in ("import house", "def version():\n    from house import __version__"):
        faults = faults_of(tmp_path, **{"errors.py": text})
        assert up in faults
        # Through the lazy __init__ the circle closes: house, upper, lower, errors, house.
        assert sum(fault.startswith("circle: ") for fault in faults) == 2


def test_a_circle_inside_a_room_is_found(tmp_path):
    faults = faults_of(tmp_path, **{"lower/step.py": "def walk():\n    from house.lower import walk"})
    (fault,) = faults
    assert fault.startswith("circle: ") and "house.lower.step" in fault


def test_a_circle_of_rooms_whose_files_form_none_is_found(tmp_path):
    faults = faults_of(tmp_path, **{"lower/other.py": "import house.upper"})
    assert faults == [
        "house.lower.other (floor 1) imports house.upper (floor 2)",
        next(fault for fault in faults if fault.startswith("circle: ")),
    ]


def test_a_room_without_a_floor_too_many_files_and_too_long_a_chain_are_found(tmp_path):
    chain = {f"room{i}.py": f"import house.room{i + 1}" for i in range(8)}
    faults = faults_of(tmp_path, **chain, **{"room8.py": ""})
    assert faults[:2] == ["room0 has no floor", "room1 has no floor"]
    assert faults[-2:] == [
        "imports are 9 rooms deep; expected at most 8",
        "11 files at the top of house; expected 10",
    ]


def test_every_name_is_defined():
    # Ruff takes the axes in jaxtyping's strings for names, so that its rule is off in pyproject.toml.
    words = [sys.executable, "-m", "ruff", "check", "--select=F821", "--output-format=json", "--exit-zero"]
    done = subprocess.run(words, cwd=PACKAGE.parent, capture_output=True, check=True)
    names: dict[str, set[tuple[int, int]]] = {}
    for fault in json.loads(done.stdout):
        file = fault["filename"]
        if file not in names:
            nodes = ast.walk(ast.parse(Path(file).read_text("utf-8")))
            names[file] = {(node.lineno, node.col_offset + 1) for node in nodes if isinstance(node, ast.Name)}
        place = fault["location"]["row"], fault["location"]["column"]
        assert place not in names[file], f"{file}:{place[0]}: {fault['message']}"
