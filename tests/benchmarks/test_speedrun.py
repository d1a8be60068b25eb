"""A speedrun of a few steps: it trains as a run does, and its programs serve every seed."""

from benchmarks.speedrun import Speedrun
from mnist_jax.config.file import load_config_file
from mnist_jax.run.loop import train_and_evaluate


def test_it_trains_as_a_run_does(tmp_path):
    config = load_config_file("smoke")
    config.num_epochs, config.data.train_examples, config.report = 1, 640, False
    speedrun = Speedrun(config)
    programs = (speedrun._initialize, speedrun._program, speedrun._evaluator.function)
    first, other, again = [speedrun.run(seed) for seed in (3, 4, 3)]
    assert speedrun.split == "test"
    assert first["loss"] == again["loss"] != other["loss"]
    # No seed has compiled anything.
    assert speedrun.compile_seconds == sum(program.compile_seconds for program in programs) > 0
    config.seed = 3
    summary = train_and_evaluate(config, str(tmp_path)).summary
    assert (first["errors"], first["accuracy"]) == (summary["test_errors"], summary["test_accuracy"])
