"""What is tested is said once, and is what the project claims to support."""

import re
import tomllib
from pathlib import Path

import pytest

import skae

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def read_tested():
    """The Pythons of the table in CONTRIBUTING.md, in its order."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    return list(dict.fromkeys(re.findall(r"^\| (3\.\d+) \|", text, re.MULTILINE)))


def test_classifiers_name_the_pythons_that_are_tested():
    prefix = "Programming Language :: Python :: 3."
    claimed = [c for c in PROJECT["classifiers"] if c.startswith(prefix)]
    assert [c.rpartition(" ")[-1] for c in claimed] == read_tested()
    assert PROJECT["requires-python"] == f">={read_tested()[0]}"


def test_each_change_is_tested_on_the_last_of_them():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.findall(r"^second_python=(.+)$", script, re.M) == read_tested()[-1:]


@pytest.mark.parametrize("extra", [None, "plot", "onnx", "examples", "test", "tools"])
def test_each_dependency_has_a_lowest_version(extra):
    needed = PROJECT["dependencies"] if extra is None else EXTRAS[extra]
    others = [dependency for dependency in needed if not dependency.startswith("skae[")]
    pattern = r"[\w\[\],-]+>=[\d.]+"
    assert [d for d in others if not re.fullmatch(pattern, d)] == []


def test_citation_names_this_version_and_licence():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", text, re.M) == [skae.__version__]
    assert re.findall(r"^license: (.+)$", text, re.M) == [PROJECT["license"]]
