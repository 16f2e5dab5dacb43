"""scikit-learn's own suite, without an expected failure and without a skip."""

import inspect
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skae import AutoencoderOutlierDetector

QUICK = AutoencoderOutlierDetector((8, 2), epochs=20)

# Together with QUICK: the defaults, every scaling, early stopping, a float
# contamination, a deep and a one-layer network, either schedule, several networks,
# a column of categories.
CONFIGURATIONS = [
    AutoencoderOutlierDetector(),
    AutoencoderOutlierDetector((16, 4), scaling="minmax", output_activation="sigmoid"),
    AutoencoderOutlierDetector((16, 4), scaling="robust", early_stopping=True, tol=0.0),
    AutoencoderOutlierDetector(4, scaling=None, learning_rate=0.01),
    AutoencoderOutlierDetector((16, 4), contamination=0.1, activation="tanh"),
    AutoencoderOutlierDetector(
        (64, 32, 16, 8, 4), learning_rate_schedule="cosine", epochs=50
    ),
    AutoencoderOutlierDetector(
        (16, 4), optimizer="rmsprop", loss="mean_absolute_error"
    ),
    AutoencoderOutlierDetector((8, 2), n_estimators=2, epochs=20),
    AutoencoderOutlierDetector((8, 2), categorical_features=[0], epochs=20),
]

# scikit-learn applies these to its own estimators only.
OWN_CHECKS = [
    checks.check_param_validation,
    checks.check_dataframe_column_names_consistency,
    checks.check_get_feature_names_out_error,
    checks.check_transformer_get_feature_names_out,
    checks.check_transformer_get_feature_names_out_pandas,
    checks.check_set_output_transform,
    checks.check_set_output_transform_pandas,
    checks.check_global_output_transform_pandas,
    checks.check_set_output_transform_polars,
    checks.check_global_set_output_transform_polars,
    checks.check_inplace_ensure_writeable,
    checks.check_estimator_tags_renamed,
    checks.check_parameters_default_constructible,
]

pytestmark = [
    # The checks pass labels other than -1 to `score`, and let epochs run out.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def run(check, *arguments):
    """A check that skips itself has not passed."""
    try:
        check(*arguments)
    except SkipTest as skip:
        pytest.fail(f"skipped: {skip}")


@parametrize_with_checks([QUICK])
def test_quick_detector_passes_each_check_of_scikit_learn(estimator, check):
    run(check, estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:output_activation='sigmoid' stays within")
@parametrize_with_checks(CONFIGURATIONS)
def test_other_configurations_pass_each_check_of_scikit_learn(estimator, check):
    run(check, estimator)


# The checks of set_output fit on frames and transform arrays.
@pytest.mark.filterwarnings(
    "ignore:X (has|does not have valid) feature names:UserWarning"
)
@pytest.mark.parametrize("check", OWN_CHECKS, ids=lambda check: check.__name__)
def test_detector_passes_the_checks_of_scikit_learns_own_estimators(check):
    run(check, "AutoencoderOutlierDetector", QUICK)


def test_tags_make_no_excuses():
    tags = get_tags(QUICK)
    assert tags.estimator_type == "outlier_detector"
    assert not tags.non_deterministic
    assert not tags.no_validation
    assert not tags.target_tags.required


def test_every_argument_but_the_first_is_keyword_only():
    parameters = list(inspect.signature(AutoencoderOutlierDetector).parameters.values())
    kinds = [parameter.kind for parameter in parameters]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("learning_rate", [np.float32(0.01), np.float64(0.01)])
def test_numpy_scalars_serve_as_parameters(learning_rate, correlated_rows):
    detector = AutoencoderOutlierDetector(
        np.array([8, 2]), epochs=np.int64(2), learning_rate=learning_rate
    )
    assert detector.fit(correlated_rows).n_iter_ == 2
