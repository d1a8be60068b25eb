"""A run is what its certificate says; whatever was changed in it is found and named."""

import json
import random
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from mnist_jax import cli, train
from mnist_jax.errors import RunError
from mnist_jax.run.certificate import NOT_COVERED, RunCertificate
from mnist_jax.storage.certificate import (
    CERTIFICATE_FILE,
    Certificate,
    read_certificate,
    sha256_of_json,
    write_certificate,
)
from mnist_jax.training.state import TrainState
from mnist_jax.verify import files
from mnist_jax.verify.__main__ import COMMAND, main
from mnist_jax.verify.replay import Replay, describe_difference, explain
from tests.test_json import TINY

NUM_FLIPS = 200


@pytest.fixture(autouse=True)
def embedded_digits(monkeypatch):
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of an epoch, extended to two, with a checkpoint in the middle of each."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNIST_JAX_DATA_DIR", raising=False)
        for more in (
            ["--config.checkpoint.every_steps=1", "--config.checkpoint.keep_latest=10"],
            ["--extend=2"],
        ):
            words = [f"--workdir={workdir}", *([*TINY, "--config.report=false"] if more[1:] else []), *more]
            assert cli.run_main(train.main, train.COMMAND, words) == 0
    return workdir


@pytest.fixture(scope="module")
def replay(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNIST_JAX_DATA_DIR", raising=False)
        return Replay(run, read_certificate(run))


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def verify(folder, *words):
    return cli.run_main(main, COMMAND, [str(folder), *words])


def flip(path, chance):
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
    path.write_bytes(content)


def test_every_segment_trained_again_is_equal_bit_for_bit(run, replay, capsys, monkeypatch):
    monkeypatch.setattr("mnist_jax.verify.replay.Replay", lambda folder, certificate: replay)
    assert verify(run, "--all") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("chain: 8 links up to step 4; made with cpu")
    assert lines[2].startswith("checkpoints: 1, 2, 3, 4; ") and lines[2].endswith(" arrays as certified")
    assert lines[4:8] == [
        f"segment {i}, steps {i} to {i + 1}: trained again, equal bit for bit" for i in range(4)
    ]
    told = json.loads((run / CERTIFICATE_FILE).read_text())["sha256"]
    assert lines[8:] == [f"sha256 {told}"]


def test_every_flipped_byte_is_found_and_named(copy, monkeypatch):
    # Each by the sum of its file; what the arrays hold is another test.
    monkeypatch.setattr(files, "restore_all", lambda folder, steps: iter(()))
    monkeypatch.setattr(files, "_check_data", lambda *arguments: "")
    assert files.check_run(copy).faults == []
    chance = random.Random(0)
    paths = [path for path in sorted(copy.rglob("*")) if path.is_file() and path.name != ".lock"]
    paths = [path for path in paths if path.name not in NOT_COVERED and path.stat().st_size]
    assert {"config.json", "metrics.jsonl", "summary.json", CERTIFICATE_FILE} <= {path.name for path in paths}
    for _ in range(NUM_FLIPS):
        path = chance.choice(paths)
        content = path.read_bytes()
        flip(path, chance)
        name = path.relative_to(copy).as_posix()
        try:
            told = "\n".join(files.check_run(copy).faults)
        except RunError as error:
            told = str(error)
        # Of a checkpoint its step and the file in it.
        assert all(part in told for part in name.split("/", 2))
        path.write_bytes(content)


def test_a_changed_array_is_named(run, copy, monkeypatch):
    restore_all = files.restore_all

    def change(folder, steps):
        for step, state in restore_all(folder, steps):
            params = jax.tree.map(np.array, state.params)
            if step == 3:
                params["conv0"]["kernel"].flat[5] = 7.0
            yield step, state.replace(params=params)

    monkeypatch.setattr(files, "restore_all", change)
    assert files.check_run(copy).faults == [
        "checkpoints/3: array params/conv0/kernel is not the certified one"
    ]


def test_changed_data_is_named(run, copy, monkeypatch):
    load = files.load_configured

    def change(config):
        splits = load(config)
        return replace(splits, train=replace(splits.train, sha256="0" * 64))

    monkeypatch.setattr(files, "load_configured", change)
    (fault,) = files.check_run(copy).faults
    assert fault.startswith("data: the training images and labels from embedded")


def test_a_file_more_or_less_is_named(copy):
    (copy / "metrics.jsonl").unlink()
    (copy / "more.txt").write_text("")
    (copy / "certificate.json.sig").write_text("signatures are not covered")
    (copy / "checkpoints" / "2" / "state" / "more").write_text("")
    assert files.check_run(copy).faults == [
        "metrics.jsonl: No such file or directory",
        "more.txt: not certified",
        "checkpoints/2: state/more is not named by manifest.json",
    ]


@pytest.mark.parametrize("change", ["drop", "swap", "state", "arrays", "first"])
def test_no_link_is_changed_left_out_or_moved_without_a_trace(copy, change):
    certificate = read_certificate(copy)
    links = [dict(link) for link in certificate.links]
    if change == "drop":
        del links[2]
    elif change == "swap":
        links[1], links[2] = links[2], links[1]
    elif change == "first":
        del links[0]
    elif change == "arrays":
        links[1]["arrays"] = {**links[1]["arrays"], "step": "0" * 64}
    else:
        links[1]["state"] = "0" * 64
    write_certificate(copy, replace(certificate, links=tuple(links)))
    assert any(CERTIFICATE_FILE in fault for fault in files.check_run(copy).faults)


def test_a_run_under_way_has_its_chain_and_its_configuration_checked(copy, capsys):
    certificate = read_certificate(copy)
    write_certificate(copy, Certificate(certificate.links))
    assert verify(copy) == 0
    assert "the run has not finished" in capsys.readouterr().out
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**content, "seed": 1}))
    assert "config.json: it is not the configuration" in files.check_run(copy).faults[0]


