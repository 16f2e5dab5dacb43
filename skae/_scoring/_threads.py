"""Blocks of rows shared out to threads, each with BLAS to itself.

Threads of BLAS wait for each other after every small product, and on a machine that is
busy with something else, they wait long. Here each product has one thread, and the
threads have rows of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from skae._scoring._forward import BLOCK_ROWS

MAX_BLOCK_CELLS = 2**23  # of all threads; each needs up to 22 times as much memory
PART_ROWS = 16 * BLOCK_ROWS  # of a thread at a time; an interrupt waits for its end

_lock = threading.Lock()
_calls: list[Any] = []  # those that go on; of the first, what restores the threads


def share_out(n_rows: int, n_columns: int, work: Callable[[slice], None]) -> None:
    """Call a function with parts of the rows that together are all, in threads.

    There are as many threads as BLAS would use, but fewer where rows are so wide that
    they would need much memory; BLAS is held to one meanwhile, in the whole process. A
    single block is worked on at once.
    """
    if n_rows <= BLOCK_ROWS:
        work(slice(0, n_rows))
        return
    with _one_blas_thread() as n_threads:
        n_threads = max(1, min(n_threads, MAX_BLOCK_CELLS // (BLOCK_ROWS * n_columns)))
        starts = range(0, n_rows, _choose_part(n_rows, n_threads))
        parts = [slice(a, min(a + starts.step, n_rows)) for a in starts]
        pool = ThreadPoolExecutor(n_threads)
        try:
            list(pool.map(work, parts))
        finally:
            pool.shutdown(cancel_futures=True)


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
        n_threads = max((lib["num_threads"] for lib in controller.info()), default=1)
        _calls.append(None if _calls or n_threads == 1 else controller.limit(limits=1))
    try:
        yield n_threads
    finally:
        with _lock:
            if len(_calls) > 1:
                _calls.pop()
            elif (limiter := _calls.pop()) is not None:
                _release(controller)
                limiter.restore_original_limits()
                _release(controller)


def _release(controller: ThreadpoolController) -> None:
    """Let any thread set the threads of BLAS, not only the one that did first.

    threadpoolctl 3.8 and later would ignore what another thread wants.
    """
    for lib in controller.lib_controllers:
        release = getattr(lib, "clear_controlling_thread", None)
        if release is not None:
            release(force=True)


@cache
def _get_controller() -> ThreadpoolController:
    """Made once: to look for the libraries takes longer than to score a row."""
    return ThreadpoolController().select(user_api="blas")
