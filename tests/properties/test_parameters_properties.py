"""What holds of parameters over the whole ranges that are declared for them."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from promises import check_rows, make, refused
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from skae import AutoencoderOutlierDetector

CONSTRAINTS = AutoencoderOutlierDetector._parameter_constraints
X = np.random.default_rng(0).normal(size=(30, 3))
LARGE = [2, 7, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**30]
# What takes as long as it is large, is not tried large.
COSTLY = {"epochs": 3, "n_estimators": 3, "hidden_layer_sizes": 40}
# Each costs a compilation of seconds; they are tried one by one.
NAMES = {
    "activation": ["relu", "tanh", "exponential", "softmax", "log_softmax", "glu"],
    "output_activation": ["linear", "sigmoid", "softmax", "exponential"],
    "loss": ["mean_squared_error", "huber", "mean_absolute_percentage_error"],
    "optimizer": ["adam", "sgd", "rmsprop", "lion", "ftrl"],
}


def draw_number(constraint, name):
    """Numbers of an interval, its ends and what is next to them among them."""
    if constraint.type.__name__ == "Integral":
        low, high = constraint.left, COSTLY.get(name)
        large = [] if high else LARGE
        small = st.integers(low, high or low + 60)
        return st.one_of(small, small.map(np.int64), st.sampled_from([low, *large]))
    low, high = constraint.left, constraint.right
    ends = [x for x in (low, high) if x is not None and x in constraint]
    near = [np.nextafter(low, 1), 1e-300, 1e-30, 0.5]
    near += [1e-7, 1e30, 1e38, 1e39, 1e300] if high is None else [np.nextafter(high, 0)]
    near = [x for x in near if x in constraint]
    inner = st.floats(1e-30, 10.0 if high is None else np.nextafter(high, 0))
    return st.one_of(
        st.sampled_from([*ends, *map(float, near)]),
        inner,
        inner.filter(lambda x: np.float32(x) in constraint).map(np.float32),
    )


def draw_value(name):
    """A value that the constraints of a parameter allow."""
    if name == "hidden_layer_sizes":
        widths = st.integers(1, COSTLY[name])
        return st.one_of(
            widths,
            st.lists(widths, min_size=1, max_size=3),
            st.lists(widths, min_size=1, max_size=3).map(tuple),
            st.lists(widths, min_size=1, max_size=2).map(np.array),
        )
    if name == "random_state":
        return st.one_of(
            st.integers(0, 2**32 - 1),
            st.just(None),
            st.integers(0, 99).map(np.random.RandomState),
            st.integers(0, 99).map(np.int32),
        )
    if name == "categorical_features":
        return st.sampled_from([None, "from_dtype", [], [0], [True, False, False]])
    if name in NAMES:
        return st.sampled_from(NAMES[name])
    parts = []
    for constraint in CONSTRAINTS[name]:
        if isinstance(constraint, Interval):
            parts.append(draw_number(constraint, name))
        elif isinstance(constraint, StrOptions) and name != "epochs":  # costly, too
            parts.append(st.sampled_from(sorted(constraint.options)))
        elif constraint == "boolean":
            parts.append(st.sampled_from([True, False, np.True_]))
        elif constraint == "verbose":
            parts.append(st.sampled_from([0, False]))
        elif constraint is None:
            parts.append(st.just(None))
    return st.one_of(parts)


# Of those that cost no compilation, any number at once.
LIGHT = sorted(
    CONSTRAINTS.keys() - {"hidden_layer_sizes", "memory", "verbose", *NAMES, "masking"}
)
SEPARATE = ["hidden_layer_sizes", "masking", "memory", "verbose", *NAMES]
WORDS = [*CONSTRAINTS, "diverged", "gradient", "output", "shape"]


def check_fit(parameters):
    detector = make(**parameters)
    clone(detector)
    before = [repr(value) for value in detector.get_params().values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with refused(detector, *WORDS) as errors:
            detector.fit(X)
    if not errors:
        check_rows(detector, X)
        if detector.calibration_scores_ is not None:
            detector.p_values(X)
        if "RandomState" not in repr(detector.random_state):
            assert [repr(v) for v in detector.get_params().values()] == before
    return errors


@pytest.mark.parametrize("name", LIGHT)
@given(data=st.data())
def test_each_value_in_range_is_fitted_with_or_refused_by_name(name, data):
    check_fit({name: data.draw(draw_value(name))})


@given(data=st.data())
def test_so_are_several_at_once(data):
    names = data.draw(st.lists(st.sampled_from(LIGHT), unique=True, max_size=8))
    check_fit({name: data.draw(draw_value(name)) for name in names})


@pytest.mark.parametrize("name", SEPARATE)
@given(data=st.data())
def test_so_are_those_that_make_another_network(name, data):
    if name in ("memory", "verbose"):
        check_fit({name: data.draw(draw_value(name)) if name == "verbose" else None})
        return
    check_fit({name: data.draw(draw_value(name))})


NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(
        [
            "auto",
            (),
            [],
            (0,),
            (-1, 2),
            (2.0,),
            (True,),
            [[2, 2]],
            ["8"],
            np.array([]),
            np.array(3),
            np.nan,
            {},
            object(),
            int,
            b"relu",
            1j,
        ]
    ),
)


@given(name=st.sampled_from(sorted(CONSTRAINTS)), value=NONSENSE)
@example(name="hidden_layer_sizes", value=np.array(3))
@example(name="optimizer", value=None)
@example(name="categorical_features", value=[[True]])
@example(name="categorical_features", value=[0.5])
def test_nonsense_is_refused_by_name_and_leaves_no_trace(name, value):
    if name in COSTLY and isinstance(value, int) or name == "memory":
        return
    if name in NAMES and callable(value):
        return  # which may be an activation
    errors = check_fit({name: value})
    if errors:
        assert name in str(errors[0]) or "diverged" in str(errors[0])


RATES = st.one_of(NONSENSE, st.floats(0, 1), st.floats(0, 1, width=32).map(np.float32))


@given(rate=RATES)
def test_a_rate_of_false_alarms_is_taken_or_refused_by_name(rate):
    detector = make(contamination=0.1).fit(X)
    with refused(detector, "false_alarm_rate"):
        detector.calibrate(X, false_alarm_rate=rate)
        assert np.isfinite(detector.offset_)
        assert np.isfinite(detector.decision_function(X)).all()


@given(
    weights=st.one_of(
        NONSENSE,
        st.lists(
            st.one_of(
                st.floats(0, 3), st.floats(0.0), st.integers(0, 5), st.just(5e-324)
            ),
            min_size=30,
            max_size=30,
        ),
        st.lists(st.floats(), min_size=29, max_size=31),
    ),
    method=st.sampled_from(["fit", "partial_fit", "score"]),
)
@example(weights=[1e308] * 30, method="fit")
@example(weights=[1e300] + [1e-300] * 29, method="fit")
@example(weights=[1e300] + [1e-300] * 29, method="score")
@example(weights=[5e-324] * 30, method="fit")
def test_weights_are_taken_or_refused_by_name(weights, method):
    detector = make().fit(X)
    before = detector.score_samples(X)
    with refused(detector, "sample_weight", "weight", "diverged") as errors:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            result = getattr(detector, method)(X, sample_weight=weights)
    if errors:
        np.testing.assert_array_equal(detector.score_samples(X), before)
    elif method == "score":
        assert np.isnan(result) or 0 <= result <= 1
    else:
        check_rows(detector, X)
