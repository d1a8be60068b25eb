"""A run starts from the weights of another: what is frozen rests, and it goes on without the other."""

import json
import shutil

import numpy as np

from tests.e2e.test_resume import remove_end
from tests.e2e.training_runs import TOTAL_STEPS, arrays_of, expect_one_line, expect_same_end

FINE_TUNED = (
    "--config.init.freeze=conv*",
    "--config.optim.rate_scales=head=4,dense/bn=0.5",
    "--config.optim.learning_rate=5e-3",
    "--config.checkpoint.keep_latest=4",
)


def test_fine_tuning_keeps_what_is_frozen_bit_for_bit_and_goes_on_when_the_source_is_gone(
    commands, uninterrupted, tmp_path
):
    source, tuned = shutil.copytree(uninterrupted, tmp_path / "source"), tmp_path / "tuned"
    done = commands.train(tuned, f"--init_from={source}", *FINE_TUNED)
    assert "all 14 arrays are taken" in done.stdout and "frozen: 6 of these, in conv0" in done.stdout
    record = json.loads((tuned / "config.json").read_bytes())["run"]["init"]
    manifest = json.loads((source / "checkpoints" / str(record["step"]) / "manifest.json").read_bytes())
    assert record["sha256"] == manifest["sha256"] and record["run"] == str(source)

    before, after = arrays_of(source, record["step"]), arrays_of(tuned)
    for collection in ("params", "batch_stats"):
        # The source's average is what it evaluates with, and so what is taken.
        for name in [name for name in before if name.startswith(f"['state']['ema']['{collection}']")]:
            plain = name.replace("['ema']", "")
            is_frozen = "['conv" in name
            has_gradient = is_frozen or not name.endswith("['dense']['bias']")
            for taken in (name, plain):
                same = before[name].tobytes() == after[taken].tobytes()
                assert same == is_frozen or not has_gradient, taken
    first = json.loads((tuned / "metrics.jsonl").read_text().splitlines()[0])
    cold = json.loads((source / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] < cold["loss"]

    again = shutil.copytree(tuned, tmp_path / "again")
    remove_end(again)
    shutil.rmtree(again / "checkpoints" / "108")
    source.rename(tmp_path / "moved")
    commands.train(again, f"--init_from={source}", *FINE_TUNED)
    expect_same_end(again, tuned)
    assert np.isfinite(arrays_of(again, TOTAL_STEPS)["['state']['params']['head']['kernel']"]).all()


def test_what_does_not_fit_is_one_line_each_and_leaves_no_folder(in_process, uninterrupted, tmp_path):
    workdir = tmp_path / "new"
    done = in_process(
        "train", f"--workdir={workdir}", f"--init_from={uninterrupted}", "--config.model.dense_features=9"
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 7 and not workdir.exists()
    assert lines[-1].endswith("params/head/kernel: float32[8,10] in the checkpoint, float32[9,10] expected")
    nothing = tmp_path / "nothing"
    expect_one_line(
        in_process("train", f"--workdir={workdir}", f"--init_from={nothing}"), 1, f"{nothing} does not exist"
    )
    expect_one_line(
        in_process("train", f"--workdir={workdir}", "--config.init.freeze=conv*"),
        2,
        "init.freeze: nothing is trained that could stay as it is",
    )
    assert not workdir.exists()
