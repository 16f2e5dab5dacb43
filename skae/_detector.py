"""The detector: its parameters, and the story of fitting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skae._fitted import Input
from skae._learning import LearningAutoencoder
from skae._scaling import ScaledRows
from skae._stream import add_rows
from skae._weighting import none_if_equal

if TYPE_CHECKING:
    import keras
    from joblib import Memory


class AutoencoderOutlierDetector(LearningAutoencoder):
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
        `fit` that is flagged. "auto" flags the largest set of the most anomalous rows
        of which at most 15 % are expected to be normal ones, if the logarithms of the
        anomalies, minus the scores, of normal rows follow a normal distribution with
        the median and the 2 % quantile of the training rows, which outliers hardly move
        [2]_; and at least about 1 % of the training rows.
        See `calibration_fraction` for what changes with it.

    calibration_fraction : float, default=0.0
        Fraction of the rows given to `fit` that is held back from the scaling and the
        training, in [0, 1). Their scores are kept, so that `p_values` works straight
        after `fit`, and they alone set the threshold: a float `contamination` is then
        the largest probability with which a new normal row is flagged, as in
        `calibrate`, and "auto" is applied to the held-back scores.

    warm_start : bool, default=False
        Whether `fit`, called again, goes on from the weights that it finds, at a
        constant learning rate, instead of starting anew. Scaling, score and threshold
        come from the rows of the last call all the same. Such a call can hold back no
        rows that the network has not seen: it refuses `calibration_fraction` > 0.

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
        Number of passes that `fit` made over the training rows, of several networks the
        largest, and of calls of `partial_fit` since.

    loss_curve_ : list of float
        Mean training loss of each epoch, in the network's (scaled) units; of several
        networks the mean over those that were still trained.

    validation_loss_curve_ : list of float or None
        Loss of the held-out rows after each epoch, likewise; None without early
        stopping and after `partial_fit`.

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

    A row with the weight w is a row that was seen w times: equal rows are merged and
    their weights added up before anything else, and the distinct rows are put in an
    order that they alone decide, unless the table has more than 2^25 cells. Batches are
    drawn by weight. Scaling, score and threshold weigh by it.

    Training computes in float32, scoring in float64: a row's score does not depend on
    the rows around it.

    References
    ----------
    .. [1] Sakurada, M. & Yairi, T. (2014). "Anomaly detection using autoencoders with
       nonlinear dimensionality reduction." MLSDA. :doi:`10.1145/2689746.2689747`
    .. [2] Efron, B. (2004). "Large-scale simultaneous hypothesis testing: the choice
       of a null hypothesis." JASA 99, 96-104. :doi:`10.1198/016214504000000089`. The
       set is that of Benjamini, Y. & Hochberg, Y. (1995). "Controlling the false
       discovery rate." JRSS B 57, 289-300. :doi:`10.1111/j.2517-6161.1995.tb02031.x`
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
        "warm_start": ["boolean"],
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
        warm_start: bool = False,
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
        self.warm_start = warm_start
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
        sample_weight: ArrayLike | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
    ) -> Self:
        """Learn what normal rows look like, and where to draw the line.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that are mostly normal. NaN marks a missing cell.

        y : Ignored
            Present for the conventions of scikit-learn.

        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts, in the scaling, the training, the score and the
            threshold; at least 0. A weight of 0 is the same as leaving the row out, and
            a whole number the same as repeating it; see Notes.

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
            If X, a weight or a parameter is invalid, if there are too few rows for
            early stopping or for calibration, if `warm_start` meets another
            architecture or `calibration_fraction` > 0, or if the training diverges.

        Warns
        -----
        ConvergenceWarning
            If `epochs` run out before early stopping ends the training.
        UserWarning
            If the scaled columns leave the range of the output activation, or if all
            cells of a row are missing: it is left out.
        """
        with self._unchanged_on_failure():
            X, weights = self._take_in(X, sample_weight, reset=True)
            seeds = self._draw_seeds(check_random_state(self.random_state))
            is_continued = self.warm_start and hasattr(self, "_weights")
            X, weights, calibration = self._hold_back(
                X, weights, seeds.calibration, is_continued
            )
            rows = self._fit_scaling(X, weights)
            start = self._begin(seeds.weights, is_continued)
            self._keep(self._train(rows, start, seeds, callbacks, is_continued))
            sample = self._take_sample(rows, seeds.sample)
            self._set_threshold(rows, self._fit_score(sample), calibration)
            self.__dict__.pop("_stream", None)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Input,
        y: object = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go on learning from more rows: one pass over them, at a constant rate.

        The first call sets everything up from its rows. The rows of a stream are not
        kept, but for a random sample of all that were passed so far, of at most 10,000
        rows: after each call, scaling, score and threshold come from that sample and
        the network as it is then. A detector that was fitted by `fit`, which keeps no
        rows, goes on from its weights; until 100 rows have come since, scaling, score
        and threshold stay those of `fit`, then they come from the new rows alone.

        Rows that are the same in one call are one row of more weight, as in `fit`, and
        make no more updates.

        `epochs`, `early_stopping`, `calibration_fraction` and `memory` have no effect
        here, and an earlier calibration is forgotten, since the scores have changed:
        call `calibrate` where p-values are needed.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that are mostly normal. NaN marks a missing cell.

        y : Ignored
            Present for the conventions of scikit-learn.

        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts, as in `fit`.

        Returns
        -------
        self : AutoencoderOutlierDetector
            The detector. If the call fails or is interrupted, it is left as it was.

        Raises
        ------
        ValueError
            If X, a weight or a parameter is invalid, if X has other columns or the
            parameters ask for another architecture than before, or if the training
            diverges.

        Warns
        -----
        UserWarning
            As in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_breast_cancer
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> benign, malignant = X[y == 1], X[y == 0]
        >>> detector = AutoencoderOutlierDetector((16, 4), batch_size=8, random_state=0)
        >>> for rows in np.array_split(benign[:250], 5):
        ...     detector = detector.partial_fit(rows)
        >>> detector.n_iter_
        5
        >>> detector.predict(malignant[:3])
        array([-1, -1, -1])
        """
        self._validate_params()  # which scikit-learn leaves out once it is fitted
        with self._unchanged_on_failure():
            is_continued = hasattr(self, "_weights")
            X, weights = self._take_in(X, sample_weight, reset=not is_continued)
            stream = self._stream or self._start_stream()
            seeds = self._draw_seeds(stream.make_rng())
            stream = add_rows(stream, X, weights, seeds.sample)
            if stream.is_judged_by:
                past_rows = self._fit_scaling(stream.rows, stream.counts)
            start = self._begin(seeds.weights, is_continued)
            rows = ScaledRows(X, self._center, self._scale, none_if_equal(weights))
            past_curve = self.loss_curve_ if is_continued else []
            self._keep(self._go_on(rows, start, seeds, stream), past_curve)
            self.calibration_scores_ = None
            if stream.is_judged_by:
                self._set_threshold(past_rows, self._fit_score(past_rows), None)
        return self
