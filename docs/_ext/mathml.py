"""Equations as MathML, written when the pages are built: they need no script and no network to be read."""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

REPAIRS = (
    (r"(<mi>(?:log|exp)</mi>)(?!<mo[^>]*>&#x00028;)", r'\1<mspace width="0.17em" />'),
    (r"<mi>&#x0007E;</mi>", "<mo>&#x223C;</mo>"),
    (r">\\\|</mo>", ">&#x2016;</mo>"),
    (r"<mi>\\arg</mi>", "<mi>arg</mi>"),
)
"""What latex2mathml leaves out: the space after a function, that ~ is a relation, large double bars, and arg."""


def render(latex: str, display: str) -> str:
    """MathML of an equation.

    Raises:
        ExtensionError: If the equation cannot be converted.
    """
    try:
        mathml = convert(" ".join(latex.split()), display=display)
    except Exception as error:
        raise ExtensionError(f"latex2mathml cannot convert {latex!r}: {type(error).__name__} {error}") from error
    for pattern, text in REPAIRS:
        mathml = re.sub(pattern, text, mathml)
    if left := re.search(r"\\[^<]*", mathml):
        raise ExtensionError(f"latex2mathml does not know {left[0]} in {latex!r}.")
    return mathml


def visit_inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(f'<span class="math">{render(node.astext(), "inline")}</span>')
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.Element) -> None:
    label = html.escape(node.get("label") or "", quote=True)
    identifier = f' id="equation-{label}"' if label else ""
    translator.body.append(f'<div class="math"{identifier}>{render(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
