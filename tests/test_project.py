"""What is tested is said once, and is what the project claims to support."""

import re
import tomllib
from pathlib import Path

import pytest

import skae

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = SETTINGS["project"]
ADDRESSES = PROJECT["urls"]
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


def test_citation_names_the_addresses_of_the_metadata():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r'^(?:repository-code|url): "(.+)"$', text, re.M) == [
        ADDRESSES["Source"],
        ADDRESSES["Documentation"],
    ]


def test_readme_on_an_index_links_to_the_release():
    """Every link that holds in a clone becomes one to the same file of the tag."""
    hook = SETTINGS["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = (ROOT / "README.md").read_text("utf-8")
    relative = re.findall(r"(!?)\[[^\]]+\]\((?!https:)([^)]+)\)", text)
    for substitution in hook["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    source = ADDRESSES["Source"]
    raw = source.replace("//github.com", "//raw.githubusercontent.com")
    assert re.findall(r"\]\((?!https:)", text) == []
    assert len(relative) > 10
    for is_image, path in relative:
        folder = raw if is_image else f"{source}/blob"
        assert f"]({folder}/v$HFPR_VERSION/{path})" in text


def test_html_of_a_detector_leads_to_its_page():
    html = skae.AutoencoderOutlierDetector()._repr_html_()
    page = "generated/skae.AutoencoderOutlierDetector.html"
    assert f'href="{ADDRESSES["Documentation"]}/{page}"' in html


def test_html_of_a_subclass_leads_to_no_page_that_is_not_there():
    class Mine(skae.AutoencoderOutlierDetector):
        __module__ = "elsewhere"

    assert ADDRESSES["Documentation"] not in Mine()._repr_html_()


def test_changelog_has_a_section_of_this_version():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version = skae.__version__.partition(".dev")[0]
    assert re.search(rf"^## \[{version}\] - ", text, re.MULTILINE)