def test_going_on_from_a_state_that_is_not_certified_is_told(copy):
    certificate = read_certificate(copy)
    changed = Certificate()
    for link in certificate.links:
        facts = {name: value for name, value in link.items() if name not in ("kind", "step", "sha256")}
        if link["kind"] == "start" and link["step"]:
            facts["state"] = "0" * 64
        changed = changed.followed_by(link["kind"], link["step"], **facts)
    write_certificate(copy, replace(changed, files=certificate.files))
    assert files.check_run(copy).faults == ["the run went on at step 2 from a state that is not certified"]


def test_many_states_between_ends_of_epochs_do_not_pile_up(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    state = lambda step: TrainState(jax.numpy.int32(step), {}, {}, (), None, None, None)  # noqa: E731
    kept = RunCertificate(copy, state(0), 0, steps_per_epoch=100, keep_latest=2, enabled=True)
    for step in range(1, 301):
        kept.add(state(step))
    kept.save()
    written = read_certificate(copy)
    assert written.broken_links() == []
    assert list(files.state_links(written)) == [100, 200, *range(236, 301)]


def test_the_first_array_index_and_value_that_differ_are_named(run, replay, monkeypatch):
    begin = replay._begin

    def changed(step):
        state, log = begin(step)
        params = jax.tree.map(np.array, state.params)
        params["head"]["bias"][3] += 1e-3  # the next number up may be rounded away within a step
        return state.replace(params=jax.tree.map(jax.numpy.asarray, params)), log

    monkeypatch.setattr(replay, "_begin", changed)
    told = replay.run(replay.segments[2], lambda text: None)
    assert told.startswith("step 3: array params/") and " differs at [" in told
    assert " in the checkpoint, " in told and " trained again; " in told
    assert "equal bits are to be expected" in explain(read_certificate(run))


def test_differences_are_told_by_bits():
    saved = np.zeros((2, 3), np.float32)
    trained = saved.copy()
    trained[1, 0] = -0.0
    assert describe_difference(saved, trained) == (
        " at [1, 0]: np.float32(0.0) in the checkpoint, np.float32(-0.0) trained again; 1 of 6 numbers differ"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--segment=9"], "there is no segment 9"),
        (["--segment=x"], "--segment"),
        (["--segment=0", "--all"], "both"),
    ],
)
def test_wrong_segments_are_told(run, capsys, words, told):
    assert verify(run, *words) == 2
    assert told in capsys.readouterr().err


def test_a_folder_without_a_certificate_is_told(tmp_path, capsys):
    assert verify(tmp_path) == 1
    assert "expected the certificate of a run" in capsys.readouterr().err
    (tmp_path / CERTIFICATE_FILE).write_text('{"format_version": 1, "links": [3], "files": {}}')
    assert verify(tmp_path) == 1
    assert "links is not what a run writes there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"self": 1},
        {"code": []},
        {"versions": 3},
        {"kind": "state"},
        {"kind": "state", "arrays": {"a": 3}},
        {"kind": "state", "arrays": {"\ud800": "a"}},
        {"step": 10**400},
        {"more": json.loads("[" * 150 + "]" * 150)},
    ],
    ids=str,
)
def test_a_link_of_other_types_is_one_line_or_a_fault(tmp_path, capsys, change):
    link = {"kind": "start", "step": 0, "state": "a", "sha256": "b", **change}
    content = {"format_version": 1, "links": [link], "files": {}, "sha256": "c"}
    (tmp_path / CERTIFICATE_FILE).write_text(json.dumps(content))
    assert verify(tmp_path) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith(("error: ", "  ")) for line in lines)
    assert not any("Error:" in line for line in lines)


def test_hashes_do_not_depend_on_the_layout_of_a_file():
    assert sha256_of_json({"a": 1, "b": [2]}) == sha256_of_json(json.loads('{"b": [2],\n "a": 1}'))
