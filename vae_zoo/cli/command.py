"""LightningCLI for models with a bound."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

import vae_zoo.models
from vae_zoo import callbacks, hub
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.runs import RunFolder, SaveConfig
from vae_zoo.data import DataModule
from vae_zoo.models import Autoencoder

CALLBACKS = {
    "checkpoint": ModelCheckpoint,
    "samples": callbacks.SampleGrid,
    "reconstructions": callbacks.ReconstructionGrid,
    "traversals": callbacks.TraversalGrid,
    "collapse": callbacks.CollapseWarning,
    "evidence": callbacks.Evidence,
    "predictions": callbacks.PredictionWriter,
}
DEFAULTS = {
    "checkpoint.save_last": True,
    "checkpoint.filename": "{epoch:04d}",
    "checkpoint.auto_insert_metric_name": False,
    "trainer.max_epochs": 50,
}
QUIET = ("litlogger", "litmodels", "Tip:", "💡", "GPU available", "TPU available", "HPU available", "`Trainer.fit` stopped")


class VAECLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` of any model of the zoo on any data, or of a user's own."""

    def __init__(self, args: Sequence[str]) -> None:
        quiet()
        self.run_folder: RunFolder | None = None
        try:
            super().__init__(
                Autoencoder,
                DataModule,
                save_config_callback=SaveConfig,
                subclass_mode_model=True,
                subclass_mode_data=True,
                parser_class=Parser,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                trainer_defaults={"callbacks": [callbacks.Report()]},
                args=list(args),
            )
        finally:
            if self.run_folder is not None:
                self.run_folder.release()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for key, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)
        parser.set_defaults({k: v for k, v in DEFAULTS.items()})
        for name in ("shape", "num_classes", "num_train"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse with what the checkpoint holds as defaults: command line > config > checkpoint > default."""
        given = list(args)  # type: ignore[arg-type]
        path = next((b for a, b in zip(given, given[1:], strict=False) if a == "--ckpt_path"), None)
        path = path or next((a.partition("=")[2] for a in given if a.startswith("--ckpt_path=")), None)
        if given and given[0] in ("validate", "test", "predict") and path is None and not {"-h", "--help"} & set(given):
            raise ValueError(f"{given[0]} needs the weights of a trained model: give --ckpt_path PATH.")
        if path and path not in ("last", "best") and given[0] in self._subcommand_parsers:
            saved = hub.read(path)["vae_zoo"]
            defaults = {key: saved[key] for key in ("model", "data") if saved.get(key)}
            for name in ("shape", "num_classes", "num_train"):
                defaults["model"]["init_args"].pop(name, None)
            self._subcommand_parsers[given[0]].set_defaults(defaults)
        super().parse_arguments(parser, given)

    def _parse_ckpt_path(self) -> None:
        """What a checkpoint holds is a default by now."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init[self.subcommand]
        name = f"{type(self.model).__name__}_{type(self.datamodule).__name__}"
        root = Path(config.trainer.get("default_root_dir") or "results") / name
        self.run_folder = run = RunFolder(root, self.subcommand)
        self.save_config_kwargs = {"run": run}
        checkpoint = config.checkpoint
        checkpoint.monitor, checkpoint.mode = checkpoint.monitor or self.model.monitor, self.model.monitor_mode
        ...
        return super().instantiate_trainer(**kwargs)


def quiet() -> None:
    """Keep advertisements and known noise of the libraries out of the terminal."""
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    for message in (".*does not have many workers.*", ".*is smaller than the logging interval.*"):
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not any(text in record.getMessage() for text in QUIET)
    )
