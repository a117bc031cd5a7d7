"""The vector-quantised variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.optim import Optimizer

from vae_zoo.distributions import mean_of, score
from vae_zoo.elbo import check_number, refuse_unused
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.models.base.components import check_point, make
from vae_zoo.models.base.groups import split_off
from vae_zoo.nn import Codebook, CodePrior, Quantized, Quantizer
from vae_zoo.nn.halving import halved
from vae_zoo.typing import Shape


class VQVAE(Autoencoder):
    r"""Autoencoder whose latent is a grid of discrete codes, with a distribution over the codes to sample from.

    .. math::
        \mathcal{L}(x) = -\log p(x | e) + \| \mathrm{sg}[z] - e \|^2 + \beta \| z - \mathrm{sg}[e] \|^2 - \log p(s),
        \quad e_i = e_{s_i} \text{ nearest to } z_i = f(x)_i

    The posterior has all its mass on one grid of codes s, so :math:`\log p(x | e) + \log p(s)` is a bound on log p(x):
    the curve ``elbo``, whose rate ``kl`` is :math:`-\log p(s)`. The prior p(s) is trained along with the autoencoder,
    without influence on the codes, so that every checkpoint can sample; in the paper it is fitted afterwards, as the
    callback ``FitCodePrior`` does in the last epochs.

    When to use it:
        If another model is to be trained on codes, or for samples from a prior over codes. Not for paths between
        latents. If codes die, take ``FSQVAE``, ``SimVQVAE`` or another codebook.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        latent_dim: Dimensions of each code vector.
        num_codes: Number of code vectors, of each codebook if there are several.
        grid: Shape of the grid of codes; by default a quarter of the height and width of images, and 8 for other data.
        beta: Weight β of the commitment of the latents to their codes.
        codebook: Class of the codebook, or of another quantizer.
        code_prior: Distribution over grids of codes.
        kwargs: Arguments of :class:`Autoencoder`.

    Raises:
        ValueError: If num_codes or a side of the grid is less than 1, beta is negative or not finite, or the posterior
            has a density, which would have no effect.
    """

    reports = "E"
    monitor = "val/elbo"
    monitor_mode = "max"
    continuous = False
    straight_through = True

    num_classes: int = 0
    """Number of classes that the prior over codes is conditioned on; 0 for no condition."""

    def __init__(
        self,
        *,
        latent_dim: int = 16,
        num_codes: int = 128,
        grid: Shape | None = None,
        beta: float = 0.25,
        codebook: Callable[[int, int], Quantizer] = Codebook,
        code_prior: Callable[[Shape, int], CodePrior] = CodePrior,
        **kwargs: Any,
    ) -> None:
        if grid is not None and min(grid, default=0) < 1:
            raise ValueError(f"the sides of the grid must be at least 1, got {tuple(grid)}.")
        self._grid = None if grid is None else tuple(grid)  # the networks' shapes follow from it
        super().__init__(latent_dim=latent_dim, **kwargs)
        check_point(self)
        if not (beta >= 0 and math.isfinite(beta)):
            raise ValueError(f"beta must be at least 0 and finite, got {beta}.")
        self.beta, self.frozen = beta, False
        self.codebook = make("codebook", codebook, Quantizer, num_codes, latent_dim)  # type: ignore[type-abstract]
        self.code_prior = self.make_prior(code_prior, *self.prior_sizes)

    @property
    def grid(self) -> Shape:
        """Shape of the grid of codes of one example."""
        if self._grid is not None:
            return self._grid
        return halved(halved(self.shape[1:])) if len(self.shape) > 1 else (8,)

    @property
    def latent_shape(self) -> Shape:
        return (self.latent_dim, *self.grid)

    @property
    def codes_shape(self) -> Shape:
        """Shape of the codes of one example: the grid, and the codes at each place if there are several."""
        return (*self.grid, *self.codebook.code_shape)

    @property
    def prior_sizes(self) -> tuple[Shape, int]:
        """Shape of the codes of the prior, and the number of features of its context at each place."""
        return self.codes_shape, 0

    def make_prior(self, factory: Callable[[Shape, int], CodePrior], shape: Shape, context_dim: int = 0) -> CodePrior:
        """A prior over codes of a shape, conditioned on the class if the model is."""
        made = make("code_prior", factory, CodePrior, shape, self.codebook.num_codes)
        made.condition(self.num_classes, context_dim)
        return made

    @property
    def quantizers(self) -> list[Quantizer]:
        """All quantizers."""
        return [self.codebook]

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return self.posterior(self.lookup(self.codes(x)))

    def codes(self, x: Tensor) -> Tensor:
        """Codes of examples, (B, \\*codes_shape)."""
        return self.quantise(x).codes

    def quantise(self, x: Tensor, *, record: bool = False) -> Quantized:
        """Quantised latents of examples, which a training step records for its codebooks."""
        return self._quantised(self.codebook, self._latents(x), record)

    def lookup(self, codes: Tensor) -> Tensor:
        """Latents (B, \\*latent) of codes (B, \\*codes_shape)."""
        return self.codebook.lookup(codes)

    def log_prior(self, codes: Tensor, c: Tensor | None = None) -> Tensor:
        """Log-probability of codes (B, \\*codes_shape), (B,)."""
        return self.code_prior.log_prob(codes, c)

    def draw_codes(self, num: int, c: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Draws of the prior, (num, \\*codes_shape)."""
        return self.code_prior.sample(num, c, temperature=temperature)

    def usage(self, codes: Tensor) -> Tensor:
        """Relative frequencies of the values of each code at a place, concatenated."""
        return self.codebook.usage(codes)

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        found = self.quantise(x, record=self.training)
        return self.terms(found, self.decode(found.z, c), x, c)

    def terms(self, found: Quantized, px: Distribution, x: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        """The values of :meth:`losses`, from the quantised latents of examples and their likelihood."""
        log_px = score(px, x, x.shape[:1]).mean()
        rate = -self.log_prior(found.codes, c).mean()
        codebook_loss, commitment = found.codebook_loss.mean(), found.commitment.mean()
        terms = {
            "loss": codebook_loss + self.beta * commitment + rate - log_px,
            "elbo": log_px - rate,
            "reconstruction": log_px,
            "kl": rate,
            "commitment": commitment,
        }
        terms["usage"] = self.usage(found.codes)
        return terms

    def curves(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logged metrics: the usage of each code is replaced by its perplexity e^H and the number of codes in use.

        Both are means over the codes at a place, if there are several.
        """
        usage = means["usage"].unflatten(0, (-1, self.codebook.num_codes))  # of each code at a place
        shown = {name: mean for name, mean in means.items() if name != "usage"}
        perplexity = torch.exp(torch.special.entr(usage).sum(-1)).mean()
        return shown | {"perplexity": perplexity, "used_codes": (usage > 0).sum(-1).to(usage.dtype).mean()}

    @torch.no_grad()
    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True, temperature: float = 1.0) -> Tensor:
        """Draw codes from their prior, with logits divided by the temperature, and decode them, (num, \\*shape)."""
        check_number("num", num)
        with refuse_unused(c, self):
            px = self.decode(self.lookup(self.draw_codes(num, c, temperature=temperature)), c)
        return mean_of(px, self.device) if mean else px.sample()

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Latents, reconstructions and codes of a batch."""
        return {**super().predict_step(batch, batch_idx, dataloader_idx), "codes": self.codes(self.unpack(batch)[0])}

    def initialise(self, x: Tensor) -> None:
        with torch.no_grad():
            self.codebook.start(self._latents(x[:1024].to(self.device)))

    def param_groups(self) -> list[dict[str, Any]]:
        priors = [p for module in self.modules() if isinstance(module, CodePrior) for p in module.parameters()]
        return split_off(super().param_groups(), {"params": priors})

    def routes(self) -> dict[str, dict[str, float]]:
        encoder = {"loss": 1.0, "kl": -1.0}  # which of its terms concern the codes depends on the quantizer
        return {"encoder": encoder, "decoder": {"reconstruction": -1.0}, "code_prior": {"kl": 1.0}}

    def configure_optimizers(self) -> Any:
        configured = super().configure_optimizers()
        optimizer: Optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        self._follow(optimizer)
        return configured

    def on_fit_start(self) -> None:
        super().on_fit_start()
        for optimizer in self.trainer.optimizers[:1]:
            self._follow(optimizer)  # a subclass may have made its own

    def _follow(self, optimizer: Optimizer) -> None:
        if self._after_step not in optimizer._optimizer_step_post_hooks.values():
            optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, *_: Any) -> None:
        self.move_codes()

    def move_codes(self) -> None:
        """Update the codes from recorded latents: after each step of the optimizer, unless only the prior is fitted."""
        for book in self.quantizers:
            book.reset_stats() if self.frozen else book.update()

    def _quantised(self, book: Quantizer, z: Tensor, record: bool) -> Quantized:
        found: Quantized = book(z)
        if record:
            book.accumulate(z, found.codes)
        return found

    def _latents(self, x: Tensor) -> Tensor:
        self.check_examples(x)
        return self.run_encoder(x)
