"""The detector: parameters, documentation, validation, and the story of `fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload

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
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skae._learning._learn import Learnt, learn, learn_part
from skae._learning._network import get_keras_models, make_keras_activation
from skae._learning._optimizer import (
    SerializedOptimizer,
    deserialize_optimizer,
    make_plain,
)
from skae._learning._recipe import (
    PARAMETERS,
    Recipe,
    draw_seed,
    draw_seeds,
    make_recipe,
)
from skae._learning._training import Surroundings, make_surroundings
from skae._model import LOWEST_SCORE, make_model
from skae._scoring import _diagnosis as diagnosis
from skae._scoring import _threshold as threshold
from skae._scoring._ranking import compute_area
from skae._tables import _checks as checks
from skae._tables._categories import Categories, decode_columns
from skae._tables._columns import read_columns
from skae._tables._frequent import keep_frequent, make_layout
from skae._tables._reading import (
    Table,
    WeightedTable,
    find_observed,
    take_rows,
    warn_if_unobserved,
)
from skae._tables._sample import Stream, add_rows, draw_sample, start_stream
from skae._tables._weighting import check_weights, merge_rows
from skae._version import __version__

if TYPE_CHECKING:
    import keras
    from joblib import Memory

Input: TypeAlias = ArrayLike | spmatrix | sparray

FLOATS = [np.float64, np.float32]
VALIDATION = {"accept_sparse": "csr", "dtype": FLOATS, "ensure_all_finite": False}
COLUMNS = {"n_features_in_", "feature_names_in_", "categories_", "_column_kinds"}
LINE = "offset_", "calibration_scores_", "_calibration_folds"
LEARNT = "_model", "loss_curve_", "validation_loss_curve_"
STATE_FORMAT = 4


class AutoencoderOutlierDetector(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, BaseEstimator
):
    """Outlier detection with an autoencoder.

    An encoder maps each row to a code, a decoder maps the code back; both are trained
    to reproduce rows that are mostly normal, from what is left of them after some cells
    were masked. A row is an outlier if no training row is like it: neither in its
    values nor in what the network misses of them. Use it where normal rows follow
    relations between their columns (correlated measurements, images) that a new kind of
    row would break.

    A fitted detector keeps up to 512 of the training rows, standardised, for each fold
    of `calibration_cv`, and with it each pickle and file of it;
    ``score_method="reconstruction"`` keeps none.

    Read more in :doc:`how it works </how_it_works>`, and in :doc:`which parameters
    matter </parameters>`.

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
        Activation of the last layer, for columns of numbers. A bounded one, such as
        "sigmoid", asks for a `scaling` that keeps the columns within its bounds.

    loss : str or callable, default="mean_squared_error"
        Loss that the training minimises: the name of a Keras loss, a
        `keras.losses.Loss`, or a function of rows and outputs. Its mean over the rows
        of a batch is taken, whatever the `reduction` of a `Loss`. It is that of columns
        of numbers; of categories it is always the cross-entropy.

    optimizer : str or keras.optimizers.Optimizer, default="adam"
        Name of a Keras optimizer, or an instance that serves as a prototype: it keeps
        its own learning rate, so that `learning_rate` and `learning_rate_schedule` are
        not used, and is itself never trained with.

    learning_rate : float, default=0.006
        Step size of the optimizer.

    learning_rate_schedule : {"constant", "cosine"}, default="cosine"
        What becomes of the learning rate during training: it stays, or falls to zero
        along half a cosine.

    epochs : int or "auto", default="auto"
        Number of passes over the training rows. "auto" is as many as give about n^2 /
        400 updates for n rows, between 100 and 800 of them, and at least one: a network
        that has seen few rows very often takes fresh ones for outliers.

    batch_size : int, default=256
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
        How columns of numbers are scaled before they enter the network: to mean 0 and
        standard deviation 1; to [0, 1]; to median 0 and interquartile range 1 (standard
        deviation 1 where at least half of a column is one value); or not at all. By
        "robust", what is farther out than 20 is learnt from as if it were 20, so that
        one odd value, however large, spoils nothing. A column without spread is centred
        alone. So is one whose spread is that of rounding: at most four spacings of its
        floats (in float32, if it holds no others), unless all are whole numbers.

    n_estimators : int, default=1
        Number of networks, trained from different initial weights, whose scores are
        averaged; with ``score_method="neighbors"`` their outputs are, and there is one
        score. `transform` concatenates their codes, `reconstruct` and
        `inverse_transform` average their outputs.

    score_method : {"neighbors", "reconstruction"}, default="neighbors"
        What makes a row anomalous: how far it is from its nearest neighbours among
        training rows, in its values and in what the network misses of them; or the mean
        absolute reconstruction error alone, as in [1]_. The first keeps up to 512
        training rows in the detector, the second none. See Notes.

    categorical_features : array-like of bool, int or str, "from_dtype" or None, \
