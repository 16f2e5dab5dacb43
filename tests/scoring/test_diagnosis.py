"""Each finding of the report: what triggers it, and what does not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skae._scoring._diagnosis import (
    Diagnosis,
    Finding,
    check_calibration,
    check_code,
    check_columns,
    check_copying,
    check_gap,
    check_loss,
    check_reconstruction,
)
from skae._tables._layout import Layout

FINDINGS = [
    "loss at the end of training",
    "variance that the network gives back",
    "variance given back of rows with shuffled cells",
    "code units that are the same for all rows",
    "columns never observed",
    "constant columns",
    "columns that vary by rounding only",
    "columns that look like identifiers",
    "columns ruled by one value",
    "calibration rows",
    "other normal rows below the 5% quantile of the training scores",
]


def find(diagnosis, start):
    return next(finding for finding in diagnosis if finding.name.startswith(start))


def test_report_of_a_good_fit_has_a_line_for_each_check_and_no_problem(
    make_detector, correlated_rows
):
    detector = make_detector(
        epochs=300, learning_rate_schedule="cosine", activation="tanh"
    )
    detector.fit(correlated_rows[:150])
    diagnosis = detector.diagnose(correlated_rows[:150], correlated_rows[150:])
    assert [finding.name for finding in diagnosis] == FINDINGS
    assert diagnosis.problems == []
    lines = str(diagnosis).splitlines()
    assert sum(line.startswith("ok") for line in lines) == 10
    assert lines[9].startswith("-    calibration rows: none")
    assert "calibration_fraction" in str(diagnosis)
    assert repr(diagnosis) == str(diagnosis)


def test_report_puts_advice_under_a_problem(make_detector, correlated_rows):
    detector = make_detector(epochs=2).fit(correlated_rows)
    diagnosis = detector.diagnose(correlated_rows)
    assert find(diagnosis, "variance that") in diagnosis.problems
    report = str(diagnosis)
    assert max(map(len, report.splitlines())) <= 88
    report = " ".join(report.split())
    assert "LOOK variance that the network gives back: " in report
    assert "Train for more epochs" in report


@pytest.mark.parametrize(
    "curve, is_problem",
    [
        (np.linspace(1.0, 0.1, 50), True),
        ([1.0, 0.9], True),
        (np.append(np.linspace(1.0, 0.1, 50), np.full(50, 0.1)), False),
        ([1.0, 1.1], False),
        ([0.0, 0.0], False),
        ([1.0], None),
    ],
)
def test_loss_that_still_falls_is_a_problem(curve, is_problem):
    assert check_loss(list(curve)).is_problem is is_problem


def test_loss_that_falls_within_its_scatter_is_no_problem():
    """Of 20 epochs the last two are low by chance, by 7 %; seed 0."""
    scatter = np.random.default_rng(0).normal(scale=0.04, size=20)
    scatter[-4:] = 0.0, 0.03, -0.07, -0.03
    assert check_loss(1.0 + scatter).is_problem is False
    assert check_loss(np.linspace(2.0, 1.0, 20) + scatter / 10).is_problem


@pytest.mark.parametrize(
    "curve, figure",
    [
        ([0.5, 0.4], "0.4, 20.0% below that of the 1 epoch before"),
        ([0.4, 0.5], "0.5, 25.0% above that of the 1 epoch before"),
        (16 * [1.0] + 2 * [0.5] + 2 * [0.4], "0.4, 20.0% below that of the 2 epochs"),
        (80 * [1.0] + 10 * [0.5] + 10 * [0.4], "0.4, 20.0% below that of the 10 epo"),
    ],
)
def test_figure_of_the_loss_compares_the_last_tenth_with_the_one_before(curve, figure):
    assert check_loss(curve).figure.startswith(figure)


def test_undertrained_network_is_found_and_a_trained_one_is_not(
    make_detector, correlated_rows
):
    short = make_detector(epochs=3).fit(correlated_rows).diagnose(correlated_rows)
    assert find(short, "variance that").is_problem
    long = make_detector(epochs=200).fit(correlated_rows).diagnose(correlated_rows)
    assert not find(long, "variance that").is_problem


def test_share_of_the_variance_counts_all_columns():
    rows = np.random.default_rng(0).normal(size=(100, 4))
    assert check_reconstruction(rows, rows.mean(axis=0) + 0 * rows).figure == "0.0%"
    assert check_reconstruction(rows, rows).figure == "100.0%"


def test_network_that_copies_is_found_and_one_that_knows_the_relations_is_not(
    make_detector, correlated_rows
):
    wide = make_detector(hidden_layer_sizes=(64, 32), epochs=300, activation="linear")
    diagnosis = wide.fit(correlated_rows).diagnose(correlated_rows)
    assert find(diagnosis, "variance given back of rows").is_problem
    narrow = make_detector(hidden_layer_sizes=(16, 2), epochs=300).fit(correlated_rows)
    assert not find(
        narrow.diagnose(correlated_rows), "variance given back of rows"
    ).is_problem


def test_copying_is_judged_by_the_rows_with_shuffled_cells():
    rows = np.random.default_rng(0).normal(size=(100, 4))
    assert check_copying(rows, 0.9 * rows, n_columns=2).is_problem
    assert not check_copying(rows, 0.5 * rows, n_columns=2).is_problem


@pytest.mark.parametrize("n_dead, is_problem", [(0, False), (2, False), (3, True)])
def test_code_that_is_mostly_dead_is_a_problem(n_dead, is_problem):
    codes = np.random.default_rng(0).normal(size=(50, 4))
    codes[:, :n_dead] = 0.7
    finding = check_code(np.eye(50), codes)
    assert finding.is_problem is is_problem
    assert finding.figure == f"{n_dead} of 4"


def test_code_of_small_numbers_is_not_dead():
    codes = np.random.default_rng(0).normal(scale=1e-9, size=(50, 4))
    assert check_code(np.eye(50), codes).figure == "0 of 4"


@pytest.mark.parametrize("center", [-1.0, 1.0])
def test_rows_that_differ_in_the_sixth_digit_are_measured(center):
    """By the variance beside the mean square."""
    signs = np.where(np.arange(100) % 2, 1.0, -1.0)[:, np.newaxis]
    for distance, is_measured in ((1.5e-6, True), (0.8e-6, False)):
        rows = center + distance * np.repeat(signs, 4, axis=1)
        finding = check_reconstruction(rows, rows)
        assert (finding.figure == "100.0%") is is_measured


def test_dead_code_of_a_detector_is_found(make_detector, correlated_rows):
    detector = make_detector(
        hidden_layer_sizes=(8, 4), activation="relu", learning_rate=3.0, epochs=3
    ).fit(correlated_rows)
    finding = find(detector.diagnose(correlated_rows), "code units")
    n_dead = np.sum(np.ptp(detector.transform(correlated_rows), axis=0) == 0)
    assert n_dead > 2
    assert finding.is_problem
    assert finding.figure == f"{n_dead} of 4"


def test_constant_columns_are_named(make_detector, correlated_rows):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    fine = make_detector(epochs=1).fit(frame).diagnose(frame)
    assert find(fine, "constant").is_problem is False
    frame["d"] = 3.0
    finding = find(make_detector(epochs=1).fit(frame).diagnose(frame), "constant")
    assert finding.is_problem
    assert finding.figure == "1 of 5 (d)"


def test_numbers_that_count_the_rows_or_grow_look_like_identifiers():
    rng = np.random.default_rng(0)
    n_rows = 300
    table = {
        "order": np.arange(n_rows) + 5_000.0,
        "shuffled": rng.permutation(np.arange(0, 2 * n_rows, 2)) + 10.0,
        "time": 1.7e9 + np.cumsum(rng.uniform(1, 100, n_rows)),
        "countdown": -np.cumsum(rng.uniform(0.1, 1, n_rows)),
        "gappy": np.where(rng.uniform(size=n_rows) < 0.1, np.nan, np.arange(n_rows)),
        "measured": rng.normal(size=n_rows),
        "whole": rng.integers(2 * n_rows, size=n_rows),
        "sparse": rng.permutation(1000)[:n_rows],
        "sorted": np.sort(rng.integers(50, size=n_rows)),
        "missing": np.full(n_rows, np.nan),
        "constant": np.ones(n_rows),
    }
    X, names = np.column_stack([*table.values()]), [*table]
    layout = Layout.of_numbers(len(names))
    finding = find(check_columns(X, names, layout), "columns that look like")
    assert finding.figure == "5 of 11 (order, shuffled, time, countdown, gappy)"
    few = check_columns(X[:19], names, layout)
    assert find(few, "columns that look like").figure == "0 of 11"


@pytest.mark.parametrize("n_columns, more", [(5, ""), (6, ", ..."), (8, ", ...")])
def test_many_constant_columns_are_not_all_named(n_columns, more):
    X, layout = np.ones((3, n_columns)), Layout.of_numbers(n_columns)
    finding = find(check_columns(X, range(n_columns), layout), "constant columns")
    assert finding.figure == f"{n_columns} of {n_columns} (0, 1, 2, 3, 4{more})"


def test_columns_that_go_wrong_are_named_with_the_value():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 5))
    X[3, 1] = -9999.0
    X[:, 2] = np.float32(14.62) + np.spacing(np.float32(14.62)) * (X[:, 2] > 0)
    X[:, 3] = np.nan
    X[:, 4] = 7.0
    names = ["good", "flow", "level", "spare", "mode"]
    figures = [
        finding.figure
        for finding in check_columns(X, names, Layout.of_numbers(len(names)))
    ]
    assert figures == [
        "1 of 5 (spare)",
        "1 of 5 (mode)",
        "1 of 5 (level)",
        "0 of 5",
        "1 of 5 (flow: -9999)",
    ]
    sound = check_columns(X[:, :1], ["good"], Layout.of_numbers(1))
    assert [finding.is_problem for finding in sound] == [False] * 5


@pytest.mark.parametrize("n_scores, is_problem", [(0, None), (98, True), (99, False)])
def test_too_few_calibration_rows_are_a_problem(n_scores, is_problem):
    assert check_calibration(n_scores).is_problem is is_problem


def test_calibration_rows_of_a_detector_are_counted(make_detector, correlated_rows):
    detector = make_detector(epochs=1, calibration_fraction=0.2).fit(correlated_rows)
    finding = find(detector.diagnose(correlated_rows), "calibration rows")
    assert finding.figure == "40, smallest p-value 0.024"
    assert finding.is_problem


@pytest.mark.parametrize("shift, is_problem", [(0.0, False), (-2.0, True)])
def test_fresh_scores_below_those_of_training_are_a_problem(shift, is_problem):
    rng = np.random.default_rng(0)
    training, fresh = rng.normal(size=1000), rng.normal(size=100) + shift
    assert check_gap(training, fresh, -9.0).is_problem is is_problem


@pytest.mark.parametrize("n_low, is_problem", [(80, False), (130, True)])
def test_up_to_twice_the_share_of_low_scores_is_no_problem(n_low, is_problem):
    """Of 1,000 fresh rows, beside 5 % of those of training."""
    training = np.linspace(-1.0, 0.0, 100)
    fresh = np.repeat([-2.0, -0.5], [n_low, 1000 - n_low])
    finding = check_gap(training, fresh, -1.5)
    assert finding.is_problem is is_problem
    assert (
        finding.figure == f"{n_low / 1000:.1%} of 1000; flagged are {n_low / 1000:.1%}"
    )


def test_share_of_fresh_rows_that_are_flagged_is_told(make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows[:100])
    fresh = correlated_rows[100:]
    detector.calibrate(fresh, false_alarm_rate=0.2)
    share = np.mean(detector.predict(fresh) == -1)
    finding = find(detector.diagnose(correlated_rows[:100], fresh), "other")
    assert finding.figure.endswith(f"of 100; flagged are {share:.1%}")


def test_rows_in_other_units_are_not_called_badly_learnt(fitted, correlated_rows):
    finding = find(fitted.diagnose(1e3 * correlated_rows), "variance that")
    assert finding.is_problem
    assert "X is not like the rows that fit was given" in finding.advice


def test_errors_of_fresh_rows_say_which_rows_they_are(fitted, correlated_rows):
    for X_fresh in (np.ones(len(correlated_rows)), correlated_rows[:, :2], [["a"]]):
        with pytest.raises((TypeError, ValueError)) as caught:
            fitted.diagnose(correlated_rows, X_fresh)
        assert "X_fresh" in caught.value.__notes__[0]


def test_few_low_scores_may_be_chance():
    training = np.linspace(-1.0, 0.0, 100)
    assert not check_gap(training, np.array([-2.0, -0.5, -0.5, -0.5]), -1.5).is_problem


def test_overtrained_detector_is_found_by_fresh_rows_or_by_calibration_scores(
    make_detector,
):
    rng = np.random.default_rng(0)
    X, fresh = rng.normal(size=(40, 20)), rng.normal(size=(100, 20))
    detector = make_detector(hidden_layer_sizes=(64, 32), epochs=500).fit(X)
    assert find(detector.diagnose(X), "other").is_problem is None
    assert find(detector.diagnose(X, fresh), "other").is_problem
    assert find(detector.calibrate(fresh).diagnose(X), "other").is_problem


def test_overtrained_detector_is_found_by_rows_that_its_fit_held_back(make_detector):
    """Half of the rows of X are those that the scores are compared with."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 30))
    X += 0.5 * rng.normal(size=X.shape)
    detector = make_detector(
        hidden_layer_sizes=(256, 32), epochs=100, calibration_fraction=0.5
    ).fit(X)
    finding = find(detector.diagnose(X), "other")
    assert finding.is_problem
    assert "% of 200; flagged are " in finding.figure
    held_back = X[np.isin(detector.score_samples(X), detector.calibration_scores_)]
    assert find(detector.diagnose(held_back), "other").is_problem is None


