"""Teacher and student on 1,000 labeled digits, the labels of all others hidden; sized for a CPU.

    python -m mnist_jax.pseudo_label --config configs/pseudo_label.py

Chosen with the last 10,000 training images held out (--split validation
--config.data.validation_examples=10000 --config.data.validation=last), where two sets of labeled images,
seeds 100 and 101, were tried.

Measured: 99.12% ± 0.03, the same network with as many steps on the 1,000 labels alone 98.52% ± 0.25, gain
0.60 ± 0.22 points (mean and SD of seeds 0 to 2), 19 minutes of training in all on 2 shared cores of an AMD
EPYC, jax 0.10.2.
Measured at commit 9fc1bf6; not again since.
"""

from pathlib import Path

from ml_collections import ConfigDict

from mnist_jax.config import load_config_file


def get_config() -> ConfigDict:
    """Returns the configuration: the network and augmentation of ``fast_995.py``, whose steps are short."""
    config = load_config_file(str(Path(__file__).with_name("fast_995.py")))
    # Smoothed labels would lower the teacher's confidence, which the threshold goes by.
    config.optim.label_smoothing = 0.0

    config.pseudo_label.labeled_examples = 1000
    # Of as many accepted labels a third to a half fewer are wrong than with the image alone (by hand).
    config.pseudo_label.views = 4
    config.pseudo_label.threshold = 0.8
    config.pseudo_label.rounds = 2
    config.pseudo_label.labeled_share = 0.1
    config.pseudo_label.teacher_steps = 1000
    # Long, for what is left to learn is in the rare shapes.
    config.pseudo_label.student_steps = 5000
    config.pseudo_label.seeds = "0:3"
    return config
