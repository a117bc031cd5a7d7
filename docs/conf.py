"""Settings of the documentation.

Docstrings are reStructuredText with Google's sections, which Sphinx and napoleon read as they are: that is why Sphinx
builds these pages. Pages themselves are Markdown.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "_ext")]

import vae_zoo  # noqa: E402

project = "vae_zoo"
author = "the authors of vae_zoo"
release = version = vae_zoo.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
extensions += ["docstrings", "mathml", "gallery", "model_pages", "pairs_page", "tables"]  # in _ext/
exclude_patterns = ["_build", "models/_table.md", "_*.md"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False  # those of Lightning and torch are written for their own pages
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_google_docstring = True
napoleon_use_admonition_for_references = False

html_theme = "furo"
html_title = f"vae_zoo {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["math.css", "tables.css", "cards.css"]
html_js_files = ["sort.js"]
html_show_sphinx = False
html_show_copyright = False
