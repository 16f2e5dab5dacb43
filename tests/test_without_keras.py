"""What a fitted detector does where neither Keras nor TensorFlow is installed.

These tests fit nothing: `.ci/run` runs them in an environment without both, too.
"""

import copy
import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import skae

FIXTURES = Path(__file__).parent / "files" / "fixtures"
PATH = FIXTURES / "detector_format_3.skae"

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


@pytest.fixture
def detector():
    """As it comes out of a file: two networks, five named columns."""
    return skae.load(PATH)


@pytest.fixture(scope="module")
def known():
    """Nine rows, three of them far out, and their scores."""
    with np.load(FIXTURES / "scores_format_3.npz") as arrays:
        return arrays["X"], arrays["scores"]


@pytest.fixture(scope="module")
def many(known):
    """3,000 rows, which are shared out to threads."""
    rng = np.random.RandomState(0)
    return known[0][rng.randint(6, size=3000)] * rng.uniform(0.9, 1.1, size=(3000, 5))


def test_scores_and_labels(detector, known):
    X, scores = known
    np.testing.assert_allclose(detector.score_samples(X), scores, rtol=1e-12)
    assert list(detector.predict(X[6:])) == [-1, -1, -1]


def test_scores_of_many_rows_are_those_of_each(detector, many):
    scores = detector.score_samples(many)
    np.testing.assert_array_equal(scores[::500], detector.score_samples(many[::500]))


def test_explanations_add_up(detector, known):
    contributions, expected = detector.explain(known[0], return_expected=True)
    np.testing.assert_allclose(contributions.sum(axis=1), -known[1], rtol=1e-6)
    assert np.isfinite(expected).all()


def test_p_values_after_calibration(detector, known, many):
    detector.calibrate(many, false_alarm_rate=0.05)
    assert (detector.p_values(known[0][6:]) < 0.01).all()
    assert (detector.predict(many) == -1).mean() <= 0.05


def test_codes_and_reconstructions(detector, many):
    codes = detector.transform(many)
    assert codes.shape == (3000, 4)
    np.testing.assert_allclose(
        detector.inverse_transform(codes), detector.reconstruct(many), rtol=1e-9
    )


def test_diagnosis(detector, many):
    assert "calibration rows" in str(detector.diagnose(many))


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "file"])
def test_copies_score_the_same(way, detector, known, tmp_path):
    if way == "file":
        skae.save(detector, tmp_path / "detector.skae")
        copied = skae.load(tmp_path / "detector.skae")
    else:
        copied = (
            copy.deepcopy(detector)
            if way == "deepcopy"
            else pickle.loads(pickle.dumps(detector))
        )
    expected = detector.score_samples(known[0])
    np.testing.assert_array_equal(copied.score_samples(known[0]), expected)


def test_onnx_graph_scores_the_same(detector, known):
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    skae.register_onnx_converter()
    graph = skl2onnx.to_onnx(detector, known[0][:1]).SerializeToString()
    session = onnxruntime.InferenceSession(graph)
    (source,) = session.get_inputs()
    (scores,) = session.run(["scores"], {source.name: known[0]})
    decision = detector.decision_function(known[0])
    np.testing.assert_allclose(scores.ravel(), decision, rtol=1e-9)


@pytest.mark.skipif(
    importlib.util.find_spec("keras") is not None, reason="Keras is installed here"
)
def test_training_asks_for_keras_and_changes_nothing(detector, known):
    before = pickle.dumps(detector)
    for ask in detector.fit, detector.partial_fit, lambda X: detector.model_:
        with pytest.raises(ImportError, match="python -m pip install keras tensorflow"):
            ask(known[0])
    assert pickle.dumps(detector) == before
    assert "keras" not in sys.modules and "tensorflow" not in sys.modules


def test_looking_at_everything_builds_no_keras_model(detector, run_in_fresh_process):
    """As a notebook does, and completion."""
    assert "AutoencoderOutlierDetector" in detector._repr_html_()
    assert "score_samples" in dir(detector)
    run_in_fresh_process(
        "import sys, skae\n"
        "detector = skae.load(sys.argv[1])\n"
        "dir(detector), detector._repr_html_(), repr(detector)\n"
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules\n",
        PATH,
    )
