"""Prints what the main installation consists of: each package, its size, and what it is for.

    python tools/packages.py

Run it with the Python of an environment in which nothing but the project is installed; --json for other
programs. Sizes are those of the files on the disk that a package lists, bytecode among them.
"""

import argparse
import importlib.metadata as metadata
import json
import re
from collections.abc import Iterator

from packaging.requirements import Requirement

PROJECT = "mnist-jax"
# Why the project itself asks for a package; the others come with one of these.
PURPOSES = {
    "absl-py": "reads command lines as ml_collections spells them",
    "flatbuffers": "jax.export, which does not declare it",
    "flax": "the networks (linen)",
    "h11": "bounds what clients of the demo may cost; uvicorn's parser",
    "importlib-resources": "tensorflow-datasets, which does not declare it",
    "jax": "everything that is computed",
    "jaxtyping": "shapes and dtypes in annotations",
    "jinja2": "the report",
    "matplotlib": "the report's figures",
    "ml-collections": "configurations",
    "numpy": "arrays on the host",
    "optax": "optimizers and schedules",
    "orbax-checkpoint": "checkpoints",
    "pillow": "people's own pictures",
    "pyarrow": "parquet files",
    "requests": "downloads that tensorflow-datasets leaves to us",
    "rich": "the terminal output",
    "scipy": "tests of significance, softmax",
    "six": "tensorflow-datasets, which does not declare it",
    "starlette": "the demo",
    "tensorboardx": "TensorBoard events without TensorFlow",
    "tensorflow-datasets": "data sets: where they are and their SHA-256",
    "uvicorn": "serves the demo",
}


def canonical(name: str) -> str:
    """Returns a package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements_of(name: str, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """Yields what a package requires here, with these extras."""
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def brought_by() -> dict[str, set[str]]:
    """Returns the packages that the project brings, and for each who requires it."""
    found: dict[str, set[str]] = {}
    seen, left = set(), [(PROJECT, frozenset[str]())]
    while left:
        name, extras = left.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for requirement in requirements_of(name, extras):
            other = canonical(requirement.name)
            found.setdefault(other, set()).add(name)
            left.append((other, frozenset(requirement.extras)))
    return found


def size_of(name: str) -> int:
    """Returns the bytes of a package's files."""
    files = metadata.distribution(name).files or []
    paths = [file.locate() for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())  # type: ignore[union-attr]


def main() -> None:
    """Prints the table, the largest first, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    rows = [
        {
            "package": name,
            "version": metadata.version(name),
            "bytes": size_of(name),
            "purpose": PURPOSES.get(name, ""),
            "required_by": sorted(requirers - {PROJECT}),
        }
        for name, requirers in brought_by().items()
    ]
    rows.sort(key=lambda row: (-int(str(row["bytes"])), str(row["package"])))
    total = sum(int(str(row["bytes"])) for row in rows)
    if as_json:
        print(json.dumps({"packages": rows, "num_packages": len(rows), "bytes": total}))
        return
    print("| package | MB | what it is for |\n| --- | ---: | --- |")
    for row in rows:
        purpose = row["purpose"] or f"comes with {', '.join(row['required_by'])}"  # type: ignore[arg-type]
        print(f"| {row['package']} | {int(str(row['bytes'])) / 1e6:.1f} | {purpose} |")
    print(f"\n{len(rows)} packages, {total / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
