"""The trained variables of a checkpoint, read without its network."""

import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.checkpoints.manifest import read_manifest, write_manifest
from mnist_jax.checkpoints.variables import read_variables
from mnist_jax.errors import CheckpointError

PARAMS = {"conv0": {"kernel": jnp.arange(6.0).reshape(2, 3)}}
STATS = {"conv0": {"bn": {"mean": jnp.ones(3)}}}


def save(folder, *checkpoints):
    with Checkpoints(folder / "checkpoints", keep_latest=9) as manager:
        for step, state, accuracy in checkpoints:
            metrics = None if accuracy is None else {"accuracy": accuracy}
            manager.save(
                step, {"state": state, "log": {"loss": jnp.zeros(2)}}, {"run": {"at": step}}, metrics
            )


def test_the_average_is_read_where_there_is_one_and_the_best_is_the_default(tmp_path):
    plain = {"params": PARAMS, "batch_stats": STATS, "opt_state": (jnp.zeros(4),), "step": jnp.int32(1)}
    doubled = {"params": {"conv0": {"kernel": 2 * PARAMS["conv0"]["kernel"]}}, "batch_stats": STATS}
    save(tmp_path, (10, plain, 0.8), (20, {**plain, "ema": doubled}, 0.9), (30, plain, 0.7))
    best = read_variables(tmp_path, pytest.fail)
    assert (best.step, best.path, best.meta["run"]) == (20, tmp_path / "checkpoints" / "20", {"at": 20})
    assert set(best.arrays) == {"params/conv0/kernel", "batch_stats/conv0/bn/mean"}
    np.testing.assert_array_equal(best.arrays["params/conv0/kernel"], 2 * np.arange(6.0).reshape(2, 3))
    chosen = read_variables(tmp_path / "checkpoints" / "30", pytest.fail)
    np.testing.assert_array_equal(chosen.arrays["params/conv0/kernel"], np.arange(6.0).reshape(2, 3))
    assert chosen.step == 30 and len(chosen.sha256) == 64 and chosen.sha256 != best.sha256
    # A checkpoint alone, without its run.
    (tmp_path / "checkpoints" / "30").rename(tmp_path / "30")
    assert read_variables(tmp_path / "30", pytest.fail).sha256 == chosen.sha256


def test_a_damaged_one_is_passed_over_or_refused_by_name(tmp_path):
    state = {"params": PARAMS, "batch_stats": STATS}
    save(tmp_path, (10, state, None), (20, state, None))
    meta = tmp_path / "checkpoints" / "20" / "meta" / "metadata"
    meta.write_text("{}")
    warnings = []
    assert read_variables(tmp_path, warnings.append).step == 10
    assert len(warnings) == 1 and "checkpoint 20" in warnings[0]
    with pytest.raises(CheckpointError, match="checkpoint 20 .* is damaged: meta/metadata"):
        read_variables(tmp_path / "checkpoints" / "20", warnings.append)


def test_an_array_that_is_larger_than_the_manifest_says_is_not_read(tmp_path):
    save(tmp_path, (10, {"params": PARAMS, "batch_stats": STATS}, None))
    step = tmp_path / "checkpoints" / "10"
    leaves = {**read_manifest(step).leaves, "state/params/conv0/kernel": "float32[2,2]"}
    (step / "manifest.json").unlink()
    write_manifest(step, 10, {}, leaves)
    with pytest.raises(CheckpointError, match=r"kernel: float32\[2,2\] .*, float32\[2,3\] expected$"):
        read_variables(tmp_path, pytest.fail)
