"""Every likelihood by its name on the command line, through a step of training and one of validation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from helpers import FAMILIES
from short import few

from .conftest import Outcome

OF_THEIR_OWN = {
    "Categorical": ("--model.likelihood.num_values", "3", "--data.binarization", "threshold"),
    **dict.fromkeys(
        ("CellCounts", "Poisson", "NegativeBinomial", "ZeroInflatedNegativeBinomial", "Multinomial"),
        ("--data.binarization", "threshold", "--model.encoder", "LogDense"),  # the digits have no counts but 0 and 1
    ),
    "MSSSIM": ("--data", "Sprites", "--data.image_size", "12", "--data.num_examples", "48"),
    "Perceptual": ("--model.likelihood.network", "torch.nn.Identity"),
}
SMALL = (
    "--model.latent_dim=2",
    "--model.encoder.hidden=[8]",
    "--model.decoder.hidden=[8]",
    "--trainer.fast_dev_run=true",
    "--trainer.logger=false",
)


FILES = ("families", "continuous", "optimal", "discrete", "energies", "counts")
NAMES = [f.__name__ for f in FAMILIES if f.__module__.rpartition(".")[2] in FILES and f.__name__ != "Point"]


@pytest.mark.parametrize("name", few(NAMES, 1))
def test_by_name(run: Callable[..., Outcome], name: str) -> None:
    own = OF_THEIR_OWN.get(name, ())
    data = () if "--data" in own else ("--data", "Digits")
    done = run("fit", "--model", "VAE", *data, "--model.likelihood", name, *own, *SMALL)
    assert done.code == 0, done.err
