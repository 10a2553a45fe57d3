"""The code of each forward and backward pass names every numbered equation of its docstring in a comment."""

import inspect
import io
import re
import tokenize

import pytest

from charloom.engines.scratch import cells, elman, loss, mingru, network, residual

NUMBER = re.compile(r"\((\d{1,2})\)")


def equations(module):
    """The equation numbers in a module's docstring."""
    indented = [line for line in module.__doc__.splitlines() if line.startswith("    ")]
    return {int(number) for number in NUMBER.findall("\n".join(indented))}


def named(*functions):
    """The equation numbers in the comments of these functions."""
    source = "\n".join(inspect.getsource(function) for function in functions)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = " ".join(token.string for token in tokens if token.type == tokenize.COMMENT)
    return {int(number) for number in NUMBER.findall(comments)}


DIRECTIONS = {
    f"{name}-{way}": (cell, [getattr(cell, way)])
    for name, cell in cells.CELLS.items()
    for way in ("step", "backward")
} | {
    "network-forward": (network, [network.forward]),
    "network-backward": (network, [network.backward]),
    "residual": (residual, [residual.block]),
    "loss": (loss, [loss.log_softmax, loss.losses, loss.backward]),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_comments_name_every_equation_and_no_other(direction):
    module, functions = DIRECTIONS[direction]
    assert equations(module)
    assert equations(module) == named(*functions)


WINDOWS = {
    "elman-window": (elman, elman.forward_window, {1, 2}),
    "elman-window-back": (elman, elman.backward_window, {1, 2}),
    "mingru-scan": (mingru, mingru.scan, {2, 3, 4}),
    "mingru-scan-back": (mingru, mingru.scan_backward, {2, 3, 4}),
}


@pytest.mark.parametrize("window", WINDOWS)
def test_window_functions_name_equations_of_the_step(window):
    module, function, numbers = WINDOWS[window]
    assert named(function) == numbers <= equations(module)


def test_equations_are_numbered_from_one():
    for module in {module for module, _ in DIRECTIONS.values()}:
        assert equations(module) == set(range(1, len(equations(module)) + 1))
