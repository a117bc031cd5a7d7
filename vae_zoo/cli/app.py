"""LightningCLI for models with a bound."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from pydoc import locate
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from vae_zoo import callbacks, hub, loggers, models
from vae_zoo.callbacks import TimedProgressBar
from vae_zoo.callbacks.progress import ModelTable
from vae_zoo.checkpoints.files import check_writable
from vae_zoo.checkpoints.hyperparameters import plain
from vae_zoo.cli.inspect.options import CALLBACKS, LINKED, pairs
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.run import faults, precedence, sources
from vae_zoo.cli.run.checks import check_devices, check_linked, check_trainer
from vae_zoo.cli.run.config_file import SaveConfig
from vae_zoo.cli.run.default_loggers import loggers_of
from vae_zoo.cli.run.folder import RunFolder
from vae_zoo.cli.run.launched import fit_in
from vae_zoo.cli.run.launcher import watch_over
from vae_zoo.cli.terminal import quiet, show
from vae_zoo.data import DataModule
from vae_zoo.data.base.splits import PredictSplit
from vae_zoo.distributions import Bernoulli
from vae_zoo.models import Autoencoder
from vae_zoo.security import trust  # found by their short names
from vae_zoo.security.plugins import plugins


class VAECLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` of any model of the zoo on any data, or of a user's own."""

    def __init__(self, args: Sequence[str]) -> None:
        quiet()
        trust.search_own_path()
        for name in models.__all__:  # a short name is looked for among the classes that are imported
            getattr(models, name)
        for plugin in plugins():  # classes of other packages, under their short names
            plugin.load()
        self._verb = args[0] if args else ""
        self.run: RunFolder | None = None
        self._saved: dict[str, Any] = {}
        self._checkpoints: dict[str, dict[str, Any]] = {}
        self._suited: Any = None
        self._new_data = False
        finished = False
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
                seed_everything_default=0,
                trainer_defaults={"callbacks": [callbacks.Report()]},
                args=list(args),
            )
            if self.subcommand:
                faults.check_written(self.trainer)
                finished = not faults.had_nothing_to_do(self.trainer, trained=self._notice.trained(self.trainer))
                if finished:
                    show(self.trainer)
        finally:
            if self.run is not None:
                trainer = getattr(self, "trainer", None)
                trained = finished or (trainer is not None and self._notice.trained(trainer))
                self.run.release(keep=trained and not getattr(trainer, "fast_dev_run", False))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for key, path in CALLBACKS.items():
            parser.add_lightning_class_args(locate(path), key)  # type: ignore[arg-type]
        parser.add_argument(
            "--matmul_precision",
            type=Literal["highest", "high", "medium"],
            default="highest",
            help="Precision of float32 matrix products: torch.set_float32_matmul_precision.",
        )
        for name in LINKED:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The verb that the arguments begin with, so that only its parser is built; otherwise all verbs."""
        known = super().subcommands()
        return {self._verb: known[self._verb]} if self._verb in known else known

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        own = {"validate": {"verbose": False}, "test": {"verbose": False}, "predict": {"return_predictions": False}}
        parser.set_defaults(own.get(subcommand, {}))
        if subcommand == "predict":
            what = "Split to go through; all if --data names other examples than those of the training, else test."
            parser.add_argument("--split", type=PredictSplit | None, default=None, help=what)
        parser.epilog = "--trust PACKAGE: checkpoints and configurations may name classes of this package."
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse with the checkpoint's values as defaults: command line > config > checkpoint > default."""
        self._given = given = [str(arg) for arg in args]  # type: ignore[union-attr]
        path, verb, saved = dict(pairs(given)).get("--ckpt_path"), given[0], {}
        if path and path != "last" and verb in self._subcommand_parsers:
            saved = deepcopy(self._read(path))
            for name in LINKED:
                saved["model"]["init_args"].pop(name, None)
            defaults = {key: saved[key] for key in ("model", "data") if saved.get(key)}
            trust.check_classes(defaults, path)
            with trust.guard():
                self._subcommand_parsers[verb].set_defaults(defaults)
        with trust.guard():
            self.config = parser.parse_args(given)
        if saved:
            precedence.resolve_defaults(self.config[verb], given, saved["model"])

    def _read(self, path: str) -> dict[str, Any]:
        """Model and data as described in a checkpoint, read once, since the checksum covers the whole file."""
        if path not in self._checkpoints:
            self._checkpoints[path] = hub.read(path)["vae_zoo"]
        return self._checkpoints[path]

    def _parse_ckpt_path(self) -> None:
        """Nothing to do: the checkpoint's values are defaults already."""

    def instantiate_classes(self) -> None:
        """Prepare the run and build data, model and trainer; the saved configuration keeps what the user asked for."""
        if self.subcommand == "fit":
            faults.set_limits(self.config.fit.trainer, self._given)
        self._asked, self.config = self.config, self.config.clone()
        config = self.config[self.subcommand]
        root = _results(config)
        self._find_checkpoint(config, root)
        self._check(config)
        torch.set_float32_matmul_precision(config.matmul_precision)
        self._fill_in(config, self._make_folder(config, root))
        self.parser.makers = [  # type: ignore[attr-defined]
            (self._make_data, DataModule, True),
            (self._make_model, Autoencoder, True),
        ]
        with trust.guard():
            super().instantiate_classes()
        check_linked(config.model, self.model, LINKED)
        if self._saved and not self._new_data:
            sources.warn_of_other_rows(self.datamodule, self._saved)

    def _find_checkpoint(self, config: Namespace, root: Path) -> None:
        """Read the description of model and data in the run's checkpoint, if there is one."""
        if config.ckpt_path == "last":
            config.ckpt_path = faults.last_of(root, config.last.dirpath, self.subcommand or "")
        if config.weights_only is False:
            raise ValueError("weights_only: checkpoints are read as plain data, always: leave it out.")
        config.weights_only = True  # by default, an environment variable may decide
        self._saved = {} if config.ckpt_path is None else self._read(config.ckpt_path)

    def _check(self, config: Namespace) -> None:
        """Refuse devices and settings of the Trainer that would fail later, before anything is written."""
        fit_in(config.trainer)
        check_devices(config.trainer.accelerator, config.trainer.devices)
        check_trainer(config, self.subcommand or "")

    def _make_folder(self, config: Namespace, root: Path) -> Path:
        self.run = run = RunFolder(root, self.subcommand)  # type: ignore[arg-type]
        self.save_config_kwargs = {"run": run}
        if self.subcommand == "fit" and run.owner:
            check_writable(run.path)  # before a logger's thread finds out
            if config.ckpt_path is None:
                (run.path / faults.BEGUN).touch()
        return run.path

    def _fill_in(self, config: Namespace, folder: Path) -> None:
        """Set what follows from the folder and the model: loggers, checkpoint folders, the monitored metric."""
        config.trainer.default_root_dir = str(folder)
        if not config.trainer.barebones:  # which takes none
            config.trainer.logger = loggers_of(config.trainer.logger, str(folder), fits=self.subcommand == "fit")
        for checkpoint in (config.checkpoint, config.last):
            checkpoint.dirpath = checkpoint.dirpath or str(folder / "checkpoints")
        if config.checkpoint.monitor is None:
            cls: Any = locate(config.model.class_path)
            config.checkpoint.monitor, config.checkpoint.mode = cls.monitor, cls.monitor_mode

    def _make_data(self, cls: type, *, applied_instantiation_links: Any, **kwargs: Any) -> DataModule:
        del applied_instantiation_links
        self.datamodule = cls(**kwargs)
        if self._saved:
            self.datamodule.adopt(self._saved["model"]["init_args"])
            self._new_data = self.datamodule.new_source = sources.are_new(cls, kwargs, self._saved.get("data"))
        if self.subcommand == "predict":
            self.datamodule.known_classes = self._saved.get("classes") if self._new_data else None
            self.datamodule.predict_split = self._asked.predict.split or ("all" if self._new_data else "test")
        return self.datamodule

    def before_predict(self) -> None:
        """Hand over the data of the training, if others are predicted and compared with them."""
        sources.set_reference(self.trainer, self._new_data, self._saved, self._asked.predict.ckpt_path)

    def after_predict(self) -> None:
        """Print how many examples were predicted, and of which split."""
        if self.trainer.is_global_zero:
            print(sources.described(self.trainer, self.datamodule), file=sys.stderr)

    def _make_model(self, cls: type, *, applied_instantiation_links: Any, **kwargs: Any) -> Autoencoder:
        """Build the model after the data, with the likelihood that suits them unless one is chosen."""
        del applied_instantiation_links
        if self.subcommand == "predict" and self._saved:  # new data may have other sizes, the model has its own
            trained = self._saved["model"]["init_args"]
            kwargs |= {name: trained[name] for name in LINKED if name in trained and name != "shape"}
        if kwargs.get("likelihood", ...) is None:
            saved = self._saved.get("model")
            follows = saved is None or saved["init_args"].get("likelihood")  # one without is of the default in Python
            kwargs["likelihood"] = self._suited = self.datamodule.likelihood if follows else Bernoulli
            self._asked[self.subcommand].model.init_args.likelihood = Namespace(plain(self._suited))
        elif kwargs.get("likelihood") is not None:
            chosen = kwargs["likelihood"]
            if (made := self.datamodule.complete(chosen)) is not chosen:
                kwargs["likelihood"] = made
                self._asked[self.subcommand].model.init_args.likelihood = _as_config(plain(made))
        return cls(**kwargs)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self.config = self._asked
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        given = config.get("callbacks") or []
        given = given if isinstance(given, list) else [given]
        bare = bool(config.get("barebones"))
        if bare or config.get("enable_checkpointing") is False:
            callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
        if not (bare or config.get("enable_progress_bar") is False or _has(given, ProgressBar)):
            callbacks = [*callbacks, TimedProgressBar()]
        if not (bare or config.get("enable_model_summary") is False or _has(given, ModelSummary)):
            callbacks = [*callbacks, ModelTable()]
        if self.run is not None:
            faults.show_how_to_resume(callbacks, self.run.path / "config.yaml")
        config["plugins"] = faults.with_files(config.get("plugins"))
        self._notice = precedence.OverrideReport(self._saved, self._asked[self.subcommand], self._given, self._suited)
        trainer = super()._instantiate_trainer(config, [*callbacks, self._notice])
        for logger in trainer.loggers:
            loggers.count_from_one(logger, fits=self.subcommand == "fit")
        watch_over(trainer)
        return trainer


def _as_config(value: Any) -> Any:
    """Plain data with classes as the parser holds them."""
    if isinstance(value, dict):
        found = {key: _as_config(part) for key, part in value.items()}
        return Namespace(**found) if "class_path" in found or "init_args" in found else found
    return value


def _results(config: Namespace) -> Path:
    """Folder of all runs of a model on some data: ``results/BetaVAE_Digits``."""
    name = "_".join(config[key].class_path.rpartition(".")[2] for key in ("model", "data"))
    return Path(config.trainer.default_root_dir or "results") / name


def _has(given: list[Any], cls: type) -> bool:
    return any(isinstance(callback, cls) for callback in given)


class Parsing(VAECLI):
    """The command up to its parser: constructing it does not parse, seed, build or run anything."""

    def __init__(self) -> None:
        super().__init__([])

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:  # noqa: ARG002
        self.config = Namespace(subcommand=None)

    def _set_seed(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass
