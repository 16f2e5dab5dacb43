"""The site: ``python -m sphinx -W docs docs/_build/html``, without a network."""

import inspect
import os
import re
import tempfile
import tomllib
import warnings

import matplotlib

import skae

# Nothing is fetched while the site is built: examples that would like to download data
# find neither a server nor a cache, and take what scikit-learn ships.
os.environ["https_proxy"] = os.environ["http_proxy"] = "http://127.0.0.1:9"
os.environ["KERAS_HOME"] = tempfile.mkdtemp()

# Pictures have a white ground in both themes.
matplotlib.use("agg")
matplotlib.rcParams.update(
    {"figure.facecolor": "white", "savefig.facecolor": "white", "font.size": 10}
)
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

project = "skae"
author = "The skae developers"
copyright = author
version = release = skae.__version__
with open("../pyproject.toml", "rb") as file:
    repository = tomllib.load(file)["project"]["urls"]["Source"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "numpydoc",
    "matplotlib.sphinxext.plot_directive",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "_templates",
    "examples/*.rst",
    "gallery/**/*.ipynb",
    "gallery/**/*.py",
]
templates_path = ["_templates"]
default_role = "literal"  # as docstrings of scikit-learn and of skae are written

# ------------------------------------------------------------------ links that hold

nitpicky = True
# Other projects' names: their pages would have to be fetched to link to them.
nitpick_ignore_regex = [
    (r"py:.*", r"(sklearn|numpy|scipy|matplotlib|keras|pandas|joblib)\..*"),
    (r"py:obj", r"(model|encoder|decoder)_"),  # attributes, on the page of the class
    (r"py:.*", r"(UndefinedMetric|Convergence)Warning|NotFittedError"),
]
extlinks = {"doi": ("https://doi.org/%s", "doi:%s")}
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "attrs_inline"]

# ----------------------------------------------------------------------- reference

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings say more
numpydoc_show_class_members = False  # the template of a class lists its methods
# All checks but those of a second paragraph and of unnamed returned values.
numpydoc_validation_checks = {"all", "ES01", "RT02"}
# What scikit-learn wrote, and properties that the class docstring describes.
numpydoc_validation_exclude = {
    r"\.(fit_predict|fit_transform|get_feature_names_out|get_metadata_routing)$",
    r"\.(get_params|set_params|set_output|set_\w+_request)$",
    r"\.(model_|encoder_|decoder_|optimizer)$",
}


def drop_foreign_links(app, what, name, obj, options, lines):
    """Leave the text of links to scikit-learn's guide in docstrings that it wrote."""
    if "sklearn" not in (getattr(inspect.unwrap(obj), "__module__", "") or ""):
        return
    text = "\n".join(lines)
    text = re.sub(r":ref:`([^<`]+?)\s*<[^>`]*>`", r"\1", text)
    lines[:] = re.sub(r":ref:`([^`]*)`", r"scikit-learn's \1", text).split("\n")


def lead_links(app, docname, source):
    """Lead links that hold in the repository to what is built, or to the repository."""
    text = source[0].replace("](examples/GALLERY_HEADER.rst)", "](gallery/index.rst)")
    text = re.sub(r"\]\(examples/(\w+)\.py\)", r"](gallery/\1.rst)", text)
    page = rf"]({repository}/blob/v{release}/\1)"
    source[0] = re.sub(r"\]\(\.\./([^)]+)\)", page, text)


def setup(app):
    """Connect the hooks."""
    app.connect("autodoc-process-docstring", drop_foreign_links, priority=900)
    app.connect("source-read", lead_links)


# ------------------------------------------------------------- pictures and gallery

plot_formats = [("png", 110)]
plot_html_show_source_link = False
plot_html_show_formats = False
plot_rcparams = dict(matplotlib.rcParams)
plot_pre_code = ""
plot_working_directory = None

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "doc_module": ("skae",),
    "backreferences_dir": "gallery/backreferences",
    "matplotlib_animations": False,
    "thumbnail_size": (400, 280),
    "reset_modules_order": "both",
}

# --------------------------------------------------------------------------- theme

html_theme = "pydata_sphinx_theme"
html_sidebars = {page: [] for page in ("index", "start", "changelog")}
html_title = "skae"
html_static_path = ["_static"]
html_css_files = ["skae.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skae"},
    "github_url": repository,
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "secondary_sidebar_items": {
        "**": ["page-toc"],
        "comparison": [],  # wide tables
        "detection": [],
    },
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "show_toc_level": 2,
}
