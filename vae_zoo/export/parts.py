"""Encoder and decoder as functions of tensors, and as programs of torch.export with only their own weights."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from vae_zoo.distributions import mean_of, stddev_of
from vae_zoo.models import Autoencoder
from vae_zoo.training.trainers import trainer_of
from vae_zoo.typing import Shape


class Part(nn.Module, ABC):
    """One half of a model, with named inputs and outputs and batches of any size.

    Args:
        model: Model; a copy on the CPU and in evaluation mode is used.
    """

    name: str
    first: str
    """Name of the input besides labels."""

    span: tuple[float, float]
    """Range of input values for the comparison with the exported file."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = copy.deepcopy(model, {id(trainer_of(model)): None}).cpu().eval()
        self.num_classes: int = getattr(model, "num_classes", None) or 0
        self.condition_sizes: Shape = getattr(model, "condition_sizes", None) or ()
        self.in_shape = self.shape_taken()

    @abstractmethod
    def shape_taken(self) -> Shape:
        """Shape of one input."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs of :meth:`forward`."""

    @abstractmethod
    def given(self, first: Tensor, c: Tensor | None = None) -> Distribution:
        """The distribution whose mean :meth:`forward` returns."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs of :meth:`forward`, including labels if the model is class-conditional."""
        return (self.first, "c") if self.num_classes or self.condition_sizes else (self.first,)

    def example(self, num: int) -> tuple[Tensor, ...]:
        """Random inputs, the same for the same number, with labels if necessary."""
        generator = torch.Generator().manual_seed(num)
        low, high = self.span
        first = low + (high - low) * torch.rand(num, *self.in_shape, generator=generator)
        return (first, c) if (c := self.conditions(num)) is not None else (first,)

    def conditions(self, num: int) -> Tensor | None:
        """Conditions of every kind in turn, if the model takes any."""
        if self.condition_sizes:
            return (torch.arange(num)[:, None] % torch.tensor(self.condition_sizes)).float()
        return torch.arange(num) % self.num_classes if self.num_classes else None


class EncoderPart(Part):
    """Maps examples to the mean and σ of the posterior, and to their codes if the model has codes."""

    name, first, span = "encoder", "x", (0.0, 1.0)

    def shape_taken(self) -> Shape:
        return self.model.shape

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("z", "z_scale", "codes") if hasattr(self.model, "codes") else ("z", "z_scale")

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        q = self.given(x, c)
        found = mean_of(q, x.device), stddev_of(q, x.device)
        codes: Any = getattr(self.model, "codes", None)
        return found if codes is None else (*found, codes(x))

    def given(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return self.model.encode(x, c)


class DecoderPart(Part):
    """Maps latents to the mean of p(x|z)."""

    name, first, span = "decoder", "z", (-2.0, 2.0)
    outputs = ("x",)

    @torch.no_grad()
    def shape_taken(self) -> Shape:
        c = self.conditions(1)
        z = self.model.embed(torch.rand(1, *self.model.shape), torch.zeros(1, dtype=torch.long) if c is None else c)
        return tuple(z.shape[1:])

    def forward(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        return (mean_of(self.given(z, c), z.device),)

    def given(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return self.model.decode(z, c)


@torch.no_grad()
def _check_mean(part: Part) -> None:
    """Refuse a distribution without a closed-form mean, since the samples used instead cannot be traced."""
    d = part.given(*part.example(2))
    try:
        d.mean, d.stddev  # noqa: B018
    except NotImplementedError:
        raise ValueError(
            f"the {part.name} of {type(part.model).__name__} cannot be traced: {type(d).__name__} has no mean "
            "or standard deviation in closed form; the format safetensors needs none."
        ) from None


def program(part: Part) -> ExportedProgram:
    """A part as a program of torch.export, for batches of any size, with only the weights that it uses.

    Raises:
        ValueError: If it cannot be traced as one graph.
    """
    batch = Dim("batch", min=1)
    _check_mean(part)
    inputs = part.example(2)  # of one example a graph would be for one only
    try:
        with torch.no_grad():  # strict, which sees through len(x) as well
            traced = torch.export.export(part, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs), strict=True)
    except Exception as error:
        said = " ".join(str(error).split())
        raise ValueError(f"the {part.name} of {type(part.model).__name__} cannot be traced whole: {said}") from error
    used = {spec.target for spec in traced.graph_signature.input_specs}
    for name in [name for name in traced.state_dict if name not in used]:
        del traced.state_dict[name]
    for module in traced.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # places on this machine
    return traced
