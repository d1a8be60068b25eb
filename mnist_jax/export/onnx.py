"""A network as an ONNX model, translated operation by operation from what JAX traces.

Written here rather than taken from jax2onnx, which pins another Orbax than the one this project saves with,
and whose maximum pooling onnxruntime refuses. The operations of the networks of this package are known, and
any other is refused by name.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from mnist_jax.errors import RunError

if TYPE_CHECKING:
    from onnx import ModelProto

# Opset 18 is read by onnxruntime from 1.14 (2023) on; 8 is the version of the file format that goes with it.
OPSET = 18
IR_VERSION = 8

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
_BATCH = "batch"

# One node of the same meaning, the same inputs and no attributes.
_SAME = {
    "abs": "Abs",
    "add": "Add",
    "and": "And",
    "div": "Div",
    "eq": "Equal",
    "exp": "Exp",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
_REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_sum": "ReduceSum"}
_NO_CHANGE = ("copy", "stop_gradient", "optimization_barrier")
_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")


def require_onnx() -> None:
    """Makes sure that the packages of the extra ``onnx`` are there.

    Raises:
        RunError: one line saying what to install.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise RunError(
            "the format onnx needs the packages onnx and onnxruntime; install them with "
            "pip install 'mnist-jax[onnx]' (in a checkout: pip install -e '.[onnx]')"
        ) from error


def to_onnx(predict: Callable[..., Any], image_shape: Sequence[int], metadata: Mapping[str, Any]) -> bytes:
    """Translates ``uint8 [N, H, W, C] -> float32 [N, classes]`` for any N, and plain JSON values.

    Returns:
        the content of the file: input ``images``, output ``probabilities``; each of the values is an entry of
        ``metadata_props``, texts as they are.

    Raises:
        RunError: where the network uses an operation that has no translation here.
    """
    import onnx
    from onnx import TensorProto, helper

    (batch,) = export.symbolic_shape(_BATCH)
    closed = jax.make_jaxpr(predict)(jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8))
    graph = _Graph(batch)
    (output,) = graph.translate(closed.jaxpr, closed.consts, [INPUT_NAME])
    graph.nodes.append(helper.make_node("Identity", [graph.name(output)], [OUTPUT_NAME]))
    num_classes = closed.jaxpr.outvars[0].aval.shape[1]
    model: ModelProto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "mnist_jax",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [_BATCH, *image_shape])],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [_BATCH, num_classes])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mnist_jax",
    )
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def from_onnx(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Reads the content of a file that `to_onnx` made, with onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]


