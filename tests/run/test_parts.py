"""The network and the augmentation are as the configuration says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.config.check import default_config
from mnist_jax.run.parts import build_augment_fn, build_model
from mnist_jax.training.augment.affine import RandomAffine
from mnist_jax.training.augment.augmentation import Augmentation
from tests.run.test_experiment import make_config


@pytest.mark.parametrize(("platform", "conv"), [("cpu", "native"), ("gpu", "fused"), ("tpu", "lax")])
def test_the_network_is_lowered_for_the_platform(platform, conv):
    assert build_model(make_config(), 3, platform).conv == conv
    assert build_model(make_config(model__conv="lax"), 3, platform).conv == "lax"


def test_every_field_of_the_network_arrives():
    fields = {
        "features": (5,),
        "kernel_size": 2,
        "pool_after": (),
        "dense_features": 6,
        "dropout_rate": 0.5,
        "batch_norm_momentum": 0.8,
        "batch_norm_epsilon": 0.01,
        "dtype": "bfloat16",
    }
    config = make_config(**{f"model__{name}": value for name, value in fields.items()})
    config.model.batch_norm_warmup = False
    model = build_model(config, 7, "cpu")
    assert {name: getattr(model, name) for name in fields} == fields
    assert model.num_classes == 7


def test_with_the_warm_up_the_network_returns_the_moments_of_a_batch():
    assert build_model(make_config(), 3, "cpu").batch_norm_momentum == 0.0
    assert build_model(make_config(model__batch_norm_warmup=False), 3, "cpu").batch_norm_momentum == 0.99


def test_augmentation_is_off_or_as_configured():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 6, 6, 1)), jnp.float32)
    still = {
        "rotation_degrees": 0.0,
        "width_shift_fraction": 0.0,
        "height_shift_fraction": 0.0,
        "shear_degrees": 0.0,
        "zoom_fraction": 0.0,
    }
    config = default_config().augment
    assert build_augment_fn({**config, "enabled": False}) is None
    unchanged = build_augment_fn({**config, **still})(jax.random.key(0), images)
    np.testing.assert_allclose(unchanged, images, atol=1e-6)
    filled = {**config, **still, "width_shift_fraction": 0.9, "fill_mode": "constant", "fill_value": 0.5}
    moved = build_augment_fn(filled)(jax.random.key(0), images)
    assert (moved == 0.5).any()


def test_without_further_changes_a_run_augments_by_its_warp_alone():
    augment = default_config().augment
    assert type(build_augment_fn(augment, "cpu", 10)) is RandomAffine
    settings = {
        "cutout_fraction": 0.5,
        "elastic_alpha": 34.0,
        "thickness_pixels": 1.0,
        "contrast_fraction": 0.5,
        "noise_stddev": 0.1,
        "disturbed_share": 0.5,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0,
    }
    for name, value in settings.items():
        made = build_augment_fn({**augment, name: value}, "cpu", 7)
        warp = build_augment_fn(augment, "cpu")
        assert made == Augmentation(warp, 7, **{name: value})
