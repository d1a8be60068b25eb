"""A checkpoint that somebody else made, with sums that are right: nothing outside it is touched."""

import hashlib
import json
import os

import pytest

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.checkpoints.manifest import write_manifest


@pytest.fixture
def step(tmp_path):
    step = tmp_path / "checkpoints" / "7"
    (step / "state").mkdir(parents=True)
    (step / "meta").mkdir()
    (step / "state" / "arrays").write_bytes(b"weights")
    (step / "meta" / "metadata").write_bytes(b"{}")
    write_manifest(step, 7, {"accuracy": 0.5}, {"params/kernel": "float32[2,3]"})
    return step


def forge(step, change):
    """Changes the body of a manifest and makes its sum right."""
    content = json.loads((step / "manifest.json").read_text())
    change(content["manifest"])
    body = json.dumps(content["manifest"], sort_keys=True)
    content["sha256"] = hashlib.sha256(body.encode()).hexdigest()
    (step / "manifest.json").write_text(json.dumps(content))


def why_not_intact(step):
    warnings = []
    assert list(CheckpointFolder(step.parent, "accuracy", warnings.append).intact([7])) == []
    (warning,) = warnings
    return warning.partition("is damaged and skipped: ")[2]


def entry(content=b"", size=None):
    return {"size": len(content) if size is None else size, "sha256": hashlib.sha256(content).hexdigest()}


def test_it_is_intact_as_it_is(step):
    assert CheckpointFolder(step.parent, "accuracy", print).is_intact(7)


@pytest.mark.parametrize(
    "name", ["/dev/zero", "../../../../../dev/zero", "../outside", "state/../../outside", ""]
)
def test_what_is_named_outside_the_step_is_not_opened(step, name):
    (step.parent / "outside").write_bytes(b"secret")
    forge(step, lambda body: body["files"].update({name: entry(b"secret")}))
    assert why_not_intact(step) == f"{name} is missing"


def link_to_zero(path):
    path.symlink_to("/dev/zero")


def link_to_outside(path):
    (path.parents[2] / "outside").write_bytes(b"weights")
    path.symlink_to("../../outside")


@pytest.mark.parametrize("make", [os.mkfifo, link_to_zero, link_to_outside], ids=["pipe", "zero", "outside"])
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "not named"])
def test_only_regular_files_count(step, make, is_named):
    make(step / "state" / "odd")
    if is_named:
        forge(step, lambda body: body["files"].update({"state/odd": entry(b"weights", size=0)}))
    assert why_not_intact(step) == "state/odd is not a regular file"


def test_a_folder_that_is_a_link_is_not_entered(step):
    (step.parent / "elsewhere").mkdir()
    (step / "state" / "linked").symlink_to("../../elsewhere", target_is_directory=True)
    assert why_not_intact(step) == "state/linked is not a regular file"


def test_everything_that_is_there_is_named(step):
    (step / "state" / "more").write_bytes(b"")
    assert why_not_intact(step) == "state/more is not named by manifest.json"
    forge(step, lambda body: body.update(files={}))
    assert why_not_intact(step) == "its manifest names no state to restore"


def test_an_empty_step_is_not_intact(step):
    for name in ("state/arrays", "meta/metadata"):
        (step / name).unlink()
    forge(step, lambda body: body.update(files={}))
    assert why_not_intact(step) == "its manifest names no state to restore"


@pytest.mark.parametrize("make", [os.mkfifo, link_to_zero], ids=["pipe", "zero"])
def test_the_manifest_itself_is_a_regular_file(step, make):
    (step / "manifest.json").unlink()
    make(step / "manifest.json")
    assert why_not_intact(step) == "manifest.json cannot be read (it is not a regular file)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "7"),
        ("metrics", []),
        ("metrics", {"accuracy": 10**400}),
        ("leaves", {"params/kernel": 3}),
        ("files", ["state/arrays"]),
        ("files", {"state/arrays": {"size": "7", "sha256": ""}}),
        ("more", 1),
    ],
)
def test_each_part_of_a_manifest_has_its_type(step, name, value):
    forge(step, lambda body: body.update({name: value}))
    assert why_not_intact(step) == "manifest.json does not hold what a manifest holds"


def test_a_nested_manifest_is_damage(step):
    (step / "manifest.json").write_text("[" * 100_000)
    assert why_not_intact(step) == "manifest.json cannot be read (ValueError)"


def test_names_in_warnings_stay_in_their_line(step):
    (step / "state" / "\x1b[2J\nerror: all is lost").write_bytes(b"")
    assert why_not_intact(step).startswith("state/\\x1b[2J\\nerror: all is lost is not named")


def test_arrays_that_would_fill_memory_are_damage(step):
    forge(step, lambda body: body.update(leaves={"state/params/kernel": f"float32[{2**20},{2**20}]"}))
    assert why_not_intact(step).startswith("its arrays are larger than they can be: ")


def test_a_file_of_holes_is_not_gone_through(step):
    with open(step / "state" / "arrays", "r+b") as file:
        file.truncate(2**42)
    forge(step, lambda body: body["files"]["state/arrays"].update(size=2**42))
    assert why_not_intact(step).startswith("state/arrays cannot be read (its ")