@pytest.mark.parametrize("n_rows", [1, 5])
def test_rows_without_variance_show_little(n_rows, make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows)
    diagnosis = detector.diagnose(np.repeat(correlated_rows[:1], n_rows, axis=0))
    unmeasured = [finding.name for finding in diagnosis if finding.is_problem is None]
    assert set(FINDINGS[1:4]) <= set(unmeasured)
    assert (FINDINGS[5] in unmeasured) == (n_rows == 1)


def test_single_column_has_no_cells_to_shuffle(make_detector, correlated_rows):
    detector = make_detector(hidden_layer_sizes=2).fit(correlated_rows[:, :1])
    finding = find(detector.diagnose(correlated_rows[:, :1]), FINDINGS[2])
    assert finding.is_problem is None
    assert "single column" in finding.advice


def test_fresh_rows_that_cannot_show_a_gap_are_not_called_fine(
    make_detector, correlated_rows
):
    detector = make_detector().fit(correlated_rows)
    single = detector.diagnose(correlated_rows, correlated_rows[:1])
    assert find(single, "other").is_problem is None
    with pytest.raises(ValueError, match="NaN only"):
        detector.diagnose(correlated_rows, np.full((5, 5), np.nan))
    with pytest.warns(UserWarning, match="1 row.*left out"):
        detector.diagnose(correlated_rows, np.insert(correlated_rows, 0, np.nan, 0))


