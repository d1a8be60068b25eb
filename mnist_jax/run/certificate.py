"""What a run adds to its certificate as it goes: what it is made with, its state, at the end its files."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnist_jax.checkpoints.manifest import MANIFEST_NAME
from mnist_jax.errors import RunError
from mnist_jax.runtime.environment import package_sha256, provenance
from mnist_jax.storage.certificate import (
    CERTIFICATE_FILE,
    Certificate,
    describe_file,
    read_certificate,
    sha256_of_json,
    write_certificate,
)
from mnist_jax.storage.json_files import TENSORBOARD_FOLDER, read_config
from mnist_jax.storage.workdir import CHECKPOINTS_DIR
from mnist_jax.training.digest import array_digests, join_digests
from mnist_jax.training.state import TrainState

# States between ends of epochs that stay in the chain: each is as long as the network has arrays.
_MOST_BETWEEN = 64

# Written by reports, from the other files.
NOT_COVERED = ("report.html", "predictions.npz")


class RunCertificate:
    """Adds links to the certificate of a run, between two calls to the device.

    It is written before each checkpoint, so a run that goes on from one finds every link up to it; those
    after it are dropped and made once more, the same bit for bit.
    """

    def __init__(
        self,
        folder: Path,
        state: TrainState,
        step: int,
        *,
        steps_per_epoch: int,
        keep_latest: int,
        enabled: bool,
    ):
        """Adds the start of this process, which goes on from ``state``.

        Only one of several processes has it ``enabled``. The ends of epochs stay in the chain, and of the
        states between them the last ones, ``keep_latest`` at least.
        """
        self._steps_per_epoch = steps_per_epoch
        self._most_between = max(_MOST_BETWEEN, keep_latest)
        self._folder, self._enabled = folder, enabled
        if not enabled:
            return
        before = Certificate()
        if step:
            # Without one, or with a damaged one, the chain begins here, and says so.
            with contextlib.suppress(RunError):
                before = read_certificate(folder).until(step)
        config, run = read_config(folder)
        made = provenance()
        self._certificate = before.followed_by(
            "start",
            step,
            state=join_digests(array_digests(state)),
            config_sha256=sha256_of_json({**config, "run": run}),
            data={name: run["dataset"][name] for name in ("name", "sha256", "test_sha256")},
            code={"git_commit": made.pop("git_commit"), "package_sha256": package_sha256()},
            **made,
        )

    def add(self, state: TrainState, kind: str = "state") -> None:
        """Adds the state after a step, once."""
        if not self._enabled:
            return
        step, last = int(state.step), self._certificate.links[-1]
        if (last["kind"], last["step"]) != (kind, step):
            arrays = array_digests(state)
            self._certificate = self._certificate.followed_by(
                kind, step, state=join_digests(arrays), arrays=arrays
            )
            self._drop_old()

    def _drop_old(self) -> None:
        links = self._certificate.links
        between = [
            link["step"] for link in links if link["kind"] == "state" and link["step"] % self._steps_per_epoch
        ]
        begun = {link["step"] for link in self._certificate.starts}
        old = set(between[: -self._most_between]) - begun
        # A chain that is broken stays as it is: made anew it would look sound.
        if old and not self._certificate.broken_links():
            self._certificate = self._certificate.without(old)

    def save(self) -> None:
        """Writes it as it is, of a run under way.

        Raises:
            RunError: the disk refuses.
        """
        if self._enabled:
            write_certificate(self._folder, self._certificate)

    def finish(self, state: TrainState) -> None:
        """Adds the state that is kept and the files of the run, and writes it.

        Raises:
            RunError: the disk refuses, or a file of the run cannot be read.
        """
        if not self._enabled:
            return
        self.add(state, "end")
        try:
            files = {name: describe_file(self._folder / name) for name in files_of_run(self._folder)}
        except OSError as error:
            raise RunError(f"{self._folder}: a file of the run cannot be read: {error.strerror}") from error
        write_certificate(self._folder, replace(self._certificate, files=files))


def files_of_run(folder: Path) -> Iterator[str]:
    """Names the files that a certificate covers, below the folder of a run.

    Of a checkpoint it covers the manifest, which names the others.
    """
    # Signatures lie beside the certificate, under names that begin with its own.
    others = (".", CERTIFICATE_FILE, *NOT_COVERED)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(others):
            yield path.name
    for pattern in (f"{TENSORBOARD_FOLDER}/*", f"{CHECKPOINTS_DIR}/*/{MANIFEST_NAME}"):
        yield from (path.relative_to(folder).as_posix() for path in sorted(folder.glob(pattern)))


def describe_start(link: dict[str, Any]) -> str:
    """One line on what a start of a run was made with."""
    code, versions = link.get("code", {}), link.get("versions", {})
    commit = str(code.get("git_commit") or "no commit")[:12]
    devices = "" if link.get("num_devices") == 1 else f" ({link.get('num_devices')} devices)"
    return (
        f"{link.get('device')}{devices}, jaxlib {versions.get('jaxlib')}, "
        f"{versions.get('compiler') or 'no compiler'}, commit {commit}, "
        f"package {str(code.get('package_sha256'))[:12]}"
    )
