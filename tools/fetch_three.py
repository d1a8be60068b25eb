"""Fetches three.js, which draws the demo's network in space, from its npm package, or checks what is there.

    python tools/fetch_three.py            # by npm, into mnist_jax/demo/assets/three
    python tools/fetch_three.py --check    # compares the files with the sums below, without a network

The files are as the package has them. For another version, change ``VERSION`` and the sums.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "0.185.1"
SHA256 = {
    "package/build/three.module.min.js": "86bcee248b64f44bcfc23c331ae74619061957d59cab040171dcb6fb5900beb6",
    "package/build/three.core.min.js": "05b2609338c76cd65daf74f3ac515bc9a5045e1b3b33edc07d8c9bd55250fa90",
    "package/LICENSE": "8b378ebe60e2fe500158cb0ac71cb5e8b7d92953c2abcc63a0eb90499653b5bc",
}
FOLDER = Path(__file__).parents[1] / "mnist_jax" / "demo" / "assets" / "three"


def fetch(folder: Path) -> None:
    """Writes the files into a folder.

    Raises:
        SystemExit: there is no npm, it fails, or a file is another one than was published.
    """
    with tempfile.TemporaryDirectory() as temporary:
        try:
            words = ["npm", "pack", "--silent", f"three@{VERSION}"]
            subprocess.run(words, cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"error: npm pack three@{VERSION} failed: {error}") from error
        with tarfile.open(Path(temporary) / f"three-{VERSION}.tgz") as package:
            for name, sha256 in SHA256.items():
                member = package.extractfile(name)
                content = member.read() if member else b""
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise SystemExit(f"error: {name} of three {VERSION} is not the published file")
                (folder / Path(name).name).write_bytes(content)


def find_changed(folder: Path) -> list[str]:
    """Returns the names of files that are missing or differ from what was published."""
    changed = []
    for name, sha256 in SHA256.items():
        file = folder / Path(name).name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            changed.append(file.name)
    return changed


def main(words: list[str]) -> int:
    """Fetches or checks, and returns the exit code."""
    if words not in ([], ["--check"]):
        raise SystemExit(f"error: unknown arguments {words}; expected none or --check")
    if not words:
        fetch(FOLDER)
    changed = find_changed(FOLDER)
    for name in changed:
        print(f"error: {FOLDER / name} is not that of three {VERSION}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