def test_report_is_the_same_again_and_leaves_the_detector_alone(
    fitted, correlated_rows
):
    before = fitted.__getstate__()
    assert fitted.diagnose(correlated_rows) == fitted.diagnose(correlated_rows)
    assert fitted.__getstate__().keys() == before.keys()


def test_diagnose_before_fit_and_on_other_columns_is_an_error(
    make_detector, fitted, correlated_rows
):
    with pytest.raises(NotFittedError):
        make_detector().diagnose(correlated_rows)
    with pytest.raises(ValueError, match="X has 4 features"):
        fitted.diagnose(correlated_rows[:, :4])
    with pytest.raises(ValueError, match="X has 4 features"):
        fitted.diagnose(correlated_rows, correlated_rows[:, :4])


@pytest.mark.parametrize("size", [1e200, 1e308])
def test_rows_far_out_draw_no_warning(size, fitted, correlated_rows):
    rows = np.r_[correlated_rows, size * np.sign(correlated_rows[:5])]
    assert "columns" in str(fitted.diagnose(rows))


@pytest.mark.parametrize(
    "curve, figure",
    [
        ([1.0, 0.5], "0.5, 50.0% below that of the 1 epoch before"),
        ([1.0, 1.0], "1, 0.0% below that of the 1 epoch before"),
        ([1.0, 1.25], "1.25, 25.0% above that of the 1 epoch before"),
        ([9.0] * 17 + [4.0, 3.0], "3, 25.0% below that of the 1 epoch before"),
        (
            [9.0] * 16 + [5.0, 3.0, 2.0, 1.0],
            "1.5, 62.5% below that of the 2 epochs before",
        ),
    ],
)
def test_loss_is_compared_over_the_last_tenth_of_the_epochs(curve, figure):
    assert check_loss(curve).figure == figure


