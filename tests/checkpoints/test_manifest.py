"""The manifest of a checkpoint vouches for itself before it vouches for the files."""

import json

import pytest

from mnist_jax.checkpoints.manifest import DamagedError, read_manifest, verify_files, write_manifest


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


def test_the_first_damaged_file_is_named(folder):
    manifest = read_manifest(folder)
    (folder / "state" / "arrays").write_bytes(b"Weights")
    with pytest.raises(DamagedError, match="^state/arrays does not match its SHA-256$"):
        verify_files(folder, manifest)
    verify_files(folder, manifest, prefix="meta")
    (folder / "state" / "arrays").write_bytes(b"weight")
    with pytest.raises(DamagedError, match="^state/arrays has 6 bytes instead of 7$"):
        verify_files(folder, manifest)
    (folder / "state" / "arrays").unlink()
    with pytest.raises(DamagedError, match="^state/arrays is missing$"):
        verify_files(folder, manifest)
