"""Threads and processes that use detectors at once get what they get one by one."""

import contextlib
import os
import pickle
import sys
import threading

import numpy as np
import pytest
from joblib import Parallel, delayed

import skae
from skae._learning import _tensorflow

PATIENCE = 120  # seconds, for what takes a few


@pytest.fixture(scope="module")
def X():
    return np.random.RandomState(0).normal(size=(300, 3))


@pytest.fixture(scope="module")
def make(make_detector):
    def make(**parameters):
        small = {"hidden_layer_sizes": (4, 2), "epochs": 2, "batch_size": 150}
        return make_detector(**{**small, "score_method": "neighbors", **parameters})

    return make


@contextlib.contextmanager
def threads_switching_often():
    """At nearly every instruction."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def run_at_once(*jobs):
    """Run functions in threads of their own; raise what one of them raises."""
    errors = []

    def run(job):
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(j,), daemon=True) for j in jobs]
    with threads_switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    for error in errors:
        raise error


def use(detector, X, path):
    """All that can be asked, as plain values: equal if they are equal to the bit."""
    skae.save(detector, path)
    return [
        detector.decision_function(X).tobytes(),
        detector.explain(X[:3]).tobytes(),
        detector.p_values(X).tobytes(),
        detector.inverse_transform(detector.transform(X)).tobytes(),
        detector.score(X),
        skae.load(path).predict(X).tobytes(),
        pickle.dumps(detector),
    ]


def test_all_methods_in_threads_give_what_they_give_one_by_one(make, X, tmp_path):
    """On one detector, while others are fitted, continued and loaded."""
    shared = make().fit(X).calibrate(X)

    def learn(seed):
        detector = make(random_state=seed).fit(X[:200]).partial_fit(X[200:])
        return pickle.dumps(detector.calibrate(X, false_alarm_rate=0.1))

    alone = [use(shared, X, tmp_path / "alone"), learn(1), learn(2)]
    together = [[] for _ in range(4)]

    def use_shared(number):
        for _ in range(3):
            together[number].append(use(shared, X, tmp_path / "shared"))

    def learn_own(number, seed):
        together[number].append(learn(seed))

    run_at_once(
        lambda: use_shared(0),
        lambda: use_shared(1),
        lambda: learn_own(2, 1),
        lambda: learn_own(3, 2),
    )
    assert together == [3 * alone[:1], 3 * alone[:1], alone[1:2], alone[2:]]


ASKED = {
    "decision_function": lambda detector, X: detector.decision_function(X),
    "p_values": lambda detector, X: detector.p_values(X),
    "reconstruct": lambda detector, X: detector.reconstruct(X),
    "offset and scores of a copy": lambda detector, X: np.append(
        (copy := pickle.loads(pickle.dumps(detector))).score_samples(X), copy.offset_
    ),
    "inverse_transform": lambda detector, X: detector.inverse_transform(X[:, :2]),
    "explain": lambda detector, X: detector.explain(X[:5], return_expected=True)[1],
}


def test_what_is_asked_during_a_refit_is_of_the_old_or_of_the_new_fit(
    make, X, tmp_path
):
    """Never of both. A cache makes the fits fast, and so many."""
    memory = str(tmp_path)
    tables = [X, 1e3 * X[:200] ** 2]
    detectors = [
        make(memory=memory, calibration_fraction=0.3).fit(table) for table in tables
    ]
    expected = {
        name: {ask(detector, X[:40]).tobytes() for detector in detectors}
        for name, ask in ASKED.items()
    }
    assert all(len(answers) == 2 for answers in expected.values())
    detector, has_ended = detectors[1], threading.Event()
    found = {name: set() for name in ASKED}

    def refit():
        try:
            for i in range(30):
                detector.fit(tables[i % 2])
        finally:
            has_ended.set()

    def ask_all():
        while not has_ended.is_set():
            for name, ask in ASKED.items():
                found[name].add(ask(detector, X[:40]).tobytes())

    run_at_once(refit, ask_all, ask_all)
    assert found == expected


def test_fits_of_one_detector_in_threads_leave_it_as_one_of_them_would(make, X):
    detector = make()
    tables = [X, X[:200], X[:100]]
    expected = [pickle.dumps(make().fit(table)) for table in tables]
    run_at_once(*(lambda table=table: detector.fit(table) for table in tables))
    assert pickle.dumps(detector) in expected


def test_threads_that_compile_at_once_leave_standard_error_where_it_was(monkeypatch):
    """What one silences must not be what the other restores."""
    monkeypatch.setattr(_tensorflow, "_is_talkative", True)
    before = os.fstat(2)
    is_in, other_is_in = threading.Event(), threading.Event()

    def compile_first():
        with _tensorflow.first_xla_compilation_silenced():
            is_in.set()
            other_is_in.wait(0.3)

    def compile_second():
        is_in.wait(PATIENCE)
        with _tensorflow.first_xla_compilation_silenced():
            other_is_in.set()
            first.join(PATIENCE)

    first = threading.Thread(target=compile_first, daemon=True)
    second = threading.Thread(target=compile_second, daemon=True)
    descriptor = os.dup(2)
    try:
        first.start(), second.start()
        first.join(PATIENCE), second.join(PATIENCE)
        assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (
            before.st_dev,
            before.st_ino,
        )
    finally:
        os.dup2(descriptor, 2)
        os.close(descriptor)


def score(detector, rows):
    return detector.decision_function(rows)


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_backends_of_joblib_score_as_one_process_does(backend, make, X):
    detector = make().fit(X)
    parts = Parallel(n_jobs=2, backend=backend, timeout=PATIENCE)(
        delayed(score)(detector, part) for part in np.array_split(X, 4)
    )
    np.testing.assert_array_equal(np.concatenate(parts), detector.decision_function(X))


IN_PROCESSES = """
import multiprocessing, sys
import numpy as np
import skae

