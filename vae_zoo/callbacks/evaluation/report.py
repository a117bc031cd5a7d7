"""The table of metrics at the end of validate and test."""

from __future__ import annotations

import math

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from vae_zoo.callbacks.evaluation.evidence import Evidence
from vae_zoo.elbo import has_density, post_hoc_prior

LAST = (
    "log_evidence",
    "log_evidence_se",
    "log_evidence_se_data",
    "ess",
    "bits_per_dim",
    "evidence_images_per_second",
    "ais_log_evidence",
    "ais_log_evidence_se",
    "ais_gain",
    "active_units",
    "informative_units",
)
BOUND = ("loss", "elbo", "reconstruction", "bound")


class Report(Callback):
    """Prints the metrics of ``validate`` and ``test`` with their units.

    Callbacks and models give the units of their own metrics in ``units``, a dictionary by the name of the metric
    without its stage; a metric that is not in any is printed without a unit.
    """

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._print(trainer, pl_module, "val")

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module, "test")

    def _print(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        from rich import get_console
        from rich.markup import escape
        from rich.table import Table

        units = _units(trainer, pl_module)
        data = getattr(trainer, "datamodule", None)
        where = f" on {type(data).__name__}" if data is not None else ""
        prior = post_hoc_prior(pl_module)
        under = f", prior {prior} (post hoc)" if prior else ""
        table = Table(title=f"{type(pl_module).__name__}{where}, {stage} split{under}")
        table.add_column("metric", overflow="fold")
        table.add_column("value", justify="right", overflow="fold")
        table.add_column("unit")
        values = {
            k.removeprefix(f"{stage}/"): v for k, v in trainer.callback_metrics.items() if k.startswith(f"{stage}/")
        }
        for key in sorted(values, key=_order):
            name = _bare(key)
            if f"{name}/dataloader_idx_0" in values and name == key:
                continue  # repeats the first loader's, under the name that monitors look for
            digits = 0 if key.startswith(("active_units", "informative_units")) else 4
            table.add_row(escape(key), f"{values[key].item():.{digits}f}", escape(units.get(name, "")))
        get_console().print(table)  # above the progress bar, which is on the same one


def _units(trainer: Trainer, pl_module: LightningModule) -> dict[str, str]:
    """Units by the name of the metric: of the model and the callbacks, and of what every model logs."""
    shape, layers = getattr(pl_module, "latent_shape", ()), getattr(pl_module, "latent_dims", ())
    codes = getattr(getattr(pl_module, "codebook", None), "num_codes", "?")
    samples = next((c.num_samples for c in trainer.callbacks if isinstance(c, Evidence)), None)  # type: ignore[attr-defined]
    discrete = getattr(getattr(pl_module, "likelihood", None), "is_discrete", True)
    continuous = "" if discrete else ", of a continuous density: not a code length"
    unit = "nats" if has_density(pl_module) else "energy, not nats"
    units = {"kl": "nats"} | dict.fromkeys(BOUND, unit)
    for owner in (pl_module, *trainer.callbacks):  # type: ignore[attr-defined]
        units |= getattr(owner, "units", {})
    return units | {
        "log_evidence": f"nats, {samples} importance samples",
        "log_evidence_se": "nats, standard error of the mean from importance sampling",
        "log_evidence_se_data": "nats, standard error of the mean from the choice of examples",
        "pareto_k": "shape of the weights' tail; above 0.7 the error is meaningless",
        "pareto_k_high": "fraction of examples above 0.7",
        "ess": f"effective samples of {samples}",
        "evidence_images_per_second": f"images/s, {samples} samples each",
        "ais_log_evidence": "nats, annealed importance sampling, on its examples only",
        "ais_log_evidence_se": "nats, standard error of that mean from sampling",
        "ais_gain": "nats over the importance-weighted evidence of the same examples",
        "bits_per_dim": f"bits per dimension, from the log evidence{continuous}",
        "active_units": f"of {math.prod(shape) if shape else '?'} latent dimensions",
        "informative_units": "of them, with a rate above 0.1 nats",
        **{
            f"{kind}_units_{n + 1}": f"of {dim}, in layer {n + 1}"
            for n, dim in enumerate(layers)
            for kind in ("active", "informative")
        },
        "perplexity": f"of {codes} codes, over the split",
        "used_codes": f"of {codes} codes, over the split",
    }


def _bare(key: str) -> str:
    """Name of a metric without the suffix of its loader."""
    return key.partition("/dataloader_idx_")[0]


def _order(key: str) -> tuple[int, bool]:
    name = _bare(key)
    return LAST.index(name) if name in LAST else -1, name != "elbo"
