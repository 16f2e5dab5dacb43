"""The public surface, whole: a name that comes or goes is a promise made or broken."""

import inspect

import pytest

import skae
from skae import AutoencoderOutlierDetector

NAMES = [
    "AnomalyScoreDisplay",
    "AutoencoderOutlierDetector",
    "CodeDisplay",
    "ExplanationDisplay",
    "LossCurveDisplay",
    "__version__",
    "load",
    "make_synthetic_anomalies",
    "register_onnx_converter",
    "save",
]
METHODS = {
    "calibrate": ["X", "false_alarm_rate"],
    "decision_function": ["X"],
    "diagnose": ["X", "X_fresh"],
    "explain": ["X", "return_expected"],
    "fit": ["X", "y", "sample_weight", "callbacks"],
    "fit_predict": ["X", "y", "kwargs"],
    "fit_transform": ["X", "y", "fit_params"],
    "get_feature_names_out": ["input_features"],
    "get_metadata_routing": [],
    "get_params": ["deep"],
    "inverse_transform": ["X"],
    "p_values": ["X"],
    "partial_fit": ["X", "y", "sample_weight"],
    "predict": ["X"],
    "reconstruct": ["X"],
    "score": ["X", "y", "sample_weight"],
    "score_samples": ["X"],
    "set_fit_request": ["callbacks", "sample_weight"],
    "set_output": ["transform"],
    "set_params": ["params"],
    "set_partial_fit_request": ["sample_weight"],
    "set_score_request": ["sample_weight"],
    "transform": ["X"],
}
PARAMETERS = """
    hidden_layer_sizes activation output_activation loss optimizer learning_rate
    learning_rate_schedule epochs batch_size early_stopping validation_fraction
    n_iter_no_change tol masking scaling n_estimators score_method categorical_features
    contamination calibration_fraction calibration_cv warm_start memory verbose
    random_state
""".split()
ATTRIBUTES = """
    calibration_scores_ categories_ decoder_ encoder_ feature_names_in_ loss_curve_
    model_ n_features_in_ n_iter_ offset_ validation_loss_curve_
""".split()
DISPLAYS = {
    "AnomalyScoreDisplay": ["from_estimator", "from_predictions", "plot"],
    "CodeDisplay": ["from_estimator", "from_predictions", "plot"],
    "ExplanationDisplay": ["from_estimator", "from_predictions", "plot"],
    "LossCurveDisplay": ["from_estimator", "plot"],
}


def list_methods(cls):
    return [
        name
        for name, _ in inspect.getmembers(cls, inspect.isroutine)
        if not name.startswith("_")
    ]


def test_package_has_these_names():
    assert sorted(skae.__all__) == NAMES
    public = {name for name in vars(skae) if not name.startswith("_")}
    assert public <= {*NAMES}


def test_detector_has_these_methods_with_these_arguments():
    found = {
        name: [*inspect.signature(getattr(AutoencoderOutlierDetector, name)).parameters]
        for name in list_methods(AutoencoderOutlierDetector)
    }
    assert {
        name: [argument for argument in arguments if argument != "self"]
        for name, arguments in found.items()
    } == METHODS


def test_detector_has_these_parameters():
    assert [*inspect.signature(AutoencoderOutlierDetector).parameters] == PARAMETERS


def test_fitted_detector_has_these_attributes(make_detector, correlated_rows):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    detector = make_detector(epochs=1).fit(frame)
    found = {name for name in dir(detector) if name[0] != "_" and name[-1] == "_"}
    # Those that build a Keras model are left out of what is looked at.
    assert sorted(found | {"decoder_", "encoder_", "model_"}) == ATTRIBUTES


def test_detector_has_none_of_them_before_fit():
    detector = AutoencoderOutlierDetector()
    assert [name for name in ATTRIBUTES if hasattr(detector, name)] == []


@pytest.mark.parametrize("name", DISPLAYS)
def test_display_has_these_methods(name):
    assert list_methods(getattr(skae, name)) == DISPLAYS[name]
