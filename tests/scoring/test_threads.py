"""Rows shared out to threads, and BLAS left as it was."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from skae._scoring import _threads
from skae._scoring._threads import share_out


def list_threads():
    return [
        lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
    ]


@pytest.mark.parametrize("n_rows", [1, 256, 257, 10_000, 100_001])
def test_parts_are_all_rows_once(n_rows):
    seen = np.zeros(n_rows, int)

    def work(part):
        assert part.start % 256 == 0
        seen[part] += 1

    share_out(n_rows, 5, work)
    assert (seen == 1).all()


def test_blas_has_one_thread_meanwhile_and_its_own_after():
    before = list_threads()
    inside = []
    share_out(1000, 5, lambda part: inside.append(max(list_threads())))
    assert set(inside) == {1}
    assert list_threads() == before


def test_blas_is_restored_after_an_error():
    def fail(part):
        raise MemoryError

    before = list_threads()
    with pytest.raises(MemoryError):
        share_out(1000, 5, fail)
    assert list_threads() == before


def test_last_of_overlapping_calls_restores_blas():
    before = list_threads()
    first_is_in, first_may_end = threading.Event(), threading.Event()

    def wait(part):
        first_is_in.set()
        first_may_end.wait(10)

    first = threading.Thread(target=share_out, args=(300, 5, wait))
    first.start()
    first_is_in.wait(10)
    share_out(300, 5, lambda part: None)  # begins second, ends first
    assert set(list_threads()) == {1}
    first_may_end.set()
    first.join()
    assert list_threads() == before


def test_blas_is_restored_by_another_thread_than_the_one_that_began():
    """Which is still alive then."""
    before = list_threads()
    events = [threading.Event() for _ in range(4)]
    first_is_in, first_may_end, first_is_out, first_may_die = events

    def work(part):
        first_is_in.set()
        first_may_end.wait(10)

    def run_first():
        share_out(300, 5, work)
        first_is_out.set()
        first_may_die.wait(10)

    def let_the_first_end(part):
        first_may_end.set()
        first_is_out.wait(10)

    first = threading.Thread(target=run_first)
    first.start()
    first_is_in.wait(10)
    share_out(300, 5, let_the_first_end)
    assert list_threads() == before
    first_may_die.set()
    first.join()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_scores_do_not_depend_on_the_number_of_threads(n_threads, make_detector):
    X = np.random.RandomState(0).normal(size=(3000, 5))
    detector = make_detector(score_method="neighbors").fit(X)
    expected = detector.score_samples(X)
    with threadpool_limits(n_threads, user_api="blas"):
        np.testing.assert_array_equal(detector.score_samples(X), expected)


def test_overlapping_calls_share_the_threads_that_blas_had():
    """The second does not take the first's limit for all that there is."""
    is_in, may_end, names = threading.Event(), threading.Event(), set()

    def wait(part):
        is_in.set()
        may_end.wait(10)

    def take_down_thread(part):
        names.add(threading.get_ident())
        meeting.wait(10)

    with threadpool_limits(4, user_api="blas"):
        meeting = threading.Barrier(2)
        first = threading.Thread(target=share_out, args=(300, 5, wait))
        first.start()
        is_in.wait(10)
        share_out(512, 5, take_down_thread)  # two blocks that wait for each other
        may_end.set()
        first.join()
    assert len(names) == 2


def test_work_that_is_shared_out_by_a_worker_is_done_at_once():
    calls = []

    def work(part):
        worker = threading.get_ident()
        share_out(1000, 5, lambda p: calls.append((worker, threading.get_ident(), p)))

    share_out(300, 5, work)
    assert calls
    for worker, thread, part in calls:
        assert thread == worker and part == slice(0, 1000)


@pytest.mark.parametrize("n_rows, is_at_once", [(256, True), (257, False)])
def test_single_block_is_worked_on_in_the_thread_that_asks(n_rows, is_at_once):
    threads = set()
    share_out(n_rows, 5, lambda part: threads.add(threading.get_ident()))
    assert (threads == {threading.get_ident()}) is is_at_once


@pytest.mark.parametrize("n_columns, n_parts", [(5, 4), (2**14, 2), (10**6, 1)])
def test_wide_rows_are_shared_out_to_fewer_threads(n_columns, n_parts):
    parts = []
    with threadpool_limits(4, user_api="blas"):
        share_out(1024, n_columns, parts.append)  # four blocks
    assert len(parts) == n_parts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_forked_child_shares_out_where_nobody_did_before(run_in_fresh_process):
    out, errors = run_in_fresh_process(
        """
import os, signal, warnings
from skae._scoring._threads import share_out

warnings.simplefilter("ignore")  # of forks beside the threads of BLAS
if not os.fork():
    signal.alarm(20)
    share_out(1000, 5, lambda part: None)
    print("done", flush=True)
    os._exit(0)
os.wait()
"""
    )
    assert out.split() == ["done"] and not errors


