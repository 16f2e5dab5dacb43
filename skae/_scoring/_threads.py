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
from itertools import cycle

import numpy as np
from threadpoolctl import ThreadpoolController

BLOCK_ROWS = 256
MAX_BLOCK_CELLS = 2**23  # of all threads; each needs up to 22 times as much memory
PART_ROWS = 16 * BLOCK_ROWS  # of a thread at a time; an interrupt waits for its end

_worker = threading.local()  # knows whether its thread is one of those below
_lock = threading.RLock()
_calls: set[int] = set()  # the threads that share rows out
_held: list[int] | None = None  # how many threads each BLAS library had before


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
        futures = []
        try:
            for part in parts:
                try:
                    futures.append(pool.submit(work_silently, part))
                except RuntimeError:  # the interpreter ends, and starts no threads
                    work_silently(part)
            for future in futures:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _become_worker() -> None:
    _worker.is_one = True
    with _lock:
        _set_threads(1)  # some libraries count the threads of each thread


def _choose_part(n_rows: int, n_threads: int) -> int:
    """Rows of a part: whole blocks, and as many parts for one thread as for another."""
    n_blocks = -(-n_rows // BLOCK_ROWS)
    n_rounds = -(-n_rows // (PART_ROWS * n_threads))
    return BLOCK_ROWS * -(-n_blocks // (n_rounds * n_threads))


@contextmanager
def _one_blas_thread() -> Iterator[int]:
    """Hold BLAS to one thread; yields this call's share of those that it had.

    Of several calls that overlap the first sets it, and the last restores it. An
    interrupt may come at any point: what is to be restored is known before anything is
    set, and forgotten when it has been.
    """
    me = threading.get_ident()
    try:
        with _lock:
            _calls.add(me)
            n_threads = _hold() // len(_calls)
        yield n_threads
    finally:
        with _lock:
            _calls.discard(me)
            if not _calls:
                _release()


def _hold() -> int:
    """Hold BLAS if nobody does; how many threads it had."""
    global _held
    libraries = _get_controller().lib_controllers
    if _held is None:
        _held = [library.get_num_threads() for library in libraries]
    if len(_calls) == 1 and max(_held, default=1) > 1:
        _set_threads(1)
    return max(_held, default=1)


def _release() -> None:
    """Let BLAS have its threads again."""
    global _held
    if _held is not None and max(_held, default=1) > 1:
        _set_threads(*_held)
    _held = None


def _set_threads(*numbers: int) -> None:
    """Set the threads of each BLAS library, or of all, whichever thread set them last.

    Since threadpoolctl 3.8 only one thread sets those of OpenBLAS; others are not
    heard.
    """
    libraries = _get_controller().lib_controllers
    for library, n_threads in zip(libraries, cycle(numbers), strict=False):
        release = getattr(library, "clear_controlling_thread", _do_nothing)
        release(force=True)
        library.set_num_threads(n_threads)
        release(force=True)


def _do_nothing(force: bool) -> None:
    pass


@cache
def _get_controller() -> ThreadpoolController:
    """Made once: to look for the libraries takes longer than to score a row."""
    return ThreadpoolController().select(user_api="blas")


def _start_anew() -> None:
    """In a forked child none of the calls goes on."""
    _calls.clear()
    _release()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire,
        after_in_parent=_lock.release,
        after_in_child=_start_anew,
    )
