"""Networks of a person's own: found, made, named for later, and refused in one line where they do not fit."""

import sys
import textwrap

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from mnist_jax.errors import ConfigError
from mnist_jax.models.own import check_fits, create_own_model, find_reference, make_module

SHAPE, CLASSES = (10, 9, 1), 3


class Net(nn.Module):
    num_classes: int
    widths: tuple[int, ...] = (4,)

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Conv(self.widths[0], (3, 3), strides=2)(images)
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


class NnxNet(nnx.Module):
    def __init__(self, num_classes, width=4, *, rngs):
        self.conv = nnx.Conv(1, width, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, images, train=False):
        x = self.norm(self.conv(images), use_running_average=not train).mean((1, 2))
        return self.head(self.dropout(x, deterministic=not train))


def changed(**methods):
    """A network like `Net` in which some attributes are others."""
    return type("Net", (Net,), methods)(num_classes=CLASSES)


def call(function):
    return nn.compact(lambda self, images, train=False: function(images, train))


def head(x):
    return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))


def test_a_class_is_found_by_name_and_made_with_its_arguments():
    name = f"{__name__}:Net"
    model = create_own_model(name, {"widths": [5, 6]}, num_classes=CLASSES, image_shape=SHAPE)
    assert model == Net(num_classes=CLASSES, widths=(5, 6))
    given = create_own_model("given:Net", {}, num_classes=CLASSES, image_shape=SHAPE, given=model)
    assert given is model


def test_a_module_of_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text(
        textwrap.dedent("""
        import flax.linen as nn

        class Outer:
            class Net(nn.Module):
                @nn.compact
                def __call__(self, images, train=False):
                    return nn.Dense(3)(images.reshape(images.shape[0], -1))
        """)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    model = create_own_model("nets_of_mine:Outer.Net", {}, num_classes=3, image_shape=SHAPE)
    assert type(model).__name__ == "Net"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Net", "there is no module no_such_module, neither installed nor in "),
        (f"{__name__}:Nett", f"model.name: {__name__}:Nett: {__name__} has no Nett"),
        ("given:Net", r"given as an object, .*mnist_jax.load\(workdir, model=Net\("),
        ("__main__:NoNet", r"__main__ has no NoNet; from Python give it: mnist_jax.load"),
        (f"{__name__}:SHAPE", "expected a flax.linen module or its class"),
        (f"{__name__}:head", r"model: head, when made: TypeError"),
        (f"{__name__}:textwrap.dedent", "model: dedent, when made"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        create_own_model(name, {}, num_classes=CLASSES, image_shape=SHAPE)
    assert len(caught.value.problems) == 1 and "\n" not in caught.value.problems[0]


def test_a_module_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_net.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "wrong_net.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, message in (
        ("broken_net", "there is no module no_such_package_at_all$"),
        ("wrong_net", "importing wrong_net: ZeroDivisionError: division by zero"),
    ):
        with pytest.raises(ConfigError, match=message):
            create_own_model(f"{module}:Net", {}, num_classes=CLASSES, image_shape=SHAPE)


def test_arguments_that_the_class_does_not_take_are_one_line():
    with pytest.raises(ConfigError, match="model: Net, when made: TypeError: .*'depth'"):
        create_own_model(f"{__name__}:Net", {"depth": 3}, num_classes=CLASSES, image_shape=SHAPE)
    with pytest.raises(ConfigError, match="fields that cannot be hashed"):
        make_module(Net(num_classes=3, widths=[4]), CLASSES)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed(__call__=lambda self, images: images), r"takes no argument train; expected __call__\(self,"),
        (Net(num_classes=7), r"returns float32 \[8, 7\] for 8 images; expected float32 \[8, 3\]"),
        (changed(__call__=call(lambda x, train: (head(x), x))), "returns a tuple; expected float32"),
        (changed(__call__=call(lambda x, train: x.reshape(8, -1)[:, :3])), "initialized"),
        (changed(__call__=call(lambda x, train: x[:, 0, :3, 0])), "no parameters, so there is nothing"),
        (changed(__call__=call(lambda x, train: head(x).astype(jnp.bfloat16))), "returns bfloat16"),
        (
            changed(__call__=call(lambda x, train: nn.Conv(3, (3, 3), padding="NO")(x))),
            "initialized .* 10x9x1",
        ),
        (changed(__call__=call(lambda x, train: 1 / 0 if train else head(x))), r"\(train=True\).*ZeroDiv"),
        (
            changed(
                __call__=call(
                    lambda x, train: head(nn.Dropout(0.5, rng_collection="x")(x, deterministic=not train))
                )
            ),
            "given the random stream dropout: InvalidRngError",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(model, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_fits(model, SHAPE, CLASSES)
    assert len(caught.value.problems) == 1 and caught.value.problems[0].startswith("model: Net")


def test_variables_that_training_does_not_carry_are_refused():
    class Counter(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            self.variable("counts", "calls", jnp.zeros, ())
            return nn.Dense(3)(images.reshape(images.shape[0], -1))

    with pytest.raises(ConfigError, match="has variables in counts; expected params and batch_stats only"):
        check_fits(Counter(), SHAPE, CLASSES)


def test_an_nnx_class_becomes_a_linen_module():
    model = make_module(NnxNet, CLASSES, {"width": 5})
    check_fits(model, SHAPE, CLASSES)
    key = jax.random.key(0)
    variables = model.init({"params": key, "dropout": key}, jnp.ones((1, *SHAPE)), train=False)
    assert set(variables) == {"params", "batch_stats"} and variables["params"]["conv"]["bias"].shape == (5,)
    assert find_reference(model) == (f"{__name__}:NnxNet", {"width": 5, "num_classes": CLASSES})
    with pytest.raises(ConfigError, match="NnxNet is an nnx module already made; expected its class"):
        make_module(NnxNet(3, rngs=nnx.Rngs(0)), CLASSES)


def test_the_name_by_which_a_network_is_found_again():
    class Local(Net):
        pass

    assert find_reference(Net) == (f"{__name__}:Net", {})
    name, kwargs = find_reference(Net(num_classes=3, widths=(5, 6)))
    assert (name, kwargs) == (f"{__name__}:Net", {"num_classes": 3, "widths": [5, 6]})
    assert create_own_model(name, kwargs, num_classes=3, image_shape=SHAPE) == Net(3, (5, 6))
    assert find_reference(Local) == find_reference(Local(num_classes=3)) == ("given:Local", {})
    assert find_reference(Net(num_classes=3, widths=(nn.relu,))) == ("given:Net", {})
    assert find_reference(NnxNet) == (f"{__name__}:NnxNet", {})
