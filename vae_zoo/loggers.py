"""Fault-tolerant loggers: a file of metrics, and Weights & Biases."""

from __future__ import annotations

import csv
import importlib
import netrc
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from vae_zoo.system.writing import replacing

PROBE_SECONDS = 5.0
"""Timeout for the answer of a server, after which a run continues without it."""

LIMITS = {"init_timeout": 8.0, "finish_timeout": 300.0}
"""Settings of wandb's, in seconds: to begin a run, 90 by default, and to upload what is left at its end, for ever."""

QUERY = b'{"query": "query Probe { viewer { id } }"}'


class MetricsFile(CSVLogger):
    """Lightning's ``CSVLogger``, with a file that loses nothing if the run is killed, and is continued on resuming.

    Rows are written when they are logged. The file of a resumed run begins with the rows of the previous run up to the
    step of the checkpoint, so that at the end it equals that of an uninterrupted run.

    Args:
        save_dir: Parent folder.
        name: Folder in it, or none.
        version: Folder in that; by default the next of ``version_0``, ``version_1``, ….
        prefix: Prefix of the names of metrics.
        flush_logs_every_n_steps: Not used: every row is written at once.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 1,  # noqa: ARG002  # configurations have it
    ) -> None:
        super().__init__(save_dir, name, version, prefix, 1)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None and "://" not in self.log_dir:
            self._experiment = _Rows(self.log_dir)
        return super().experiment

    @rank_zero_only
    def continue_from(self, folders: Iterable[Path], step: int) -> None:
        """Begin with the rows that a run has logged before a step.

        Args:
            folders: Folders that may contain its file, if it is not in the folder of this one.
            step: Number of steps at the checkpoint.
        """
        if isinstance(self.experiment, _Rows):
            found = (folder / _Rows.NAME_METRICS_FILE for folder in (Path(self.log_dir), *folders))
            self.experiment.begin(next((path for path in found if path.is_file()), None), step)


class _Rows(ExperimentWriter):
    """Writes each row by one call, and puts a new file in place of the old one where there is a new column."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._begun = False

    def begin(self, file: Path | None, step: int) -> None:
        if file is not None and (kept := _rows_before(file, step)):
            self.metrics_keys = sorted({key for row in kept for key, value in row.items() if value})
            self._write_anew(kept)

    def save(self) -> None:
        path, rows = Path(self.metrics_file_path), self.metrics
        if not rows:
            return
        if self._record_new_keys() or not self._begun or not path.is_file():
            self._write_anew([*(_rows_before(path) if self._begun and path.is_file() else []), *rows])
        else:
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.metrics_keys).writerows(rows)
        self.metrics = []

    def _write_anew(self, rows: list[dict[str, Any]]) -> None:
        path = Path(self.metrics_file_path)
        with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.metrics_keys, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        self._begun = True

    def _check_log_dir_exists(self) -> None:
        """Nothing to do: an earlier file is written over by the first row, or gone on with."""


