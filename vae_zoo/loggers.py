"""Weights & Biases, and a run that goes on without it."""

from __future__ import annotations

import importlib
import netrc
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger

PROBE_SECONDS = 5.0
"""How long a server may take to answer before a run goes on without it."""

LIMITS = {"init_timeout": 30.0, "finish_timeout": 300.0}
"""Settings of wandb's, in seconds: to begin a run, 90 by default, and to upload what is left at its end, for ever."""

QUERY = b'{"query": "query Probe { viewer { id } }"}'


class Wandb(WandbLogger):
    """Logs to Weights & Biases; without a key or an answer of the server the run goes on offline and says so in a line.

    What an offline run logs is under ``wandb/``, and ``wandb sync`` uploads it.

    Args:
        project: Project of the run; ``$WANDB_PROJECT`` if not given, else vae_zoo.
        name: Name of the run; made up by the server if not given.
        id: Identifier of the run. A run of that identifier that there is already is continued.
        entity: Account or team that the project belongs to.
        group: Group of runs that this one belongs to.
        tags: Tags of the run.
        mode: "online"; "offline" for a run that is kept on disk; "disabled" for none. ``$WANDB_MODE`` if not given.
        log_model: Whether checkpoints are uploaded as artifacts: true for those that are left at the end, "all" for
            every one as it is saved.
        kwargs: Arguments of Lightning's logger and of ``wandb.init``.

    Raises:
        ImportError: If wandb is not installed.
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
        project = project or os.environ.get("WANDB_PROJECT", "vae_zoo")
        super().__init__(project=project, name=name, id=id, log_model=log_model, **kwargs)
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
        if self._offline or mode not in ("online", "run", "shared"):
            self._wandb_init.pop("resume", None)  # which a run on disk has no use for, and older releases warn of
            return
        self._wandb_init.setdefault("settings", wandb.Settings(**_limits(wandb.Settings)))
        if why := trouble(settings):
            self._go_on_offline(why)
            return
        try:
            _ = super().experiment
        except wandb.errors.Error as error:  # a key that is no longer one, a project of others
            self._go_on_offline(" ".join(str(error).split())[:100].rstrip(". "))

    def _go_on_offline(self, why: str) -> None:
        import wandb

        self._wandb_init["mode"] = "offline"
        self._wandb_init.pop("resume", None)
        with suppress(ImportError):  # its own reports would wait ten seconds for the server at the end
            importlib.import_module("wandb.analytics.opentelemetry.opentelemetry_proxy").disable()
        wandb.termwarn(f"{why}: the run goes on offline, and wandb sync uploads it later.")


def trouble(settings: Any) -> str:
    """What keeps a run from Weights & Biases; empty if its server answers and there is a key.

    Args:
        settings: Those of wandb.
    """
    host = settings.base_url.rstrip("/")
    if not (settings.api_key or settings.identity_token_file or _in_netrc(urlsplit(host).netloc)):
        return "there is no API key, which wandb login would store"
    return unreachable(host)


def unreachable(host: str) -> str:
    """Why a server does not answer, told after :data:`PROBE_SECONDS` at most; empty if it does.

    Args:
        host: Address of the server, with ``http://`` or ``https://``.
    """
    found: list[str] = []
    probe = threading.Thread(target=lambda: found.append(_ask(host)), daemon=True)
    probe.start()  # in a thread of its own, because nothing else ends a look-up of a name
    probe.join(PROBE_SECONDS)
    name = urlsplit(host).netloc
    if not found:
        return f"{name} gives no answer within {PROBE_SECONDS:g} seconds"
    return f"{name} is not reached, {found[0]}" if found[0] else ""


def _ask(host: str) -> str:
    """What is wrong with a server; empty if it answers at all. Nothing secret is sent, so no certificate is checked."""
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(f"{host}/graphql", QUERY, headers)
        limit = 2 * PROBE_SECONDS  # so that it is the probe that says what has taken too long
        with urllib.request.urlopen(request, timeout=limit, context=ssl._create_unverified_context()):
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
