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
from pathlib import Path
from typing import Any

NEED = (
    "AutoencoderOutlierDetector needs Keras on TensorFlow to build or train a network"
)
WITHOUT = (
    "A fitted detector scores, explains, gives p-values, is saved and is loaded "
    "without them."
)

_keras: Any = None
_is_talkative = False
_is_inherited = False  # TensorFlow, imported before this process was forked
_import_lock = threading.Lock()
_silence_lock = threading.RLock()  # who restores a stream has found it as it was


def import_keras() -> Any:
    """Keras on TensorFlow, imported and started without a word on any stream.

    Raises if that cannot be. TensorFlow writes to the file descriptor before any
    logging is set up, and again when it first lists its devices: both happen in here.
    Environment variables and warning filters are put back as they were.
    """
    global _keras, _is_talkative
    if _is_inherited:
        _refuse_if_started_before_the_fork()
    with _import_lock:
        if _keras is None:
            if _has_lost_its_threads():
                _refuse_if_started_before_the_fork()
            _is_talkative = "tensorflow" in sys.modules
            with (
                _environment_restored(),
                _standard_error_silenced(),
                warnings.catch_warnings(),
            ):
                os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
                warnings.simplefilter("ignore")
                _keras = _import()
    if _keras.backend.backend() != "tensorflow":
        raise ImportError(_explain_backend(_keras.backend.backend()))
    return _keras


def _import() -> Any:
    """Keras, and TensorFlow started if that is its backend."""
    try:
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            if _is_joblib_worker():
                _share_the_machine(tf)
            tf.config.list_logical_devices()
    except (ImportError, ValueError) as error:  # ValueError: a backend of no name
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        if backend != "tensorflow" and getattr(error, "name", "") != "keras":
            raise ImportError(_explain_backend(backend)) from error
        raise ImportError(
            f"{NEED}, but they cannot be imported: {error}. Install them: "
            "python -m pip install keras tensorflow. KERAS_BACKEND, or the backend in "
            f"~/.keras/keras.json, must be 'tensorflow', if it is set. {WITHOUT}"
        ) from error
    return keras


def _explain_backend(backend: str) -> str:
    return (
        f"{NEED}, but Keras runs on {backend!r} here. Set the environment variable "
        f"KERAS_BACKEND to 'tensorflow' before Keras is first imported. {WITHOUT}"
    )


def _refuse_if_started_before_the_fork() -> None:
    """Raise if TensorFlow is in a state that only its threads could go on from."""
    global _is_inherited
    if not _is_started(sys.modules["tensorflow"]):
        _is_inherited = False
        return
    raise RuntimeError(
        "TensorFlow was used before this process was forked, and would wait here for "
        "ever for threads that a fork does not copy. To build or train a network, "
        "start processes by 'spawn', multiprocessing.get_context('spawn'), or by "
        "joblib's default backend, 'loky'; or use TensorFlow in the children alone. "
        "Scoring with a fitted detector works here, unless Keras computes its "
        "activation."
    )


def _is_started(tf: Any) -> bool:
    """TensorFlow tells by refusing to change a setting; one just imported does not."""
    try:
        threads = tf.config.threading
        n_threads = threads.get_inter_op_parallelism_threads()
        threads.set_inter_op_parallelism_threads(n_threads + 1)
        threads.set_inter_op_parallelism_threads(n_threads)
    except (AttributeError, RuntimeError):  # or it was about to be imported
        return True
    return False


def _has_lost_its_threads() -> bool:
    """Whether a child of multiprocessing has TensorFlow without a thread of it.

    Linux tells the names of threads. skae was then imported after the fork.
    """
    if "tensorflow" not in sys.modules or multiprocessing.parent_process() is None:
        return False
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    return bool(names) and not any(name.startswith("tf_") for name in names)


def _note_fork() -> None:
    global _import_lock, _silence_lock, _is_inherited
    _import_lock, _silence_lock = threading.Lock(), threading.RLock()
    _is_inherited = "tensorflow" in sys.modules


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
    with _silence_lock if _is_talkative else contextlib.nullcontext():
        with _standard_error_silenced() if _is_talkative else contextlib.nullcontext():
            yield
        _is_talkative = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


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
    with contextlib.suppress(Exception):  # None, closed, or of a user's own making
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
