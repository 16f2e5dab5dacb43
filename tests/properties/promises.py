"""What holds of every fitted detector, and the tables that it is tried on."""

import hashlib
import warnings
from contextlib import contextmanager

import numpy as np
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from skae import AutoencoderOutlierDetector

MAGNITUDES = [0.0, 5e-324, 1e-300, 1e-150, 1e-9, 0.1, 1.0, 3.0, 1e9, 1e150, 1e300]
# And none that are made of these, such as LinAlgError.
DOCUMENTED = ValueError, TypeError, NotFittedError, InvalidParameterError
LARGEST = float(np.finfo(np.float64).max)

SMALL = {"hidden_layer_sizes": (4, 2), "epochs": 1, "random_state": 0}

# Numbers of any size; about half of them as they are in the tables below.
numbers = st.one_of(
    st.floats(-3.0, 3.0),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([sign * m for m in [*MAGNITUDES, LARGEST] for sign in (1, -1)]),
)
cells = st.one_of(numbers, st.just(np.nan))


def make(**parameters):
    """A detector that is fitted in a moment."""
    return AutoencoderOutlierDetector(**SMALL | parameters)


@contextmanager
def quiet():
    """User warnings are documented, of rows without a cell among others; no others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def take_print(detector):
    """Parameters and all that is learnt, in a few letters.

    Without a generator, which whoever draws from it changes.
    """
    state = detector.__getstate__() | {"random_state": None}
    return hashlib.sha256(repr(_spell_out(state)).encode()).hexdigest()


def _spell_out(value):
    if isinstance(value, dict):
        return [(key, _spell_out(value[key])) for key in sorted(value)]
    if isinstance(value, list | tuple):
        return [_spell_out(part) for part in value]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)


@contextmanager
def refused(detector, *words):
    """Let documented errors pass, if they name a word and leave no trace.

    Yields a list that holds the error, if there was one.
    """
    before, errors = take_print(detector), []
    try:
        with quiet():
            yield errors
    except (ValueError, TypeError, NotFittedError) as error:
        assert type(error) in DOCUMENTED, repr(error)
        assert any(word in str(error) for word in words) or not words, str(error)
        assert take_print(detector) == before
        errors.append(error)


def check_rows(detector, X):
    """What the methods say of rows, as far as it can be told from each other."""
    with quiet():
        scores = detector.score_samples(X)
        decision, labels = detector.decision_function(X), detector.predict(X)
        shares, expected = detector.explain(X, return_expected=True)
        codes, reconstructed = detector.transform(X), detector.reconstruct(X)
    n_rows = X.shape[0]
    assert scores.dtype == np.float64 and scores.shape == (n_rows,)
    assert np.isfinite(scores).all() and (scores <= 0.0).all()
    np.testing.assert_array_equal(decision, scores - detector.offset_)
    np.testing.assert_array_equal(labels, np.where(decision < 0, -1, 1))
    assert shares.shape == expected.shape == reconstructed.shape == X.shape
    assert np.isfinite(shares).all() and (shares >= 0.0).all()
    # The sum may be the largest number that there is.
    halves = (shares / 2).sum(axis=1)
    np.testing.assert_allclose(halves, -scores / 2, rtol=1e-6, atol=1e-12)
    assert not np.isnan(codes).any()
    return scores


@st.composite
def tables_like(draw, X, of_cells=cells, max_rows=40):
    """Rows of a table, some of whose cells were changed."""
    n_rows = draw(st.integers(1, max_rows))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    rows = X[rng.integers(len(X), size=n_rows)].copy()
    for _ in range(draw(st.integers(0, 8))):
        i, j = draw(st.integers(0, n_rows - 1)), draw(st.integers(0, X.shape[1] - 1))
        rows[i, j] = draw(of_cells)
    if draw(st.booleans()):
        rows[draw(st.integers(0, n_rows - 1))] = np.nan
    return rows


COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "far": lambda rng, n: 1e9 + rng.normal(size=n),
    "whole": lambda rng, n: rng.integers(-5, 5, size=n).astype(float),
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "rare": lambda rng, n: (np.arange(n) == rng.integers(n)).astype(float),
    "heavy": lambda rng, n: np.exp(20 * rng.normal(size=n)),
    "spike": lambda rng, n: np.where(np.arange(n) == rng.integers(n), 1e20, 1.5),
    "rounded": lambda rng, n: 1e6 * (1 + rng.integers(3, size=n) * 2.0**-52),
}


@st.composite
def tables(draw, n_columns=3, max_rows=30, has_gaps=True):
    """Columns of all kinds and scales, some of them copies or multiples of others."""
    n_rows = draw(st.integers(1, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    columns = []
    for j in range(n_columns):
        kind = draw(st.sampled_from([*COLUMNS, "copy", "multiple"]))
        if kind in COLUMNS or not j:
            column = COLUMNS.get(kind, COLUMNS["normal"])(rng, n_rows)
            exponent = draw(st.one_of(st.just(0), st.integers(-300, 300)))
            with np.errstate(over="ignore"):
                column = np.clip(column * 10.0**exponent, -LARGEST, LARGEST)
        else:
            column = columns[draw(st.integers(0, j - 1))]
            with np.errstate(over="ignore"):
                column = np.clip(
                    column * (-7.0 if kind == "multiple" else 1.0), -LARGEST, LARGEST
                )
        columns.append(column)
    X = np.column_stack(columns)
    if draw(st.booleans()):
        X = X[rng.integers(n_rows, size=n_rows)]  # repeated rows
    if has_gaps and draw(st.booleans()):
        X[rng.uniform(size=X.shape) < draw(st.sampled_from([0.1, 0.9]))] = np.nan
    return X
