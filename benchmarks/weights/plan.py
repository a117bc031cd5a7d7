"""What each of the packaged weights is fitted with: a packaged configuration, and options that shorten it."""

from __future__ import annotations

import shlex
from typing import NamedTuple


class Plan(NamedTuple):
    """How weights are made.

    Args:
        what: The model in a few words.
        options: Options of ``vae-zoo fit``.
        transforms: What the data module does to an example before a model sees it.
        data_licence: Licence of the training data.
    """

    what: str
    options: str
    transforms: str
    data_licence: str

    @property
    def args(self) -> list[str]:
        """The options as a list."""
        return shlex.split(self.options)


MNIST = ("grey 28 × 28, pixels in [0, 1] binarised at random", "CC BY-SA 3.0 (LeCun, Cortes and Burges)")
DIGITS = ("grey 8 × 8, pixels in [0, 1]", "CC BY 4.0 (UCI, Alpaydin and Kaynak)")
SPRITES = ("grey 32 × 32, pixels 0 or 1", "none: drawn by vae_zoo")
LENGTH = "--trainer.max_epochs {0} --model.scheduler.init_args.T_max {0} --data.num_val 400"
DECODER = "--model.decoder GatedDense --model.decoder.hidden [300,300] --model.latent_dim 40"
GATED = (
    f"--model.encoder GatedDense --model.encoder.hidden [300,300] {DECODER} {LENGTH.format(6)} "
    "--model.optimizer.init_args.eps 1e-8"
)
"""Networks and schedule that models of MNIST have in common, so that their metrics can be compared."""

PLANS = {
    "vae_mnist": Plan(
        "gated networks, 16 latents",
        f"--config vae_mnist {GATED.replace('latent_dim 40', 'latent_dim 16')} "
        "--trainer.max_epochs 12 --model.scheduler.init_args.T_max 12",
        *MNIST,
    ),
    "iwae_mnist": Plan("gated networks, a bound of 5 importance samples", f"--config iwae_mnist {GATED}", *MNIST),
    "conditional_vae_mnist": Plan(
        "given the class, which the encoder reads by convolutions",
        f"--config conditional_vae_mnist {DECODER} {LENGTH.format(5)}",
        *MNIST,
    ),
    "vamp_vae_mnist": Plan(
        "gated networks, a prior of 500 pseudo-inputs",
        f"--config vamp_vae_mnist {LENGTH.format(6)} --model.optimizer.init_args.lr 1e-3 "
        "--trainer.callbacks LinearAnnealing --trainer.callbacks.num_epochs 2",
        *MNIST,
    ),
    "conv_vae_mnist": Plan("convolutions, 50 latents", f"--config conv_vae_mnist {LENGTH.format(3)}", *MNIST),
    "ladder_vae_mnist": Plan(
        "two layers of latents",
        f"--config ladder_vae_mnist {LENGTH.format(12)} "
        "--trainer.callbacks LinearAnnealing --trainer.callbacks.num_epochs 5",
        *MNIST,
    ),
    "vae_digits": Plan("dense networks, 16 latents", "--config vae_digits", *DIGITS),
    "vamp_vae_digits": Plan("a prior of pseudo-inputs", "--config vamp_vae_digits", *DIGITS),
    "svae_digits": Plan("latents on a sphere", "--config svae_digits", *DIGITS),
    "vqvae_digits": Plan("2 × 2 codes and a prior over them", "--config vqvae_digits", *DIGITS),
    "ada_gvae_sprites": Plan("factors found from pairs of images", "--config ada_gvae_sprites", *SPRITES),
    "beta_tcvae_sprites": Plan("a weighted total correlation", "--config beta_tcvae_sprites", *SPRITES),
    "count_vae_counts": Plan(
        "counts of cells, given their total",
        "--config count_vae_counts",
        "counts as they are",
        "none: drawn by vae_zoo",
    ),
    "tvae_breast_cancer": Plan(
        "rows of a table of 30 numbers",
        "--config tvae_breast_cancer",
        "log(1 + x), standardised within the model",
        "CC BY 4.0 (UCI, Wolberg et al.)",
    ),
    "sequence_vae_tokens": Plan(
        "short sentences", "--config sequence_vae_tokens", "words as numbers", "none: drawn by vae_zoo"
    ),
}
"""By name, in the order in which they are made."""