def test_code_of_small_units_is_not_dead():
    codes = 1e-8 * np.random.default_rng(0).normal(size=(50, 4))
    assert check_code(np.eye(50), codes).figure == "0 of 4"


def test_as_many_columns_as_are_named_are_all():
    X = np.ones((3, 5))
    finding = find(check_columns(X, range(5), Layout.of_numbers(5)), "constant")
    assert finding.figure == "5 of 5 (0, 1, 2, 3, 4)"


@pytest.mark.parametrize("share, is_problem", [(0.09, False), (0.13, True)])
def test_a_tenth_below_the_lowest_twentieth_is_no_gap(share, is_problem):
    """As training and other rows are draws; 13 % are more than chance has it."""
    training = np.linspace(-1.0, 0.0, 1000)
    fresh = np.where(np.arange(1000) < 1000 * share, -0.99, -0.5)
    assert check_gap(training, fresh, -2.0).is_problem is is_problem


@pytest.mark.parametrize("first, length", [("a", 80), ("ab", 79)])
def test_advice_is_indented_and_at_most_80_columns_wide(first, length):
    finding = Finding("check", True, "1", first + 50 * " a")
    _, *lines = str(Diagnosis([finding])).splitlines()
    assert all(line.startswith(" " * 7) for line in lines)
    assert len(lines[0]) == length
