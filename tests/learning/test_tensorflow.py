"""Keras and TensorFlow where they are missing or forked, or have nowhere to write."""

import pytest

PREPARE = """
import multiprocessing, sys
import numpy as np
from skae import AutoencoderOutlierDetector

X = np.random.RandomState(0).normal(size=(600, 4))
detector = AutoencoderOutlierDetector((8, 2), epochs=2, random_state=0)
"""

# Runs `work` in a forked child and prints what it returns or raises. A hang ends in the
# time limit of the test's process.
IN_A_FORK = """
def report(queue):
    try:
        queue.put(work())
    except RuntimeError as error:
        queue.put(str(error))

context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
child = context.Process(target=report, args=(queue,))
child.start()
print(queue.get())
child.join()
"""

needs_fork = pytest.mark.skipif(
    "fork" not in __import__("multiprocessing").get_all_start_methods(),
    reason="this platform does not fork",
)


@needs_fork
@pytest.mark.parametrize(
    "use",
    [
        "detector.fit(X)",
        "import tensorflow as tf; tf.zeros(1) + 1",
    ],
    ids=["by skae", "by others"],
)
def test_fit_in_a_fork_after_tensorflow_was_used_raises_at_once(
    use, run_in_fresh_process
):
    out, _ = run_in_fresh_process(
        f"{PREPARE}\nimport warnings\nwarnings.simplefilter('ignore')\n{use}\n"
        f"def work(): return detector.fit(X)\n{IN_A_FORK}"
    )
    assert "used before this process was forked" in out
    assert "'spawn'" in out and "'loky'" in out


@needs_fork
@pytest.mark.parametrize("use", ["pass", "import keras"])
def test_fit_in_a_fork_works_before_tensorflow_was_used(use, run_in_fresh_process):
    out, _ = run_in_fresh_process(
        f"{PREPARE}\nimport warnings\nwarnings.simplefilter('ignore')\n{use}\n"
        f"def work(): return detector.fit(X).n_iter_\n{IN_A_FORK}"
    )
    assert out.strip() == "2"


@needs_fork
def test_scores_in_a_fork_are_the_same_to_the_bit(run_in_fresh_process):
    out, _ = run_in_fresh_process(
        f"{PREPARE}\ndetector.fit(X)\nexpected = detector.score_samples(X)\n"
        "def work(): return np.array_equal(detector.score_samples(X), expected)\n"
        f"{IN_A_FORK}"
    )
    assert out.strip() == "True"


@needs_fork
def test_nothing_that_needs_keras_hangs_in_a_fork(run_in_fresh_process):
    """What the parent has compiled or built is not used."""
    out, _ = run_in_fresh_process(
        f"""{PREPARE}
detector.set_params(activation="celu").fit(X)
detector.model_, detector.score_samples(X)
def work():
    n_errors = 0
    calls = detector.fit, lambda X: detector.model_, detector.score_samples
    for call in calls:
        try:
            call(X)
        except RuntimeError as error:
            n_errors += "used before this process was forked" in str(error)
    return n_errors
{IN_A_FORK}"""
    )
    assert out.strip() == "3"


@needs_fork
def test_fork_in_the_middle_of_scoring_leaves_a_usable_child(run_in_fresh_process):
    """No lock stays held in it, and BLAS has its threads again."""
    out, _ = run_in_fresh_process(
        f"""{PREPARE}
from threading import Event, Thread
from threadpoolctl import threadpool_info
from skae._scoring._threads import share_out

def count(): return [i["num_threads"] for i in threadpool_info()]

before = count()
began, may_end = Event(), Event()
def wait(part):
    began.set()
    may_end.wait(60)
thread = Thread(target=share_out, args=(300, 4, wait))
thread.start()
began.wait()
def work():
    share_out(300, 4, lambda part: None)
    return count() == before
{IN_A_FORK}
may_end.set()
thread.join()
assert count() == before
"""
    )
    assert out.strip() == "True"


BROKEN = """
class CannotFlush:
    def write(self, text): return len(text)

class Full:
    def write(self, text): raise OSError("no space left")
    def flush(self): raise OSError("no space left")

import io
closed = io.StringIO()
closed.close()
streams = {"None": None, "closed": closed, "unflushable": CannotFlush(), "full": Full()}
"""


@pytest.mark.parametrize("first", ["None", "closed"])
def test_streams_that_do_not_work_do_no_harm(first, run_in_fresh_process):
    """Neither when TensorFlow is imported nor later."""
    out, _ = run_in_fresh_process(
        f"""{PREPARE}{BROKEN}
import os
n_fits = 0
saved = sys.stdout, sys.stderr
for stream in [streams[{first!r}], *streams.values()]:
    for verbose in 0, 1:
        sys.stdout = sys.stderr = stream
        try:
            detector.set_params(verbose=verbose, n_estimators=2).fit(X).predict(X)
        finally:
            sys.stdout, sys.stderr = saved
        n_fits += len(detector.loss_curve_) == 2
print(n_fits)
sys.stdout.flush()
os._exit(0)  # at its exit, absl wants to close the stream that it found at its import
"""
    )
    assert out.strip() == "10"


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_missing_keras_is_one_clear_error_and_scoring_works(
    missing, tmp_path, fitted, correlated_rows, run_in_fresh_process
):
    import pickle

    (tmp_path / "detector").write_bytes(pickle.dumps((fitted, correlated_rows)))
    out, _ = run_in_fresh_process(
        f"""
import pickle, sys, warnings
warnings.simplefilter("ignore")
sys.modules[{missing!r}] = None
detector, X = pickle.load(open(sys.argv[1] + "/detector", "rb"))
before = pickle.dumps(detector)
for ask in [
    lambda: detector.fit(X),
    lambda: detector.partial_fit(X),
    lambda: detector.model_,
    lambda: detector.encoder_,
]:
    try:
        ask()
    except ImportError as error:
        print(error)
assert pickle.dumps(detector) == before
assert detector.explain(X).shape == X.shape
print((detector.predict(X) == 1).mean())
""",
        tmp_path,
    )
    *errors, share = out.splitlines()
    assert len(errors) == 4 and len(set(errors)) == 1
    assert missing in errors[0]
    assert "python -m pip install keras tensorflow" in errors[0]
    assert "scores, explains" in errors[0]
    assert float(share) > 0.5


@pytest.mark.parametrize("backend", ["numpy", "no such thing"])
def test_other_backend_is_an_error_that_names_the_variable(
    backend, run_in_fresh_process
):
    out, _ = run_in_fresh_process(
        f"""{PREPARE}
import warnings
warnings.simplefilter("ignore")
try:
    detector.fit(X)
except ImportError as error:
    print(error)
""",
        KERAS_BACKEND=backend,
    )
    assert f"Keras runs on {backend!r}" in out
    assert "KERAS_BACKEND to 'tensorflow'" in out


@pytest.mark.skipif(
    not __import__("pathlib").Path("/proc/self/task").exists(),
    reason="this platform does not tell the names of threads",
)
def test_skae_that_is_imported_in_the_fork_raises_too(run_in_fresh_process):
    out, _ = run_in_fresh_process(
        """
import multiprocessing, warnings
warnings.simplefilter("ignore")
import numpy as np
import tensorflow as tf
tf.zeros(1) + 1
X = np.random.RandomState(0).normal(size=(60, 4))
def work():
    from skae import AutoencoderOutlierDetector
    return AutoencoderOutlierDetector((8, 2), epochs=1).fit(X)
"""
        + IN_A_FORK
    )
    assert "used before this process was forked" in out