def _rows_before(path: Path, step: float = float("inf")) -> list[dict[str, Any]]:
    """Rows of a file of metrics up to a step; one that is torn is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [row for row in csv.DictReader(whole) if (row.get("step") or "").isdigit() and int(row["step"]) < step]


class Wandb(WandbLogger):
    """Logs to Weights & Biases; without a key or an answer of the server, the run continues offline, with a warning.

    Offline runs are stored under ``wandb/``, and ``wandb sync`` uploads them.

    Args:
        project: Project of the run; by default ``$WANDB_PROJECT``, or else vae_zoo.
        name: Name of the run; by default generated by the server.
        id: Identifier of the run. An existing run with this identifier is continued.
        entity: Account or team that owns the project.
        group: Group of the run.
        tags: Tags of the run.
        mode: "online", "offline" to keep the run on disk, or "disabled". By default ``$WANDB_MODE``.
        log_model: Whether to upload checkpoints as artifacts: true for those that remain at the end, "all" for
            each one when it is saved.
        kwargs: Arguments of Lightning's logger and of ``wandb.init``.

    Raises:
        ImportError: If wandb is not installed.
        ValueError: If ``$WANDB_BASE_URL`` is not the address of a server.
    """

    def __init__(
        self,
        *,
        project: str | None = None,
        name: str | None = None,
        id: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        log_model: Literal["all"] | bool = False,
        **kwargs: Any,
    ) -> None:
        try:
            import wandb  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name != "wandb":
                raise
            raise ImportError("the logger needs wandb, which is not installed: pip install 'vae_zoo[wandb]'.") from None
        check_address(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
        project = project or os.environ.get("WANDB_PROJECT", "vae_zoo")
        super().__init__(project=project, name=name, id=id, log_model=log_model, **kwargs)
        mode = mode or ("offline" if self._offline else None)  # Lightning sets a variable, which wandb has read by then
        self._wandb_init |= {"entity": entity, "group": group, "tags": tags, "mode": mode}
        said = {key: value for key, value in self._wandb_init.items() if value is not None}  # a parser gives them all
        self._wandb_init = {"resume": "allow", **said}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None and not hasattr(self, "_attach_id"):
            self._start()
        return super().experiment

    def _start(self) -> None:
        import wandb

        if wandb.run is not None:
            return
        settings = wandb.setup().settings
        mode = self._wandb_init.get("mode") or settings.mode
        if mode not in ("online", "run", "shared"):
            self._wandb_init.pop("resume", None)  # which a run on disk has no use for, and older releases warn of
            return
        self._wandb_init.setdefault("settings", wandb.Settings(**_limits(wandb.Settings)))
        if why := trouble(settings):
            self._go_on_offline(why)
            return
        try:
            _ = super().experiment
        except wandb.errors.Error as error:  # a key that is no longer one, a project of others
            _end_service()
            self._go_on_offline(" ".join(str(error).split())[:100].rstrip(". "))

    def _go_on_offline(self, why: str) -> None:
        import wandb

        self._wandb_init["mode"] = "offline"
        self._wandb_init.pop("resume", None)
        with suppress(ImportError):  # its own reports would wait ten seconds for the server at the end
            importlib.import_module("wandb.analytics.opentelemetry.opentelemetry_proxy").disable()
        wandb.termwarn(f"{why}: the run goes on offline, and wandb sync uploads it later.")


def count_from_one(logger: Logger, *, fits: bool) -> None:
    """Have a logger count epochs from 1, as the progress bar and the names of files do, where Lightning begins at 0.

    Args:
        logger: Any logger.
        fits: Whether it logs a fit; in other runs the epoch is meaningless, and left out.
    """
    vars(logger)["log_metrics"] = partial(_log_counted, logger, fits)


def _log_counted(logger: Logger, fits: bool, metrics: dict[str, float], step: int | None = None) -> None:
    counted = {name: value + 1 if name == "epoch" else value for name, value in metrics.items()}
    if not fits:
        counted.pop("epoch", None)
    type(logger).log_metrics(logger, counted, step)


def check_address(url: str) -> None:
    """Refuse an invalid address of a server in one line, for which wandb would print a page.

    Raises:
        ValueError: If it is invalid.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # half a bracket, a port that is no number
        fine = False
    if not fine:
        raise ValueError(f"WANDB_BASE_URL is {url}: give an address such as https://api.wandb.ai, or unset it.")


def trouble(settings: Any) -> str:
    """Reason why a run cannot log to Weights & Biases; empty if its server answers and there is a key.

    Args:
        settings: Settings of wandb.
    """
    host = settings.base_url.rstrip("/")
    if not (settings.api_key or settings.identity_token_file or _in_netrc(urlsplit(host).netloc)):
        return "there is no API key, which wandb login would store"
    return unreachable(host)


def unreachable(host: str) -> str:
    """Reason why a server does not answer within :data:`PROBE_SECONDS`; empty if it does.

    Args:
        host: Address of the server, with ``http://`` or ``https://``.
    """
    found: list[str] = []
    # Twice, because a server that is about to hang, or a proxy before it, may well answer once.
    probe = threading.Thread(target=lambda: found.append(_ask(host) or _ask(host)), daemon=True)
    probe.start()  # in a thread of its own, because nothing else ends a look-up of a name
    probe.join(PROBE_SECONDS)
    name = urlsplit(host).netloc
    if not found:
        return f"{name} gives no answer within {PROBE_SECONDS:g} seconds"
    return f"{name} is not reached, {found[0]}" if found[0] else ""


def _end_service() -> None:
    """End the service of wandb that has begun no run: at the end of the process it would wait for the server again."""
    import wandb

    # Another release fails here and then only takes longer; this one ends the process with the code of its service.
    with suppress(Exception, SystemExit):
        singleton: Any = wandb.setup()
        singleton._connection._proc._process.kill()
        wandb.teardown()


def _ask(host: str) -> str:
    """What is wrong with a server; empty if it answers at all. Nothing secret is sent, so no certificate is checked."""
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(f"{host}/graphql", QUERY, headers)
        limit = 2 * PROBE_SECONDS  # so that it is the probe that says what has taken too long
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(request, timeout=limit, context=unverified):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code < 500 else f"its answer is {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error) or type(error).__name__)


def _in_netrc(host: str) -> bool:
    """Whether a key of a server is where ``wandb login`` puts it."""
    given = os.environ.get("NETRC")
    for path in [Path(given)] if given else [Path("~/.netrc"), Path("~/_netrc")]:
        try:
            return netrc.netrc(path.expanduser()).authenticators(host) is not None
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _limits(settings: Any) -> dict[str, Any]:
    """The limits that this wandb has, and the user's environment does not set."""
    known = settings.model_fields
    return {
        name: value for name, value in LIMITS.items() if name in known and f"WANDB_{name.upper()}" not in os.environ
    }
