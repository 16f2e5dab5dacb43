"""Keras on TensorFlow: imported when a network is needed, never before, and silently.

`_network` builds with it; `_trainer` and `_training` use what is imported by then.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any


def import_keras() -> Any:
    """Keras on TensorFlow, imported and started without a word on any stream.

    TensorFlow writes to the file descriptor before any logging is set up, and again
    when it first lists its devices: both happen in here. Environment variables and
    warning filters are put back as they were.
    """
    global _keras, _is_talkative
    with _import_lock:
        if _keras is None:
            _is_talkative = "tensorflow" in sys.modules
            with (
                _environment_restored(),
                _standard_error_silenced(),
                warnings.catch_warnings(),
            ):
                os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
                warnings.simplefilter("ignore")
                import keras

                if keras.backend.backend() == "tensorflow":
                    import tensorflow as tf

                    if _is_joblib_worker():
                        _share_the_machine(tf)
                    tf.config.list_logical_devices()
            _keras = keras
    if _keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "AutoencoderOutlierDetector needs Keras to run on TensorFlow to build or "
            f"train a network; here it runs on {_keras.backend.backend()!r}. Set the "
            "environment variable KERAS_BACKEND to 'tensorflow' before Keras is first "
            "imported. Scoring with a fitted detector works under any backend."
        )
    return _keras


def _is_joblib_worker() -> bool:
    return type(multiprocessing.current_process()).__name__ == "LokyProcess"


def _share_the_machine(tf: Any) -> None:
    """Leave to a worker process its share of the cores, and GPU memory to the others.

    joblib tells its workers their number of threads in OMP_NUM_THREADS.
    """
    n_threads = os.environ.get("OMP_NUM_THREADS", "")
    with contextlib.suppress(RuntimeError):  # TensorFlow was used here before
        if n_threads.isdigit():
            tf.config.threading.set_intra_op_parallelism_threads(int(n_threads))
            tf.config.threading.set_inter_op_parallelism_threads(int(n_threads))
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


@contextlib.contextmanager
def first_xla_compilation_silenced() -> Iterator[None]:
    """Keep XLA's greeting from standard error.

    A TensorFlow that skae imported is silent anyway; one that was imported before, at
    its default level of logging, is not.
    """
    global _is_talkative
    with _standard_error_silenced() if _is_talkative else contextlib.nullcontext():
        yield
    _is_talkative = False


_keras: Any = None
_is_talkative = False
_import_lock = threading.Lock()


@contextlib.contextmanager
def _environment_restored() -> Iterator[None]:
    """Put back the environment variables that the block sets, changes or removes."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextlib.contextmanager
def _standard_error_silenced() -> Iterator[None]:
    """Send what is written to file descriptor 2 nowhere, by C and C++ too."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # closed, as in some services: nothing to silence
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
