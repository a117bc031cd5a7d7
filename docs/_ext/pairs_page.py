"""The table of posteriors and priors on the page of distributions, made from what their pairs do."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from sphinx.application import Sphinx

from vae_zoo import distributions


def table() -> str:
    """Rows of priors by columns of posteriors: closed form, Monte Carlo or refused."""
    classes = [getattr(distributions, name) for name in distributions.__all__]
    classes = [c for c in classes if inspect.isclass(c) and not inspect.isabstract(c)]
    families = [c for c in classes if issubclass(c, distributions.Family)]
    priors = [c for c in classes if issubclass(c, distributions.Prior)]
    rows = [f"| posterior | {' | '.join(f'`{p.__name__}`' for p in priors)} |", "|---" * (len(priors) + 1) + "|"]
    rows += [f"| `{q.__name__}` | {' | '.join(kind(q, p) for p in priors)} |" for q in families]
    return "\n".join([*rows, ""])


def kind(family: type[distributions.Family], prior: type[distributions.Prior]) -> str:
    """How the divergence of a pair is found."""
    if not family.is_density:
        return "refused"
    try:
        q, p = family((2,)), prior((2,))
        distributions.check_pair(q, p)
    except ValueError:
        return "refused"
    closed = distributions.has_closed_form(q(torch.zeros(1, *q.param_shape)), p())
    conditional = getattr(p, "num_classes", 0) and prior is distributions.ConditionalNormal
    if conditional and distributions.has_closed_form(q(torch.zeros(1, *q.param_shape)), p(torch.zeros(1).long())):
        return "closed form given a class"
    return "closed form" if closed else "Monte Carlo"


def write(app: Sphinx) -> None:
    path, text = Path(app.srcdir) / "_pairs.md", table()
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
