"""Scores and explanations as the Notes of the detector define them, by other means.

What the networks say is drawn at random: no training is needed for a formula.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from skae._scoring import _neighbors as neighbors
from skae._scoring import _scores as scores
from skae._scoring._surprise import compute_mismatches, compute_misses
from skae._tables._layout import Layout
from skae._tables._reading import WeightedTable
from skae._tables._scaling import ScaledRows, scale_rows

N_ROWS = 60


def draw_table(n_numbers, sizes, has_gaps, n_rows, seed=0):
    """Rows to learn from; others, of all kinds that are treated in their own way."""
    rng = np.random.RandomState(seed)
    spreads = np.resize([0.3, 2.0, 1.0, 5.0], n_numbers)
    X = 3.0 + spreads * rng.normal(size=(n_rows, n_numbers))
    X[::7, :1] = 0.0
    codes = [rng.binomial(size - 1, 0.3, size=n_rows) for size in sizes]
    X = np.column_stack([X, *codes]).astype(float)
    if has_gaps:
        X[rng.uniform(size=X.shape) < 0.1] = np.nan
        X[:, 1] = np.nan  # never observed
    others = X[np.arange(5, 15) % n_rows]
    others[0, 0] = np.nan  # else a copy
    others[1, :n_numbers] += 1e-5 * spreads  # no copy, but next to one
    others[2, :n_numbers] += 1e-5 * spreads
    others[2, 2] = np.nan
    others[3, 0] = 100.0
    others[4, 2:4] = -100.0
    others[5:, :n_numbers] += 0.3 * spreads
    others[5, 1] = 1.0
    if sizes:
        others[6, n_numbers] = np.nan
        others[7, n_numbers:] = np.array(sizes) - 1.0
    return np.concatenate([X, others])


def make_case(n_numbers, sizes, scaling, has_gaps, n_rows=N_ROWS, weights=None):
    """A table, its scaling, and outputs of a network."""
    table = draw_table(n_numbers, sizes, has_gaps, n_rows)
    n_columns = table.shape[1]
    layout = Layout(n_columns, np.arange(n_numbers, n_columns), np.array(sizes, int))
    learnt = np.ones(n_rows) if weights is None else weights
    rows = scale_rows(WeightedTable(table[:n_rows], learnt, layout=layout), scaling)
    units = ScaledRows(table, rows.scaling).read_all()
    rng = np.random.RandomState(1)
    outputs = 0.3 * rng.normal(size=units.shape)
    outputs[:, :n_numbers] += 0.5 * np.nan_to_num(units[:, :n_numbers])
    outputs[n_rows : n_rows + 3] = outputs[5:8]
    return SimpleNamespace(
        table=table,
        units=units,
        outputs=outputs,
        scaling=rows.scaling,
        method=scaling,
        weights=learnt,
        n_numbers=n_numbers,
        sizes=sizes,
        n_rows=n_rows,
    )


def see_by_hand(case):
    """What is compared: cells, misses and categories, and their constants."""
    p, n = case.n_numbers, case.n_rows
    z, net, weights = case.table[:, :p], case.outputs[:, :p], case.weights
    is_empty = np.isnan(z[:n]).all(axis=0)
    observed = np.where(np.isnan(z[:n]), 0.0, weights[:, np.newaxis])
    totals = observed.sum(axis=0) + is_empty
    means = np.nansum(observed * z[:n], axis=0) / totals
    variances = np.nansum(observed * (z[:n] - means) ** 2, axis=0) / totals
    if case.method == "standard":
        z = (z - means) / np.where(is_empty, 1.0, np.sqrt(variances))
        means, variances = 0.0 * means, 1.0 * ~is_empty
    t = np.sqrt(variances[~is_empty].mean()) if p else 1.0
    misses, categories = [z - net], []
    start = p
    for j, size in enumerate(case.sizes):
        codes, logits = case.table[:, p + j], case.outputs[:, start : start + size]
        start += size
        is_missing = np.isnan(codes)
        units = (codes[:, np.newaxis] == np.arange(size)).astype(float)
        # One row more has a category of its own.
        counts = weights @ units[:n] + (np.arange(size) == size - 1)
        f = counts / counts.sum()
        is_new = ~is_missing & (f[np.nan_to_num(codes).astype(int)] == 0)
        units[is_new] = np.eye(size)[-1]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected = 0.999 * (probabilities * units).sum(1) + 0.001 * units @ f
        entropy = max(0.01, -sum(x * np.log(x) for x in f if x > 0))
        expected[is_missing] = np.nan
        misses.append(-np.log(expected)[:, np.newaxis] / entropy * t)
        mismatch = min(20.0, np.sqrt(2 / (1 - f @ f))) if size > 1 else 0.0
        categories.append((units, probabilities, f, mismatch))
    return z, np.hstack(misses), categories, means, t


def compute_scales(case, misses, t):
    """s_j of the Notes."""
    n = case.n_rows
    is_missing = np.isnan(case.table[:n])
    observed = np.where(is_missing, 0.0, case.weights[:, np.newaxis])
    totals = observed.sum(axis=0)
    squares = np.nansum(observed * misses[:n] ** 2, axis=0)
    squares /= np.where(totals > 0, totals, 1)
    squares[totals == 0] = squares[totals > 0].mean()
    e = np.sqrt(squares)
    return e + 0.1 * e.mean() + (0.1 + 40 / n) * t


def compare_by_hand(case, kept=None):
    """The references, and by how much rows differ from them, column by column."""
    p, n = case.n_numbers, case.n_rows
    is_missing = np.isnan(case.table)
    z, misses, categories, m, t = see_by_hand(case)
    s = compute_scales(case, misses, t)
    v1, v2 = np.clip((z - m) / t, -20, 20), np.clip(misses / s, -20, 20)
    if kept is None:
        suspicion = np.nansum(np.abs(v1), axis=1) + np.nansum(np.abs(v2), axis=1)
        for units, _, f, mismatch in categories:
            suspicion += units @ (mismatch * (1 - f))
        suspicion /= (~is_missing).sum(axis=1)
        kept = np.sort(np.argsort(suspicion[:n])[: round(0.9 * n)])
    # A gap of a reference stands where the network puts it, and nothing is missed.
    told = np.clip((case.outputs[:, :p] - m) / t, -20, 20)
    q1, q2 = np.where(np.isnan(v1), told, v1), np.nan_to_num(v2)
    cells = [np.abs(v1[:, np.newaxis] - q1[kept])]
    for j, (units, probabilities, _, mismatch) in enumerate(categories):
        known = np.where(is_missing[:, [p + j]], probabilities, units)[kept]
        different = mismatch * (1 - units @ known.T)
        if is_wide(case):  # so that its square is what it adds
            different = np.sqrt(mismatch * different)
        cells.append(different[:, :, np.newaxis])
    cells = np.concatenate(cells, axis=2)
    residuals = np.abs(v2[:, np.newaxis] - q2[kept])
    is_gap = is_missing[:, np.newaxis].repeat(len(kept), axis=1)
    cells[is_gap] = residuals[is_gap] = 0.0
    return kept, cells, residuals, misses


def is_wide(case):
    return case.table.shape[1] > 128


def compute_by_hand(case, kept=None):
    """References, distances to them, anomalies, and what each column adds to both."""
    kept, cells, residuals, misses = compare_by_hand(case, kept)
    n_observed = np.maximum((~np.isnan(case.table)).sum(axis=1), 1)
    if is_wide(case):
        added, divisors = cells**2 + residuals**2, np.sqrt(n_observed)
        distances = np.sqrt(added.sum(axis=2))
        n_neighbors = min(12, min(256, 250_000 // cells.shape[2]) // 25)
    else:
        added, divisors = cells + residuals, n_observed
        distances, n_neighbors = added.sum(axis=2), 12
    for row in range(case.n_rows):
        distances[row, np.flatnonzero(kept == row)[:1]] = np.inf
    anomalies, terms, squares = [], [], []
    for row, own in enumerate(distances):
        nearest = np.argsort(own)[:n_neighbors]
        nearest = nearest[own[nearest] < np.inf]
        own, parts = own[nearest, np.newaxis], added[row, nearest]
        if is_wide(case):
            parts = parts / np.where(own > 0, own, 1)
        anomalies.append(own.mean() / divisors[row])
        terms.append(parts.mean(axis=0) / divisors[row])
        parts = 0.3 * cells[row, nearest] ** 2 + residuals[row, nearest] ** 2
        squares.append(parts.sum(axis=0))
    return SimpleNamespace(
        kept=kept,
        distances=distances,
        anomalies=anomalies,
        terms=terms,
        squares=squares,
        misses=misses,
    )


CASES = {
    "standard": (6, (), "standard", False),
    "unscaled": (6, (), None, False),
    "gaps": (6, (), "standard", True),
    "categories": (4, (3, 2, 1, 4), "standard", False),
    "unscaled categories": (4, (3, 2, 1, 4), None, False),
    "gaps in categories": (4, (3, 2, 1, 4), "standard", True),
    "few rows": (6, (), "standard", False, 10),
    "many rows": (3, (), "standard", False, 500),
    "128 columns": (128, (), "standard", False),
    "129 columns": (129, (), "standard", False),
    "wide categories": (130, (3, 2, 1, 4), None, True),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return make_case(*CASES[request.param])


@pytest.fixture(scope="module")
def by_hand(case):
    return compute_by_hand(case)


def learn_references(case):
    n, hood = case.n_rows, choose(case, case.weights)
    rows = case.scaling.expand(hood.references)
    own = [find_row(case.units[:n], row) for row in rows]
    references = neighbors.make_references(hood, rows, case.outputs[own], case.scaling)
    return np.array(own), references


def find_row(rows, row):
    is_equal = np.isclose(rows, row, rtol=1e-12, atol=0.0, equal_nan=True).all(axis=1)
    return np.flatnonzero(is_equal)[0]


def choose(case, weights):
    n = case.n_rows
    return neighbors.choose_neighborhood(
        case.units[:n],
        case.outputs[:n],
        case.scaling,
        weights,
        np.random.RandomState(0),
        case.units[:n],
    )


def test_neighbors_are_found_and_explained_as_the_notes_say(case, by_hand):
    kept, references = learn_references(case)
    np.testing.assert_array_equal(kept, by_hand.kept)
    arguments = case.units, case.outputs, references
    view = neighbors.compute_view(
        case.units, case.outputs, references.hood, case.scaling
    )
    distances = neighbors.measure_distances(case.units, view, references)
    np.testing.assert_allclose(distances, by_hand.distances, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(
        neighbors.compute_anomalies(*arguments), by_hand.anomalies, rtol=1e-9
    )
    np.testing.assert_allclose(
        neighbors.compute_terms(*arguments), by_hand.terms, rtol=1e-7, atol=1e-12
    )
    copies = neighbors.find_copies(*arguments)
    np.testing.assert_allclose(
        neighbors.compute_squares(*arguments, copies),
        by_hand.squares,
        rtol=1e-7,
        atol=1e-12,
    )


def test_reconstruction_errors_are_those_of_the_notes(case, by_hand):
    """Of two networks, the second of which says half of what the first does."""
    both = np.stack([case.outputs, 0.5 * case.outputs])
    half = SimpleNamespace(**vars(case) | {"outputs": both[1]})
    misses = np.abs([by_hand.misses, see_by_hand(half)[1]])
    if case.method is None:  # there they are in units of the spread of numbers
        misses[:, :, case.n_numbers :] /= see_by_hand(case)[4]
    n_observed = (~np.isnan(case.table)).sum(axis=1)
    errors = np.nan_to_num(misses)
    np.testing.assert_allclose(
        scores.compute_error_squares(case.units, both, case.scaling),
        (errors**2).sum(axis=0),
        rtol=1e-9,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        scores.compute_error_terms(case.units, both, case.scaling),
        errors.mean(axis=0) / n_observed[:, np.newaxis],
        rtol=1e-9,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        scores.compute_reconstruction_errors(case.units, both, case.scaling),
        errors.mean(axis=0).sum(axis=1) / n_observed,
        rtol=1e-9,
        atol=1e-12,
    )


def test_surprises_and_mismatches_are_those_of_the_notes():
    case = make_case(4, (3, 2, 1, 4), None, False)
    _, misses, categories, _, t = see_by_hand(case)
    found = compute_misses(case.units, case.outputs, case.scaling, t)
    np.testing.assert_allclose(found, misses, rtol=1e-9, atol=1e-12)
    mismatches = [mismatch for *_, mismatch in categories]
    np.testing.assert_allclose(compute_mismatches(case.scaling), mismatches)


@pytest.mark.parametrize(
    "weight, unit, is_reference",
    [(11, 1.0, False), (12, 1.0, True), (12, 1e-4, False), (13, 1e-4, True)],
)
def test_suspicious_row_is_a_reference_if_twelve_are_equal(weight, unit, is_reference):
    """Of 240 at most; weights that add up to less than the rows are shares of them."""
    case = make_case(6, (), "standard", False, 200)
    case.units[5] *= 5.0
    weights = np.ones(200)
    weights[5] = weight
    references = choose(case, unit * weights).references
    n_drawn = (references == case.units[5]).all(axis=1).sum()
    assert n_drawn > 10 if is_reference else n_drawn == 0


def test_suspicious_row_is_a_reference_if_a_twentieth_is_equal():
    case = make_case(6, (), "standard", False)
    case.units[5] *= 5.0
    weights = np.full(N_ROWS, 10.0)
    for weight, is_reference in (31.0, False), (32.0, True):  # of 621, 622
        weights[5] = weight
        references = choose(case, weights).references
        assert (references == case.units[5]).all(axis=1).any() == is_reference


@pytest.mark.parametrize("n_numbers", [6, 130])
@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_neighbors_by_weight_are_as_many_equal_rows(n_numbers, unit):
    """A row that is several references skips one of them."""
    weights = np.ones(N_ROWS)
    weights[5] = 41.0
    case = make_case(n_numbers, (), "standard", True, weights=weights)
    kept = np.sort(np.r_[compute_by_hand(case).kept, [5] * 40])
    rows = case.units[kept]
    hood = choose(case, unit * weights)._replace(references=rows)
    outputs = case.outputs[kept]
    references = neighbors.make_references(hood, rows, outputs, case.scaling)
    arguments = case.units, case.outputs, references
    expected = compute_by_hand(case, kept)
    np.testing.assert_allclose(
        neighbors.compute_anomalies(*arguments), expected.anomalies, rtol=1e-9
    )
    np.testing.assert_allclose(
        neighbors.compute_terms(*arguments), expected.terms, rtol=1e-7, atol=1e-12
    )


def score_anew(X, scaling, copy=None):
    """Anomalies of rows, or of copies of them, by a network that halves them."""
    rows = scale_rows(WeightedTable(X, np.ones(len(X))), scaling)
    units = rows.read_all()
    arguments = rows.scaling, None, np.random.RandomState(0), units
    hood = neighbors.choose_neighborhood(units, 0.5 * units, *arguments)
    references = neighbors.make_references(
        hood, hood.references, 0.5 * hood.references, rows.scaling
    )
    if copy is not None:
        units = ScaledRows(copy, rows.scaling).read_all()
    return neighbors.compute_anomalies(units, 0.5 * units, references)


def test_whole_numbers_close_to_each_other_are_no_copies_however_far_from_zero():
    """Nor are multiples of another power of two."""
    X = np.random.RandomState(0).randint(20_000, size=(200, 2)) * [1.0, 0.125]
    expected = score_anew(X, "standard", X + 0.125)
    for offset in (2.0**30, 2.0**43):
        found = score_anew(X + offset, "standard", X + 0.125 + offset)
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("factor, is_copy", [(0.8, True), (1.2, False)])
def test_whole_numbers_are_copies_up_to_a_millionth_of_scale_and_distance(
    factor, is_copy
):
    X = np.random.RandomState(0).randint(10**9, size=(60, 1)).astype(float)
    reach = X.std() + np.abs(X - X.mean())
    found = score_anew(X, "standard", np.rint(X + factor * 1e-6 * reach))
    is_same = np.isclose(found, score_anew(X, "standard"), rtol=1e-4)
    # A tenth are no references, and are judged by the same ones in either case.
    assert is_same.all() if is_copy else is_same.sum() <= 6


def test_distance_of_wide_rows_far_out_is_exact_where_they_are_next_to_each_other():
    case = make_case(130, (), "standard", False)
    hood = choose(case, case.weights)
    far = 15.0 * np.sign(case.units[:1])
    near = far * (1.0 + 1e-5)
    references = neighbors.make_references(hood, far, 0.5 * far, case.scaling)
    views = [
        neighbors.compute_view(rows, 0.5 * rows, hood, case.scaling)
        for rows in (far, near)
    ]
    expected = np.linalg.norm(np.hstack(views[0][:2]) - np.hstack(views[1][:2]))
    found = neighbors.measure_distances(near, views[1], references)
    np.testing.assert_allclose(found, [[expected]], rtol=1e-9)


@pytest.mark.parametrize("spread", [0.03, 1.0, 30.0])
def test_copy_in_float32_is_the_same_row_whatever_the_spread(spread):
    X = 1e3 + spread * np.random.RandomState(0).normal(size=(60, 3))
    copy = X.astype(np.float32).astype(float)
    np.testing.assert_allclose(
        score_anew(X, None, copy), score_anew(X, None), rtol=0.02
    )
