"""What comes out of a network in NumPy, beside plain matrix products."""

import numpy as np
import pytest
from scipy.special import expit, log_expit, ndtr, softmax

from skae._scoring._forward import (
    ACTIVATIONS,
    OUTPUT_RANGES,
    Architecture,
    make_hidings,
    make_networks,
    run_forward,
)
from skae._tables._layout import Layout
from skae._tables._scaling import ScaledRows, Scaling


def elu(h):
    return np.where(h > 0, h, np.exp(np.minimum(h, 0.0)) - 1)


FORMULAS = {
    "elu": elu,
    "exponential": lambda h: np.exp(np.minimum(h, 700.0)),
    "gelu": lambda h: h * ndtr(h),
    "hard_sigmoid": lambda h: np.clip(h / 6 + 0.5, 0, 1),
    "hard_tanh": lambda h: np.clip(h, -1, 1),
    "leaky_relu": lambda h: np.where(h > 0, h, 0.2 * h),
    "linear": lambda h: h,
    "log_sigmoid": log_expit,
    "mish": lambda h: h * np.tanh(np.logaddexp(0, h)),
    "relu": lambda h: np.maximum(h, 0),
    "relu6": lambda h: np.clip(h, 0, 6),
    "selu": lambda h: (
        1.0507009873554805 * np.where(h > 0, h, 1.6732632423543772 * elu(h))
    ),
    "sigmoid": expit,
    "silu": lambda h: h * expit(h),
    "softmax": lambda h: softmax(np.stack([h, 0 * h]), axis=0)[0],
    "softplus": lambda h: np.logaddexp(0, h),
    "softsign": lambda h: h / (1 + np.abs(h)),
    "sparse_sigmoid": lambda h: np.clip(h / 2 + 0.5, 0, 1),
    "swish": lambda h: h * expit(h),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_its_formula(name):
    h = np.linspace(-30.0, 30.0, 601)
    np.testing.assert_allclose(
        ACTIVATIONS[name](h.copy()), FORMULAS[name](h), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_range_of_an_output_activation_is_what_it_reaches(name):
    """To a hundredth."""
    values = FORMULAS[name](np.linspace(-1000.0, 1000.0, 200_001))
    low, high = OUTPUT_RANGES.get(name, (-np.inf, np.inf))
    for bound, reached in (low, values.min()), (-high, -values.max()):
        if np.isinf(bound):
            assert bound < 0 and reached < -100.0
        else:
            assert bound - 1e-9 <= reached < bound + 0.011


def run_by_hand(rows, weights, n_logits):
    """By tanh, and in the end by the logistic function but for the logits."""
    h = rows
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        h = np.tanh(h @ kernel + bias)
    h = np.arctanh(h)
    n_numbers = h.shape[1] - n_logits
    return np.hstack([expit(h[:, :n_numbers]), h[:, n_numbers:]])


@pytest.mark.parametrize("sizes", [(18,), (5,), (20, 3), (20, 9, 3)], ids=str)
@pytest.mark.parametrize("blocks", [(), (3, 2), (3, 2, 4, 2, 3)], ids=str)
def test_networks_give_what_matrix_products_give(sizes, blocks):
    """And of a category what they give while every fourth column of these is hidden."""
    layout = Layout(5 + len(blocks), 5 + np.arange(len(blocks)), np.array(blocks, int))
    n_units, n_logits = layout.n_units, sum(blocks)
    architecture = Architecture(n_units, sizes, "tanh", "sigmoid", n_logits)
    rng = np.random.RandomState(0)
    weights = [
        [
            0.5 * rng.normal(size=shape) / shape[0] ** 0.5
            for shape in architecture.shapes
        ]
        for _ in range(2)
    ]
    rows = rng.normal(size=(40, n_units))
    scaling = Scaling.of_nothing(n_units)
    networks = make_networks(architecture, weights, make_activation=None)
    hidings = make_hidings(networks, layout)
    _, shown = run_forward(ScaledRows(rows, scaling), networks)
    _, outputs = run_forward(ScaledRows(rows, scaling), networks, hidings)
    for own_weights, plain, output in zip(weights, shown, outputs, strict=True):
        expected = run_by_hand(rows, own_weights, n_logits)
        np.testing.assert_allclose(plain, expected, rtol=1e-9, atol=1e-12)
        for unit, block in enumerate(np.repeat(np.arange(len(blocks)), blocks)):
            is_hidden = np.repeat(np.arange(len(blocks)) % 4 == block % 4, blocks)
            others = np.where(np.r_[np.zeros(5, bool), is_hidden], 0.0, rows)
            told = run_by_hand(others, own_weights, n_logits)
            expected[:, 5 + unit] = told[:, 5 + unit]
        np.testing.assert_allclose(output, expected, rtol=1e-9, atol=1e-12)


def test_an_activation_that_numpy_does_not_know_is_made():
    architecture = Architecture(2, (2,), np.cos, "unknown")
    weights = [[np.eye(2), np.zeros(2)] * 2]
    made = {np.cos: np.cos, "unknown": np.square}.__getitem__
    networks = make_networks(architecture, weights, made)
    rows = np.arange(6.0).reshape(3, 2)
    _, (output,) = run_forward(ScaledRows(rows, Scaling.of_nothing(2)), networks)
    np.testing.assert_allclose(output, np.cos(rows) ** 2)