class _Graph:
    """The nodes so far. A value is the name of a tensor, or a NumPy array where it is known already."""

    def __init__(self, batch: Any):
        self.batch = batch
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def translate(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
        values.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]

        for equation in jaxpr.eqns:
            operands = [read(atom) for atom in equation.invars]
            values.update(zip(equation.outvars, self._equation(equation, operands), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, operands: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        if name in _CALLS:
            inner = params.get("jaxpr", params.get("call_jaxpr"))
            return self.translate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), operands)
        if name in _NO_CHANGE:
            return operands
        shape = equation.outvars[0].aval.shape
        if all(isinstance(operand, np.ndarray) for operand in operands) and _is_static(shape):
            # What depends on no input is computed once, here: BatchNorm's scale among it.
            return [np.asarray(equation.primitive.bind(*map(jnp.asarray, operands), **params))]
        if name in _SAME:
            return [self._elementwise(name, operands)]
        translate = getattr(self, f"_{name}", None)
        if name in _REDUCTIONS:
            axes = np.asarray(params["axes"], np.int64)
            return [self.add(_REDUCTIONS[name], operands[0], axes, keepdims=0)]
        if translate is None:
            raise RunError(
                f"the format onnx has no translation for the operation {name!r} of this network; "
                "--format stablehlo takes any"
            )
        return [translate(operands, params, equation)]

    def name(self, value: Any) -> str:
        """Returns the name of a value, storing it first where it is an array."""
        if isinstance(value, str):
            return value
        from onnx import numpy_helper

        name = f"constant_{len(self.initializers)}"
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        )
        return name

    def add(self, operation: str, *inputs: Any, **attributes: Any) -> str:
        """Adds a node with one output and gives that output's name."""
        from onnx import helper

        output = f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, [self.name(x) for x in inputs], [output], **attributes))
        return output

    def _sizes(self, shape: Sequence[Any], source: str) -> Any:
        """A shape as a tensor; the batch size is read off the first axis of a tensor that has it."""
        if _is_static(shape):
            return np.asarray(shape, np.int64)
        if any(not _is_static([size]) and size != self.batch for size in shape):
            raise RunError(f"the format onnx has no translation for a tensor of shape {list(shape)}")
        batch = self.add("Shape", source, start=0, end=1)
        parts = [np.asarray([size], np.int64) if _is_static([size]) else batch for size in shape]
        return self.add("Concat", *parts, axis=0)

    def _elementwise(self, name: str, operands: list[Any]) -> str:
        is_zero = [isinstance(operand, np.ndarray) and not operand.any() for operand in operands]
        if name == "max" and any(is_zero):
            return self.add("Relu", operands[is_zero.index(False)])
        return self.add(_SAME[name], *operands)

    def _convert_element_type(self, operands: list[Any], params: Any, _: Any) -> str:
        from onnx import helper

        return self.add(
            "Cast", operands[0], to=helper.np_dtype_to_tensor_dtype(np.dtype(params["new_dtype"]))
        )

    def _rsqrt(self, operands: list[Any], _: Any, __: Any) -> str:
        return self.add("Reciprocal", self.add("Sqrt", operands[0]))

    def _is_finite(self, operands: list[Any], _: Any, __: Any) -> str:
        return self.add("Less", self.add("Abs", operands[0]), np.asarray(np.inf, np.float32))

    def _square(self, operands: list[Any], _: Any, __: Any) -> str:
        return self.add("Mul", operands[0], operands[0])

    def _integer_pow(self, operands: list[Any], params: Any, _: Any) -> str:
        return self.add("Pow", operands[0], np.asarray(params["y"], np.float32))

    def _transpose(self, operands: list[Any], params: Any, _: Any) -> str:
        return self.add("Transpose", operands[0], perm=list(params["permutation"]))

    def _concatenate(self, operands: list[Any], params: Any, _: Any) -> str:
        return self.add("Concat", *operands, axis=params["dimension"])

    def _stack(self, operands: list[Any], params: Any, _: Any) -> str:
        axis = np.asarray([params["axis"]], np.int64)
        return self.add("Concat", *(self.add("Unsqueeze", x, axis) for x in operands), axis=params["axis"])

    def _slice(self, operands: list[Any], params: Any, equation: Any) -> str:
        old_shape = equation.invars[0].aval.shape
        strides = params["strides"] or [1] * len(old_shape)
        # The batch is never cut: its axis is left out.
        cut = [axis for axis, size in enumerate(old_shape) if _is_static([size])]
        ranges = [
            [values[axis] for axis in cut] for values in (params["start_indices"], params["limit_indices"])
        ]
        tensors = [np.asarray(values, np.int64) for values in (*ranges, cut, [strides[axis] for axis in cut])]
        return self.add("Slice", operands[0], *tensors)

    def _squeeze(self, operands: list[Any], params: Any, _: Any) -> str:
        return self.add("Squeeze", operands[0], np.asarray(params["dimensions"], np.int64))

    def _reshape(self, operands: list[Any], params: Any, _: Any) -> str:
        sizes = params["new_sizes"]
        if sum(not _is_static([size]) for size in sizes) > 1:
            raise RunError(f"the format onnx has no translation for a reshape to {list(sizes)}")
        # At most one size depends on the batch: ONNX works it out.
        known = [size if _is_static([size]) else -1 for size in sizes]
        return self.add("Reshape", operands[0], np.asarray(known, np.int64))

    def _broadcast_in_dim(self, operands: list[Any], params: Any, equation: Any) -> str:
        shape, axes = params["shape"], params["broadcast_dimensions"]
        operand, old_shape = operands[0], equation.invars[0].aval.shape
        new_axes = [axis for axis in range(len(shape)) if axis not in axes]
        if new_axes:
            operand = self.add("Unsqueeze", operand, np.asarray(new_axes, np.int64))
        unstretched = [1] * len(shape)
        for axis, size in zip(axes, old_shape, strict=True):
            unstretched[axis] = size
        if tuple(unstretched) == tuple(shape):
            return operand
        return self.add("Expand", operand, self._sizes(shape, INPUT_NAME))

    def _select_n(self, operands: list[Any], _: Any, __: Any) -> str:
        which, *cases = operands
        if len(cases) != 2:
            raise RunError("the format onnx has no translation for a choice of more than two")
        return self.add("Where", which, cases[1], cases[0])

    def _dot_general(self, operands: list[Any], params: Any, equation: Any) -> str:
        (left_axes, right_axes), (left_batch, right_batch) = params["dimension_numbers"]
        left_rank, right_rank = (atom.aval.ndim for atom in equation.invars)
        plain = (left_rank, right_rank, tuple(left_axes), tuple(right_axes)) == (2, 2, (1,), (0,))
        if plain and not left_batch:
            return self.add("MatMul", *operands)
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        left = [next(letters) for _ in range(left_rank)]
        right = [next(letters) for _ in range(right_rank)]
        for i, j in zip((*left_axes, *left_batch), (*right_axes, *right_batch), strict=True):
            right[j] = left[i]
        # XLA's order: batch axes, then what is left of either side.
        result = [left[i] for i in left_batch]
        result += [left[i] for i in range(left_rank) if i not in (*left_axes, *left_batch)]
        result += [right[j] for j in range(right_rank) if j not in (*right_axes, *right_batch)]
        return self.add("Einsum", *operands, equation=f"{''.join(left)},{''.join(right)}->{''.join(result)}")

    def _conv_general_dilated(self, operands: list[Any], params: Any, equation: Any) -> str:
        if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
            raise RunError("the format onnx has no translation for a transposed convolution")
        images, kernel = operands
        numbers = params["dimension_numbers"]
        if isinstance(kernel, np.ndarray):
            kernel = kernel.transpose(numbers.rhs_spec)
        else:
            kernel = self.add("Transpose", kernel, perm=list(numbers.rhs_spec))
        starts, ends = zip(*params["padding"], strict=True)
        result = self.add(
            "Conv",
            self.add("Transpose", images, perm=list(numbers.lhs_spec)),
            kernel,
            strides=list(params["window_strides"]),
            pads=[*starts, *ends],
            dilations=list(params["rhs_dilation"]),
            group=params["feature_group_count"],
        )
        return self.add("Transpose", result, perm=np.argsort(numbers.out_spec).tolist())

    def _reduce_window_max(self, operands: list[Any], params: Any, _: Any) -> str:
        window, strides = params["window_dimensions"], params["window_strides"]
        plain = all(set(params[key]) == {1} for key in ("base_dilation", "window_dilation"))
        if len(window) != 4 or (window[0], window[3], strides[0], strides[3]) != (1, 1, 1, 1) or not plain:
            raise RunError(f"the format onnx has no translation for pooling over {list(window)}")
        starts, ends = zip(*params["padding"][1:3], strict=True)
        result = self.add(
            "MaxPool",
            self.add("Transpose", operands[0], perm=[0, 3, 1, 2]),
            kernel_shape=list(window[1:3]),
            strides=list(strides[1:3]),
            pads=[*starts, *ends],
        )
        return self.add("Transpose", result, perm=[0, 2, 3, 1])


def _is_static(shape: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in shape)
