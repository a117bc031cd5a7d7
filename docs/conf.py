"""Settings of the documentation.

Docstrings are reStructuredText with Google's sections, which Sphinx and napoleon read as they are: that is why Sphinx
builds these pages. Pages themselves are Markdown.
"""

import inspect
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "_ext")]

from sphinx.util.inspect import stringify_signature

import vae_zoo
from vae_zoo.hparams import Recorded

STAR = re.compile(r"(?<![\\*\w])\*(?=\w+[),])")

project = "vae_zoo"
author = "the authors of vae_zoo"
release = version = vae_zoo.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "mathml", "model_pages"]
exclude_patterns = ["_build", "models/_table.md"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
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
html_css_files = ["math.css"]
html_show_sphinx = False


def escape_shapes(app, what, name, obj, options, lines):
    """The star of a shape (B, *shape) is no emphasis, whether its docstring escapes it or not."""
    lines[:] = [STAR.sub(r"\*", line) for line in lines]


def constructor(app, what, name, obj, options, signature, returned):
    """Show the constructor's own arguments: classes that record theirs have a ``__new__`` that takes anything."""
    if what != "class" or not isinstance(obj, type) or not issubclass(obj, Recorded):
        return None
    shown = inspect.signature(obj.__init__)
    shown = shown.replace(parameters=list(shown.parameters.values())[1:])
    return stringify_signature(shown, show_annotation=False, show_return_annotation=False), None


def setup(app):
    app.connect("autodoc-process-signature", constructor)
    app.connect("autodoc-process-docstring", escape_shapes)
