"""The likelihood of the rows of a table, whose columns are of different kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, constraints
from torch.nn.functional import log_softmax, softplus

from vae_zoo.distributions.families import Family, log_of_scale
from vae_zoo.distributions.likelihoods.counts import LOG_DISPERSION
from vae_zoo.distributions.likelihoods.scaled import unscaled
from vae_zoo.distributions.likelihoods.tallies import NegativeBinomialTally, Total
from vae_zoo.distributions.moments import mean_of
from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.typing import Shape

_PACE = 10.0
"""Factor on the learning rate of log-scales: with steps of 1e-3, a σ would take thousands of steps to shrink."""

KINDS = ("number", "date", "boolean", "count", "category")

Entry: TypeAlias = str | bool | int | list[str] | None
"""What describes a column. Under ``Any``, a name such as 2019 or no would be parsed, to a number or a boolean."""


class Columns(Family):
    r"""Independent columns, each of its own kind: a density of rows with numbers, categories, booleans and counts.

    .. math:: \log p(x|z) = \sum_{j \text{ number}} \log \mathcal{N}(x_j; \mu_j, \sigma_j)
        + \sum_{j \text{ category}} \log \mathrm{softmax}(l_j)_{x_j}

    .. math:: \quad + \sum_{j \text{ boolean}} \log \mathrm{Bern}(x_j; l_j)
        + \sum_{j \text{ count}} \log \mathrm{NB}(x_j; m_j, r_j)

    Numbers and dates are normal in their scaled units, hence log-normal with the scaling ``log``; their σ and the
    dispersion r of counts are learned, one for each column. Categories are 0 to n - 1. An encoder sees categories as
    one-hot vectors and counts as log(1 + x). The mean of a category is its most probable value.

    References:
        | Handling Incomplete Heterogeneous Data using VAEs (Nazábal et al., 2020)
        | https://arxiv.org/abs/1807.03653

    Args:
        shape: Shape of one row, (D,).
        columns: For each column its ``type``: number, date, boolean, count or category; for a category also the list
            ``categories``. Further entries, such as ``name``, are kept: see :class:`~vae_zoo.data.Table`.
        scale: Initial σ of numbers, in their scaled units.
        min_log_scale: Lower bound of log σ, for columns that are predicted exactly.

    Raises:
        ValueError: If there are not as many columns as entries, or one is of an unknown type or without categories.
    """

    is_discrete = False

    def __init__(
        self, shape: Shape, *, columns: list[dict[str, Entry]], scale: float = 0.5, min_log_scale: float = -4.0
    ) -> None:
        super().__init__(shape)
        if self.shape != (len(columns),):
            raise ValueError(f"Columns needs rows of {len(columns)} values, as many as columns, got {self.shape}.")
        self.columns = [dict(column) for column in columns]
        self.layout = Layout(self.columns)
        num, _, counts, _ = self.layout.blocks
        self.min_log_scale = min_log_scale
        self.slow_scale = nn.Parameter(torch.full((num,), log_of_scale(scale) / _PACE)) if num else None
        self.slow_dispersion = nn.Parameter(torch.zeros(counts)) if counts else None

    @property
    def names(self) -> list[str]:
        """Names of the columns; their numbers if they have none."""
        return [str(column.get("name", n)) for n, column in enumerate(self.columns)]

    @property
    def support(self) -> constraints.Constraint:
        return _Rows(self.layout)

    @property
    def param_shape(self) -> Shape:
        return (self.layout.num_params,)

    def distribution(self, params: Tensor) -> Distribution:
        log_scale, log_dispersion = self.log_scale, self.log_dispersion
        log_scale = None if log_scale is None else log_scale.clamp(min=self.min_log_scale).to(params.dtype)
        return independent(ColumnValues(params, self.layout, log_scale, log_dispersion), 1)

    @property
    def log_scale(self) -> Tensor | None:
        """log σ of the numbers, in their scaled units."""
        return None if self.slow_scale is None else _PACE * self.slow_scale

    @property
    def log_dispersion(self) -> Tensor | None:
        """log r of the counts, within bounds."""
        return None if self.slow_dispersion is None else (_PACE * self.slow_dispersion).clamp(*LOG_DISPERSION)

    def observe(self) -> None:
        super().observe()
        self._filler = 0.0  # of every kind, in scaled units

    @property
    def reads(self) -> bool:
        return True

    @property
    def read_shape(self) -> Shape:
        layout = self.layout
        return (sum(layout.sizes) + len(layout.columns) * (1 + self.missing) - len(layout.sizes),)

    def read(self, x: Tensor) -> Tensor:
        missing, layout = x.isnan(), self.layout
        y = torch.where(missing, 0.0, self.scaled(x))
        number, boolean, count, category = (y.index_select(1, places) for places in layout.places)
        parts = [number, boolean, count.clamp(min=0).log1p()]
        if layout.sizes:
            there = ~missing.index_select(1, layout.category)
            hot = (category.round()[..., None] == layout.levels) & there[..., None]
            parts.append(hot.flatten(1).index_select(1, layout.padded).to(x.dtype))
        return torch.cat([*parts, *([self.indicators(missing, x)] if self.missing else [])], 1)

    def gist(self, x: Tensor) -> Tensor:
        x = self.known(x.detach())
        wrong = (~self.support.check(x)).any(0)
        low, high = torch.aminmax(x.float())
        return torch.stack([low, high, (~wrong.any()).float(), wrong.float().argmax().float()])

    def allows(self, gists: Tensor) -> Tensor:
        return gists[..., :2].isfinite().all(-1) & (gists[..., 2] > 0)

    def complaint(self, gist: Tensor) -> str:
        column = self.columns[int(gist[3])]
        return f"column {self.names[int(gist[3])]} holds values that are no {column['type']}: correct or ignore it"

    def expectation(self, px: Distribution, device: torch.device) -> Tensor:
        values = unscaled(px).base_dist  # type: ignore[attr-defined]
        return torch.cat([mean_of(px, device), values.shares.exp().flatten(-2)], -1)

    def summarise(self, expectation: Tensor) -> Tensor:
        layout, dim = self.layout, len(self.columns)
        x = expectation[..., :dim].clone()
        if layout.sizes:
            shares = expectation[..., dim:].unflatten(-1, (len(layout.sizes), -1))
            x[..., layout.category] = shares.argmax(-1).to(x.dtype)
        x[..., layout.boolean] = x[..., layout.boolean].round()
        return x


class Layout(nn.Module):
    """Places of the columns of each kind in rows, and of their parameters.

    Its buffers are indices, which are then on the device of the model, and not copied there at each step.

    Args:
        columns: The columns.

    Raises:
        ValueError: If a column is of an unknown type, or a category has no values.
    """

    number: Tensor
    boolean: Tensor
    count: Tensor
    category: Tensor
    order: Tensor
    padded: Tensor
    levels: Tensor

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.columns = [str(column.get("type")) for column in columns]
        for n, (kind, column) in enumerate(zip(self.columns, columns, strict=True)):
            if kind not in KINDS:
                raise ValueError(f"the type of column {column.get('name', n)} must be one of {', '.join(KINDS)}.")
            if kind == "category" and not column.get("categories"):
                raise ValueError(f"column {column.get('name', n)} is a category without categories.")
        self.sizes = [len(c["categories"]) for c in columns if c.get("type") == "category"]
        blocks = [self._of("number", "date"), self._of("boolean"), self._of("count"), self._of("category")]
        self.blocks = [len(block) for block in blocks]
        places, widest = [place for block in blocks for place in block], max(self.sizes, default=0)
        indices = dict(zip(("number", "boolean", "count", "category"), blocks, strict=True))
        indices["order"] = sorted(range(len(places)), key=places.__getitem__)
        indices["padded"] = [n * widest + k for n, size in enumerate(self.sizes) for k in range(size)]
        indices["levels"] = list(range(widest))
        for name, index in indices.items():
            self.register_buffer(name, torch.tensor(index, dtype=torch.long), persistent=False)
        self.num_params = sum(self.blocks[:3]) + sum(self.sizes)

    @property
    def places(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places of numbers and dates, booleans, counts and categories in rows."""
        return self.number, self.boolean, self.count, self.category

    def _of(self, *kinds: str) -> list[int]:
        return [n for n, kind in enumerate(self.columns) if kind in kinds]


