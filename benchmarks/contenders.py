"""Ways to train one VAE on one data set: by hand, by vae_zoo, by stock Lightning, by pythae.

Each takes the work and gives a function that runs some steps and returns the clock, without what comes before the
first step and after the last. All have the same networks, data, batch size, bound (Bernoulli, KL in closed form) and
Adam; what differs is what a user of each would write.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.work import Clock, Work

Run = Callable[[int], Clock]
WARM = 5
"""Steps before the clock starts."""


class ByHand(nn.Module):
    """What a researcher writes in an afternoon."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.encoder, self.decoder = work.encoder(), work.decoder()

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and divergence, nats per example."""
        mean, log_var = self.encoder(x).chunk(2, -1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        logits = self.decoder(z).float()
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()
        return reconstruction / len(x), divergence / len(x)


def hand(work: Work, device: torch.device) -> Run:
    """A loop over float32 tensors in memory, fused Adam: the measure of all others."""
    return _loop(work, device, ByHand(work))


def hand_best(work: Work, device: torch.device) -> Run:
    """The same with everything that was found to help: bfloat16, product form of the density, compiled."""
    from vae_zoo.distributions.bernoulli import log_bernoulli

    class Best(ByHand):
        def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_var = self.encoder(x).float().chunk(2, -1)
            z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            logits = self.decoder(z).float()
            divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()
            return -log_bernoulli(logits.flatten(1), x.flatten(1)).mean(), divergence / len(x)

    model = Best(work).to(memory_format=torch.channels_last) if work.conv else Best(work)
    return _loop(work, device, model, autocast=True, compiled=True)


def hand_graph(work: Work, device: torch.device, *, autocast: bool = False) -> Run:
    """The loop with each step recorded as a CUDA graph and replayed, so that no time goes into starting kernels."""
    model, x = ByHand(work).to(device), (work.images().float() / 255).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=True)
    batch = x[: work.batch_size].clone()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = sum(model.terms(batch))
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    # The graph holds addresses, not tensors: what it writes to must live as long as the steps.
    def steps(num: int, kept: Any = (model, optimizer)) -> None:
        order = torch.randperm(len(x), device=device).split(work.batch_size)
        for n in range(num):
            torch.index_select(x, 0, order[n % (len(order) - 1)], out=batch)
            graph.replay()

    return _clocked(steps)


def networks_alone(work: Work, device: torch.device) -> Run:
    """The networks over a test set, with neither a bound nor a loop's bookkeeping: what no evaluation can undercut."""
    model, x = ByHand(work).to(device), (work.images("test").float() / 255).to(device)

    def run(_: int) -> Clock:
        clock = Clock()
        clock.start()
        with torch.inference_mode():
            for batch in x.split(work.batch_size):
                model.decoder(model.encoder(batch)[:, : work.latent_dim])
        return clock.stop()

    return run


def _loop(work: Work, device: torch.device, model: ByHand, *, autocast: bool = False, compiled: bool = False) -> Run:
    model = model.to(device)
    x = (work.images().float() / 255).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    terms = torch.compile(model.terms) if compiled else model.terms

    def steps(num: int) -> None:
        order = torch.randperm(len(x), device=device).split(work.batch_size)
        for step in range(num):
            batch = x[order[step % (len(order) - 1)]]
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                loss = sum(terms(batch))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()

    return _clocked(steps)


def _clocked(steps: Callable[[int], None]) -> Run:
    def run(num: int) -> Clock:
        steps(WARM)
        clock = Clock()
        clock.start()
        steps(num)
        return clock.stop()

    return run


def examples(work: Work, device: torch.device) -> Run:
    """The loop of many tutorials: torchvision's data set and ToTensor under a DataLoader, loss.item() at every step."""
    model = ByHand(work).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = torchvision_loader(work)

    def run(num: int) -> Clock:
        clock = Clock()
        total = 0.0
        for step, (x, _) in zip(range(WARM + num), loader, strict=False):
            if step == WARM:
                clock.start()
            optimizer.zero_grad()
            loss = sum(model.terms(x.to(device)))
            loss.backward()  # type: ignore[union-attr]
            total += loss.item()  # type: ignore[union-attr]
            optimizer.step()
        return clock.stop()

    return run


def torchvision_loader(work: Work, split: str = "train") -> Any:
    """A loader over PIL images with torchvision's transforms, as its examples have it."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from vae_zoo.data.base.paths import data_root

    pad = [transforms.Pad((work.shape[-1] - 28) // 2)] if work.shape[-1] != 28 else []
    transform = transforms.Compose([*pad, transforms.ToTensor()])
    data = datasets.MNIST(str(data_root(None)), train=split == "train", transform=transform)
    return DataLoader(data, work.batch_size, shuffle=split == "train")


def pythae(work: Work, device: torch.device) -> Run:
    """pythae's own trainer on tensors in memory; what it does between two epochs is left out."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.base_trainer import base_trainer

    base_trainer.logger.setLevel(logging.ERROR)
    encoder, decoder = _pythae_networks(work)
    config = VAEConfig(input_dim=work.shape, latent_dim=work.latent_dim, reconstruction_loss="bce")
    model = VAE(config, encoder=encoder, decoder=decoder)
    x = work.images().float() / 255
    folder = tempfile.mkdtemp()

    def run(num: int) -> Clock:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            learning_rate=1e-3,
            per_device_train_batch_size=work.batch_size,
            no_cuda=device.type == "cpu",
        )
        data = BaseDataset(x[: num * work.batch_size], torch.zeros(num * work.batch_size))
        trainer = BaseTrainer(model, data, training_config=settings, callbacks=[])
        trainer.prepare_training()
        clock = Clock()
        clock.start()
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train_step(epoch=1)
        return clock.stop()

    return run


def _pythae_networks(work: Work) -> tuple[nn.Module, nn.Module]:
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = work.encoder()

        def forward(self, x: Tensor) -> Any:
            mean, log_var = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = work.decoder()

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    return Encoder(), Decoder()