default=None
        Which columns hold categories: a boolean mask, their numbers, their names, or
        "from_dtype", which takes the columns of a frame whose dtype is category,
        string, object (if it holds text or booleans) or boolean. With None, text is an
        error. A category may be text, a number or a boolean; one that `fit` has not
        seen is evidence, not an error. See Notes. Where `warm_start` or `partial_fit`
        goes on, the columns and their units stay what they were.

    contamination : float or "auto", default="auto"
        Where the threshold lies. A float in (0, 0.5] is the share of the rows given to
        `fit` that is flagged, as nearly as rows that share a score allow, which are
        flagged all or none. "auto" flags the largest set of the most anomalous rows
        of which at most 15 % are expected to be normal ones, if the logarithms of the
        anomalies, minus the scores, of normal rows follow a gamma distribution of shape
        3 d for d columns, which with many columns, and with
        ``score_method="reconstruction"``, is a normal one, with the median and the 2 %
        quantile of the training rows, which outliers hardly move [2]_; and at least
        about 1 % of the training rows.
        Of fresh rows more are flagged: of few rows for their columns, and of
        categories, far more. See `calibration_fraction` and `calibration_cv` for a
        threshold that comes from rows which the network has not seen.

    calibration_fraction : float, default=0.0
        Fraction of the rows given to `fit` that is held back from the scaling and the
        training, in [0, 1). Their scores are kept, so that `p_values` works straight
        after `fit`, and they alone set the threshold: a float `contamination` is then
        the largest probability with which a new normal row is flagged, as in
        `calibrate`, and "auto" is applied to the held-back scores.

    calibration_cv : int, default=None
        Number of folds, at least 2, that take the place of held-back rows: a network is
        trained for each, or `n_estimators` of them, on the rows of the others, with a
        scaling and references of its own, and their scores are averaged. No row is
        lost, and each calibrates, by its score from the network that has not seen it.
        These scores set the threshold as held-back ones do by `calibration_fraction`,
        which must be 0, while `warm_start` must be False. What is promised is less; see
        Notes. Rows that are equal are in one fold. It multiplies the time of a fit, and
        of scoring, by the number of folds. None leaves the folds out.

    warm_start : bool, default=False
        Whether `fit`, called again, goes on from the weights that it finds, at a
        constant learning rate, instead of starting anew. Scaling, score and threshold
        come from the rows of the last call all the same. Such a call can hold back no
        rows that the network has not seen: it refuses `calibration_fraction` > 0, and
        every call refuses `calibration_cv`. After a `fit` with `calibration_cv`, once
        that is None again, the network of the first fold goes on.

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
        `calibration_fraction`, or of all rows of `fit` by `calibration_cv`, each by the
        network that has not seen it; None without any of these.

    n_features_in_ : int
        Number of columns seen by `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen by `fit`; defined only if all are strings.

    categories_ : list of (list or None) or None
        Of each column with categories those that have a unit of their own, sorted; None
        for a column of numbers. None if there are only such columns. Rare ones are not
        listed, other than in :class:`~sklearn.preprocessing.OneHotEncoder`.

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
        The autoencoder, in the units of X: ``model_(X)`` is ``reconstruct(X)``, but
        NaN for a row with a missing cell. With categories it works on encoded rows, the
        columns of numbers followed by a block of units for each other column (1 for the
        category, as in `categories_`, the last unit for all others), and gives back
        their probabilities, the column itself being shown to it. Like the next two it
        is built from the stored weights when first asked for, and training it does not
        change the scores.

    encoder_ : keras.Model
        Its first half: ``encoder_(X)`` is ``transform(X)``, with categories of encoded
        rows.

    decoder_ : keras.Model
        Its second half: ``decoder_(Z)`` is ``inverse_transform(Z)``, with categories
        as encoded rows.

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
    them well, and a narrow table can simply be copied. By the default,
    ``score_method="neighbors"``, a row is therefore seen as what it is and what the
    network misses of it, and compared with training rows, the references [4]_::

        v(x)_j   = ((z_j - m_j) / t,  (z_j - net(z)_j) / s_j),   both clipped at +-20
        score(x) = -1/d * mean of |v(x) - v(q)| over the 12 nearest references q

    with | | the sum of the absolute values, m_j the mean of column j, t the root mean
    square of the cells around these (0 and 1 if standardised), and s_j = e_j + 0.1 e +
    (0.1 + 40/n) t, where e_j is the root mean square of z_j - net(z)_j, e its mean over
    the columns and n the number of distinct rows, at most 10,000, that all of this
    comes from: errors of a tenth of a deviation are no evidence, nor are those that
    fewer rows would make. The references, up to 512, are drawn from the 90 % of these
    rows whose ``|v|`` is smallest, and from those that, equal to each other, are a
    twentieth of all and at least 12. They are kept as scaled rows; what is missed of
    them is computed by the network at hand. Where there are categories, ``|v|`` counts
    how far a row's are from those of others, on average.

    A row that is one of the references is judged by the others, in `fit` as in
    `predict`. It is one if no cell differs by more than about 1e-6 of its value, or by
    more than a hundredth of its column's scale, a missing cell being equal to a missing
    one, so that a copy in float32 is the same row. (Whole numbers are exact: theirs may
    differ by 1e-6 of the scale and of the distance from the center.) A row that was
    seen many times is drawn as many references, of which a row equal to them skips one.
    Where few references are left, it is compared with these; without any, its score is
    0.

    For more than 128 columns the distance is the root of the sum of squares, over the
    root of d, since that is a matrix product. There are at most 256 and 250,000 / d
    references, and at most one neighbour for every 25 of that bound.

    The outputs of several networks are averaged, by "reconstruction" the scores. No
    score exceeds 0. Larger means more normal, as everywhere in scikit-learn.

    Dates, of NumPy, Python, pandas or polars, are read as the seconds since 1970 in
    UTC, durations and times of day as seconds, and so they come back. A column is of
    one kind, and of the same in each call.

    A column of categories is one cell of a row, as a column of numbers is, but a block
    of units of the network: one for each category that at least two rows and one in
    1,000 have, the 100 most frequent at most, and one that all others share, be they
    rare or new. The block is 1 and 0s minus the frequencies, divided so that its
    variance is 1, and is masked as a whole. One row more than there are counts as one
    of the others, or nothing new could ever be expected: if rare categories are many,
    another one is normal, and if there were none, it is odd.

    With p_j the probabilities that the network gives to the categories of column j
    while that column is hidden from it, and every fourth column of categories with it,
    f_j their frequencies and H(f_j) = -sum f_j log f_j, at least 0.01, what is missed
    of a category c is its surprise, which takes the place of z_j - net(z)_j, in units
    of t::

        -log(0.999 p_j(c) + 0.001 f_j(c)) / H(f_j)

    so that who knows nothing misses 1 of either kind. In the loss it is the same with
    the network's own p_j and without the 0.001. (To hide the column found more
    contradictions than to show it: on generated tables with one swapped category an
    area of .820 for .815 on clean rows, .820 for .809 on contaminated ones.) Two
    different categories are as far from each other as 0 and 1 in a column of numbers of
    the same variance [7]_: sqrt(2 / (1 - sum f_j^2)), at most 20; what shares a unit is
    equal. `reconstruct` and `explain` name the most probable category that has a unit
    of its own. In a stream the units are those of the first call.

    A cell that is NaN is missing, and so is one that is None, NaT, another null, or
    masked in an array. The network is shown the mean of its column instead, as for a
    cell that `masking` hides, and learns from the observed ones alone: the loss is
    their mean. So is the score, d being the number of observed cells and the sum being
    over these; where a reference misses one of them, what the network expects there
    stands for it, and nothing is missed of it. `offset_` comes from the rows given to
    `fit` that have at least one.

    A row with the weight w is a row that was seen w times: equal rows are merged and
    their weights added up before anything else, and the distinct rows are put in an
    order that they alone decide, unless the table has more than 2^25 cells. Batches are
    drawn by weight. Scaling, score and threshold weigh by it.

    Training computes in float32, scoring in float64: a row's score does not depend on
    the rows around it.

    With ``calibration_cv=k`` the p-value of a row is cross-conformal [8]_: each of the
    n calibration scores is compared with the row's score by the network that gave it.
    It is proven that a new normal row has a p-value of at most a with probability at
    most 2 a, plus the lesser of 2 k / n and sqrt(2 / n), on average over the draw of
    the rows, if these and the new one are drawn alike, none are equal and k divides n
    [9]_; with held-back rows it is at most a. Nothing is proven of `predict`, which
    compares the mean of the scores with the threshold. With 5 folds, on halves of 25
    tables of 200 to 2,000 rows, it flagged .0075, .044 and .092 of fresh normal rows on
    average where .01, .05 and .1 were promised, p-values .0077, .044 and .090, and on
    no table more than promised, beyond two standard errors. Of rows that `fit` was
    given, which most networks have seen, fewer are flagged.

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
    .. [4] Pang, G., Ting, K. M. & Albrecht, D. (2015). "LeSiNN: detecting anomalies by
       identifying least similar nearest neighbours." ICDM workshops.
       :doi:`10.1109/ICDMW.2015.62`
    .. [5] Bates, S., Candès, E., Lei, L., Romano, Y. & Sesia, M. (2023). "Testing for
       outliers with conformal p-values." Annals of Statistics 51, 149-178.
       :doi:`10.1214/22-AOS2244`
    .. [6] Alcala, C. F. & Qin, S. J. (2009). "Reconstruction-based contribution for
       process monitoring." Automatica 45, 1593-1600.
       :doi:`10.1016/j.automatica.2009.02.027`
    .. [7] Gower, J. C. (1971). "A general coefficient of similarity and some of its
       properties." Biometrics 27, 857-871. :doi:`10.2307/2528823`. There each column is
       divided by its range, here by the spread of its categories.
    .. [8] Vovk, V. (2015). "Cross-conformal predictors." Annals of Mathematics and
       Artificial Intelligence 74, 9-28. :doi:`10.1007/s10472-013-9368-4`
    .. [9] Barber, R. F., Candès, E. J., Ramdas, A. & Tibshirani, R. J. (2021).
       "Predictive inference with the jackknife+." Annals of Statistics 49, 486-507.
       :doi:`10.1214/20-AOS1965`

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
    0.04
    """

    # Where the question mark in the HTML of a detector leads to.
    _doc_link_module = "skae"
    _doc_link_template = (
        "https://skae-dev.github.io/skae/generated/skae.{estimator_name}.html"
    )

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
        "score_method": [StrOptions({"neighbors", "reconstruction"})],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "calibration_fraction": [Interval(Real, 0, 1, closed="left")],
        "calibration_cv": [Interval(Integral, 2, None, closed="left"), None],
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
        learning_rate: float = 0.006,
        learning_rate_schedule: str = "cosine",
        epochs: int | str = "auto",
        batch_size: int = 256,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        masking: float = 1.0,
        scaling: str | None = "standard",
        n_estimators: int = 1,
        score_method: str = "neighbors",
        categorical_features: ArrayLike | str | None = None,
        contamination: float | str = "auto",
        calibration_fraction: float = 0.0,
        calibration_cv: int | None = None,
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
        self.categorical_features = categorical_features
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.calibration_cv = calibration_cv
        self.warm_start = warm_start
        self.memory = memory
        self.verbose = verbose
        self.random_state = random_state

    feature_names_in_: NDArray
    categories_: Categories | None
    _column_kinds: list[str] | None = None  # None: all are numbers
    _calibration_folds: NDArray[np.intp] | None = None  # of calibration_scores_

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
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)
            Rows that are mostly normal, of numbers, dates, durations and categories;
            see Notes. NaN marks a missing cell.

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
        TypeError
            If a column holds objects that are no numbers, such as lists.
        ValueError
            If X, a weight or a parameter is invalid, if there are too few rows for
            early stopping, for calibration or for the folds of `calibration_cv`, if
            that meets `calibration_fraction` > 0 or `warm_start`, if `warm_start` meets
            another architecture or `calibration_fraction` > 0, or if the training
            diverges.
        ImportError
            If Keras or TensorFlow is missing, or Keras runs on another backend.
        RuntimeError
            If the process was forked after TensorFlow had been used, which would hang.
        OSError
            If `memory` is a folder that cannot be made.

        Warns
        -----
        ConvergenceWarning
            If `epochs` run out before early stopping ends the training, or if the
            network errs more than ten times as far as one that knows nothing would.
        UserWarning
            If the scaled columns leave the range of the output activation, if all cells
            of a row are missing (it is left out) or of a column (nothing is learnt
            about it), if one value that looks like the sign of a missing one makes up
            the variance of a column, if all dates of a column lie within a tenth of a
            millisecond, if "from_dtype" takes text that looks like dates for
            categories, or if so many rows share a score that clearly more or fewer
            than the share in `contamination` are flagged.

        See Also
        --------
        partial_fit : One pass over the next rows of a stream.
        calibrate : Draw the threshold through fresh rows.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> detector.predict(other).shape
        (48,)
        """
        threshold.check_folds(
            self.calibration_cv, self.calibration_fraction, self.warm_start
        )
        blank, past = self._make_blank(), None
        if self.warm_start and hasattr(self, "_model"):
            blank.categories_, past = self.categories_, self._model
        table = self._read(X, sample_weight, seen_by=blank)
        seeds = draw_seeds(check_random_state(self.random_state), self.n_estimators)
        blank.categories_, table, calibration = threshold.choose_calibration_rows(
            table,
            blank.categories_,
            self.calibration_fraction,
            self.calibration_cv,
            self.contamination,
            seeds.calibration,
            goes_on=past is not None,
        )
        recipe, surroundings = self._prepare(callbacks)
        method, folds = self.score_method, calibration and calibration.folds
        learnt = learn(table, recipe, seeds, method, surroundings, past, folds)
        line = threshold.draw_line(learnt.model, table, calibration, self.contamination)
        self._take_over(blank, learnt, line, stream=None)
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
        the network as it is then. A detector that was fitted by `fit` goes on from its
        weights; until 100 rows have come since, scaling, references and threshold stay
        those of `fit`, and the network goes a hundredth of its way only, since the
        threshold cannot follow; then they come from the new rows alone.

        Rows that are the same in one call are one row of more weight, as in `fit`, and
        make no more updates.

        `epochs`, `early_stopping`, `calibration_fraction`, `calibration_cv` and
        `memory` have no effect here, and an earlier calibration is forgotten, since the
        scores have changed: call `calibrate` where p-values are needed. After a `fit`
        with `calibration_cv` the network of the first fold goes on; the others are
        forgotten, too.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)
            Rows that are mostly normal, of numbers, dates, durations and categories;
            see Notes. NaN marks a missing cell.

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
        TypeError
            As in `fit`.
        ValueError
            If X, a weight or a parameter is invalid, if X has other columns or the
            parameters ask for another architecture than before, or if the training
            diverges.
        ImportError, RuntimeError
            As in `fit`.

        Warns
        -----
        UserWarning
            As in `fit`.

        See Also
        --------
        fit : Learn from all rows at once.

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
        past = getattr(self, "_model", None)
        seen_by = self._make_blank() if past is None else self
        table = self._read(X, sample_weight, seen_by)
        if past is None:
            seen_by.categories_, table, _ = keep_frequent(seen_by.categories_, table)
        stream = getattr(self, "_stream", None) or self._start_stream(table)
        seeds = draw_seeds(stream.make_rng(), self.n_estimators)
        stream = add_rows(stream, table, seeds.sample)
        recipe, surroundings = self._prepare(())
        learnt, stream = learn_part(
            table, recipe, seeds, self.score_method, surroundings, past, stream
        )
        if past is not None:
            learnt = learnt.after(self.loss_curve_)
        if stream.sample is None:  # the threshold stays
            line = threshold.Line(self.offset_)
        else:
            line = threshold.draw_line(
                learnt.model, stream.sample, None, self.contamination
            )
        self._take_over(seen_by, learnt, line, stream)
        return self

    def _make_blank(self) -> Self:
        """An estimator of this kind that takes down the columns in this one's stead.

        What fails on the way then leaves no trace.
        """
        return type(self)(**self.get_params(deep=False))

    def _read(
        self, X: Input, sample_weight: ArrayLike | None, seen_by: Self
    ) -> WeightedTable:
        """The distinct rows of X that count, with their weights."""
        _, X = self._validate(X, seen_by)
        n_samples, weights = X.shape[0], check_weights(sample_weight, X)
        weighted = np.flatnonzero(weights)
        X, weights = take_rows(X, weighted), weights[weighted]
        observed = find_observed(X, stacklevel=5)
        rows = merge_rows(take_rows(X, observed), weights[observed])
        kinds, layout = seen_by._column_kinds, make_layout(seen_by.categories_)
        names, counts = seen_by._names, (n_samples, len(observed))
        return WeightedTable(*rows, names, kinds, *counts, layout)

    def _prepare(self, callbacks: Sequence[Any] | None) -> tuple[Recipe, Surroundings]:
        """What training depends on, and what it is given besides.

        A cache serves only if a seed says what is drawn.
        """
        recipe = make_recipe({name: getattr(self, name) for name in PARAMETERS})
        memory = self.memory if isinstance(self.random_state, Integral) else None
        optimizer, verbose = self.optimizer, self.verbose
        return recipe, make_surroundings(optimizer, callbacks, verbose, memory)

    def _start_stream(self, table: WeightedTable) -> Stream:
        """A stream without rows; its seed is that of all later calls."""
        seed = draw_seed(check_random_state(self.random_state))
        return start_stream(table.X.shape[1], seed, follows_fit=hasattr(self, "_model"))

    def _take_over(
        self, seen_by: Any, learnt: Learnt, line: threshold.Line, stream: Stream | None
    ) -> None:
        """All that a fit changes, in one step."""
        state = vars(self) | dict(zip(LINE + LEARNT, line + learnt, strict=True))
        if seen_by is not self:
            state.pop("feature_names_in_", None)
            state |= {name: v for name, v in vars(seen_by).items() if name in COLUMNS}
        self.__dict__ = state | {"_stream": stream, "n_iter_": len(learnt.loss_curve)}

    def _hold(self) -> Self:
        """The same, as it is now, whatever is fitted or calibrated meanwhile.

        Neither changes a state that somebody holds: they put another in its place.
        """
        held = object.__new__(type(self))
        held.__dict__ = self.__dict__
        return held

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
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)
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

        See Also
        --------
        p_values : How sure an alarm is, by the calibrated scores.

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
        held, X = self._validate_observed(X)
        threshold.check_false_alarm_rate(false_alarm_rate, X.shape[0])
        scores = held._model.score(X)
        line = threshold.draw_calibrated_line(scores, held.offset_, false_alarm_rate)
        self.__dict__ = vars(held) | dict(zip(LINE, line, strict=True))
        return self

    def p_values(self, X: Input) -> NDArray[np.float64]:
        """How probable a score as low as each row's is among normal rows.

        The conformal p-value (Bates et al., 2023) of a row is ``(1 + k) / (1 + n)``,
        with k the number of the n calibration scores that are not above its score. A
        new normal row has a p-value of at most a with probability at most a, for any a,
        on average over the draw of the calibration rows. After a `fit` with
        `calibration_cv` it is a cross-conformal one, of which less is proven, and it
        need not agree with `predict`; see Notes of the class.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

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

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector(
        ...     (16, 4), calibration_fraction=0.4, random_state=0
        ... ).fit(normal)
        >>> detector.p_values(other[:3]).round(3)
        array([0.094, 0.057, 0.019])
        """
        self = self._hold()
        check_is_fitted(self)
        calibration = threshold.check_calibrated(
            self.calibration_scores_, type(self).__name__
        )
        folds = self._calibration_folds
        if folds is None:
            return threshold.compute_p_values(self.score_samples(X), calibration)
        self, X = self._validate(X)
        scores = [member.score(X) for member in self._model.members]
        warn_if_unobserved(X, scores[0], stacklevel=3)
        return threshold.compute_cross_p_values(scores, calibration, folds)

    # ------------------------------------------------------------------ scoring

    def score_samples(self, X: Input) -> NDArray[np.float64]:
        """Score of each row; larger means more normal.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            By `score_method`; never positive. A mean over the observed cells; 0 if
            there are none.

        Warns
        -----
        UserWarning
            If all cells of a row are missing.

        See Also
        --------
        decision_function : The same, relative to the threshold.
        explain : What each column adds to it.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> scores = detector.score_samples(X)
        >>> bool(scores[y == 2].mean() < scores[y != 2].mean())
        True
        """
        self, X = self._validate(X, must_be_finite=False)
        scores = self._model.score(X)
        warn_if_unobserved(X, scores, stacklevel=3)
        # An infinite cell gives the lowest score. To look for one in all of X first
        # would take a fifth of the time.
        if (scores == LOWEST_SCORE).any():
            checks.check_finite(X, self._names)
        return scores

    def decision_function(self, X: Input) -> NDArray[np.float64]:
        """Score of each row relative to the threshold; negative means outlier.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``.

        See Also
        --------
        predict : Its sign as a label.
        score_samples : The scores themselves.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> decision = detector.decision_function(X)
        >>> bool((decision == detector.score_samples(X) - detector.offset_).all())
        True
        """
        self = self._hold()
        return self.score_samples(X) - self.offset_

    def predict(self, X: Input) -> NDArray[np.int64]:
        """Label of each row: +1 for an inlier, -1 for an outlier.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 where `decision_function` is negative.

        See Also
        --------
        decision_function : How far from the threshold.
        p_values : How sure an alarm is.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> detector.predict(other[:5])
        array([-1, -1, -1, -1, -1])
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def score(
        self,
        X: Input,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Area under the ROC curve of telling inliers from outliers, or a stand-in.

        With labels, of the rows of X. Without, how far the scores rank rows by their
        isolation: the mean distance to the two nearest other rows of X, in standard
        deviations of the columns. It is ``(1 + r) / 2`` with Spearman's rank
        correlation r. Two different categories are as far apart as in the score. Ranked
        are the distinct rows of X, or 500 of them, and what
        `make_synthetic_anomalies` makes of them, the same in every call.

        How isolated a row is depends on X alone: a network that has learnt outliers by
        heart gains nothing by it, if X holds rows that `fit` has not seen. Searches
        among 20 candidates on 47 tables chose by it, on clean rows, an area that was
        .02 larger than the mean candidate's and .01 smaller than the default's; on rows
        with outliers, .05 larger and .02 smaller; scores and areas had a rank
        correlation of .4. So it spares the worst candidates, and does not improve on
        the default. It hardly sees relations between columns that distances do not
        show, nor outliers that lie close to each other, and says nothing about the
        threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,), default=None
            -1 marks an outlier, every other label an inlier.

        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts, and each synthetic anomaly made of it; at least 0. A
            weight of 0 is the same as leaving the row out, and a whole number the same
            as repeating it.

        Returns
        -------
        score : float
            From 0 to 1; 1 is perfect, 0.5 is chance.

        Raises
        ------
        ValueError
            If X or a weight is invalid, or if a label is missing: NaN, None or
            `pandas.NA`.

        Warns
        -----
        UndefinedMetricWarning
            If y knows only one kind, or if X without y has fewer than 10 different rows
            or 2 columns; the score is nan.
        UserWarning
            If all cells of a row are missing: with labels its score is 0, without it is
            left out.

        See Also
        --------
        make_synthetic_anomalies : For scorers of your own.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> labels = [-1 if cultivar == 2 else 1 for cultivar in y]
        >>> round(detector.score(X, labels), 2)
        0.98
        """
        self, X = self._validate(X)
        weights = check_weights(sample_weight, X)
        columns = self._model.layout.columns
        return compute_area(self._model.score, X, y, weights, columns)

    def _validate(
        self, X: Input, seen_by: Self | None = None, must_be_finite: bool = True
    ) -> tuple[Self, Table]:
        """The held detector, and X as a table of numbers.

        Fit has seen its columns, or `seen_by`, which need not be held, sees them.
        """
        self = self._hold() if seen_by is None else self
        seen_by = seen_by or self
        features = self.categorical_features
        known = getattr(seen_by, "categories_", None)
        if seen_by is self:
            check_is_fitted(self)
            features = None
        checks.check_names(X, self, known)
        X, kinds, categories = read_columns(X, features, known)
        X = validate_data(seen_by, X, reset=seen_by is not self, **VALIDATION)
        if seen_by is not self:
            checks.check_width(X, known)
            seen_by._column_kinds, seen_by.categories_ = kinds, categories
        checks.check_kinds(X, kinds, seen_by._column_kinds, seen_by._names)
        if must_be_finite:
            checks.check_finite(X, seen_by._names)
        return self, X

    @property
    def _names(self) -> Sequence[Any]:
        """Of the columns that fit has seen; their numbers if they have none."""
        return getattr(self, "feature_names_in_", range(self.n_features_in_))

    def _validate_observed(self, X: Input) -> tuple[Self, Table]:
        """The held detector, and the rows of X that are not missing as a whole."""
        self, X = self._validate(X)
        return self, take_rows(X, find_observed(X, stacklevel=4))

    @overload
    def explain(
        self, X: Input, *, return_expected: Literal[False] = False
    ) -> NDArray[np.float64]: ...
    @overload
    def explain(
        self, X: Input, *, return_expected: Literal[True]
    ) -> tuple[NDArray[np.float64], NDArray]: ...
    def explain(
        self, X: Input, *, return_expected: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray]:
        """What each column adds to the anomaly of each row.

        One odd value spoils the reconstruction of other columns too, so that large
        errors alone do not tell which column is at fault. Therefore the three most
        suspicious columns of a row are hidden one after the other, as if their values
        were missing. What the squared differences from the nearest references (or, by
        "reconstruction", the squared errors) lose by it is the share of that column
        (Alcala and Qin, 2009); of what is left after the last one, column j gets the
        terms that carry its index. The shares are scaled to the anomaly of the row. It
        takes seven forward passes, and four more with `return_expected`, where scoring
        takes one, and the nearest references are found anew in each.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

        return_expected : bool, default=False
            Whether to return the expected values, too.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_features)
            Never negative; larger means more anomalous; 0 for a missing cell. The sum
            over a row is ``-score_samples(X)``, within rounding.

        expected : ndarray of shape (n_samples, n_features)
            What the network expects of each cell when it and every fourth column from
            it on are masked, in the units of X, as `reconstruct` has it. Only with
            `return_expected`.

        See Also
        --------
        reconstruct : What the network makes of a row as it is.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> contributions = detector.explain(other)
        >>> column = contributions.mean(axis=0).argmax()
        >>> load_wine().feature_names[column]
        'color_intensity'
        """
        self, X = self._validate(X)
        if return_expected:
            return self._model.explain(X), self._name_categories(self._model.expect(X))
        return self._model.explain(X)

    def diagnose(self, X: Input, X_fresh: Input | None = None) -> diagnosis.Diagnosis:
        """What a practitioner would check, each with a figure and what to do.

        Whether the loss still falls (at a rate that ends at 0 it hardly ever does: try
        more `epochs` to be sure), how much of the rows the network gives back,
        whether it copies even rows whose cells do not belong together, how many code
        units are dead, which columns are never observed, constant, constant but for
        rounding, identifiers by the looks of them, or ruled by one value that looks
        like the sign of a missing one, how many rows calibrate, and whether rows that
        it has not been trained on score lower than those that it has.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)
            The rows given to `fit`, or some of them; 10,000 are looked at.

        X_fresh : {array-like, sparse matrix, frame}, default=None
            Normal rows that `fit` has not seen. None takes the calibration scores, if
            there are any, and leaves the rows that were held back for them by
            `calibration_fraction` out of X. With `calibration_cv` none was held back:
            all rows of X stay, by their mean scores, and the calibration scores of the
            same rows, each by the network that has not seen it, are compared with them.

        Returns
        -------
        diagnosis : tuple of Finding
            To be printed. Each finding is a named tuple of `name`, which stays the
            same, `is_problem` (None if it could not be measured), `figure` and
            `advice`, two texts; those with a problem are listed in
            `diagnosis.problems`.

        See Also
        --------
        LossCurveDisplay : The loss over the epochs.
        AnomalyScoreDisplay : The scores and the threshold.

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
        self, X = self._validate_observed(X)
        columns = diagnosis.check_columns(X, self._names, self._model.layout)
        X = X[draw_sample(X.shape[0], self._model.layout.n_units, seed=0)]
        scores, fresh_scores = self._model.score(X), self.calibration_scores_
        n_calibration_rows = 0 if fresh_scores is None else len(fresh_scores)
        if X_fresh is not None:
            with checks.errors_noted("These are the rows given as X_fresh, after X."):
                fresh_scores = self._model.score(self._validate_observed(X_fresh)[1])
        elif fresh_scores is not None:  # rows of X held back by a fraction, to the bit
            scores = scores[~np.isin(scores, fresh_scores)]
        return diagnosis.Diagnosis(
            [
                diagnosis.check_loss(self.loss_curve_),
                *self._model.inspect(X),
                *columns,
                diagnosis.check_calibration(n_calibration_rows),
                diagnosis.check_gap(scores, fresh_scores, self.offset_),
            ]
        )

    # ------------------------------------------------- codes and reconstructions

    def transform(self, X: Input) -> NDArray[np.float64]:
        """The code of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_codes)
            As many columns as the last of `hidden_layer_sizes`, for each network of
            `n_estimators` and of each fold of `calibration_cv`.

        See Also
        --------
        inverse_transform : From codes to rows.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> detector.transform(X).shape
        (178, 4)
        """
        self, X = self._validate(X)
        return self._model.encode(X)

    def inverse_transform(self, X: ArrayLike) -> NDArray:
        """The row that each code stands for, in the units of the rows of `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_codes)
            Codes, as `transform` returns them.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            As `reconstruct` has it.

        See Also
        --------
        transform : From rows to codes.
        reconstruct : Both in one, of rows with missing cells too.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> detector.inverse_transform(detector.transform(X)).shape
        (178, 13)
        """
        self = self._hold()
        check_is_fitted(self)
        codes = check_array(X, dtype=FLOATS, input_name="X")
        n_codes = self._n_features_out
        if codes.shape[1] != n_codes:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but the code of this "
                f"{type(self).__name__} has {n_codes}. Pass what transform returns."
            )
        return self._name_categories(self._model.decode(codes))

    def reconstruct(self, X: Input) -> NDArray:
        """What the network makes of each row, in the units of X.

        In a missing cell that is what the observed ones lead it to expect. Of a column
        of categories it is what the other columns lead it to expect.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            Of dtype object if there are categories that are text; None, or NaN in an
            array of numbers, where a column has no category of its own.

        See Also
        --------
        explain : Which columns differ, and from what was expected.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector
        >>> X, y = load_wine(return_X_y=True)
        >>> normal, other = X[y != 2], X[y == 2]
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(normal)
        >>> detector.reconstruct(X).shape
        (178, 13)
        """
        self, X = self._validate(X)
        return self._name_categories(self._model.reconstruct(X))

    def _name_categories(self, units: NDArray[np.float64]) -> NDArray:
        """Rows in the user's units, with the most probable category of each cell."""
        return decode_columns(self._model.layout.choose(units), self.categories_)

    @property
    def _n_features_out(self) -> int:
        return self._model.n_codes

    @property
    def model_(self) -> keras.Model:
        """The autoencoder as a Keras model, in the units of X."""
        return self._make_keras_model("autoencoder")

    @property
    def encoder_(self) -> keras.Model:
        """The encoder as a Keras model, from rows in the units of X to codes."""
        return self._make_keras_model("encoder")

    @property
    def decoder_(self) -> keras.Model:
        """The decoder as a Keras model, from codes to rows in the units of X."""
        return self._make_keras_model("decoder")

    def _make_keras_model(self, name: str) -> keras.Model:
        check_is_fitted(self)
        return get_keras_models(self._model)[name]

    def __dir__(self) -> list[str]:
        """Without the Keras models: who looks at everything should not build them."""
        return sorted({*object.__dir__(self)} - {"model_", "encoder_", "decoder_"})

    # ------------------------------------------------------ state and conventions

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

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and plain arrays.

        Of skae's own types only an optimizer's is left: with skops, a reader must agree
        to each type in a file, and only that one imports what the file names.
        """
        state = dict(super().__getstate__())  # which may be `__dict__` itself
        state["optimizer"] = make_plain(state["optimizer"])
        if "_model" in state:
            state["_model"] = state["_model"].to_plain()
            state["_stream"] = state["_stream"] and state["_stream"]._asdict()
        return state | {"_skae_version": __version__, "_state_format": STATE_FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop("_skae_version", "an unknown version")
        state_format = state.pop("_state_format", None)
        if state_format != STATE_FORMAT:
            raise ValueError(
                f"This detector was pickled by skae {version} in state format "
                f"{state_format}; skae {__version__} reads format {STATE_FORMAT}. "
                f"Upgrade skae to {version} if that is later, or fit anew."
            )
        if "_model" in state:
            state["_model"] = make_model(state["_model"], make_keras_activation)
            state["_stream"] = state["_stream"] and Stream(**state["_stream"])
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags
