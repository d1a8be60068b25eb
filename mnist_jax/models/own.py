"""Networks of a person's own: found by name, made, and checked against what training asks of them."""

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mnist_jax.errors import ConfigError

# Stands where the module of a class would, for a network that can be had as an object only.
GIVEN = "given"

_EXPECTED = "expected __call__(self, images, train=False)"
_BATCH = 8


def is_own(name: str) -> bool:
    """Whether a ``model.name`` is that of a network outside this package: ``package.module:Class``."""
    return ":" in name


def create_own_model(
    name: str,
    kwargs: Mapping[str, Any],
    *,
    num_classes: int,
    image_shape: tuple[int, ...],
    given: nn.Module | type | Callable[..., Any] | None = None,
) -> nn.Module:
    """Finds a network of a person's own, makes it, and checks that it can be trained.

    Args:
        name: ``package.module:Class``; modules of the current folder are found, too. A function that returns
            a module may stand for the class.
        kwargs: arguments of the class, as JSON has them; lists become tuples.
        num_classes: classes of the data; the argument of this name where the class has one that ``kwargs``
            do not tell.
        image_shape: ``(height, width, channels)``.
        given: the network, or its class, where it need not be found.

    Raises:
        ConfigError: there is no such class, it cannot be made, or it does not fit.
    """
    model = make_module(_find(name) if given is None else given, num_classes, kwargs)
    check_fits(model, image_shape, num_classes)
    return model


def make_module(
    model: nn.Module | type | Callable[..., Any], num_classes: int, kwargs: Mapping[str, Any] | None = None
) -> nn.Module:
    """Returns a linen module of what stands for a network.

    Args:
        model: a linen module, which is returned as it is; a class of one or of an nnx module, which
            ``flax.nnx.bridge`` makes a linen one; or a function that returns a linen module.
        num_classes: see `create_own_model`.
        kwargs: see `create_own_model`.

    Raises:
        ConfigError: it is none of these, or cannot be made.
    """
    nnx = _nnx()
    if nnx and isinstance(model, nnx.Module):
        raise ConfigError(
            [f"model: {_name_of(model)} is an nnx module already made; expected its class, to be made anew"]
        )
    if not isinstance(model, nn.Module):
        if not callable(model):
            raise ConfigError([f"model: got {model!r:.60}; expected a flax.linen module or its class"])
        arguments = {key: _frozen(value) for key, value in (kwargs or {}).items()}
        with _told(model, "when made"):
            is_nnx = bool(nnx and inspect.isclass(model) and issubclass(model, nnx.Module))
            # The class itself shows the arguments of its metaclass.
            maker = model.__init__ if is_nnx else model  # type: ignore[misc]
            if "num_classes" not in arguments and _takes(maker, "num_classes", by_name=True):
                arguments["num_classes"] = num_classes
            made = nnx.bridge.to_linen(model, **arguments) if is_nnx else model(**arguments)
        if not isinstance(made, nn.Module):
            raise ConfigError(
                [f"model: {_name_of(model)} gives {type(made).__name__}; expected a flax.linen module"]
            )
        model = made
    try:
        hash(model)
    except TypeError:
        raise ConfigError(
            [f"model: {_name_of(model)} has fields that cannot be hashed; expected no lists or dicts"]
        ) from None
    return model


