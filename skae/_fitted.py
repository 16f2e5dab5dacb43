"""What a fitted detector does: scores, labels, p-values, explanations and codes."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Real
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils import (
    Tags,
    assert_all_finite,
    check_array,
    check_consistent_length,
    gen_batches,
)
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from skae._calibration import (
    compute_conformal_offset,
    compute_p_values,
    count_needed_rows,
)
from skae._diagnosis import (
    Diagnosis,
    check_calibration,
    check_code,
    check_columns,
    check_copying,
    check_gap,
    check_loss,
    check_reconstruction,
    shuffle_cells,
)
from skae._forward import BLOCK_ROWS, Layer, compute_outputs, iterate_forward
from skae._scaling import (
    ScaledRows,
    Table,
    find_observed_rows,
    has_missing_cells,
    take_rows,
    unscale,
)
from skae._scoring import (
    compute_anomaly,
    compute_contributions,
    compute_expected,
    draw_statistics_rows,
    make_synthetic_anomalies,
)
from skae._state import PlainState

Input: TypeAlias = ArrayLike | spmatrix | sparray

VALIDATION: dict[str, Any] = {
    "accept_sparse": "csr",
    "dtype": [np.float64, np.float32],
    "ensure_all_finite": "allow-nan",
}
_LOWEST_SCORE = float(np.finfo(np.float64).min)


class FittedAutoencoder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, PlainState
):
    """All public methods that need a fitted detector; none of them trains."""

    # -------------------------------------------------------------- calibration

    def calibrate(self, X: Input, *, false_alarm_rate: float | None = None) -> Self:
        """Keep the scores of fresh normal rows, and move the threshold, untrained.

        Afterwards `p_values` compares rows with these. With `false_alarm_rate`,
        `offset_` is moved so that a new normal row is flagged with at most that
        probability: those with a p-value of at most `false_alarm_rate` are. That holds
        on average over the draw of the rows in X and of the new row, for any number of
        rows in X, if these and the new row are drawn alike and `fit` has not seen them.
        Given X, the rate of many new rows scatters about its mean by about
        ``sqrt(false_alarm_rate / len(X))``.

        Calibrate again, without training again, when the normal rows have changed. A
        later `fit` forgets the calibration.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Normal rows that `fit` has not seen; at least ``1 / false_alarm_rate - 1``
            of them, or 9 without a rate.

        false_alarm_rate : float, default=None
            Largest probability, in (0, 1), that a new normal row is flagged. None
            leaves `offset_` where it is.

        Returns
        -------
        self : AutoencoderOutlierDetector
            The calibrated detector. If calibration fails, it is left as it was.

        Raises
        ------
        NotFittedError
            If the detector is not fitted.
        ValueError
            If X or the rate is invalid, or X has too few rows for the rate.

        Warns
        -----
        UserWarning
            If all cells of a row are missing: it is left out.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> benign = X[y == 1]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0)
        >>> detector.fit(benign[:200]).calibrate(benign[200:], false_alarm_rate=0.05)
        AutoencoderOutlierDetector(hidden_layer_sizes=(16, 4), random_state=0)
        >>> detector.p_values(X[y == 0][:3]).round(3)
        array([0.006, 0.006, 0.006])
        """
        if false_alarm_rate is not None and not (
            isinstance(false_alarm_rate, Real) and 0 < false_alarm_rate < 1
        ):
            raise ValueError(
                "false_alarm_rate must be a float in (0, 1), or None to leave offset_ "
                f"where it is. Got {false_alarm_rate!r} instead."
            )
        X = self._validate(X)
        X = take_rows(X, find_observed(X, stacklevel=4))
        n_samples, n_needed = X.shape[0], count_needed_rows(false_alarm_rate)
        if n_samples < n_needed:
            raise ValueError(
                f"X must have at least {n_needed} rows to calibrate with "
                f"false_alarm_rate={false_alarm_rate!r}; it has {n_samples}, so that "
                f"the smallest p-value is 1/{n_samples + 1}. Pass more rows"
                + ("." if false_alarm_rate is None else " or raise false_alarm_rate.")
            )
        scores = np.sort(self._score_samples(X))
        if false_alarm_rate is not None:
            self.offset_ = compute_conformal_offset(scores, float(false_alarm_rate))
        self.calibration_scores_ = scores
        return self

    def p_values(self, X: Input) -> NDArray[np.float64]:
        """How probable a score as low as each row's is among normal rows.

        The conformal p-value [5]_ of a row is ``(1 + k) / (1 + n)``, with k the number
        of the n calibration scores that are not above its score. A new normal row has a
        p-value of at most a with probability at most a, for any a, on average over the
        draw of the calibration rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            In (0, 1]; small means anomalous.

        Raises
        ------
        NotFittedError
            If the detector is not fitted, or fitted but not calibrated.

        See Also
        --------
        scipy.stats.false_discovery_control : Choose among many rows so that few of the
            chosen are false alarms.
        """
        check_is_fitted(self)
        if self.calibration_scores_ is None:
            raise NotFittedError(
                f"This {type(self).__name__} is fitted but not calibrated, and "
                "p_values compares rows with calibration scores. Call calibrate(X) "
                "with normal rows that fit has not seen, or set calibration_fraction, "
                "for example to 0.2, before fit. (partial_fit forgets a calibration.)"
            )
        return compute_p_values(self.score_samples(X), self.calibration_scores_)

    # ------------------------------------------------------------------ scoring

    def score_samples(self, X: Input) -> NDArray[np.float64]:
        """Score of each row; larger means more normal.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            By `score_method`; never positive. A mean over the observed cells; 0 if
            there are none.

        Warns
        -----
        UserWarning
            If all cells of a row are missing.
        """
        check_is_fitted(self)
        unchecked = VALIDATION | {"ensure_all_finite": False}
        X = validate_data(self, X, reset=False, **unchecked)
        scores = self._score_samples(X)
        # An infinite cell gives the lowest score. To look for one in all of X first
        # would take a fifth of the time.
        if (scores == _LOWEST_SCORE).any():
            with np.errstate(invalid="ignore"):
                assert_all_finite(X, allow_nan=True, input_name="X")
        return scores

    def decision_function(self, X: Input) -> NDArray[np.float64]:
        """Score of each row relative to the threshold; negative means outlier.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Input) -> NDArray[np.int64]:
        """Label of each row: +1 for an inlier, -1 for an outlier.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def score(self, X: Input, y: ArrayLike | None = None) -> float:
        """Area under the ROC curve of telling inliers from outliers.

        With labels, of the rows of X. Without, of the rows of X against synthetic
        anomalies: each is a row of X with one column's value taken from another row,
        the same ones in every call. It rules out codes too narrow for the relations
        between columns; it does not rise with the width by construction, as minus the
        reconstruction error would, but it may. It says nothing about the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,), default=None
            -1 marks an outlier, every other label an inlier.

        Returns
        -------
        score : float
            1 is perfect, 0.5 is chance.

        Warns
        -----
        UndefinedMetricWarning
            If y knows only one kind, or if X is too small to make anomalies; the score
            is nan.
        """
        X = self._validate(X)
        if y is not None:
            check_consistent_length(X, y)
            is_inlier = column_or_1d(y) != -1
            if is_inlier.all() or not is_inlier.any():
                found = "inliers" if is_inlier.any() else "outliers"
                return _undefined_score(
                    "y must hold both outliers (label -1) and inliers (any other "
                    f"label, by convention 1); it holds only {found}."
                )
            return float(roc_auc_score(is_inlier, self._score_samples(X)))
        if min(X.shape) < 2:
            return _undefined_score(
                "Without y, X must have at least 2 rows and 2 columns to make "
                f"synthetic anomalies from; its shape is {X.shape}. Pass labels as y."
            )
        scores = [self._score_samples(X)]
        scores += [self._score_samples(block) for block in make_synthetic_anomalies(X)]
        is_inlier = np.repeat([True, False], X.shape[0])
        return float(roc_auc_score(is_inlier, np.concatenate(scores)))

    def _validate(self, X: Input) -> Table:
        check_is_fitted(self)
        return validate_data(self, X, reset=False, **VALIDATION)

    def _score_samples(self, X: Table) -> NDArray[np.float64]:
        """Scores of validated rows."""
        rows = ScaledRows(X, self._center, self._scale)
        scores, n_unobserved = np.empty(rows.shape[0]), 0
        with np.errstate(over="ignore", invalid="ignore"):
            for block, inputs, outputs in iterate_forward(
                rows, self._networks, self._mask_values
            ):
                scores[block] = -compute_anomaly(
                    self._score_method, inputs, outputs, self._score_statistics
                )
                if not scores[block].all():
                    is_zero = scores[block] == 0.0
                    n_unobserved += int(np.isnan(inputs[is_zero]).all(axis=1).sum())
        if n_unobserved:
            _warn_of_unobserved(n_unobserved, "scored 0, the most normal score", 4)
        # A row so far out that its error overflows is the least normal of all.
        return np.nan_to_num(
            scores, copy=False, nan=_LOWEST_SCORE, neginf=_LOWEST_SCORE
        )

    def explain(
        self, X: Input, *, return_expected: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each column adds to the anomaly of each row.

        One odd value spoils the reconstruction of other columns too, so that large
        errors alone do not tell which column is at fault. Therefore the three most
        suspicious columns of a row are hidden one after the other, as if their values
        were missing. What the squared errors, and a tenth of the squared deviations of
        the output, lose by it is the share of that column [6]_; of what is left after
        the last one, column j gets the terms that carry its index. The shares are
        scaled to the anomaly of the row. It takes six forward passes, and four more
        with `return_expected`, where scoring takes one.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        return_expected : bool, default=False
            Whether to return the expected values, too.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_features)
            Never negative; larger means more anomalous; 0 for a missing cell. The sum
            over a row is ``-score_samples(X)``, within rounding.

        expected : ndarray of shape (n_samples, n_features)
            What the network expects of each cell when it and every fourth column from
            it on are masked, in the units of X. Only with `return_expected`.

        See Also
        --------
        reconstruct : What the network makes of a row as it is.
        """
        X = self._validate(X)
        contributions = np.empty(X.shape)
        expected = np.empty(X.shape if return_expected else (0, 0))
        rows = ScaledRows(X, self._center, self._scale)
        forward = partial(compute_outputs, networks=self._networks)
        with np.errstate(over="ignore", invalid="ignore"):
            for block in gen_batches(rows.shape[0], BLOCK_ROWS):
                inputs = rows.read(block, out=np.empty_like(contributions[block]))
                contributions[block] = compute_contributions(
                    self._score_method,
                    inputs,
                    forward,
                    self._score_statistics,
                    self._mask_values,
                )
                if return_expected:
                    expected[block] = compute_expected(
                        inputs, forward, self._mask_values
                    )
        if return_expected:
            return contributions, unscale(expected, self._center, self._scale)
        return contributions

    def diagnose(self, X: Input, X_fresh: Input | None = None) -> Diagnosis:
        """What a practitioner would check, each with a figure and what to do.

        Whether the loss still falls (at a rate that ends at 0 it hardly ever does: try
        more `epochs` to be sure), how much of the rows the network gives back,
        whether it copies even rows whose cells do not belong together, how many code
        units are dead, which columns are constant, how many rows calibrate, and whether
        rows that it has not been trained on score lower than those that it has.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows given to `fit`, or some of them; 10,000 are looked at.

        X_fresh : {array-like, sparse matrix}, default=None
            Normal rows that `fit` has not seen. None takes the calibration scores, if
            there are any, and leaves the rows that have them out of X.

        Returns
        -------
        diagnosis : tuple of Finding
            To be printed. Each finding is a named tuple of `name`, `is_problem` (None
            if it could not be measured), `figure` and `advice`; those with a problem
            are listed in `diagnosis.problems`.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, _ = load_wine(return_X_y=True)
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(X[:120])
        >>> diagnosis = detector.diagnose(X[:120], X[120:])
        >>> diagnosis[-1].is_problem
        True
        """
        X = self._validate(X)
        X = take_rows(X, find_observed(X, stacklevel=4))
        names = getattr(self, "feature_names_in_", range(X.shape[1]))
        constant_columns = check_columns(X, names)
        X = X[draw_statistics_rows(X.shape[0], X.shape[1], seed=0)]
        scores, fresh_scores = self._score_samples(X), self.calibration_scores_
        if X_fresh is not None:
            X_fresh = self._validate(X_fresh)
            X_fresh = take_rows(X_fresh, find_observed(X_fresh, stacklevel=4))
            fresh_scores = self._score_samples(X_fresh)
        elif fresh_scores is not None:  # rows of X that fit held back, to the bit
            scores = scores[~np.isin(scores, fresh_scores)]
        inputs = ScaledRows(X, self._center, self._scale).read(
            slice(None), out=np.empty(X.shape)
        )
        shuffled = shuffle_cells(inputs)
        n_calibration_rows = (
            0 if self.calibration_scores_ is None else len(self.calibration_scores_)
        )
        return Diagnosis(
            [
                check_loss(self.loss_curve_),
                check_reconstruction(inputs, self._average_outputs(inputs)),
                check_copying(shuffled, self._average_outputs(shuffled)),
                check_code(inputs, self._encode(X)),
                constant_columns,
                check_calibration(n_calibration_rows),
                check_gap(scores, fresh_scores, self.offset_),
            ]
        )

    def _average_outputs(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """The average of what the networks make of scaled rows."""
        blocks = gen_batches(len(inputs), BLOCK_ROWS)
        inputs = np.where(np.isnan(inputs), self._mask_values, inputs)
        averages = [
            np.mean(compute_outputs(inputs[block], self._networks), axis=0)
            for block in blocks
        ]
        return np.concatenate(averages)

    # ------------------------------------------------- codes and reconstructions

    def transform(self, X: Input) -> NDArray[np.float64]:
        """The code of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_codes)
            As many columns as the last of `hidden_layer_sizes`, for each network.
        """
        return self._encode(self._validate(X))

    def _encode(self, X: Table) -> NDArray[np.float64]:
        """Codes of validated rows."""
        rows = ScaledRows(X, self._center, self._scale)
        codes = np.empty((rows.shape[0], self._n_features_out))
        n_encoder_layers = self._architecture.n_encoder_layers
        encoders = [layers[:n_encoder_layers] for layers in self._networks]
        for block, _, outputs in iterate_forward(rows, encoders, self._mask_values):
            codes[block] = np.concatenate(outputs, axis=1)
        return codes

    def inverse_transform(self, Z: ArrayLike) -> NDArray[np.float64]:
        """The row that each code stands for, in the units of X.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_codes)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        n_codes = self._n_features_out
        if Z.shape[1] != n_codes:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but the code of this "
                f"{type(self).__name__} has {n_codes}. Pass what transform returns."
            )
        rows = np.zeros((len(Z), self.n_features_in_))
        own_codes = np.split(Z, len(self._networks), axis=1)
        for codes, layers in zip(own_codes, self._networks, strict=True):
            unscaled = np.zeros(codes.shape[1]), np.ones(codes.shape[1])
            decoder = layers[self._architecture.n_encoder_layers :]
            rows += self._decode(ScaledRows(codes, *unscaled), [decoder], unscaled[0])
        rows /= len(self._networks)
        return rows

    def reconstruct(self, X: Input) -> NDArray[np.float64]:
        """What the network makes of each row, in the units of X.

        In a missing cell that is what the observed ones lead it to expect.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        X = self._validate(X)
        rows = ScaledRows(X, self._center, self._scale)
        return self._decode(rows, self._networks, self._mask_values)

    def _decode(
        self,
        rows: ScaledRows,
        networks: list[list[Layer]],
        mask_values: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The average of what the networks' last layers make of rows."""
        decoded = np.empty((rows.shape[0], self.n_features_in_))
        for block, _, outputs in iterate_forward(rows, networks, mask_values):
            average = np.mean(outputs, axis=0)
            decoded[block] = unscale(average, self._center, self._scale)
        return decoded

    @property
    def _n_features_out(self) -> int:
        return self._architecture.n_codes * len(self._weights)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags


def find_observed(X: Table, stacklevel: int) -> NDArray[np.intp]:
    """Indices of the rows that have an observed cell; warns of the others."""
    if not has_missing_cells(X):
        return np.arange(X.shape[0])
    observed = find_observed_rows(X)
    if not len(observed):
        raise ValueError(
            f"X contains NaN only, which marks a missing cell, in {X.shape[0]} row(s). "
            "Pass rows with at least one number."
        )
    if len(observed) < X.shape[0]:
        _warn_of_unobserved(X.shape[0] - len(observed), "left out", stacklevel)
    return observed


def _warn_of_unobserved(n_rows: int, what: str, stacklevel: int) -> None:
    warnings.warn(
        f"{n_rows} row(s) of X have no observed cell, only NaN: they are {what}.",
        UserWarning,
        stacklevel=stacklevel,
    )


def _undefined_score(reason: str) -> float:
    warnings.warn(
        f"The area under the ROC curve is undefined and set to nan: {reason}",
        UndefinedMetricWarning,
        stacklevel=3,
    )
    return float("nan")
