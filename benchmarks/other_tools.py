"""Whether the recipes of docs/other_tools.md run with the tools that are installed.

Each runs as the page has it, in a folder for temporary files, and must print what the
page says. One whose tool is missing is left out, with a line that says so. It needs the
extra `test`; nonconform wants Python 3.12, and PySpark a Java.
"""

import argparse
import contextlib
import importlib.metadata
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

# Spark stays on this machine, and mlflow tells nobody that it was used.
os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "DO_NOT_TRACK": "true"}

import _report

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from test_docs import find_imported, find_missing, read_recipes, run_code

PAGE = "docs/other_tools.md"
EVERYWHERE = {"numpy", "sklearn", "skae"}


def try_recipe(code):
    """Run it, and return what came of it in words."""
    missing = find_missing(code)
    if missing:
        return f"left out: {', '.join(missing)} not installed"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        try:
            run_code(code, PAGE)
        except Exception:
            traceback.print_exc()
            return "FAILED"
    seconds = _report.format_seconds(time.perf_counter() - start)
    return ", ".join(["as the page says", seconds, *find_versions(code)])


def find_versions(code):
    """Yield what the imported packages are called in an index, and their versions."""
    names = importlib.metadata.packages_distributions()
    for package in find_imported(code):
        if package in EVERYWHERE:
            continue
        for name in sorted(set(names.get(package, ()))):
            yield f"{name} {importlib.metadata.version(name)}"


def main():
    """Run all, or those that are named."""
    recipes = read_recipes(PAGE)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=", ".join(recipes))
    arguments = parser.parse_args()

    _report.print_header(__doc__, ("skae", "tensorflow", "numpy", "scikit-learn"))
    outcomes = []
    for tool in arguments.tools or recipes:
        outcomes.append(try_recipe(recipes[tool]))
        print(f"{tool}: {outcomes[-1]}", flush=True)
    sys.exit("FAILED" in outcomes)


if __name__ == "__main__":
    main()
