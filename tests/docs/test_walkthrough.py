"""docs/walkthrough.md leads from the command to the update through few files, all of them there."""

import re

from tests.docs.pages import ROOT, read_page

PAGE = ROOT / "docs" / "walkthrough.md"


def test_the_way_to_the_update_is_short():
    files = re.findall(r"^\| `(mnist_jax/[\w/]+\.py)` \|", PAGE.read_text(), re.MULTILINE)
    assert files[0] == "mnist_jax/train.py" and "mnist_jax/training/step.py" in files
    assert len(set(files)) == len(files) <= 9
    assert sum(len((ROOT / file).read_text().splitlines()) for file in files) <= 1300


def test_it_quotes_the_gradient_and_where_the_statistics_come_back():
    quoted = "\n".join(block.text for block in read_page(PAGE)[0] if block.info.startswith("python "))
    for line in ("jax.grad(loss_fn, has_aux=True)", 'mutable=["batch_stats"]', "optax.apply_updates"):
        assert line in quoted
