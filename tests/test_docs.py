"""What the documentation says is what the code does."""

import ast
import contextlib
import importlib.util
import inspect
import io
import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import skae
from skae import AutoencoderOutlierDetector

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)
DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(
        AutoencoderOutlierDetector
    ).parameters.items()
}
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture
def pyplot():
    """Matplotlib without a screen; figures are closed afterwards."""
    from matplotlib import pyplot

    backend = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield pyplot
    pyplot.close("all")
    pyplot.switch_backend(backend)


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def read_code(page):
    """The Python blocks of a page as one script, on the line numbers of the page."""
    in_block = False
    lines = []
    for line in read(page).splitlines():
        is_fence = line.startswith("```")
        lines.append(line if in_block and not is_fence else "")
        in_block = line == "```python" or (in_block and not is_fence)
    return "\n".join(lines)


def read_commands(page):
    """The command lines of a page, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)
    return "".join(blocks).splitlines()


def read_docstring_entries(section):
    """Name and type line of each entry of a section of the class docstring."""
    docstring = inspect.getdoc(AutoencoderOutlierDetector)
    text = re.split(r"^(\w[\w ]*)\n-+$", docstring, flags=re.MULTILINE)
    body = text[text.index(section) + 1]
    return dict(re.findall(r"^(\w+) : (.+)$", body, re.MULTILINE))


def find_expected_output(code):
    """What the comments after `print` promise, in the order of printing."""
    comments = re.findall(r"^ *print\(.*\)  # (.+)$", code, re.MULTILINE)
    return [line.strip() for comment in comments for line in comment.split("|")]


# The pages with code, but for those whose code runs below, by parts or with clusters.
SCRIPTS = [
    page
    for page in PAGES
    if "```python" in read(page)
    and page not in {"docs/distributed.md", "docs/other_tools.md"}
]


def run_page(page):
    run_code(read_code(page), page)


def run_code(code, page):
    """Run code of a page; its output must be what the comments promise.

    Numbers may differ, since training rounds differently on other machines: by a
    fifth, or 0.03 where they are small.
    """
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, ROOT / page, "exec"), {"__name__": "__main__"})
    printed = output.getvalue().splitlines()
    promised = find_expected_output(code)
    assert [NUMBER.sub("#", line) for line in printed] == [
        NUMBER.sub("#", line) for line in promised
    ]
    np.testing.assert_allclose(
        [float(number) for line in printed for number in NUMBER.findall(line)],
        [float(number) for line in promised for number in NUMBER.findall(line)],
        rtol=0.2,
        atol=0.03,
    )


def read_recipes(page):
    """Scripts by heading: the code before all headings, and that below the heading."""
    lines, code = read(page).splitlines(), read_code(page).split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("## ")]
    recipes = {}
    for start, end in itertools.pairwise([*starts, len(lines)]):
        if any(code[start:end]):
            script = [*code[: starts[0]], *[""] * (start - starts[0]), *code[start:end]]
            recipes[lines[start].removeprefix("## ")] = "\n".join(script)
    return recipes


def read_trials(page):
    """For each heading, what the line below says: versions, month, and how."""
    line = re.compile(r"^## (.+)\n\n\*(.+), (\d{4}-\d{2}); (.+)\.\*$", re.MULTILINE)
    return {heading: trial for heading, *trial in line.findall(read(page))}


def find_imported(code):
    """The names of the packages that it imports from, in order."""
    return list(
        dict.fromkeys(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE))
    )


def find_missing(code):
    """Those of them that are not installed."""
    return [name for name in find_imported(code) if not importlib.util.find_spec(name)]


def test_docstring_lists_the_parameters_of_the_signature_in_order():
    assert list(read_docstring_entries("Parameters")) == list(DEFAULTS)


def test_docstring_states_the_real_default_of_each_parameter():
    documented = {
        name: ast.literal_eval(re.search(r"default=(.+)$", kind).group(1))
        for name, kind in read_docstring_entries("Parameters").items()
    }
    assert documented == DEFAULTS


def test_each_parameter_is_validated():
    constraints = AutoencoderOutlierDetector._parameter_constraints
    assert list(constraints) == list(DEFAULTS)


def test_fitted_detector_has_the_attributes_that_the_docstring_lists(
    make_detector, correlated_rows
):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    detector = make_detector(epochs=1).fit(frame)
    attributes = read_docstring_entries("Attributes")
    assert {"offset_", "model_"} < attributes.keys()
    assert [name for name in attributes if not hasattr(detector, name)] == []


def test_reference_has_a_page_for_each_public_name():
    blocks = re.findall(
        r"autosummary::\n(.*?)^```", read("docs/reference.md"), re.M | re.S
    )
    names = re.findall(r"^   (\w+)$", "".join(blocks), re.MULTILINE)
    assert sorted([*names, "__version__"]) == sorted(skae.__all__)


@pytest.mark.parametrize("page", SCRIPTS)
def test_page_runs_as_one_script_and_prints_what_it_says(
    page, pyplot, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_page_on_clusters_runs_as_one_script_and_prints_what_it_says():
    pytest.importorskip("distributed")
    pytest.importorskip("ray")
    run_page("docs/distributed.md")


def test_each_chapter_is_in_the_table_of_the_guide():
    guide, index = read("docs/user_guide.md"), read("docs/index.md")
    chapters = {Path(page).name for page in PAGES if page.startswith("docs/")}
    chapters -= {f"{name}.md" for name in re.findall(r"<(\w+)>$", index, re.M)}
    assert [name for name in chapters - {"index.md"} if f"({name})" not in guide] == []


RECIPES = read_recipes("docs/other_tools.md")
TRIALS = read_trials("docs/other_tools.md")


def test_each_recipe_says_what_it_was_tried_with_and_how():
    assert list(TRIALS) == list(RECIPES)
    assert {how for _, _, how in TRIALS.values()} == {
        "tried by hand",
        "runs with the tests",
    }


@pytest.mark.parametrize(
    "tool",
    [tool for tool, trial in TRIALS.items() if trial[-1] == "runs with the tests"],
)
def test_recipe_with_another_tool_runs_and_prints_what_it_says(
    tool, tmp_path, monkeypatch
):
    missing = find_missing(RECIPES[tool])
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    monkeypatch.chdir(tmp_path)
    run_code(RECIPES[tool], "docs/other_tools.md")


def test_reference_leads_from_each_parameter_to_its_chapter():
    text = read("docs/reference.md")
    section = text.split("### From parameter to chapter")[1].split("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", section)) == sorted(DEFAULTS)


def test_readme_starts_with_two_commands_that_set_themselves_up():
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    for command in read_commands("README.md")[:2]:
        install, run = command.split(" && ")
        assert install.startswith("python -m pip install ")
        assert re.search(r"\[(\w+)\]", install).group(1) in extras
        assert run.startswith("python ")


def test_commands_name_files_that_exist():
    commands = read_commands("README.md") + read_commands("CONTRIBUTING.md")
    scripts = re.findall(r"\S+\.py\b", " ".join(commands))
    assert scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = read(page)
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", text)
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.M)
            anchors = [
                re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
                for heading in headings
            ]
            assert anchor in anchors, link


def test_installation_without_keras_has_all_other_dependencies():
    with open(ROOT / "pyproject.toml", "rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    others = [d for d in dependencies if not d.startswith(("keras", "tensorflow"))]
    quoted = " ".join(f'"{dependency}"' for dependency in others)
    commands = read_commands("docs/files_and_services.md")
    assert f"python -m pip install {quoted}" in commands
    assert "python -m pip install --no-deps skae" in commands