class ColumnValues(Distribution):
    """The values of a row in scaled units, batch shape (\\*batch, D).

    Args:
        params: Parameters: locations of numbers, logits of booleans, log-means of counts, logits of categories.
        layout: Places of the columns.
        log_scale: log σ of the numbers.
        log_dispersion: log r of the counts.
    """

    arg_constraints = {}
    real_entries_are_normal = True

    def __init__(self, params: Tensor, layout: Layout, log_scale: Tensor | None, log_dispersion: Tensor | None) -> None:
        self.params, self.layout, self.log_scale, self.log_dispersion = params, layout, log_scale, log_dispersion
        sizes = [*layout.blocks[:3], sum(layout.sizes)]
        self.loc, self.logits, self.log_mean, self.levels = params.split(sizes, -1)
        super().__init__(torch.Size((*params.shape[:-1], len(layout.columns))), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return _Rows(self.layout)

    @property
    def shares(self) -> Tensor:
        """Log-probabilities of categories, (\\*batch, categories, levels), −∞ beyond the categories of a column."""
        sizes = self.layout.sizes
        if not sizes:
            return self.params.new_zeros((*self.params.shape[:-1], 0, 0))
        padded = self.params.new_full((*self.params.shape[:-1], len(sizes) * max(sizes)), -torch.inf)
        padded = padded.index_copy(-1, self.layout.padded, self.levels)
        return log_softmax(padded.unflatten(-1, (len(sizes), -1)), -1)

    def log_prob(self, value: Tensor) -> Tensor:
        layout, batch = self.layout, torch.broadcast_shapes(value.shape[:-1], self.params.shape[:-1])
        value, parts = value.to(self.params.dtype), []
        number, boolean, count, category = (value.index_select(-1, places) for places in layout.places)
        if layout.blocks[0]:
            parts.append(Normal(self.loc, self.log_scale).log_prob(number))  # type: ignore[arg-type]
        if layout.blocks[1]:
            parts.append(boolean * self.logits - softplus(self.logits))
        if layout.blocks[2]:
            parts.append(self._counts().log_prob(count))
        if layout.blocks[3]:
            codes = category.round().long().clamp(min=0)
            codes = codes.expand(*batch, -1).unsqueeze(-1)
            parts.append(self.shares.expand(*batch, -1, -1).gather(-1, codes).squeeze(-1))
        return torch.cat([part.expand(*batch, -1) for part in parts], -1).index_select(-1, layout.order)

    def _counts(self) -> NegativeBinomialTally:
        dispersion: Any = self.log_dispersion
        none = Total(self.params.new_zeros(()), self.params.new_zeros(()))
        return NegativeBinomialTally(dispersion.to(self.params.dtype), self.log_mean, 0, none)

    def _joined(self, number: Tensor, boolean: Tensor, count: Tensor, category: Tensor) -> Tensor:
        return torch.cat([number, boolean, count, category], -1).index_select(-1, self.layout.order)

    @property
    def mean(self) -> Tensor:
        category = self.shares.argmax(-1) if self.layout.sizes else self.levels
        return self._joined(self.loc, self.logits.sigmoid(), self.log_mean.exp(), category.to(self.loc.dtype))

    @property
    def variance(self) -> Tensor:
        number = self.loc if self.log_scale is None else (2 * self.log_scale).exp().expand_as(self.loc)
        share = self.logits.sigmoid()
        count = self._counts().variance if self.layout.blocks[2] else self.log_mean
        category = self.levels
        if self.layout.sizes:
            shares = self.shares.exp()
            level = torch.arange(shares.shape[-1], device=shares.device, dtype=shares.dtype)
            mean = (shares * level).sum(-1, keepdim=True)
            category = (shares * (level - mean).square()).sum(-1)
        return self._joined(number, share * (1 - share), count, category)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        number, count, category = self.loc.expand(*shape, *self.loc.shape), self.log_mean, self.levels
        if self.log_scale is not None:
            number = number + self.log_scale.exp() * torch.randn_like(number)
        boolean = torch.bernoulli(self.logits.sigmoid().expand(*shape, *self.logits.shape))
        count = self._counts().sample(shape) if self.layout.blocks[2] else count.expand(*shape, *count.shape)
        if self.layout.sizes:
            category = Categorical(logits=self.shares, validate_args=False).sample(shape).to(number.dtype)
        else:
            category = category.expand(*shape, *category.shape)
        return self._joined(number, boolean, count, category)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ColumnValues:
        params = self.params.expand(*batch_shape[:-1], -1)
        return ColumnValues(params, self.layout, self.log_scale, self.log_dispersion)


class _Rows(constraints.Constraint):
    """Rows whose values are of the kinds of their columns."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def check(self, value: Tensor) -> Tensor:
        if not value.ndim:  # of a single number, it is not known which column it is in
            return torch.ones_like(value, dtype=torch.bool)
        fine, whole = value.isfinite(), value == value.round()
        for n, (kind, size) in enumerate(zip(self.layout.columns, self._sizes(), strict=True)):
            if kind in ("boolean", "count", "category"):
                fine[..., n] &= whole[..., n] & (value[..., n] >= 0) & (value[..., n] < size)
        return fine

    def _sizes(self) -> list[float]:
        sizes = iter(self.layout.sizes)
        sizes_of = {"boolean": lambda: 2, "category": lambda: next(sizes)}
        return [sizes_of[kind]() if kind in sizes_of else torch.inf for kind in self.layout.columns]

    def __repr__(self) -> str:
        return "the kinds of the columns"
