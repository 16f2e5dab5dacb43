"""Blocks of rows shared out to threads, each with BLAS to itself.

Threads of BLAS wait for each other after every small product, and on a machine that is
busy with something else, they wait long. Here each product has one thread, and the
threads have rows of their own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

BLOCK_ROWS = 256
MAX_BLOCK_CELLS = 2**23  # of all threads; each needs up to 22 times as much memory
PART_ROWS = 16 * BLOCK_ROWS  # of a thread at a time; an interrupt waits for its end

_worker = threading.local()  # knows whether its thread is one of those below
_lock = threading.Lock()
_calls: list[_Call] = []  # those that go on


class _Call(NamedTuple):
    """The first of the calls that go on has held BLAS for all of them."""

    n_threads: int  # that BLAS had
    limiter: Any  # restores them; None if there is nothing to restore


def share_out(n_rows: int, n_columns: int, work: Callable[[slice], None]) -> None:
    """Call a function with parts of the rows that together are all, in threads.

    There are as many threads as BLAS would use, but fewer where rows are so wide that
    they would need much memory, or where another call goes on; BLAS is held to one
    meanwhile, in the whole process. A single block is worked on at once, and so is all
    that one of the threads shares out itself. What overflows is infinite, or NaN, and
    nobody is warned.
    """

    def work_silently(part: slice) -> None:
        with np.errstate(all="ignore"):  # of this thread alone
            work(part)

    if n_rows <= BLOCK_ROWS or getattr(_worker, "is_one", False):
        work_silently(slice(0, n_rows))
        return
    with _one_blas_thread() as n_threads:
        n_threads = max(1, min(n_threads, MAX_BLOCK_CELLS // (BLOCK_ROWS * n_columns)))
        starts = range(0, n_rows, _choose_part(n_rows, n_threads))
        parts = [slice(a, min(a + starts.step, n_rows)) for a in starts]
        pool = ThreadPoolExecutor(n_threads, initializer=_become_worker)
        try:
            list(pool.map(work_silently, parts))
        finally:
            pool.shutdown(cancel_futures=True)


def _become_worker() -> None:
    _worker.is_one = True


def _choose_part(n_rows: int, n_threads: int) -> int:
    """Rows of a part: whole blocks, and as many parts as threads where rows are few."""
    n_blocks = -(-n_rows // BLOCK_ROWS)
    return min(PART_ROWS, BLOCK_ROWS * -(-n_blocks // n_threads))


@contextmanager
def _one_blas_thread() -> Iterator[int]:
    """Hold BLAS to one thread; yields how many it had.

    Of several calls that overlap the first sets it, and the last restores it.
    """
    controller = _get_controller()
    with _lock:
        if _calls:
            n_threads, limiter = _calls[0].n_threads, None
        else:
            libraries = controller.info()
            n_threads = max((lib["num_threads"] for lib in libraries), default=1)
            limiter = controller.limit(limits=1) if n_threads > 1 else None
        _calls.append(_Call(n_threads, limiter))
        n_calls = len(_calls)
    try:
        yield n_threads // n_calls
    finally:
        with _lock:
            call = _calls.pop()
            if not _calls:  # then it is the first
                _restore(call.limiter)


def _restore(limiter: Any) -> None:
    """Let BLAS have its threads again, whichever thread of Python held it.

    Since threadpoolctl 3.8 only one thread sets those of BLAS; others are not heard.
    """
    if limiter is None:
        return
    libraries = _get_controller().lib_controllers
    releases = [getattr(lib, "clear_controlling_thread", None) for lib in libraries]
    for release in filter(None, releases):
        release(force=True)
    limiter.restore_original_limits()
    for release in filter(None, releases):
        release(force=True)


@cache
def _get_controller() -> ThreadpoolController:
    """Made once: to look for the libraries takes longer than to score a row."""
    return ThreadpoolController().select(user_api="blas")


def _start_anew() -> None:
    """In a forked child none of the calls goes on, and nobody holds the lock."""
    global _lock
    _lock = threading.Lock()
    if _calls:
        call = _calls[0]
        _calls.clear()
        _restore(call.limiter)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
