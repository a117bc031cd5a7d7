"""Latents that follow labels: values by hand, unknown labels, and a model that learns a factor from a few of them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from vae_zoo.distributions import StandardNormal
from vae_zoo.models import VAE, BetaVAE, PriorAE
from vae_zoo.penalties import Penalty, SupervisedLatents
from vae_zoo.testing import check
from vae_zoo.testing.losses import ONE_GRAPH

MU = torch.tensor([[0.5, -1.0, 3.0], [2.0, 0.25, -1.0], [-0.5, 1.5, 0.0], [1.0, 0.0, 2.0]])
C = torch.tensor([[0.0, 0.2], [4.0, -1.0], [2.0, 0.7], [-1.0, -1.0]])
SIZES = [5, 1]


class Size(Penalty):
    """A penalty of somebody else's, who knows of no labels."""

    def forward(self, z: Tensor, q: Distribution, p: Distribution) -> tuple[Tensor, dict[str, Tensor]]:
        return z.square().mean(), {}


def value(mu: Tensor, c: Tensor | None, **kwargs: object) -> Tensor:
    q = Independent(Normal(mu, torch.full_like(mu, 0.3)), 1)
    penalty = SupervisedLatents((mu.shape[1],), **{"sizes": SIZES, **kwargs})
    return penalty(q.sample(), q, StandardNormal((mu.shape[1],))(), c)[0]


def test_squared_error_by_hand() -> None:
    """Labels 0, 4, 2 of five values are 0, 1 and 1/2; the second is known of the first and the third example."""
    expected = (0.5**2 + (2 - 1) ** 2 + (-0.5 - 0.5) ** 2) / 3 + ((-1 - 0.2) ** 2 + (1.5 - 0.7) ** 2) / 2
    torch.testing.assert_close(value(MU, C, loss="l2"), torch.tensor(expected))


def test_cross_entropy_by_hand() -> None:
    def nats(mu: float, y: float) -> Tensor:
        p = torch.sigmoid(torch.tensor(mu))
        return -(y * p.log() + (1 - y) * (1 - p).log())

    first = nats(0.5, 0.0) + nats(2.0, 1.0) + nats(-0.5, 0.5)
    torch.testing.assert_close(value(MU, C), first / 3 + (nats(-1.0, 0.2) + nats(1.5, 0.7)) / 2)


def test_covariances_by_hand() -> None:
    expected = torch.zeros(())
    labels = C / torch.tensor([4.0, 1.0])
    for a, rows in ((0, [0, 1, 2]), (1, [0, 2])):
        for i in range(3):
            both = torch.stack([MU[rows, i], labels[rows, a]])
            expected += torch.cov(both, correction=0)[0, 1].square() * (i != a)
    torch.testing.assert_close(value(MU, C, loss="cov"), expected)


@pytest.mark.parametrize("loss", ["xent", "l2", "cov"])
def test_unknown_labels_have_no_part(loss: str) -> None:
    mu = torch.cat([MU, 100 * torch.ones(3, 3)]).requires_grad_()
    c = torch.cat([C, torch.full((3, 2), -1.0)])
    found = value(mu, c, loss=loss)
    torch.testing.assert_close(found, value(MU, C, loss=loss))
    (grad,) = torch.autograd.grad(found, mu)
    assert not grad[3:].any()
    (none,) = torch.autograd.grad(value(mu, torch.full_like(c, -1.0), loss=loss), mu)
    assert not none.any()


def test_a_single_label_of_each_example() -> None:
    assert value(MU, torch.tensor([0, 4, -1, 2]), sizes=[5]) == value(
        MU, torch.tensor([[0], [4], [-1], [2]]), sizes=[5]
    )


class TestModels:
    def test_added_to_the_loss_with_its_weight(self, images: Tensor) -> None:
        c = torch.arange(len(images)) % 3 - 1
        model = tiny(BetaVAE, beta=2.0, penalties=[partial(SupervisedLatents, sizes=[2], weight=7.0)])
        found = losses(model, images, c=c)
        own = 2 * found["kl"] - found["reconstruction"] + 7 * found["supervised_latents"]
        torch.testing.assert_close(found["loss"], own)
        assert {"supervised_latents"} <= losses(
            tiny(PriorAE, penalties=[partial(SupervisedLatents, sizes=[2])]), images, c=c
        ).keys()

    @pytest.mark.exhaustive
    def test_one_graph(self, images: Tensor) -> None:
        c = torch.arange(len(images)) % 3 - 1
        model = tiny(VAE, penalties=[partial(SupervisedLatents, sizes=[2], loss=loss) for loss in ("xent", "cov")])
        whole = torch.compile(VAE.losses, fullgraph=ONE_GRAPH, backend="eager")
        torch.manual_seed(1)
        torch.testing.assert_close(whole(model, images, c)["loss"], losses(model, images, c=c)["loss"])

    def test_a_penalty_without_labels_need_not_take_them(self, images: Tensor) -> None:
        assert "size" in losses(tiny(VAE, penalties=[Size]), images, c=torch.zeros(len(images)))

    @pytest.mark.slow
    def test_a_few_labels_put_a_factor_into_the_first_latent(self, images: Tensor) -> None:
        """Of squares that are dark or bright, the first latent tells which; without the penalty it is one of four."""
        torch.manual_seed(0)
        y = torch.arange(64) % 2
        x = (torch.rand(64, 1, 8, 8) < (0.2 + 0.6 * y)[:, None, None, None]).float()
        c = torch.where(torch.arange(64) < 16, y, -1)
        model = tiny(VAE, penalties=[partial(SupervisedLatents, sizes=[2], weight=20.0)])
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            model.losses(x, c)["loss"].backward()
            optimizer.step()
        with torch.no_grad():
            right = (model.embed(x)[16:, 0] > 0) == (y[16:] == 1)
        assert right.float().mean() > 0.95

    @pytest.mark.exhaustive
    def test_conformance(self) -> None:
        check(VAE, penalties=[partial(SupervisedLatents, sizes=[3])], verbose=False)


def test_refusals(images: Tensor) -> None:
    for kwargs, said in (
        ({"sizes": []}, "sizes must hold"),
        ({"sizes": [0]}, "sizes must hold"),
        ({"sizes": [2], "loss": "l1"}, "loss must be xent, l2 or cov, got 'l1'"),
        ({"sizes": [2] * 5}, r"of 5 labels needs as many latents, got \(4,\)"),
        ({"sizes": [2], "weight": -1.0}, "weight must be at least 0"),
    ):
        with pytest.raises(ValueError, match=said):
            SupervisedLatents((4,), **kwargs)
    model = tiny(VAE, penalties=[partial(SupervisedLatents, sizes=[2, 2])])
    with pytest.raises(ValueError, match="needs labels, and the batch has none"):
        losses(model, images)
    with pytest.raises(ValueError, match=r"is for 2 labels of an example, got labels of \(16, 1\)"):
        losses(model, images, c=torch.zeros(16))