def find_reference(model: nn.Module | type | Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """Returns the name and the arguments by which `create_own_model` finds or makes an equal network.

    The name begins with ``given:`` where there are none: the class is inside a function, or a field is
    nothing that JSON has.

    Args:
        model: as `make_module` takes it.
    """
    made_of: Any = _class_of(model) if isinstance(model, nn.Module) else model
    name = f"{getattr(made_of, '__module__', '')}:{getattr(made_of, '__qualname__', '')}"
    arguments = _arguments_of(model) if isinstance(model, nn.Module) else {}
    kwargs = {key: _thawed(value) for key, value in arguments.items()}
    if "<" not in name and all(map(_is_json, kwargs.values())):
        with contextlib.suppress(ConfigError, AttributeError):
            found = _find(name)
            if found is model or (made_of is not model and make_module(found, 0, kwargs) == model):
                return name, kwargs
    return f"{GIVEN}:{_name_of(model)}", {}


def check_fits(model: nn.Module, image_shape: tuple[int, ...], num_classes: int) -> None:
    """Makes sure, without computing anything, that a network can be trained on images and asked afterwards.

    Args:
        model: the network.
        image_shape: ``(height, width, channels)``.
        num_classes: classes of the data.

    Raises:
        ConfigError: one line on what it lacks and what is expected.
    """
    name = _name_of(model)
    if not _takes(_class_of(model).__call__, "train"):
        raise ConfigError([f"model: {name}.__call__ takes no argument train; {_EXPECTED}"])
    key = jax.random.key(0)
    one, images = (jax.ShapeDtypeStruct((size, *image_shape), jnp.float32) for size in (1, _BATCH))
    shape = "x".join(map(str, image_shape))

    with _told(model, f"when initialized for images of {shape}"):
        variables = jax.eval_shape(lambda x: model.init({"params": key, "dropout": key}, x, train=False), one)
    others = sorted(variables.keys() - {"params", "batch_stats"})
    if others:
        raise ConfigError(
            [f"model: {name} has variables in {', '.join(others)}; expected params and batch_stats only"]
        )
    if not jax.tree.leaves(variables.get("params", {})):
        raise ConfigError([f"model: {name} has no parameters, so there is nothing to train"])

    with _told(model, f"in evaluation (train=False) of images of {shape}"):
        logits = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images)
    _check_logits(name, logits, num_classes)
    with _told(model, f"in training (train=True) on images of {shape}, given the random stream dropout"):
        logits, updates = jax.eval_shape(
            lambda v, x: model.apply(v, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]),
            variables,
            images,
        )
    _check_logits(name, logits, num_classes)
    before, after = (tree.get("batch_stats", {}) for tree in (variables, updates))
    if jax.tree.map(lambda x: (x.shape, x.dtype), before) != jax.tree.map(
        lambda x: (x.shape, x.dtype), after
    ):
        raise ConfigError(
            [f"model: {name} changes the shape of its batch_stats in training; expected the same"]
        )


def _check_logits(name: str, logits: Any, num_classes: int) -> None:
    expected = f"expected float32 [{_BATCH}, {num_classes}]: a logit for each of {num_classes} classes"
    if not hasattr(logits, "shape"):
        raise ConfigError([f"model: {name} returns a {type(logits).__name__}; {expected}"])
    if logits.shape != (_BATCH, num_classes) or logits.dtype != jnp.float32:
        found = f"{logits.dtype} [{', '.join(map(str, logits.shape))}]"
        raise ConfigError([f"model: {name} returns {found} for {_BATCH} images; {expected}"])


def _find(name: str) -> Any:
    """Imports what ``package.module:Class`` names."""
    module_name, _, qualified_name = name.partition(":")
    give = f"from Python give it: mnist_jax.load(workdir, model={qualified_name}(...))"
    if module_name == GIVEN:
        raise ConfigError(
            [f"model.name: {name}: the network was given as an object, and no name finds it; {give}"]
        )
    # As `python -m` does; the installed command does not.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        problem = f"there is no module {error.name}"
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            problem += f", neither installed nor in {os.getcwd()}"
        raise ConfigError([f"model.name: {name}: {problem}"]) from error
    except Exception as error:
        raise ConfigError([f"model.name: {name}: importing {module_name}: {_describe(error)}"]) from error
    for part in qualified_name.split("."):
        if not hasattr(found, part):
            hint = f"; {give}" if module_name == "__main__" else ""
            raise ConfigError([f"model.name: {name}: {module_name} has no {qualified_name}{hint}"])
        found = getattr(found, part)
    return found


@contextlib.contextmanager
def _told(model: Any, when: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError([f"model: {_name_of(model)}, {when}: {_describe(error)}"]) from error


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _nnx() -> Any:
    """``flax.nnx`` where it is loaded, as whoever has a module of it has done: that takes half a second."""
    return sys.modules.get("flax.nnx")


def _is_bridge(model: nn.Module) -> bool:
    nnx = _nnx()
    return bool(nnx and isinstance(model, nnx.bridge.ToLinen))


def _class_of(model: nn.Module) -> Any:
    return model.nnx_class if _is_bridge(model) else type(model)  # type: ignore[attr-defined]


def _name_of(model: Any) -> str:
    made_of = _class_of(model) if isinstance(model, nn.Module) else model
    return getattr(made_of, "__name__", type(made_of).__name__)


def _takes(function: Any, argument: str, by_name: bool = False) -> bool:
    """Whether a function has an argument, or, unless it must be by name, takes any."""
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return argument in parameters or (takes_any and not by_name)


def _arguments_of(model: nn.Module) -> dict[str, Any]:
    """What a network was made with."""
    if _is_bridge(model):
        return dict(model.kwargs)  # type: ignore[attr-defined]
    fields = [field for field in type(model).__dataclass_fields__.values() if field.init]
    return {
        field.name: getattr(model, field.name) for field in fields if field.name not in ("parent", "name")
    }


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _thawed(value: Any) -> Any:
    return [_thawed(item) for item in value] if isinstance(value, list | tuple) else value


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or type(value) in (bool, int, float, str)
