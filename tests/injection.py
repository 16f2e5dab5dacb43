"""Faults at chosen moments: in callbacks, and at any line of skae."""

import sys
import warnings
from pathlib import Path

import numpy as np

import skae

FOLDER = str(Path(skae.__file__).parent)


def make_callback(hook, number, error):
    """A callback that raises when a hook is called for the given time, from 0 on."""
    import keras

    n_calls = 0

    def fail(self, *arguments, **keywords):
        nonlocal n_calls
        n_calls += 1
        if n_calls == number + 1:
            raise error

    return type("Fail", (keras.callbacks.Callback,), {hook: fail})()


def list_lines(call):
    """The lines of skae that a call runs, in this thread, each once and in order."""
    lines = {}

    def see(frame, event, argument):
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            lines.setdefault((frame.f_code.co_filename, frame.f_lineno))
        return see

    _run(call, see)
    return list(lines)


def fail_at(line, error, call):
    """Run a call, and raise the error when it first comes to a line of `list_lines`."""

    def see(frame, event, argument):
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line" and (frame.f_code.co_filename, frame.f_lineno) == line:
            sys.settrace(None)
            raise error
        return see

    _run(call, see)


def _run(call, see):
    before = sys.gettrace()
    sys.settrace(see)
    try:
        call()
    finally:
        sys.settrace(before)


def prepare(path, make, X):
    """A detector, and its method to call with X, by the name of a path in `PATHS`.

    Earlier calls had fewer rows, so that the last one changes something.
    """
    parameters, n_before, method = PATHS[path]
    detector = make(**parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of early stopping
        for part in range(n_before):
            getattr(detector, "fit" if part == 0 else method)(X[1 + part :])
    return detector, getattr(detector, method)


# Parameters, how many calls come before, and the method that fails; the first of the
# calls before is a fit.
PATHS = {
    "first fit": ({}, 0, "fit"),
    "refit": ({}, 1, "fit"),
    "refit with early stopping": ({"early_stopping": True, "epochs": 3}, 1, "fit"),
    "warm start": ({"warm_start": True}, 1, "fit"),
    "ensemble": ({"n_estimators": 3}, 1, "fit"),
    "ensemble in folds": ({"n_estimators": 2, "calibration_cv": 2}, 1, "fit"),
    "calibrating fit": ({"calibration_fraction": 0.3}, 1, "fit"),
    "first part": ({}, 0, "partial_fit"),
    "part after a fit": ({}, 1, "partial_fit"),
    "part of a stream": ({}, 3, "partial_fit"),
    "calibration": ({}, 1, "calibrate"),
}


def count_calls(hooks, call):
    """How often each hook of a callback is called, in a call that takes callbacks."""
    import keras

    counts = dict.fromkeys(hooks, 0)

    def count(hook):
        def count(self, *arguments, **keywords):
            counts[hook] += 1

        return count

    counting = {hook: count(hook) for hook in hooks}
    call(callbacks=[type("Count", (keras.callbacks.Callback,), counting)()])
    return counts


def read_state(detector):
    """All that a detector is, as text: equal if it is equal to the bit."""
    return _write_down(detector.__getstate__())


def _write_down(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes()!r}"
    if isinstance(value, dict):
        return str([(k, _write_down(value[k])) for k in sorted(value)])
    if isinstance(value, list | tuple):
        return str([_write_down(v) for v in value])
    return repr(value)
