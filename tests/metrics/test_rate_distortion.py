from __future__ import annotations

import torch
from helpers import tiny
from torch import Tensor

from vae_zoo.metrics import RateDistortion
from vae_zoo.models import VAE


def test_adds_up_to_the_bound(images: Tensor) -> None:
    model, metric = tiny(VAE), RateDistortion()
    terms = [model.elbo(part, num_samples=3) for part in (images[:10], images[10:])]
    for term in terms:
        metric.update(term.kl, term.log_px)
    values = metric.compute()
    torch.testing.assert_close(values["rate"], torch.cat([t.kl for t in terms]).mean())
    torch.testing.assert_close(values["distortion"], -torch.cat([t.log_px for t in terms], 1).mean())
    torch.testing.assert_close(-sum(values.values()), torch.cat([t.value for t in terms]).mean())
    metric.reset()
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([-5.0, -7.0]))
    assert {name: value.item() for name, value in metric.compute().items()} == {"rate": 1.5, "distortion": 6.0}
