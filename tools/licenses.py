"""Lists the license of every installed package, as its own metadata has it.

    python tools/licenses.py

Exits with 1 where a package names none.
"""

import sys
from importlib.metadata import Distribution, distributions


def license_of(distribution: Distribution) -> str:
    """Returns the license expression of a package, else its classifiers, else the first line of its text."""
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = metadata.get_all("Classifier") or []
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    text = (metadata.get("License") or "").strip().partition("\n")[0]
    return ", ".join(name for name in names if name != "OSI Approved") or text


def main() -> int:
    """Prints a line for each package and returns the exit code."""
    rows = sorted({(d.metadata["Name"], d.version, license_of(d)) for d in distributions()}, key=str)
    width = max(len(name) for name, _, _ in rows)
    for name, version, license_name in rows:
        print(f"{name:<{width}}  {version:<14} {license_name or 'none named'}")
    missing = [name for name, _, license_name in rows if not license_name]
    if missing:
        print(f"error: no license is named by {', '.join(missing)}; look at their files", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
