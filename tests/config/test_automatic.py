"""What is chosen where a configuration leaves epochs and batch size open."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.config.automatic import resolve
from mnist_jax.config.check import check

PAGE = Path(__file__).parents[2] / "docs" / "your_own_data.md"


def automatic(num_train, num_devices=1, **fields):
    config, remarks = resolve(check({"num_epochs": 0, "batch_size": 0, **fields}), num_train, num_devices)
    return config.num_epochs, config.batch_size, remarks


def test_mnist_gets_the_articles_epochs_and_batch():
    assert automatic(60_000)[:2] == (5, 64)
    assert automatic(55_000)[:2] == (5, 64)


def test_few_images_are_passed_over_more_often_in_smaller_batches():
    assert automatic(4_000)[:2] == (16, 32)
    assert automatic(180)[:2] == (91, 8)
    assert automatic(24)[:2] == (100, 8)
    assert automatic(5)[:2] == (100, 5)


def test_many_images_are_passed_over_less_often():
    assert automatic(500_000)[:2] == (3, 64)
    assert automatic(5_000_000)[:2] == (1, 64)


def test_what_is_given_stays():
    config = check({"num_epochs": 2, "batch_size": 32})
    assert resolve(config, 100) == (config, [])
    assert automatic(4_000, num_epochs=1)[:2] == (1, 32)
    assert automatic(4_000, batch_size=500)[:2] == (100, 500)


def test_what_was_chosen_is_said():
    assert automatic(4_000)[2] == ["chosen for 4,000 training images: 16 epochs and batches of 32"]
    assert automatic(4_000, num_epochs=1)[2] == ["chosen for 4,000 training images: batches of 32"]


def test_many_short_epochs_do_not_save_after_each():
    config, _ = resolve(check({"num_epochs": 0}), 4_000)
    assert config.checkpoint.every_epochs == 4
    config, _ = resolve(check({"num_epochs": 0, "checkpoint": {"every_epochs": 3}}), 4_000)
    assert config.checkpoint.every_epochs == 3


@given(st.integers(1, 10**7), st.sampled_from([1, 2, 4, 8]))
def test_a_batch_fits_images_and_devices(num_train, num_devices):
    num_epochs, batch_size, _ = automatic(num_train, num_devices)
    assert 1 <= num_epochs <= 100 and batch_size % num_devices == 0
    assert batch_size <= max(num_train, num_devices)


def test_the_documentation_has_the_numbers():
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 5
    for images, batch, epochs in rows:
        assert automatic(int(images.replace(",", "")))[:2] == (int(epochs), int(batch))
