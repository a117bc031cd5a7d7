"""The tables of posteriors and priors, and of two models in one, made from what their pairs do."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from sphinx.application import Sphinx

from vae_zoo import distributions, models
from vae_zoo.testing.subject import Subject

OWN_DATA = (distributions.AutoregressiveTokens, distributions.Columns)
"""Likelihoods that are made for the data, and which no latent has."""


def table() -> str:
    """Rows of priors by columns of posteriors: closed form, Monte Carlo or refused."""
    classes = [getattr(distributions, name) for name in distributions.__all__]
    classes = [c for c in classes if inspect.isclass(c) and not inspect.isabstract(c)]
    families = [c for c in classes if issubclass(c, distributions.Family) and c not in OWN_DATA]
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


def combinations() -> str:
    """Rows of first classes by columns of second ones: that it works, or the number of the reason below."""
    classes = [cls for name in models.__all__ if not inspect.isabstract(cls := getattr(models, name))]
    reasons: list[str] = []
    rows = [f"| first class | {' | '.join(f'`{c.__name__}`' for c in classes)} |", "|---" * (len(classes) + 1) + "|"]
    for first in classes:
        cells = []
        for second in classes:
            reason = combination(first, second)
            if reason and reason not in reasons:
                reasons.append(reason)
            cells.append(str(reasons.index(reason) + 1) if reason else "" if issubclass(second, first) else "yes")
        rows.append(f"| `{first.__name__}` | {' | '.join(cells)} |")
    return "\n".join([*rows, "", *(f"{n}. {reason}" for n, reason in enumerate(reasons, 1)), ""])


def combination(first: type, second: type) -> str:
    """Why two models do not go together in this order; empty if they do, or if Python has no such order."""
    if issubclass(second, first):
        return ""
    name = f"{first.__name__}{second.__name__}"
    try:
        Subject(type(name, (first, second), {})).build()
    except (TypeError, ValueError) as error:
        return str(error).removeprefix(f"{name}: ")
    return ""


def write(app: Sphinx) -> None:
    for name, text in (("_pairs.md", table()), ("_combinations.md", combinations())):
        path = Path(app.srcdir) / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
