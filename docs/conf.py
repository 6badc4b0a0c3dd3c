"""The documentation: `python -m sphinx -W -b html docs build/html`, without a network."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext"), str(HERE.parent / "tests")]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import fnn  # noqa: E402
import fnn.typing  # noqa: E402

project = "fnn"
author = "the authors of fnn"
copyright = author
version = release = fnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "docstrings",  # before napoleon: it writes Markdown's code and formulas as reStructuredText
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
    "reference",
]
root_doc = "index"
exclude_patterns = ["_ext", "tests", "**/sg_execution_times.rst", "sg_execution_times.rst"]
nitpicky = False
suppress_warnings = ["config.cache"]
show_warning_types = True

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
autodoc_type_aliases = {name: name for name in vars(fnn.typing) if name[0].isupper()}
napoleon_numpy_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
viewcode_follow_imported_members = True

html_theme = "furo"
html_title = f"fnn {release}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["house.css"]
html_copy_source = False
pygments_style = "friendly"

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"drawing\.py",
    "within_subsection_order": "reference.InOrderOfTheCourse",
    "capture_repr": (),
    "image_scrapers": ("reference.looked_at",),
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
    "min_reported_time": 1,
}
