"""What is left of a folder after a power cut: what was synced, and of the rest whatever chance will.

Run as a program it stands in for ``python -m MODULE``: it notes each ``os.fsync`` of the process below a
folder. `cut_power` then rebuilds the folder as a file system may leave it: files and the names in folders as
they were when they were last synced; what came since is there, or not, or torn. Nothing but Python's
``os.fsync`` counts as synced. A rename is old or new, never both.

    python tests/power_cut.py SHADOW FOLDER MODULE WORD...
"""

import json
import os
import random
import runpy
import shutil
import stat
import sys
from pathlib import Path

Names = dict[str, int]  # what a folder holds: name -> inode


class Shadow:
    """What of a folder is on the disk, by inode.

    A link to each file, and an open folder, keep their inodes from being used again.
    """

    def __init__(self, path: Path):
        self.path = path
        self._held: list[int] = []

    def note_all(self, folder: Path) -> None:
        """Takes everything that is there as synced."""
        for root, _, names in os.walk(folder):
            for name in names:
                self.note(Path(root) / name)
            self.note(Path(root))

    def note(self, path: Path) -> None:
        """Takes a file, or the names in a folder, as synced."""
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            self._held.append(os.open(path, os.O_RDONLY))
            self._write(f"{found.st_ino}.names", json.dumps(names_in(path)).encode())
        elif stat.S_ISREG(found.st_mode):
            link = self.path / f"{found.st_ino}.link"
            if not link.exists():
                os.link(path, link)
            self._write(f"{found.st_ino}.content", path.read_bytes())

    def names(self, inode: int) -> Names | None:
        """The names of a folder as they are on the disk; None where it was never synced."""
        path = self.path / f"{inode}.names"
        return json.loads(path.read_bytes()) if path.exists() else None

    def content(self, inode: int) -> bytes | None:
        """The content of a file as it is on the disk; None where it was never synced."""
        path = self.path / f"{inode}.content"
        return path.read_bytes() if path.exists() else None

    def _write(self, name: str, content: bytes) -> None:
        temporary = self.path / f"{name}.tmp"
        temporary.write_bytes(content)
        temporary.replace(self.path / name)


def names_in(folder: Path) -> Names:
    """The names of a folder, with their inodes."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}


def cut_power(folder: Path, shadow: Shadow, chance: random.Random) -> None:
    """Replaces a folder by what a power cut leaves of it."""
    left = folder.with_name(f"{folder.name}.left")
    rebuild(folder, left, shadow, chance)
    shutil.rmtree(folder)
    left.rename(folder)


def rebuild(folder: Path, left: Path, shadow: Shadow, chance: random.Random) -> None:
    """Makes ``left`` what a power cut leaves of a folder."""
    _rebuild(folder.stat().st_ino, folder, left, shadow, chance)


def _rebuild(inode: int, now: Path | None, left: Path, shadow: Shadow, chance: random.Random) -> None:
    """Rebuilds a folder that is at ``now``, or of which only what the shadow knows is left."""
    left.mkdir()
    here = names_in(now) if now is not None else {}
    synced = shadow.names(inode)
    where = {entry: name for name, entry in here.items()}
    before = {entry: name for name, entry in (synced or {}).items()}
    chosen: dict[str, int] = {}
    # What has its old name or is gone since comes first: a rename that took place replaces it.
    arrived = {
        entry: chance.random() < 0.5 or where.get(entry) == before.get(entry) for entry in {*where, *before}
    }
    for entry, name in before.items():
        if where.get(entry) == name or not arrived[entry]:
            chosen[name] = entry
    for entry, name in where.items():
        if arrived[entry]:
            chosen[name] = entry
    for name, entry in chosen.items():
        path = now / where[entry] if now is not None and entry in where else None
        is_folder = path.is_dir() if path is not None else shadow.names(entry) is not None
        if is_folder:
            _rebuild(entry, path, left / name, shadow, chance)
        else:
            _rebuild_file(entry, path, left / name, shadow, chance)


def _rebuild_file(inode: int, now: Path | None, left: Path, shadow: Shadow, chance: random.Random) -> None:
    synced = shadow.content(inode)
    written = now.read_bytes() if now is not None else (synced or b"")
    if synced is None:
        half = written[: chance.randint(0, len(written))]
        content = chance.choice([b"", half, bytes(len(written)), written])
    elif written.startswith(synced):
        # What was added since may be there in part, or as zeros.
        more = written[len(synced) :]
        content = synced + chance.choice([b"", more[: chance.randint(0, len(more))], bytes(len(more)), more])
    else:
        content = chance.choice([synced, written])
    left.write_bytes(content)


def main() -> None:
    """Runs a module whose syncs are noted."""
    shadow, folder = Shadow(Path(sys.argv[1])), os.path.realpath(sys.argv[2])
    shadow.path.mkdir()
    if os.path.isdir(folder):
        shadow.note_all(Path(folder))
    sync = os.fsync

    def noted(file) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        sync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if f"{path}/".startswith(f"{folder}/") and os.path.exists(path):
            shadow.note(Path(path))

    os.fsync = noted
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
