"""The detector: its parameters, and the story of fitting and scoring."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import (
    ConvergenceWarning,
    NotFittedError,
    UndefinedMetricWarning,
)
from sklearn.metrics import roc_auc_score
from sklearn.utils import (
    Tags,
    assert_all_finite,
    check_array,
    check_consistent_length,
    check_random_state,
    gen_batches,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import (
    check_is_fitted,
    check_memory,
    column_or_1d,
    validate_data,
)

from skae._calibration import (
    compute_conformal_offset,
    compute_offset,
    compute_p_values,
    count_needed_rows,
    hold_back_calibration_rows,
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
from skae._forward import (
    ACTIVATIONS,
    BLOCK_ROWS,
    OUTPUT_RANGES,
    Layer,
    compute_outputs,
    iterate_forward,
    make_layers,
)
from skae._network import (
    Architecture,
    SerializedOptimizer,
    build_models_in_user_units,
    build_training_model,
    deserialize_optimizer,
    draw_initial_weights,
    make_keras_activation,
    plan_architecture,
    serialize_optimizer,
)
from skae._scaling import (
    ScaledRows,
    Table,
    find_observed_rows,
    fit_scaling,
    has_missing_cells,
    unscale,
)
from skae._scoring import (
    ScoreStatistics,
    compute_anomaly,
    compute_contributions,
    compute_expected,
    compute_score_statistics,
    draw_statistics_rows,
    make_synthetic_anomalies,
)
from skae._training import EarlyStopping, Training, hold_back_rows, train
from skae._version import __version__

if TYPE_CHECKING:
    import keras
    from joblib import Memory

Input: TypeAlias = ArrayLike | spmatrix | sparray

# The defaults of the widths, the rate and its schedule, the updates, the batches, the
# masking and the score were chosen together by benchmarks/detection.py, one for all
# tables; docs/detection.md tells what else was tried. One network: three gain .003 and
# cost three times as much. Columns are standardised, for raw ones come in unlike units.
AUTO_UPDATES = 1000
STATE_FORMAT = 1
_VALIDATION: dict[str, Any] = {
    "accept_sparse": "csr",
    "dtype": [np.float64, np.float32],
    "ensure_all_finite": "allow-nan",
}
_LOWEST_SCORE = float(np.finfo(np.float64).min)
_DERIVED = ("_networks", "_models")  # from the weights, when first needed
_RECORDS: dict[str, Any] = {  # plain dicts in the state
    "_architecture": Architecture,
    "_score_statistics": ScoreStatistics,
}


class _Seeds(NamedTuple):
    """Seeds of held-out rows, of each network twice, of two samples of the rows."""

    split: int
    weights: list[int]
    shuffling: list[int]
    sample: int
    calibration: int


class AutoencoderOutlierDetector(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, BaseEstimator
):
    """Outlier detection with an autoencoder.

    An encoder maps each row to a code, a decoder maps the code back; both are trained
    to reproduce rows that are mostly normal, from what is left of them after some cells
    were masked. A row that comes back badly, or comes back as something unusual, is an
    outlier. Use it where normal rows follow relations between their columns (correlated
    measurements, images) that a new kind of row would break.

    Read more in the :doc:`user guide </user_guide>`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(256, 32)
        Widths of the encoder's layers; the last one is the code, and the decoder
        mirrors the others. ``(128, 64, 32)`` builds d-128-64-32-64-128-d for d
        columns.

    activation : str or callable, default="relu"
        Activation of every layer but the last: the name of a Keras activation, or a
        function of one tensor. "elu", "exponential", "gelu", "hard_sigmoid",
        "leaky_relu", "linear", "mish", "relu", "relu6", "selu", "sigmoid", "silu" (or
        "swish"), "softplus", "softsign" and "tanh" are scored in NumPy; with any other,
        scoring needs Keras.

    output_activation : str or callable, default="linear"
        Activation of the last layer. A bounded one, such as "sigmoid", asks for a
        `scaling` that keeps the columns within its bounds.

    loss : str or callable, default="mean_squared_error"
        Loss that the training minimises: the name of a Keras loss, a
        `keras.losses.Loss`, or a function of rows and outputs. Its mean over the rows
        of a batch is taken, whatever the `reduction` of a `Loss`.

    optimizer : str or keras.optimizers.Optimizer, default="adam"
        Name of a Keras optimizer, or an instance that serves as a prototype: it keeps
        its own learning rate, so that `learning_rate` and `learning_rate_schedule` are
        not used, and is itself never trained with.

    learning_rate : float, default=0.002
        Step size of the optimizer.

    learning_rate_schedule : {"constant", "cosine"}, default="cosine"
        What becomes of the learning rate during training: it stays, or falls to zero
        along half a cosine.

    epochs : int or "auto", default="auto"
        Number of passes over the training rows. "auto" is as many as give about 1,000
        updates, at least one.

    batch_size : int, default=128
        Rows per update; at most all training rows.

    early_stopping : bool, default=False
        Whether to hold rows back and stop when their loss no longer falls; the weights
        of the last epoch in which it fell by more than `tol` are kept. Without it,
        exactly `epochs` passes are made.

    validation_fraction : float, default=0.1
        Fraction of the rows that early stopping holds back, in (0, 1).

    n_iter_no_change : int, default=10
        Number of epochs without improvement after which early stopping ends training.

    tol : float, default=1e-4
        By how much the held-out loss must fall to count as an improvement.

    masking : float, default=1.0
        Largest share of its cells that a row loses during training, in [0, 1]: each row
        of a batch draws its own share from U(0, `masking`), and the cells it loses are
        set to the mean of their column, while the network must give back the whole row
        [3]_. It then cannot simply copy, and learns how the columns depend on each
        other. 0 trains a plain autoencoder.

    scaling : {"standard", "minmax", "robust"} or None, default="standard"
        How columns are scaled before they enter the network: to mean 0 and standard
        deviation 1; to [0, 1]; to median 0 and interquartile range 1 (standard
        deviation 1 where at least half of a column is one value); or not at all.

    n_estimators : int, default=1
        Number of networks, trained from different initial weights, whose scores are
        averaged. `transform` concatenates their codes, `reconstruct` and
        `inverse_transform` average their outputs.

    score_method : {"combined", "reconstruction"}, default="combined"
        What makes a row anomalous: how badly it is reconstructed, and how unusual its
        reconstruction is; or the mean absolute reconstruction error alone. See Notes.

    contamination : float or "auto", default="auto"
        Where the threshold lies. A float in (0, 0.5] is the share of the rows given to
        `fit` that is flagged. "auto" flags the rows whose anomaly, minus the score,
        exceeds the median of the training rows by a larger factor than the median
        exceeds the 0.5 % quantile, and at least about 1 % of the training rows: the
        lower tail, which outliers hardly reach, tells how far the upper one of normal
        rows goes [2]_.
        See `calibration_fraction` for what changes with it.

    calibration_fraction : float, default=0.0
        Fraction of the rows given to `fit` that is held back from the scaling and the
        training, in [0, 1). Their scores are kept, so that `p_values` works straight
        after `fit`, and they alone set the threshold: a float `contamination` is then
        the largest probability with which a new normal row is flagged, as in
        `calibrate`, and "auto" is applied to the held-back scores.

    memory : str or joblib.Memory, default=None
        Where trained weights are cached, so that the points of a grid that differ only
        in parameters that training does not depend on, such as `contamination`, train
        once. Used only if `random_state` is an integer and without callbacks. The
        folder is trusted like a pickle.

    verbose : int, default=0
        0 prints nothing; 1 shows a progress bar with the loss.

    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the held-out rows and the order of the batches.
        With an integer the scores are the same to the bit in every fit on one machine
        with the same numbers of threads; with None, seeds are drawn from NumPy's global
        generator.

    Attributes
    ----------
    offset_ : float
        The threshold: rows with a lower score are outliers.

    calibration_scores_ : ndarray of shape (n_calibration_samples,) or None
        Sorted scores of the rows that `calibrate` was given, or that `fit` held back by
        `calibration_fraction`; None without either.

    n_features_in_ : int
        Number of columns seen by `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns seen by `fit`; defined only if all are strings.

    n_iter_ : int
        Number of passes over the training rows that were made; of several networks the
        largest.

    loss_curve_ : list of float
        Mean training loss of each epoch, in the network's (scaled) units; of several
        networks the mean over those that were still trained.

    validation_loss_curve_ : list of float or None
        Loss of the held-out rows after each epoch, likewise; None without early
        stopping.

    model_ : keras.Model
        The autoencoder, in the units of X: ``model_(X)`` is ``reconstruct(X)`` for
        rows without missing cells. Like the next two it is built from the stored
        weights when first asked for.

    encoder_ : keras.Model
        Its first half: ``encoder_(X)`` is ``transform(X)``.

    decoder_ : keras.Model
        Its second half: ``decoder_(Z)`` is ``inverse_transform(Z)``.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers are the rows that few random splits
        isolate.
    sklearn.neighbors.LocalOutlierFactor : Outliers are the rows in sparser
        neighbourhoods than their neighbours'.
    sklearn.decomposition.PCA : The linear relative of an autoencoder.

    Notes
    -----
    With z the row x of d columns in the network's units and net(z) its reconstruction,
    the score by ``score_method="reconstruction"`` is minus the mean absolute error
    [1]_::

        score(x) = -1/d * sum_j |z_j - net(z)_j|,    z_j = (x_j - center_j) / scale_j

    where center and scale come from `scaling`. A network that was trained on outliers
    too, or that goes on beyond the training rows as it does within, reproduces some of
    them well. By ``score_method="combined"``, a row is therefore also anomalous if its
    reconstruction is far from what is usual::

        score(x) = -1/d * sum_j (|net(z)_j - m_j| / t + |z_j - net(z)_j| / s_j)

    with m_j the median of column j over the training rows, t the root mean square of
    z_j - m_j over all cells, and s_j the root mean square of z_j - net(z)_j plus a
    tenth of its mean over the columns, all from at most 10,000 training rows. The two
    terms are to each other as the statistics T^2 and SPE of process monitoring, which
    the combined index of [4]_ adds up; here absolute values stand for squares, so that
    the score is a sum over columns. Both never exceed 0. The scores of several networks
    are averaged. Larger means more normal, as everywhere in scikit-learn.

    A cell that is NaN is missing. The network is shown the mean of its column instead,
    as for a masked cell, and learns from the observed ones alone: the loss is their
    mean. So is the score, d being the number of observed cells and the sum being over
    these. `offset_` comes from the rows given to `fit` that have at least one.

    Training computes in float32, scoring in float64: a row's score does not depend on
    the rows around it.

    References
    ----------
    .. [1] Sakurada, M. & Yairi, T. (2014). "Anomaly detection using autoencoders with
       nonlinear dimensionality reduction." MLSDA. :doi:`10.1145/2689746.2689747`
    .. [2] Efron, B. (2004). "Large-scale simultaneous hypothesis testing: the choice
       of a null hypothesis." JASA 99, 96-104. :doi:`10.1198/016214504000000089`
    .. [3] Vincent, P., Larochelle, H., Lajoie, I., Bengio, Y. & Manzagol, P.-A. (2010).
       "Stacked denoising autoencoders." JMLR 11, 3371-3408.
    .. [4] Yue, H. H. & Qin, S. J. (2001). "Reconstruction-based fault identification
       using a combined index." Ind. Eng. Chem. Res. 40, 4403-4414.
       :doi:`10.1021/ie000141+`
    .. [5] Bates, S., Candès, E., Lei, L., Romano, Y. & Sesia, M. (2023). "Testing for
       outliers with conformal p-values." Annals of Statistics 51, 149-178.
       :doi:`10.1214/22-AOS2244`
    .. [6] Alcala, C. F. & Qin, S. J. (2009). "Reconstruction-based contribution for
       process monitoring." Automatica 45, 1593-1600.
       :doi:`10.1016/j.automatica.2009.02.027`

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skae import AutoencoderOutlierDetector
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> benign, malignant = X[y == 1], X[y == 0]
    >>> detector = AutoencoderOutlierDetector(
    ...     (16, 4), contamination=0.05, random_state=0
    ... )
    >>> detector.fit(benign[:250]).predict(malignant[:3])
    array([-1, -1, -1])
    >>> float((detector.predict(benign[250:]) == -1).mean().round(2))
    0.03
    """

    _parameter_constraints: dict = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [str, callable],
        "output_activation": [str, callable],
        "loss": [str, callable],
        "optimizer": [str, HasMethods(["apply", "get_config"])],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions({"constant", "cosine"})],
        "epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "masking": [Interval(Real, 0, 1, closed="both")],
        "scaling": [StrOptions({"standard", "minmax", "robust"}), None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "score_method": [StrOptions({"combined", "reconstruction"})],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "calibration_fraction": [Interval(Real, 0, 1, closed="left")],
        "memory": [str, HasMethods("cache"), None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (256, 32),
        *,
        activation: str | Callable = "relu",
        output_activation: str | Callable = "linear",
        loss: str | Callable = "mean_squared_error",
        optimizer: str | keras.optimizers.Optimizer = "adam",
        learning_rate: float = 0.002,
        learning_rate_schedule: str = "cosine",
        epochs: int | str = "auto",
        batch_size: int = 128,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        masking: float = 1.0,
        scaling: str | None = "standard",
        n_estimators: int = 1,
        score_method: str = "combined",
        contamination: float | str = "auto",
        calibration_fraction: float = 0.0,
        memory: str | Memory | None = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.output_activation = output_activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.masking = masking
        self.scaling = scaling
        self.n_estimators = n_estimators
        self.score_method = score_method
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.memory = memory
        self.verbose = verbose
        self.random_state = random_state

    # ------------------------------------------------------------------ fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Input,
        y: object = None,
        *,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
    ) -> Self:
        """Learn what normal rows look like, and where to draw the line.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that are mostly normal. NaN marks a missing cell.

        y : Ignored
            Present for the conventions of scikit-learn.

        callbacks : sequence of keras.callbacks.Callback, default=None
            Called during training with the live model, which works on scaled rows.

        Returns
        -------
        self : AutoencoderOutlierDetector
            The fitted detector. If fitting fails or is interrupted, the detector is
            left as it was.

        Raises
        ------
        ValueError
            If X or a parameter is invalid, if there are too few rows for early
            stopping or for calibration, or if the training diverges.

        Warns
        -----
        ConvergenceWarning
            If `epochs` run out before early stopping ends the training.
        UserWarning
            If the scaled columns leave the range of the output activation, or if all
            cells of a row are missing: it is left out.
        """
        with self._unchanged_on_failure():
            X = validate_data(self, X, **_VALIDATION)
            X = _leave_out_unobserved(X, stacklevel=5)
            seeds = self._draw_seeds()
            X, X_calibration = self._hold_back(X, seeds.calibration)
            self._center, self._scale = fit_scaling(X, self.scaling)
            rows = ScaledRows(X, self._center, self._scale)
            self._architecture = plan_architecture(
                rows.shape[1],
                self.hidden_layer_sizes,
                self.activation,
                self.output_activation,
            )
            self._warn_if_out_of_reach(rows)
            self._mask_values = rows.compute_mean()
            self._keep(self._train(rows, seeds, callbacks))
            self._score_statistics = self._compute_score_statistics(rows, seeds.sample)
            self._set_threshold(X, X_calibration)
        return self

    def _draw_seeds(self) -> _Seeds:
        """One seed for each consumer of randomness."""
        rng = check_random_state(self.random_state)
        size = 3 + 2 * self.n_estimators
        seeds = [int(seed) for seed in rng.randint(np.iinfo(np.int32).max, size=size)]
        split, *networks, sample, calibration = seeds
        return _Seeds(split, networks[::2], networks[1::2], sample, calibration)

    def _hold_back(self, X: Table, seed: int) -> tuple[Table, Table | None]:
        """The rows to fit on, and those that only calibrate, if any."""
        if not self.calibration_fraction:
            return X, None
        kept, held_back = hold_back_calibration_rows(
            X.shape[0], self.calibration_fraction, self.contamination, seed
        )
        return X[kept], X[held_back]

    def _warn_if_out_of_reach(self, rows: ScaledRows) -> None:
        """Warn if the output activation cannot reach the rows."""
        activation = self.output_activation
        if not isinstance(activation, str) or activation not in OUTPUT_RANGES:
            return
        low, high = OUTPUT_RANGES[activation]
        lowest, highest = rows.compute_range()
        if lowest < low - 1e-6 or highest > high + 1e-6:
            warnings.warn(
                f"output_activation={activation!r} stays within [{low:g}, {high:g}], "
                f"but with scaling={self.scaling!r} the columns reach from "
                f"{lowest:.3g} to {highest:.3g}, which the network cannot reproduce. "
                "Use scaling='minmax' for [0, 1], or output_activation='linear'.",
                UserWarning,
                stacklevel=4,
            )

    def _train(
        self,
        rows: ScaledRows,
        seeds: _Seeds,
        callbacks: Sequence[keras.callbacks.Callback] | None,
    ) -> list[Training]:
        """Resolve what the parameters leave open, and train or recall."""
        if callbacks is not None and not isinstance(callbacks, Sequence):
            raise TypeError(
                "callbacks must be a list of keras.callbacks.Callback. Got "
                f"{callbacks!r} instead."
            )
        training_rows, early_stopping = np.arange(rows.shape[0]), None
        if self.early_stopping:
            training_rows, held_out_rows = hold_back_rows(
                rows.shape[0], self.validation_fraction, seeds.split
            )
            early_stopping = EarlyStopping(
                held_out_rows, self.n_iter_no_change, self.tol
            )
        architecture, optimizer = self._architecture, self.optimizer
        brings_its_rate = not isinstance(optimizer, str)
        optimizer_key = serialize_optimizer(optimizer) if brings_its_rate else optimizer
        batch_size = min(self.batch_size, len(training_rows))
        n_batches = -(-len(training_rows) // batch_size)
        if self.epochs == "auto":
            epochs = max(1, round(AUTO_UPDATES / n_batches))
        else:
            epochs = int(self.epochs)
        train_or_recall = train
        if isinstance(self.random_state, Integral) and not callbacks:
            memory = check_memory(self.memory)
            train_or_recall = memory.cache(train, ignore=["build_model", "verbose"])
        trainings = train_or_recall(
            (__version__, architecture, self.loss, optimizer_key),
            partial(build_training_model, architecture, self.loss, optimizer),
            rows,
            training_rows,
            [draw_initial_weights(architecture, seed) for seed in seeds.weights],
            seeds.shuffling,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=None if brings_its_rate else self.learning_rate,
            learning_rate_schedule=(
                "constant" if brings_its_rate else self.learning_rate_schedule
            ),
            masking=float(self.masking),
            mask_values=self._mask_values,
            early_stopping=early_stopping,
            callbacks=callbacks or (),
            verbose=self.verbose,
            is_reusable=all(
                isinstance(kind, str)
                for kind in (
                    self.activation,
                    self.output_activation,
                    self.loss,
                    optimizer,
                )
            ),
        )
        if self.early_stopping and not all(t.ended_by_itself for t in trainings):
            warnings.warn(
                f"Early stopping did not end the training within epochs={epochs}; the "
                "held-out loss may still be falling. Increase epochs.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return trainings

    def _keep(self, trainings: list[Training]) -> None:
        """What the trainings leave behind, as attributes."""
        self._weights = [training.weights for training in trainings]
        self.loss_curve_ = _average([training.loss_curve for training in trainings])
        self.validation_loss_curve_ = None
        if self.early_stopping:
            curves = [training.validation_loss_curve or [] for training in trainings]
            self.validation_loss_curve_ = _average(curves)
        self.n_iter_ = len(self.loss_curve_)
        self._score_method = self.score_method

    def _compute_score_statistics(self, rows: ScaledRows, seed: int) -> ScoreStatistics:
        """Statistics of a sample of the rows; raises if the training diverged."""
        sample = rows.take(draw_statistics_rows(*rows.shape, seed))
        inputs = np.empty(sample.shape)
        outputs = np.empty((self.n_estimators, *sample.shape))
        for block, block_inputs, block_outputs in iterate_forward(
            sample, self._networks, self._mask_values
        ):
            inputs[block] = block_inputs
            outputs[:, block] = block_outputs
        is_observed = ~np.isnan(inputs)
        error = np.abs(inputs - outputs).mean(where=is_observed)
        size = np.abs(inputs).mean(where=is_observed)
        if not error <= 100.0 * max(1.0, size):
            raise ValueError(
                "Training diverged: the network's mean absolute error on the rows is "
                f"{error:.3g}, where their mean absolute value is {size:.3g} (both "
                "scaled). Lower the learning rate."
            )
        return compute_score_statistics(inputs, list(outputs))

    def _set_threshold(self, X: Table, X_calibration: Table | None) -> None:
        """`offset_`, from the scores of the held-back rows if there are any."""
        self.calibration_scores_: NDArray[np.float64] | None = None
        if X_calibration is None:
            self.offset_ = compute_offset(self._score_samples(X), self.contamination)
            return
        self.calibration_scores_ = np.sort(self._score_samples(X_calibration))
        if self.contamination == "auto":
            self.offset_ = compute_offset(self.calibration_scores_, "auto")
        else:
            self.offset_ = compute_conformal_offset(
                self.calibration_scores_, float(self.contamination)
            )

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
        X = _leave_out_unobserved(self._validate(X), stacklevel=4)
        n_samples, n_needed = X.shape[0], count_needed_rows(false_alarm_rate)
        if n_samples < n_needed:
            raise ValueError(
                f"X must have at least {n_needed} rows to calibrate with "
                f"false_alarm_rate={false_alarm_rate!r}; it has {n_samples}, with "
                f"which no p-value is below {1 / (n_samples + 1):.2g}. Pass more rows"
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
                "for example to 0.2, before fit."
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
        unchecked = _VALIDATION | {"ensure_all_finite": False}
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
        return validate_data(self, X, reset=False, **_VALIDATION)

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
        errors alone do not tell which column is at fault. Therefore up to three of the
        four most suspicious columns of a row are hidden one after the other, as if
        their values were missing. What the squared errors, and a tenth of the squared
        deviations of the output, lose by it is the share of that column [6]_; of what
        is left after the last one, column j gets the terms that carry its index. The
        shares are scaled to the anomaly of the row. It takes seven forward passes, and
        four more with `return_expected`, where scoring takes one.

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

    @cached_property
    def _networks(self) -> list[list[Layer]]:
        """The networks for the forward pass in NumPy."""
        activations = [_find_activation(a) for a in self._architecture.activations]
        return [make_layers(weights, activations) for weights in self._weights]

    def diagnose(self, X: Input, X_fresh: Input | None = None) -> Diagnosis:
        """What a practitioner would check, each with a figure and what to do.

        Whether the loss still falls, how much of the rows the network gives back,
        whether it copies even rows whose cells do not belong together, how many code
        units are dead, which columns are constant, how many rows calibrate, and whether
        rows that it has not been trained on score lower than those that it has.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows given to `fit`, or some of them; 10,000 are looked at.

        X_fresh : {array-like, sparse matrix}, default=None
            Normal rows that `fit` has not seen. None takes the calibration scores, if
            there are any.

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
        names = getattr(self, "feature_names_in_", range(X.shape[1]))
        constant_columns = check_columns(X, names)
        X = X[draw_statistics_rows(X.shape[0], X.shape[1], seed=0)]
        fresh_scores = self.calibration_scores_
        if X_fresh is not None:
            fresh_scores = self._score_samples(self._validate(X_fresh))
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
                check_code(self._encode(X)),
                constant_columns,
                check_calibration(n_calibration_rows),
                check_gap(self._score_samples(X), fresh_scores),
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

    # ------------------------------------------------------------- Keras's view

    @property
    def model_(self) -> keras.Model:
        """The autoencoder as a Keras model, in the units of X."""
        return self._models["autoencoder"]

    @property
    def encoder_(self) -> keras.Model:
        """The encoder as a Keras model, from rows in the units of X to codes."""
        return self._models["encoder"]

    @property
    def decoder_(self) -> keras.Model:
        """The decoder as a Keras model, from codes to rows in the units of X."""
        return self._models["decoder"]

    @cached_property
    def _models(self) -> dict[str, keras.Model]:
        check_is_fitted(self)
        return build_models_in_user_units(
            self._architecture, self._weights, self._center, self._scale
        )

    @property
    def optimizer(self) -> str | keras.optimizers.Optimizer:
        """The parameter; a prototype comes out of a pickle when it is asked for."""
        optimizer = self.__dict__["optimizer"]
        if isinstance(optimizer, SerializedOptimizer):
            optimizer = self.__dict__["optimizer"] = deserialize_optimizer(optimizer)
        return optimizer

    @optimizer.setter
    def optimizer(self, optimizer: str | keras.optimizers.Optimizer) -> None:
        self.__dict__["optimizer"] = optimizer

    # ------------------------------------------------------------- tags and state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and plain arrays, without what is derived from them.

        Of skae's own types only an optimizer's is left: with skops, a reader must agree
        to each type in a file, and only that one imports what the file names.
        """
        state = {k: v for k, v in super().__getstate__().items() if k not in _DERIVED}
        if not isinstance(state["optimizer"], str | SerializedOptimizer):
            state["optimizer"] = serialize_optimizer(state["optimizer"])
        for name in _RECORDS.keys() & state.keys():
            state[name] = state[name]._asdict()
        return state | {"_skae_version": __version__, "_state_format": STATE_FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version, state_format = state.pop("_skae_version"), state.pop("_state_format")
        if state_format > STATE_FORMAT:
            raise ValueError(
                f"This detector was pickled by skae {version} in state format "
                f"{state_format}; skae {__version__} reads formats up to "
                f"{STATE_FORMAT}. Upgrade skae to at least {version}."
            )
        for name in _RECORDS.keys() & state.keys():
            state[name] = _RECORDS[name](**state[name])
        if "_score_statistics" in state:  # an older file does not have the means
            state.setdefault("_mask_values", state["_score_statistics"].center)
        super().__setstate__(state)

    @contextlib.contextmanager
    def _unchanged_on_failure(self) -> Iterator[None]:
        """Forget what an earlier fit derived; if the block fails, nothing at all."""
        before = self.__dict__.copy()
        for name in _DERIVED:
            self.__dict__.pop(name, None)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise


def _average(curves: list[list[float]]) -> list[float]:
    """Mean of curves at each epoch, over those that reach it."""
    longest = max(map(len, curves))
    reached = [[c[epoch] for c in curves if len(c) > epoch] for epoch in range(longest)]
    return [float(np.mean(values)) for values in reached]


def _find_activation(activation: str | Callable) -> Callable[[NDArray], NDArray]:
    """An activation's NumPy form, or Keras's own behind NumPy arrays."""
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    return make_keras_activation(activation)


def _leave_out_unobserved(X: Table, stacklevel: int) -> Table:
    """The rows that have an observed cell."""
    if not has_missing_cells(X):
        return X
    observed = find_observed_rows(X)
    if not len(observed):
        raise ValueError(
            f"X contains NaN only, which marks a missing cell, in {X.shape[0]} row(s). "
            "Pass rows with at least one number."
        )
    if len(observed) == X.shape[0]:
        return X
    _warn_of_unobserved(X.shape[0] - len(observed), "left out", stacklevel)
    return X[observed]


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
