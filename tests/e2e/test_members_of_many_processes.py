"""Members of studies and ensembles spread over processes: the results are those of one process."""

import json
import signal

import numpy as np
import pytest

from mnist_jax.storage.results import read_results
from tests.e2e.several_processes import finish
from tests.e2e.training_runs import SMALL, arrays_of, wait_until

SHORT = [*SMALL, "--config.num_epochs=1", "--side_by_side=1"]
STUDY = [*SHORT, "--seeds=0:4"]
VARIED = ["--config.ensemble.seeds=0:3", "--config.ensemble.variants=;augment.rotation_degrees=20"]
ENSEMBLE = [*SHORT, *VARIED, "--config.data.validation_examples=0"]


def launch(commands, module, *words, **options):
    return commands.start(
        "launch", "--processes=2", f"--module=mnist_jax.{module}", "--json", "--", *words, **options
    )


def untimed(folder):
    """The lines of ``results.jsonl`` without how long things took and where."""
    left_out = ("train_seconds", "compile_seconds", "device")
    return [{k: v for k, v in line.items() if k not in left_out} for line in read_results(folder)]


def test_a_study_of_two_processes_is_that_of_one_killed_and_resumed_by_another_number(commands, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    done = commands.run("study", *STUDY, f"--workdir={alone}", "--json")
    assert done.returncode == 0, done.stderr
    process = launch(commands, "study", *STUDY, f"--workdir={together}")
    results = together / "results.jsonl"
    wait_until(lambda: results.exists() and results.read_bytes().count(b"\n") >= 2, process)
    process.kill()
    process.communicate()
    kept = untimed(together)
    assert [line["seed"] for line in kept] == [0, 1]
    done = commands.run("study", *STUDY, f"--workdir={together}", "--json")
    assert done.returncode == 0 and "2 of 4 seeds to train" in done.stderr, done.stderr
    assert untimed(together) == untimed(alone)
    statistics = [json.loads((f / "summary.json").read_text())["statistics"] for f in (alone, together)]
    assert statistics[0] == statistics[1]


@pytest.mark.slow
def test_a_signal_to_a_study_of_two_processes_keeps_what_is_finished(commands, tmp_path):
    together = tmp_path / "together"
    process = launch(commands, "study", *STUDY, f"--workdir={together}")
    results = together / "results.jsonl"
    wait_until(lambda: results.exists() and results.read_bytes().count(b"\n") >= 2, process)
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process, seconds=300)
    assert code == 143 and json.loads(out)["finished"] is False, err
    assert "the same command goes on" in err
    code, out, err = finish(launch(commands, "study", *STUDY, f"--workdir={together}"))
    assert code == 0, err
    # The first process alone prints.
    (answer,) = map(json.loads, out.splitlines())
    assert answer["seeds"] == [0, 1, 2, 3] and answer["num_processes"] == 2


@pytest.mark.slow
def test_an_ensemble_of_two_processes_has_the_members_of_one(commands, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    done = commands.run("ensemble", *ENSEMBLE, f"--workdir={alone}", "--json")
    assert done.returncode == 0, done.stderr
    code, out, err = finish(launch(commands, "ensemble", *ENSEMBLE, f"--workdir={together}"))
    assert code == 0 and json.loads(out)["num_processes"] == 2, err
    assert untimed(together) == untimed(alone)
    for member in ("cnn-0", "cnn-1", "cnn-2"):
        ours, theirs = (arrays_of(folder / "members" / member) for folder in (together, alone))
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{member} {name}")
    votes = [json.loads((f / "summary.json").read_text())["soft_vote"] for f in (alone, together)]
    assert votes[0]["errors"] == votes[1]["errors"]
    done = commands.run("evaluate", f"--workdir={together}", "--json")
    assert json.loads(done.stdout)["test_errors"] == votes[0]["errors"], done.stderr


@pytest.mark.slow
def test_what_is_not_spread_over_processes_is_refused(commands, tmp_path):
    code, _, err = finish(launch(commands, "pseudo_label", *SMALL, f"--workdir={tmp_path / 'run'}"))
    assert code == 2 and "is trained by one process" in err