def test_every_method_holds_blas_to_one_thread(make_detector):
    """And `fit` does, outside of TensorFlow."""
    X = np.random.RandomState(0).normal(size=(700, 5))
    seen = set()

    def spy(values):
        import keras

        if hasattr(values, "numpy"):  # not while TensorFlow traces it
            seen.add(max(list_threads()))
        return keras.activations.relu(values)

    with threadpool_limits(2, user_api="blas"):
        detector = make_detector(activation=spy, epochs=1, score_method="neighbors")
        detector.fit(X)
        for method in "score_samples transform reconstruct explain".split():
            getattr(detector, method)(X)
        detector.inverse_transform(detector.transform(X))
        detector.diagnose(X)
        assert set(list_threads()) == {2}
    assert seen == {1}


def test_eight_threads_score_as_one_does(make_detector):
    """Mixed sizes, a detector that none has used before, nothing lost."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(2000, 5))
    detector = make_detector(score_method="neighbors").fit(X[:500])
    sizes = rng.choice([1, 3, 256, 300, 1500], size=400, p=[0.5, 0.3, 0.1, 0.06, 0.04])
    starts = rng.randint(500, size=400)
    calls = [X[a : a + n] for a, n in zip(starts, sizes, strict=True)]
    before = list_threads()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(detector.score_samples, calls))
    assert list_threads() == before
    for rows, scores in zip(calls, together, strict=True):
        np.testing.assert_array_equal(scores, detector.score_samples(rows))


ACTIVATIONS = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh "
    "leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu "
    "softmax softplus softsign soft_shrink sparse_plus sparse_sigmoid squareplus "
    "tanh tanh_shrink"
).split()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_leaks_a_warning(activation, make_detector, correlated_rows):
    """Of NumPy, at the ends of its range; warnings are errors here."""
    keras = pytest.importorskip("keras")
    if not hasattr(keras.activations, activation):
        pytest.skip(f"Keras {keras.__version__} does not know {activation!r}")
    detector = make_detector(activation=activation, hidden_layer_sizes=2)
    detector.fit(correlated_rows)
    far = np.resize([1e308, -1e308, 0.0, 1e-308, -1e-308], (300, 5))
    scores = detector.score_samples(far)
    assert np.isfinite(scores).all()
    for method in detector.transform, detector.reconstruct, detector.explain:
        method(far)
        method(far[:2])
    detector.inverse_transform(np.full((300, detector.transform(far).shape[1]), 1e308))


def test_rows_are_scored_after_the_main_thread_has_ended(run_in_fresh_process):
    """Python then starts no threads."""
    out, _ = run_in_fresh_process(
        """
import atexit, threading, time
from skae._scoring._threads import share_out

def score():
    if threading.current_thread() is not threading.main_thread():
        threading.main_thread().join()
        time.sleep(0.2)
    rows = []
    share_out(1000, 5, lambda part: rows.extend(range(part.start, part.stop)))
    print(sorted(rows) == list(range(1000)))

threading.Thread(target=score).start()
atexit.register(score)
"""
    )
    assert out.split() == ["True", "True"]


@pytest.mark.parametrize("step", ["hold", "release"])
def test_interrupt_while_threads_are_set_leaves_blas_as_it_was(step, monkeypatch):
    """At the latest after the next call."""
    set_threads, is_armed = _threads._set_threads, True

    def interrupt(*numbers):
        nonlocal is_armed
        set_threads(*numbers)
        in_main = threading.current_thread() is threading.main_thread()
        if is_armed and in_main and (numbers == (1,)) == (step == "hold"):
            is_armed = False
            raise KeyboardInterrupt

    with threadpool_limits(2, user_api="blas"):
        before = list_threads()
        monkeypatch.setattr(_threads, "_set_threads", interrupt)
        with pytest.raises(KeyboardInterrupt):
            share_out(1000, 5, lambda part: None)
        share_out(1000, 5, lambda part: None)
        assert list_threads() == before


@pytest.mark.parametrize("n_rows", [700, 8192, 60_000])
def test_parts_are_short_and_shared_evenly(n_rows):
    """An interrupt waits for the end of a part; no thread has one more than another."""
    sizes = []
    with threadpool_limits(2, user_api="blas"):
        share_out(n_rows, 5, lambda part: sizes.append(part.stop - part.start))
    assert sum(sizes) == n_rows and max(sizes) <= 4096
    assert len(sizes) % 2 == 0


def test_single_block_is_worked_on_by_the_thread_that_calls():
    threads = []
    share_out(256, 5, lambda part: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]


def test_very_wide_rows_have_one_thread_for_their_memory():
    threads = set()

    def work(part):
        threads.add(threading.get_ident())
        time.sleep(0.05)  # so that another thread would be free for the next part

    with threadpool_limits(4, user_api="blas"):
        share_out(2048, 2**15, work)
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_work_shared_out_by_a_worker_is_done_at_once_though_threads_are_left():
    parts = []

    def work(part):
        share_out(1000, 5, parts.append)

    with threadpool_limits(4, user_api="blas"):
        share_out(300, 5, work)
    assert set(map(str, parts)) == {"slice(0, 1000, None)"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked there")
def test_forked_child_shares_rows_out(run_in_fresh_process):
    out, errors = run_in_fresh_process(
        """
import os, signal
from skae._scoring._threads import share_out

if os.fork():
    os.wait()
else:
    signal.alarm(20)
    rows = []
    share_out(1000, 5, lambda part: rows.extend(range(part.start, part.stop)))
    print(sorted(rows) == list(range(1000)), flush=True)
    os._exit(0)
"""
    )
    assert out.split() == ["True"]
    assert errors == ""
