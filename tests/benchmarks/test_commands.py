"""Arguments, tables and files of the benchmark commands."""

import json
import re

import pytest

from benchmarks import (
    compare,
    processes,
    result_files,
    saving_overhead,
    scaling,
    step_breakdown,
    steps_per_sec,
    time_to_accuracy,
)
from benchmarks.machine import busy_cpu_seconds, describe_machine
from benchmarks.workers import Measurements
from mnist_jax import cli
from mnist_jax.config import default_config
from mnist_jax.errors import ConfigError, RunError


def measurements(**seconds):
    facts = {"device": "cpu: test", "versions": {"jax": "1"}, "num_params": 1}
    return Measurements(
        seconds_per_step=seconds,
        cpu_seconds_per_step={name: [2 * s for s in rounds] for name, rounds in seconds.items()},
        steps={name: [1] * len(rounds) for name, rounds in seconds.items()},
        titles={name: name.upper() for name in seconds},
        facts={name: dict(facts) for name in seconds},
        skipped={"keras_tf": "not installed: tensorflow"},
        others_cpu_share=[0.5],
    )


def result_of(figures, benchmark="compare", **settings):
    return result_files.make_result(benchmark, "cpu: Test CPU, 2 cores", settings, figures, {"jax": "1"})


def test_compare_chooses_all_or_those_named():
    choose, known = result_files.choose, compare.COMPARED
    assert choose("", known, "contender") == list(known)
    assert choose("ours, torch_eager,ours", known, "contender") == ["ours", "torch_eager"]
    with pytest.raises(ConfigError, match="no contender 'pytorch'"):
        choose("ours,pytorch", known, "contender")


def test_compare_gives_rates_and_ratios():
    figures = compare.summarize(
        measurements(ours=[1.0, 2.0], torch_eager=[3.0, 4.0], keras_jax=[8.0, 8.0]), batch_size=64
    )
    assert figures["contenders"]["ours"]["images_per_second"] == pytest.approx(64 / 1.5)
    assert figures["contenders"]["torch_eager"]["ours_is_times_faster"]["median"] == 2.5
    assert figures["ours_is_times_faster_than"] == {
        "best_keras": {"contender": "keras_jax", "median": 6.0},
        "best_torch": {"contender": "torch_eager", "median": 2.5},
    }


def test_compare_names_what_was_skipped_and_a_busy_machine():
    figures = compare.summarize(measurements(ours=[0.001]), 64)
    text = compare.table(result_of(figures, rounds=1, seconds_per_round=1.0, batch_size=64, dtype="float32"))
    assert "keras_tf" in text and "not installed: tensorflow" in text
    assert "other processes used 50%" in text


@pytest.mark.parametrize(("multiplied", "shown"), [(25, "12%"), (None, "not known")])
def test_the_share_of_the_product_rate_is_taken_round_by_round(multiplied, shown):
    measured = measurements(batch_8=[1.0, 2.0], matmul_square=[0.5, 1.0], matmul_step_shaped=[1.0, 1.0])
    for name, flops in (("batch_8", 100), ("matmul_square", 100), ("matmul_step_shaped", 100)):
        measured.facts[name] |= {"flops_per_step": flops, "shape": [1, 2, 2]}
    measured.facts["batch_8"] |= {
        "multiplied_flops_per_step": multiplied,
        "compile_seconds": 1.0,
        "peak_host_memory_bytes": 10,
        "peak_device_memory_bytes": None,
    }
    figures = steps_per_sec.summarize(measured, (8,))
    assert figures["batch_sizes"][0]["effective_share_of_product_rate"] == pytest.approx(0.5)
    text = steps_per_sec.table(
        result_of(figures, "steps_per_sec", rounds=2, seconds_per_round=1.0, dtype="float32")
    )
    assert "50%" in text and shown in text


def test_a_commit_is_shortened_and_stays_dirty():
    for commit, short in (
        ("0123456789abcdef", "0123456789ab"),
        ("0123456789abcdef-dirty", "0123456789ab-dirty"),
        (None, "unknown"),
    ):
        assert result_files.commit_of({"machine": {"git_commit": commit}}) == short


@pytest.mark.parametrize(("target", "reached"), [(0.99, True), (0.995, False)])
def test_the_target_is_for_the_mean(target, reached):
    runs = [{"accuracy": a, "train_seconds": 2.0, "cpu_seconds": 4.0} for a in (0.98, 0.999, 0.995)]
    summary = time_to_accuracy.summarize(runs, target)
    assert summary["reached"] is reached
    assert summary["mean_accuracy"] == pytest.approx(0.991333, abs=1e-6)
    assert summary["sd_accuracy"] == pytest.approx(0.010017, abs=1e-6)
    assert (summary["min_accuracy"], summary["max_accuracy"], summary["n"]) == (0.98, 0.999, 3)


def test_saving_is_compared_within_pairs():
    summary = saving_overhead.summarize([11.0, 20.4, 10.5], [10.0, 20.0, 10.1], 10, 100, saves=5)
    assert summary["seconds_per_save"] == pytest.approx(0.4)
    assert summary["training_seconds_a_run"] == pytest.approx(101)
    assert summary["added_share"] == pytest.approx(5 * 0.4 / 101)


@pytest.mark.parametrize(
    ("every_steps", "every_epochs", "saves"), [(0, 1, 3), (0, 2, 2), (0, 0, 1), (10, 0, 3), (4, 1, 9)]
)
def test_the_saves_of_a_run_are_counted(every_steps, every_epochs, saves):
    config = default_config()
    config.num_epochs, config.checkpoint.every_steps, config.checkpoint.every_epochs = (
        3,
        every_steps,
        every_epochs,
    )
    assert saving_overhead.saves_a_run(config, steps_per_epoch=10) == saves


