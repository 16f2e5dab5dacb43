"""Rows shared out to threads, and BLAS left as it was."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

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
