"""The manifest of a checkpoint vouches for itself before it vouches for the files."""

import json

import pytest

from mnist_jax.checkpoints.manifest import (
    DamagedError,
    leaf_differences,
    read_manifest,
    verify_files,
    write_manifest,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with a manifest of two files, one in a folder below."""
    folder = tmp_path / "7"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "arrays").write_bytes(b"weights")
    (folder / "meta").write_bytes(b"{}")
    write_manifest(folder, 7, {"accuracy": 0.5}, {"params/kernel": "float32[2,3]"})
    return folder


def test_what_was_written_is_read_back(folder):
    manifest = read_manifest(folder)
    assert (manifest.step, manifest.metrics) == (7, {"accuracy": 0.5})
    assert manifest.leaves == {"params/kernel": "float32[2,3]"}
    assert {name: entry["size"] for name, entry in manifest.files.items()} == {"meta": 2, "state/arrays": 7}
    verify_files(folder, manifest)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "meta", "state"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 8),
        ("metrics", {"accuracy": 0.9}),
        ("leaves", {}),
        ("files", {}),
    ],
)
def test_a_manifest_that_was_changed_is_damaged_although_it_reads_well(folder, name, value):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["manifest"][name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedError, match=r"^manifest\.json does not match its own SHA-256$"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[1]", "{}", '{"sha256": ""}', '{"manifest": {}, "sha256": 1}']
)
def test_a_manifest_that_cannot_be_read_is_damaged(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(DamagedError, match=r"^manifest\.json cannot be read"):
        read_manifest(folder)


def test_a_folder_without_a_manifest_says_why(folder, tmp_path):
    (folder / "manifest.json").unlink()
    (tmp_path / "empty").mkdir()
    for name, reason in (
        ("7", "its save was not finished"),
        ("empty", "is empty"),
        ("none", "is not a folder"),
    ):
        with pytest.raises(DamagedError, match=reason.replace("is not", "it is not")):
            read_manifest(tmp_path / name)


def test_every_array_that_differs_is_listed():
    small, large = "float32[2]", "float32[3]"
    saved = {"a": small, "b": large, "c": small, "d": small}
    assert leaf_differences(saved, {"a": large, "b": small, "d": small, "e": small}) == [
        f"a: {small} in the checkpoint, {large} expected",
        f"b: {large} in the checkpoint, {small} expected",
        f"c: {small} in the checkpoint, not expected",
        f"e: not in the checkpoint, {small} expected",
    ]
    assert leaf_differences(saved, dict(saved)) == []
    many = leaf_differences({}, {f"{i:02}": small for i in range(32)})
    assert (len(many), many[-1]) == (31, "and 2 more")
    assert len(leaf_differences({}, {f"{i:02}": small for i in range(30)})) == 30


def test_the_first_damaged_file_is_named(folder):
    manifest = read_manifest(folder)
    (folder / "state" / "arrays").write_bytes(b"Weights")
    with pytest.raises(DamagedError, match="^state/arrays does not match its SHA-256$"):
        verify_files(folder, manifest)
    verify_files(folder, manifest, prefix="meta")
    for content in (b"weight", b"weights."):
        (folder / "state" / "arrays").write_bytes(content)
        with pytest.raises(DamagedError, match=f"^state/arrays has {len(content)} bytes instead of 7$"):
            verify_files(folder, manifest)
    (folder / "state" / "arrays").unlink()
    with pytest.raises(DamagedError, match="^state/arrays is missing$"):
        verify_files(folder, manifest)
