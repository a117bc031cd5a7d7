"""Models that go wrong in a fit, in a checkpoint, or in what they give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.elbo import ELBO
from vae_zoo.models import VAE


class TwoOptimizers(VAE):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(self.encoder.parameters()), torch.optim.Adam(self.decoder.parameters())]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.losses(batch[0])["loss"]
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()


class SamplingEmbed(VAE):
    def embed(self, x: Tensor, c: Tensor | None = None, *, sample: bool = False) -> Tensor:
        return self.encode(x, c).rsample()


class OtherPath(VAE):
    """A prediction that takes another way than the loss."""

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        out = super().predict_step(batch, batch_idx)
        return {**out, "reconstruction": self.decode(torch.tanh(out["z"])).mean}


class Restless(VAE):
    """Noise in the encoder that stays on in evaluation, as of a dropout that eval() does not reach."""

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return super().encode(x + 0.1 * torch.randn_like(x), c)


class SeesOthers(VAE):
    """A decoder whose outputs depend on the other examples, as of statistics of the batch in evaluation."""

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return super().decode(z + 10 * z.mean(-2, keepdim=True), c)


class ClassCounter(VAE):
    """A schedule that counts in an attribute of the class, which no checkpoint holds."""

    count = 0

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        type(self).count += self.training
        return {"loss": (min(1.0, self.count / 20) * elbo.kl - elbo.log_px.mean(0)).mean()}


class RankZero(VAE):
    """Metrics that are not reduced over the processes."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        for name, value in self.losses(batch[0], batch[1]).items():
            self.log(f"val/{name}", value, batch_size=len(batch[0]))

    def on_validation_epoch_end(self) -> None: ...


class Forgets(VAE):
    """An argument that the checkpoint does not get to know."""

    def __init__(self, *, width: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width + 0.1 * (len(type(self).made) > 0)
        type(self).made.append(width)

    made: list[float] = []

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return super().decode(self.width * z, c)
