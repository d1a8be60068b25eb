"""What a run keeps of its network after each epoch."""

import jax
import numpy as np
import optax
import pytest

from mnist_jax.run.epochs import EPOCHS_FILE, EpochWriter, read_epochs


def moved(state, scale):
    return state.replace(params=jax.tree.map(lambda leaf: leaf * scale, state.params))


@pytest.fixture
def state(make_tiny_state):
    return make_tiny_state()


def write_rows(folder, state, epochs, resume_step=0):
    writer = EpochWriter(folder, resume_step=resume_step, adam_b2=0.999)
    for epoch in epochs:
        writer.write(moved(state, 1.0 + epoch), 10 * epoch, epoch)
    return (folder / EPOCHS_FILE).read_bytes()


def test_norms_are_of_the_kernels_and_filters_those_of_the_first_convolution(tmp_path, state):
    write_rows(tmp_path, state, [0, 1])
    rows = read_epochs(tmp_path)
    assert rows.layers == ("conv0", "conv1", "dense", "head")
    assert rows.step.tolist() == [0, 10] and rows.epoch.tolist() == rows.kernel_epoch.tolist() == [0, 1]
    kernels = [np.asarray(state.params[layer]["kernel"], np.float64) for layer in rows.layers]
    norms = np.array([np.linalg.norm(kernel.ravel()) for kernel in kernels])
    np.testing.assert_allclose(rows.weight_norm, [norms, 2 * norms], rtol=1e-6)
    assert rows.kernel_layer == "conv0"
    np.testing.assert_array_equal(rows.kernels[0], state.eval_variables()["params"]["conv0"]["kernel"])


def test_the_gradient_norm_is_that_of_a_gradient_that_does_not_change(tmp_path, state):
    tx = optax.adam(1e-3)
    gradients = jax.tree.map(lambda leaf: leaf + 0.5, state.params)
    opt_state = tx.init(state.params)
    for _ in range(3):
        _, opt_state = tx.update(gradients, opt_state, state.params)
    writer = EpochWriter(tmp_path, resume_step=0, adam_b2=0.999)
    writer.write(state.replace(opt_state=opt_state, tx=tx), 3, 1)
    wanted = [
        np.linalg.norm(gradients[layer]["kernel"].ravel()) for layer in ("conv0", "conv1", "dense", "head")
    ]
    np.testing.assert_allclose(read_epochs(tmp_path).gradient_norm, [wanted], rtol=1e-4)


def test_an_optimizer_without_a_second_moment_has_no_gradient_norm(tmp_path, state):
    tx = optax.sgd(0.1)
    EpochWriter(tmp_path, resume_step=0, adam_b2=0.999).write(
        state.replace(opt_state=tx.init(state.params), tx=tx), 3, 1
    )
    rows = read_epochs(tmp_path)
    assert np.isnan(rows.gradient_norm).all() and np.isfinite(rows.weight_norm).all()


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_a_run_that_goes_on_writes_the_same_bytes(tmp_path, state, stopped_after):
    (tmp_path / "straight").mkdir()
    (tmp_path / "cut").mkdir()
    expected = write_rows(tmp_path / "straight", state, range(4))
    write_rows(tmp_path / "cut", state, range(stopped_after + 1))
    # The newest checkpoint is of the middle of epoch 2: what came after it is done once more.
    assert write_rows(tmp_path / "cut", state, [2, 3], resume_step=15) == expected


def test_a_damaged_file_is_begun_anew_and_a_missing_one_is_none(tmp_path, state):
    assert read_epochs(tmp_path) is None
    for damage in (b"", b"PK", write_rows(tmp_path, state, [0, 1])[:-40]):
        (tmp_path / EPOCHS_FILE).write_bytes(damage)
        assert read_epochs(tmp_path) is None
        write_rows(tmp_path, state, [2], resume_step=15)
        assert read_epochs(tmp_path).epoch.tolist() == [2]


def test_of_many_epochs_few_filters_are_kept_but_all_norms(tmp_path, state):
    write_rows(tmp_path, state, range(70))
    rows = read_epochs(tmp_path)
    assert len(rows.weight_norm) == 70
    expected = [*range(16), *range(16, 32, 2), *range(32, 64, 4), 64]
    assert rows.kernel_epoch.tolist() == expected and len(rows.kernels) == len(expected)


def test_a_network_without_convolutions_has_norms_alone(tmp_path, state):
    params = {"a": {"kernel": np.ones((3, 4), np.float32), "bias": np.zeros(4, np.float32)}}
    plain = state.replace(params=params, opt_state=(), ema=None)
    EpochWriter(tmp_path, resume_step=0, adam_b2=None).write(plain, 5, 1)
    rows = read_epochs(tmp_path)
    assert (rows.layers, rows.kernel_layer, rows.kernels.size) == (("a",), "", 0)
    np.testing.assert_allclose(rows.weight_norm, [[np.sqrt(12)]])


def test_other_processes_write_nothing(tmp_path, state):
    EpochWriter(tmp_path, resume_step=0, adam_b2=None, enabled=False).write(state, 0, 0)
    assert not list(tmp_path.iterdir())