@pytest.mark.parametrize(
    ("words", "has_default"),
    [([], True), (["--seeds", "0:2"], True), (["--config=x.py"], False), (["-config", "x.py"], False)],
)
def test_a_configuration_is_added_where_none_is_given(words, has_default):
    completed = result_files.with_default_config(words, "configs/fast.py")
    assert (completed[:2] == ["--config", "configs/fast.py"]) is has_default


@pytest.mark.parametrize("module", [compare, steps_per_sec, time_to_accuracy, saving_overhead, scaling])
def test_the_command_explains_itself(module, capsys):
    assert cli.run_main(module.main, module.COMMAND, ["--help"]) == 0
    assert f"benchmarks.{module.__name__.rpartition('.')[2]}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--seconds_per_round", "-1"], ["--nope"], ["ours"]])
def test_wrong_arguments_are_refused_with_2(words, capsys):
    assert cli.run_main(compare.main, compare.COMMAND, words) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_batch_sizes_are_one_or_several():
    def parse(text):
        return cli.parse(steps_per_sec.COMMAND, [f"--batch_sizes={text}"])["batch_sizes"]

    assert parse("64,256") == (64, 256)
    assert parse("(128,)") == (128,)
    assert parse("64") == (64,)


def test_a_result_says_where_it_was_made(tmp_path):
    result = result_of({"x": 1}, rounds=3)
    result_files.write_result(result, str(tmp_path / "r.json"), keep=False)
    (read,) = result_files.read_results(tmp_path)
    assert read == json.loads(json.dumps(result))
    assert read["device"] == "cpu: Test CPU, 2 cores"
    assert {"cpu", "cores", "memory_bytes", "system", "load_average", "date", "git_commit"} <= set(
        read["machine"]
    )


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("folder /home/ann/my (old) data (IDX), SHA-256 as published", "folder (IDX), SHA-256 as published"),
        ("folder C:\\data (NumPy)", "folder (NumPy)"),
        ("cache /home/ann/.cache/a.npz of folder /home/ann/digits (IDX)", "folder (IDX)"),
        ("folder (IDX), SHA-256 as published", "folder (IDX), SHA-256 as published"),
        ("image folder /home/ann/leaves", "image folder"),
        ("tables in /home/ann/csv", "tables"),
        ("embedded in the package", "embedded in the package"),
    ],
)
def test_a_kept_result_does_not_say_where_the_data_lay(source, kept):
    content = {"runs": [{"dataset": {"source": source, "name": "mnist"}}], "source": "folder /not/a/data set"}
    expected = {"runs": [{"dataset": {"source": kept, "name": "mnist"}}], "source": "folder /not/a/data set"}
    assert result_files.without_data_folder(content) == expected


def test_a_kept_result_is_named_by_date_device_and_benchmark():
    name = result_files.result_name(result_of({}))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-cpu-test-cpu-2-cores-compare\.json", name)


def test_busy_seconds_are_all_but_idle_and_waiting(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 200 300 9999 888 10 20 0 0 0\ncpu0 1 2 3 4 5 6 7 0 0 0\n")
    ticks = __import__("os").sysconf("SC_CLK_TCK")
    assert busy_cpu_seconds(stat) == pytest.approx(630 / ticks)
    assert busy_cpu_seconds(tmp_path / "none") is None


def test_the_machine_is_described_without_touching_a_device():
    assert describe_machine()["cores"] >= 1


def test_results_of_two_configurations_are_kept_side_by_side():
    results = [result_of({}, rounds=3, config_file=f"configs/{name}.py") for name in ("fast", "fast_995")]
    names = [result_files.result_name(result) for result in results]
    assert [name.rpartition("-")[2] for name in names] == ["fast.json", "fast_995.json"]
    assert result_files.result_name(result_of({}, rounds=3)).endswith("cores-compare.json")


def test_results_of_two_networks_are_kept_side_by_side():
    def name_of(**settings):
        return result_files.result_name(result_of({}, rounds=3, **settings)).partition("cores-")[2]

    article = {"network": "article", "image_shape": (28, 28, 1), "batch_size": 64}
    assert name_of(**article) == "compare.json"
    assert name_of(**{**article, "batch_size": 256}) == "compare-article-28x28x1-batch256.json"
    assert name_of(**{**article, "network": "m3"}) == "compare-m3-28x28x1-batch64.json"


def test_processes_are_compared_within_rounds():
    figures = processes.compare([1000.0, 500.0, 800.0], [800.0, 300.0, 560.0])
    assert figures["ratios"] == pytest.approx([0.8, 0.6, 0.7])
    told = processes.table(result_of(figures, "processes", processes=2, batch_size=64))
    assert "one process: 800 images/s, 2 processes: 560; ratio 0.70 (0.60 to 0.80, 3 rounds)" in told


def test_a_process_that_fails_is_named():
    with pytest.raises(RunError, match="mnist_jax.train.*batch_size"):
        processes.train(1, batch_size=5000, epochs=1)


@pytest.mark.parametrize(
    "module, words",
    [(step_breakdown, ["--steps=2"]), (saving_overhead, ["--steps=2", "--rounds=2"])],
)
def test_a_configuration_may_leave_epochs_and_batches_open(module, words, tmp_path, capsys):
    file = tmp_path / "result.json"
    words = [*words, f"--json={file}", "--config=configs/fast.py", "--config.model.features=(8,8)"]
    words += ["--config.model.pool_after=(0,1)", "--config.batch_size=0", "--config.num_epochs=0"]
    assert cli.run_main(module.main, module.COMMAND, words) == 0, capsys.readouterr().err
    assert json.loads(file.read_text())["settings"]["steps"] == 2
