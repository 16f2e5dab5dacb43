"""Calls in any order: what is learnt, scored and kept stays one."""

import copy
import pickle
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from promises import check_rows, make, quiet, refused, take_print
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skae

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 2)) @ RNG.normal(size=(2, 3)) + 0.1
FIXED = ROWS[:5] + [[0.0], [0.1], [1.0], [10.0], [1e6]]
WORDS = [
    *skae.AutoencoderOutlierDetector._parameter_constraints,
    "fitted",
    "X",
    "diverged",
    "weight",
]

PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "contamination": st.sampled_from(["auto", 0.1, 0.5, 0.6]),
        "epochs": st.sampled_from([1, 2, 0]),
        "scaling": st.sampled_from(["standard", "minmax", "robust", None]),
        "score_method": st.sampled_from(["neighbors", "reconstruction"]),
        "calibration_fraction": st.sampled_from([0.0, 0.5]),
        "calibration_cv": st.sampled_from([None, 2]),
        "warm_start": st.booleans(),
        "n_estimators": st.sampled_from([1, 2]),
        "hidden_layer_sizes": st.sampled_from([(4, 2), (4, 2), (3,), ()]),
        "early_stopping": st.booleans(),
        "random_state": st.sampled_from([0, 1]),
        "learning_rate": st.sampled_from([0.006, 1e30]),
    },
)


class Calls(RuleBasedStateMachine):
    """A detector, and what is known of it: scores of fixed rows, labels, p-values."""

    @initialize(parameters=PARAMETERS)
    def begin(self, parameters):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "detector.skae"
        self.detector = make(**parameters)
        self.width = None
        self.saved = None
        self.note()

    def note(self):
        self.before = take_print(self.detector)
        if self.width is not None:
            self.scores = check_rows(self.detector, self.fixed)

    @property
    def fixed(self):
        return FIXED[:, : self.width]

    def is_same(self, detector):
        assert take_print(detector) == self.before
        if self.width is not None:
            scores = detector.score_samples(self.fixed)
            np.testing.assert_array_equal(scores, self.scores)

    def learn(self, method, start, n_rows, width, is_weighted):
        X = ROWS[start : start + n_rows, :width]
        weights = np.arange(len(X)) % 3 if is_weighted else None
        with refused(self.detector, *WORDS) as errors:
            getattr(self.detector, method)(X, sample_weight=weights)
        if not errors:
            self.width = width
            assert self.detector.n_features_in_ == width
        self.note()

    starts, numbers = st.integers(0, 40), st.sampled_from([1, 2, 15, 40])
    widths, booleans = st.sampled_from([3, 3, 3, 2]), st.booleans()

    @rule(start=starts, n_rows=numbers, width=widths, is_weighted=booleans)
    def fit(self, start, n_rows, width, is_weighted):
        self.learn("fit", start, n_rows, width, is_weighted)

    @rule(start=starts, n_rows=numbers, width=widths, is_weighted=booleans)
    def partial_fit(self, start, n_rows, width, is_weighted):
        self.learn("partial_fit", start, n_rows, width, is_weighted)

    @rule(method=st.sampled_from(["fit", "partial_fit", "calibrate", "score_samples"]))
    def wrong_rows(self, method):
        for X in ([["a", "b", "c"]], [[np.inf] * 3], np.zeros((2, 5, 1)), None):
            with refused(self.detector) as errors:
                getattr(self.detector, method)(X)
            assert errors
        self.is_same(self.detector)

    @rule(parameters=PARAMETERS)
    def set_params(self, parameters):
        """It acts at the next fit, and not before."""
        self.detector.set_params(**parameters)
        if self.width is not None:
            scores = self.detector.score_samples(self.fixed)
            np.testing.assert_array_equal(scores, self.scores)
        self.note()

    @rule(n_rows=st.sampled_from([3, 20]), rate=st.sampled_from([None, 0.1, 0.5, 2]))
    def calibrate(self, n_rows, rate):
        X = ROWS[-n_rows:, : self.width]
        with refused(self.detector, *WORDS, "false_alarm_rate") as errors:
            self.detector.calibrate(X, false_alarm_rate=rate)
        if self.width is not None:
            scores = self.detector.score_samples(self.fixed)
            np.testing.assert_array_equal(scores, self.scores)
        if not errors:
            assert len(self.detector.calibration_scores_) == n_rows
        self.note()

    @rule()
    def copies(self):
        self.is_same(pickle.loads(pickle.dumps(self.detector)))
        self.is_same(copy.deepcopy(self.detector))

    @rule()
    def go_on_with_a_copy(self):
        self.detector = pickle.loads(pickle.dumps(self.detector))

    @rule()
    def clones(self):
        other = clone(self.detector)
        assert not hasattr(other, "offset_")
        assert repr(other) == repr(self.detector)

    @rule()
    def save(self):
        with refused(self.detector, "fitted", "cannot be saved") as errors:
            skae.save(self.detector, self.path)
        if not errors:
            self.saved = self.before, self.width, getattr(self, "scores", None)

    @precondition(lambda self: self.saved is not None)
    @rule(goes_on=st.booleans())
    def load(self, goes_on):
        loaded = skae.load(self.path)
        _, width, scores = self.saved
        rows = FIXED[:, :width]
        np.testing.assert_array_equal(loaded.score_samples(rows), scores)
        if goes_on:
            self.detector, self.width = loaded, width
            self.note()

    @rule(start=starts, n_rows=st.integers(1, 20))
    def ask(self, start, n_rows):
        """Each method; what an unfitted detector says of it, too."""
        X = ROWS[start : start + n_rows, : self.width]
        asked = [
            "score_samples",
            "decision_function",
            "predict",
            "explain",
            "diagnose",
            "transform",
            "reconstruct",
            "score",
            "p_values",
        ]
        for name in asked:
            errors = []
            try:
                with quiet():
                    getattr(self.detector, name)(X)
            except NotFittedError as error:
                errors.append(error)
            is_calibrated = self.width is not None and (
                self.detector.calibration_scores_ is not None
            )
            is_ready = is_calibrated if name == "p_values" else self.width is not None
            assert bool(errors) != is_ready
        if self.width is not None:
            check_rows(self.detector, X)

    @invariant()
    def nothing_changes_by_itself(self):
        if hasattr(self, "detector"):
            self.is_same(self.detector)

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestCallsInAnyOrder = Calls.TestCase
TestCallsInAnyOrder.settings = settings(stateful_step_count=12)