if __name__ == "__main__":
    detector, X = skae.load(sys.argv[1]), np.load(sys.argv[2])
    expected, halves = detector.score_samples(X), np.array_split(X, 2)
    for method in sys.argv[3:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            scores = pool.map_async(detector.score_samples, halves).get(100)
        assert (np.concatenate(scores) == expected).all()
    assert "tensorflow" not in sys.modules
"""


def test_processes_of_any_kind_score_as_one_does(
    make, X, tmp_path, run_in_fresh_process
):
    import multiprocessing

    skae.save(make().fit(X), tmp_path / "detector.skae")
    np.save(tmp_path / "X.npy", X)
    methods = multiprocessing.get_all_start_methods()
    run_in_fresh_process(
        "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')",
        write(tmp_path / "script.py", IN_PROCESSES),
        tmp_path / "detector.skae",
        tmp_path / "X.npy",
        *methods,
    )


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


KILLED_WORKER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import skae

def die_once(X, factor):
    if not os.path.exists("killed"):
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return X * factor

os.chdir(sys.argv[1])
X = np.load("X.npy")
pipeline = make_pipeline(
    FunctionTransformer(die_once), FrozenEstimator(skae.load("detector.skae"))
)
grid = {"functiontransformer__kw_args": [{"factor": 1.0}, {"factor": 2.0}]}
search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, refit=False)
try:
    search.fit(X)
except TerminatedWorkerError:
    print("killed")
parallel = search.fit(X).cv_results_["mean_test_score"]
alone = search.set_params(n_jobs=1).fit(X).cv_results_["mean_test_score"]
print((parallel == alone).sum())
"""


def test_killed_worker_ends_a_search_and_the_next_one_works(
    make, X, tmp_path, run_in_fresh_process
):
    skae.save(make().fit(X), tmp_path / "detector.skae")
    np.save(tmp_path / "X.npy", X)
    out, _ = run_in_fresh_process(KILLED_WORKER, tmp_path)
    assert out.split() == ["killed", "2"]
