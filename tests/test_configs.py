"""Every configuration file of the project builds, is in order, and says what it is for."""

import math
from pathlib import Path

import pytest

from mnist_jax.config.automatic import resolve
from mnist_jax.config.check import check, check_against_data
from mnist_jax.config.file import load_config_file
from mnist_jax.training.augment.disturbances.bag import KINDS

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(path for path in CONFIGS.glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_builds_and_is_in_order(path):
    config = check(load_config_file(str(path)))
    num_train = 4000 if config.data.name == "mnist_5k" else 60000
    config, _ = resolve(config, num_train)
    check_against_data(config, num_train)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_docstring_gives_the_command_and_what_was_measured(path):
    text = path.read_text()
    assert f"--config configs/{path.name}" in text
    assert "Measured:" in text


def test_the_article_is_followed_to_the_letter():
    config = check(load_config_file(str(CONFIGS / "article.py")))
    assert (config.num_epochs, config.batch_size) == (5, 64)
    assert (config.optim.schedule, config.optim.learning_rate) == ("constant", 1e-3)
    assert (config.optim.b1, config.optim.b2, config.optim.epsilon) == (0.9, 0.999, 1e-7)
    assert (config.optim.ema_fraction, config.optim.label_smoothing, config.optim.weight_decay) == (0, 0, 0)
    augment = config.augment
    assert (augment.rotation_degrees, augment.zoom_fraction) == (8, 0.08)
    assert (augment.width_shift_fraction, augment.height_shift_fraction) == (0.08, 0.08)
    assert math.radians(augment.shear_degrees) == pytest.approx(0.3)
    assert (augment.interpolation_order, augment.fill_mode) == (0, "nearest")
    model = config.model
    assert (model.features, model.pool_after, model.dense_features) == ((32, 32, 64, 64), (1, 3), 512)
    assert (model.kernel_size, model.dropout_rate) == (3, 0.2)
    assert (model.batch_norm_momentum, model.batch_norm_epsilon) == (0.99, 1e-3)
    assert not model.batch_norm_warmup


def test_default_has_the_articles_network_and_budget():
    article = check(load_config_file(str(CONFIGS / "article.py")))
    default = check(load_config_file(str(CONFIGS / "default.py")))
    model = default.model.copy_and_resolve_references()
    model.batch_norm_warmup = article.model.batch_norm_warmup
    assert model == article.model
    chosen, _ = resolve(default, 60_000)
    assert (chosen.num_epochs, chosen.batch_size) == (article.num_epochs, article.batch_size) == (5, 64)


def test_smoke_needs_no_data_and_little_time():
    config = check(load_config_file(str(CONFIGS / "smoke.py")))
    assert config.data.name == "mnist_5k"
    assert config.data.train_examples * config.num_epochs < 1000


def test_handwriting_differs_from_default_in_its_disturbances_and_epochs_alone():
    default = check(load_config_file(str(CONFIGS / "default.py")))
    handwriting = check(load_config_file(str(CONFIGS / "handwriting.py"))).copy_and_resolve_references()
    assert 0.3 < handwriting.augment.disturbed_share < 0.9
    # Each kind is given at least one place in each batch.
    assert handwriting.augment.disturbed_share * handwriting.batch_size > len(KINDS)
    chosen, _ = resolve(default, 60_000)
    handwriting.augment.disturbed_share = 0.0
    handwriting.num_epochs = chosen.num_epochs
    assert handwriting == chosen


def test_fashion_mnist_has_no_digits_standing_in():
    config = check(load_config_file(str(CONFIGS / "fashion_mnist.py")))
    assert (config.data.name, config.data.fallback) == ("fashion_mnist", "")
