"""``python -m vae_zoo``: the command ``vae-zoo``."""

from vae_zoo.cli import main

main()
