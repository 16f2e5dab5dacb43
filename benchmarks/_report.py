"""What the scripts share: a clean environment, the machine, a stopwatch, a table.

Import it before NumPy: BLAS reads the environment when it is loaded.
"""

import gc
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

assert "numpy" not in sys.modules, "_report must be imported before NumPy"

# They overrule what OpenBLAS finds out about the processor, and can slow it down.
DROPPED = {
    name: os.environ.pop(name)
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    if name in os.environ
}

import numpy as np  # noqa: E402
from threadpoolctl import threadpool_info  # noqa: E402

# One network that learns to reproduce whole rows, and its mean absolute error.
PLAIN_AUTOENCODER = {
    "learning_rate": 0.001,
    "learning_rate_schedule": "constant",
    "batch_size": 256,
    "masking": 0.0,
    "n_estimators": 1,
    "score_method": "reconstruction",
    "random_state": 0,
}
MNIST_NETWORK = PLAIN_AUTOENCODER | {
    "hidden_layer_sizes": (128, 64, 32),
    "output_activation": "sigmoid",
    "scaling": None,
}
PAUSE = 0.1  # seconds, for the waiting threads of one library to fall asleep


def make_rows(n_rows, n_columns):
    """Draw rows that five factors and a little noise make up."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, 5)) @ rng.normal(size=(5, n_columns))
    rows += rng.normal(scale=0.1, size=rows.shape)
    return rows


def import_pyod_autoencoder():
    """Return the class, or None after a line that says so."""
    try:
        from pyod.models.auto_encoder import AutoEncoder
    except ImportError:
        print("PyOD or torch is not installed: the rows of PyOD are left out.\n")
        return None
    return AutoEncoder


def print_header(docstring, packages=("skae", "tensorflow", "keras", "numpy")):
    """Print the question, the machine and the versions of what is installed.

    Parameters
    ----------
    docstring : str
        Of the script; its first line is the question.
    packages : sequence of str
        Names of distributions.
    """
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    blas = {
        f"{pool['internal_api']} {pool['version']} for {pool.get('architecture')}, "
        f"{pool['num_threads']} threads"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    print(docstring.splitlines()[0] + "\n")
    print(f"- {_read_cpu_model()}, {os.cpu_count()} cores")
    print(f"- Python {platform.python_version()}, " + ", ".join(versions))
    print("- BLAS: " + "; ".join(sorted(blas)))
    for name, value in DROPPED.items():
        print(f"- {name}={value} was set and is ignored")
    print(flush=True)


def _read_cpu_model():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def time_call(function, at_least=0.0):
    """Time a call, or take the mean of as many calls as fill `at_least` seconds."""
    n_calls = 0
    start = time.perf_counter()
    while True:
        function()
        n_calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= at_least:
            return elapsed / n_calls


def measure(measurements, repeats):
    """Take the measurements one after the other, again and again.

    Parameters
    ----------
    measurements : dict of str to callable
        Each returns a number when called.
    repeats : int
        Number of rounds, after one that does not count.

    Returns
    -------
    figures : dict of str to list of float
    """
    figures = {name: [] for name in measurements}
    for i in range(1 + repeats):
        for name, take in measurements.items():
            gc.collect()
            time.sleep(PAUSE)
            figure = take()
            if i > 0:
                figures[name].append(figure)
    return figures


def time_in_turns(calls, repeats, at_least=0.0):
    """Time calls as `time_call` does, by turns as `measure` does."""
    return measure(
        {name: partial(time_call, call, at_least) for name, call in calls.items()},
        repeats,
    )


def call_in_fresh_process(function, *arguments):
    """Call a function of the running script in a Python process of its own.

    Arguments and result must survive JSON.
    """
    script = Path(sys.argv[0]).resolve()
    code = (
        f"import json, {script.stem} as script\n"
        f"result = script.{function.__name__}(*json.loads({json.dumps(arguments)!r}))\n"
        "print(json.dumps(result))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=script.parent,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def format_seconds(seconds):
    """Give three significant digits in a unit that suits them."""
    if seconds >= 1:
        return f"{_format(seconds)} s"
    if seconds >= 1e-3:
        return f"{_format(1e3 * seconds)} ms"
    return f"{_format(1e6 * seconds)} µs"


def format_megabytes(megabytes):
    """Give whole megabytes."""
    return f"{megabytes:.0f} MB"


def _format(number):
    """Three significant digits, never with an exponent."""
    return f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def print_table(figures, comparisons, show=format_seconds):
    """Print a line for each figure, and one more for each further comparison.

    Parameters
    ----------
    figures : dict of str to list of float
        As from `measure`.
    comparisons : list of (str, str or None, str)
        A figure, the figure that it is divided by, and how large the quotient of the
        medians should be; None asks that of the figure itself. Figures that were not
        taken are left out.
    show : callable
        A figure as text.
    """
    lines = [("", "median", "least to most", "ratio", "over", "bound")]
    for name, values in figures.items():
        values = np.asarray(values)
        figure = (
            name,
            show(np.median(values)),
            f"{show(min(values))} to {show(max(values))}",
        )
        for compared, other, bound in comparisons:
            if compared != name or (other is not None and other not in figures):
                continue
            if other is None:
                lines.append((*figure, "", "", bound))
            else:
                ratio = np.median(values) / np.median(figures[other])
                lines.append((*figure, _format(ratio), other, bound))
            figure = ("", "", "")
        if figure[0]:
            lines.append((*figure, "", "", ""))
    print_lines(lines)


def print_lines(lines):
    """Print tuples of str, the first of which are the headings, as a table."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = tuple("-" * width for width in widths)
    for line in (lines[0], rule, *lines[1:]):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("| " + " | ".join(cells) + " |")
