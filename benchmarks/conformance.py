"""How long scikit-learn's own checks of an estimator take.

Seconds of `check_estimator` on the detector at its defaults, each time in a fresh
process that has imported TensorFlow. Its warnings are silenced.
"""

import argparse
import warnings

import _report
from sklearn.utils.estimator_checks import check_estimator

from skae import AutoencoderOutlierDetector

COMPARISONS = [("check_estimator", None, "at most 40 s")]


def time_checks():
    """Time the checks; for a fresh process."""
    import tensorflow  # noqa: F401

    with warnings.catch_warnings(action="ignore"):
        return _report.time_call(
            lambda: check_estimator(AutoencoderOutlierDetector(), on_skip=None)
        )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    _report.print_header(
        __doc__, ("skae", "tensorflow", "keras", "numpy", "scikit-learn")
    )
    figures = {
        "check_estimator": [
            _report.call_in_fresh_process(time_checks) for _ in range(arguments.repeats)
        ]
    }
    _report.print_table(figures, COMPARISONS)


if __name__ == "__main__":
    main()
