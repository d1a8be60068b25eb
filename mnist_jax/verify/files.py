"""The files, arrays and data of a run against its certificate."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.checkpoints.manager import BEST_METRIC, Checkpoints
from mnist_jax.checkpoints.manifest import DamagedError, read_manifest, verify_files
from mnist_jax.config.check import from_dict
from mnist_jax.errors import MnistJaxError
from mnist_jax.run.certificate import describe_start, files_of_run
from mnist_jax.run.datasets import load_configured
from mnist_jax.run.load import recorded_experiment
from mnist_jax.storage.certificate import (
    CERTIFICATE_FILE,
    Certificate,
    describe_file,
    is_as_written,
    read_certificate,
    sha256_of_json,
)
from mnist_jax.storage.json_files import CONFIG_FILE, read_config
from mnist_jax.storage.workdir import CHECKPOINTS_DIR
from mnist_jax.training.digest import array_digests, join_digests


@dataclass
class Findings:
    """What was found to be as certified, in lines for people, and what was not."""

    checked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_run(folder: Path) -> Findings:
    """Checks all that a certificate covers.

    Raises:
        RunError: there is no certificate, or it cannot be read.
    """
    certificate = read_certificate(folder)
    findings = Findings()
    for check in (_check_chain, _check_files, _check_checkpoints, _check_data):
        before = len(findings.faults)
        good = check(folder, certificate, findings.faults)
        if len(findings.faults) == before:
            findings.checked.append(good)
    if not is_as_written(folder, certificate):
        findings.faults.append(f"{CERTIFICATE_FILE}: it is not as it was written, or its sha256 is another")
    return findings


def state_links(certificate: Certificate) -> dict[int, dict[str, Any]]:
    """Returns the link of each step whose state is certified."""
    return {link["step"]: link for link in certificate.links if link["kind"] != "start"}


def first_difference(expected: dict[str, str], found: dict[str, str]) -> str:
    """Returns the name of the first array whose digest differs, or empty text."""
    return next((name for name in [*expected, *found] if expected.get(name) != found.get(name)), "")


def _check_chain(folder: Path, certificate: Certificate, faults: list[str]) -> str:
    links = certificate.links
    for number in certificate.broken_links():
        which = f"link {number}, the {links[number]['kind']} at step {links[number]['step']}"
        faults.append(f"{CERTIFICATE_FILE}: {which}, was changed or moved")
    for link in links:
        if link["kind"] != "start" and join_digests(link["arrays"]) != link["state"]:
            faults.append(f"{CERTIFICATE_FILE}: the arrays at step {link['step']} are not those of its state")
    if not links or links[0]["kind"] != "start":
        faults.append(f"{CERTIFICATE_FILE}: it does not begin with a start")
        return ""
    starts = certificate.starts
    states = state_links(certificate)
    for start in starts[1:]:
        before = states.get(start["step"])
        if before is None or before["state"] != start["state"]:
            faults.append(f"the run went on at step {start['step']} from a state that is not certified")
    begins = f", certified from step {links[0]['step']} on only" if links[0]["step"] else ""
    made = "; then ".join(dict.fromkeys(map(describe_start, starts)))
    return f"chain: {len(links)} links up to step {links[-1]['step']}{begins}; made with {made}"


def _check_files(folder: Path, certificate: Certificate, faults: list[str]) -> str:
    if not certificate.files:
        config, run = read_config(folder)
        last = certificate.starts[-1:]
        if not last or sha256_of_json({**config, "run": run}) != last[0].get("config_sha256"):
            faults.append(f"{CONFIG_FILE}: it is not the configuration that the run was started with")
        return f"files: the run has not finished, of its files only {CONFIG_FILE} is certified"
    for name, entry in certificate.files.items():
        try:
            found = describe_file(_below(folder, name))
        except (OSError, ValueError) as error:
            faults.append(f"{name}: {getattr(error, 'strerror', None) or error}")
            continue
        if found != entry:
            faults.append(
                f"{name}: {found['size']} bytes of SHA-256 {found['sha256'][:12]}, certified "
                f"{entry.get('size')} bytes of {str(entry.get('sha256'))[:12]}"
            )
    faults += [f"{name}: not certified" for name in files_of_run(folder) if name not in certificate.files]
    return f"files: {len(certificate.files)} as certified"


def _below(folder: Path, name: str) -> Path:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("certified below another folder")
    return folder / path


def _check_checkpoints(folder: Path, certificate: Certificate, faults: list[str]) -> str:
    checkpoints = CheckpointFolder(folder / CHECKPOINTS_DIR, BEST_METRIC, faults.append)
    intact, num_arrays = [], 0
    for step in reversed(checkpoints.latest_first()):
        try:
            verify_files(checkpoints.step_path(step), read_manifest(checkpoints.step_path(step)))
            intact.append(step)
        except DamagedError as error:
            faults.append(f"{CHECKPOINTS_DIR}/{step}: {error}")
    states = state_links(certificate)
    try:
        for step, state in restore_all(folder, intact):
            if step not in states:
                faults.append(f"{CHECKPOINTS_DIR}/{step}: the chain has no state of this step")
                continue
            found = array_digests(state)
            num_arrays += len(found)
            name = first_difference(states[step]["arrays"], found)
            if name:
                faults.append(f"{CHECKPOINTS_DIR}/{step}: array {name} is not the certified one")
    except MnistJaxError as error:
        faults.append(f"{CHECKPOINTS_DIR}: {error}")
    steps = ", ".join(map(str, intact)) or "none is there"
    return f"checkpoints: {steps}; {num_arrays} arrays as certified"


def restore_all(folder: Path, steps: list[int]) -> Iterator[tuple[int, Any]]:
    """Yields the states of the checkpoints of these steps.

    Raises:
        MnistJaxError: ``config.json`` or a checkpoint cannot be read.
    """
    if not steps:
        return
    config, run = read_config(folder)
    target = recorded_experiment(from_dict(config), run).abstract_checkpoint()
    with Checkpoints(folder / CHECKPOINTS_DIR, read_only=True) as checkpoints:
        for step in steps:
            yield step, checkpoints.restore(step, target)[0]["state"]


def _check_data(folder: Path, certificate: Certificate, faults: list[str]) -> str:
    last = certificate.starts[-1:]
    expected = last[0].get("data", {}) if last else {}
    try:
        splits = load_configured(from_dict(read_config(folder)[0]))
    except MnistJaxError as error:
        faults.append(f"data: {error}")
        return ""
    for name, images in (("sha256", splits.train), ("test_sha256", splits.test)):
        if images.sha256 != expected.get(name):
            of = "training" if name == "sha256" else "test"
            faults.append(
                f"data: the {of} images and labels from {images.source} are not those of the run (sha256 "
                f"{images.sha256[:12]}, certified {str(expected.get(name))[:12]})"
            )
    return f"data: {splits.train.name} ({splits.train.source}) as certified"
