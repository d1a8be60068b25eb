"""The pictures of another hand, and the table of what was gained on them."""

import numpy as np

from benchmarks.fine_tuning import ARMS, table, write_pictures
from mnist_jax.data import load_splits


def test_the_pictures_are_a_data_set_of_one_kind(tmp_path):
    images, labels = write_pictures(tmp_path / "own", dark_on_light=True)
    splits = load_splits("mnist", data_dir=tmp_path / "own")
    assert (splits.train.num_examples, splits.test.num_examples) == (100, 900)
    assert splits.train.class_names == tuple("0123456789") and splits.preparation.form == "resized"
    order = np.argsort([image.tobytes() for image in images])
    read = np.argsort([image.tobytes() for image in splits.test.images])
    np.testing.assert_array_equal(images[order], splits.test.images[read])
    np.testing.assert_array_equal(labels[order], splits.test.labels[read])
    light, _ = write_pictures(tmp_path / "light", dark_on_light=False)
    assert images.mean() > 180 and light.mean() < 75


def test_the_table_has_a_line_for_each_arm():
    result = {
        "settings": {"kind": "dark_on_light", "seeds": "0:2"},
        "device": "cpu: Test",
        "source": 0.976,
        "before": 0.25,
        "arms": {arm: [0.5, 0.52] for arm in ARMS},
    }
    lines = table(result).splitlines()
    assert lines[0] == "| 100 pictures to train on, dark on light | accuracy on 900 others |"
    assert lines[2:4] == ["| before, as it came from MNIST | 25.0% |", "| from scratch | 51.0 ± 1.4% |"]
    assert len(lines) == 3 + len(ARMS) + 2 and lines[-1].endswith("the seeds 0:2; cpu: Test.")
