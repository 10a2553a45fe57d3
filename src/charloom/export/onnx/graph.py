"""Arithmetic that is recorded instead of computed: each operation on a `Value` adds one ONNX operator to its graph.

    h = (a_x + prev @ w_hh.T).tanh()      adds Transpose, MatMul, Add and Tanh

So equations are written as in the scratch engine. The names of operators are those of ONNX, opset 18.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray as Array

State = dict[str, "Value"]
_TO_THE_END = 2**63 - 1


class Node(NamedTuple):
    """One operator: its ONNX name, the names of its inputs and outputs, its attributes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Graph:
    """Operators in the order they run, and the arrays they read.

    The body of a loop is a graph of its own, which may read the values of the graph around it.

    Args:
        around: the graph that the loop is in; None for the graph of the whole network.
    """

    def __init__(self, around: Graph | None = None) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.arrays: dict[str, Array] = {} if around is None else around.arrays
        self.depth: int = 0 if around is None else around.depth + 1
        self._numbers: Iterator[int] = count() if around is None else around._numbers

    def value(self, name: str) -> Value:
        """A value of this name, as an input of the graph."""
        self.inputs.append(name)
        return Value(self, name)

    def array(self, name: str, array: Array) -> Value:
        """A constant of this name."""
        self.arrays[name] = array
        return Value(self, name)

    def constant(self, value: float | Sequence[int]) -> Value:
        """A float32 number or a list of whole numbers, kept once."""
        array = np.array(value, np.float32 if isinstance(value, float | int) else np.int64)
        return self.array(f"constant {value}", array)

    def add(self, op: str, *inputs: Value, num_results: int = 1, **attributes: Any) -> list[Value]:
        """Add one operator and return its results."""
        names = [f"{op.lower()}_{next(self._numbers)}" for _ in range(num_results)]
        self.nodes.append(Node(op, tuple(value.name for value in inputs), tuple(names), attributes))
        return [Value(self, name) for name in names]

    def output(self, name: str, value: Value) -> None:
        """Make a value an output of the graph under this name."""
        self.nodes.append(Node("Identity", (value.name,), (name,), {}))
        self.outputs.append(name)

    def loop(self, step: Callable[[Value, State], State], xs: Value, state: State) -> tuple[Value, State]:
        """Take a step at each time t: ``state = step(x_t, state)``.

        Args:
            step: adds one time step to the body of the loop.
            xs: its inputs, (B, T, X).
            state: before the first step.

        Returns:
            The state's h after each step, (B, T, H), and the state after the last.
        """
        body = Graph(self)
        number = next(self._numbers)
        prev = {key: body.value(f"{key}_before_{number}") for key in state}
        new = step(body.value(f"x_{number}"), prev)
        for key in state:
            body.output(f"{key}_after_{number}", new[key])
        body.output(f"h_{number}", new["h"])
        axes = {"scan_input_axes": [1], "scan_output_axes": [1]}
        outputs = self.add(
            "Scan", *state.values(), xs, num_results=len(state) + 1, body=body, num_scan_inputs=1, **axes
        )
        return outputs[-1], dict(zip(state, outputs, strict=False))


class Value:
    """An array that exists when the graph runs."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def _with(self, op: str, other: Value | float) -> Value:
        """An operator with two inputs, in the inner of their graphs."""
        right = other if isinstance(other, Value) else self.graph.constant(float(other))
        graph = max(self.graph, right.graph, key=lambda one: one.depth)
        return graph.add(op, self, right)[0]

    def _of(self, op: str, *more: Value, **attributes: Any) -> Value:
        return self.graph.add(op, self, *more, **attributes)[0]

    def __add__(self, other: Value | float) -> Value:
        return self._with("Add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._with("Sub", other)

    def __rsub__(self, other: float) -> Value:
        return self.graph.constant(float(other)) - self

    def __mul__(self, other: Value | float) -> Value:
        return self._with("Mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self._with("Div", other)

    def __matmul__(self, other: Value) -> Value:
        return self._with("MatMul", other)

    @property
    def T(self) -> Value:  # noqa: N802 - as in NumPy
        """A matrix transposed."""
        return self._of("Transpose", perm=[1, 0])

    def swap(self) -> Value:
        """Axes 1 and 2 of three, swapped."""
        return self._of("Transpose", perm=[0, 2, 1])

    def sigmoid(self) -> Value:
        """The logistic function σ."""
        return self._of("Sigmoid")

    def tanh(self) -> Value:
        """The hyperbolic tangent."""
        return self._of("Tanh")

    def relu(self) -> Value:
        """The positive part."""
        return self._of("Relu")

    def sqrt(self) -> Value:
        """The square root."""
        return self._of("Sqrt")

    def mean(self) -> Value:
        """The mean over the last axis, which stays with length 1."""
        return self._of("ReduceMean", self.graph.constant([-1]), keepdims=1)

    def split(self, num_parts: int) -> list[Value]:
        """Equal parts of the last axis."""
        return self.graph.add("Split", self, num_results=num_parts, axis=-1, num_outputs=num_parts)

    def rows(self, ids: Value) -> Value:
        """The rows with these numbers."""
        return self._of("Gather", ids, axis=0)

    def after(self, other: Value) -> Value:
        """This after `other` in time: both (B, ·, D)."""
        return other._of("Concat", self, axis=1)

    def last(self, num: int) -> Value:
        """The last `num` time steps, at least 1, of (B, ·, D)."""
        ends = [-num], [_TO_THE_END], [1]
        return self._of("Slice", *(self.graph.constant(end) for end in ends))

    def convolved(self, weight: Value, bias: Value, width: int) -> Value:
        """The convolution of each column of (B, K − 1 + T, D) with its own K taps (D, K): (B, T, D)."""
        taps = weight._of("Unsqueeze", self.graph.constant([1]))  # (D, 1, K)
        return self.swap()._of("Conv", taps, bias, group=width).swap()
