"""``vae-zoo completion SHELL``: a static script that completes verbs, options, and names of what the zoo has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vae_zoo.cli.commands import (
    check,
    compare,
    doctor,
    export,
    fit_density,
    sample,
    sweep_check,
    sweep_run,
    sweep_table,
)
from vae_zoo.cli.commands import list as list_
from vae_zoo.cli.commands.coding import compress, decompress
from vae_zoo.cli.commands.pages import explore
from vae_zoo.cli.commands.show import named
from vae_zoo.cli.commands.tables import impute, quality
from vae_zoo.cli.inspect.configs import packaged, packaged_sweeps
from vae_zoo.cli.inspect.options import LINKED, choices, groups
from vae_zoo.cli.inspect.sources import arguments
from vae_zoo.cli.run.wandb_flags import wandb_options
from vae_zoo.cli.verbs import RUNS, VERBS, VerbParser

OWN: dict[str, Any] = {
    "check": check,
    "compare": compare,
    "compress": compress,
    "decompress": decompress,
    "doctor": doctor,
    "explore": explore,
    "export": export,
    "fit-density": fit_density,
    "impute": impute,
    "list": list_,
    "quality": quality,
    "sample": sample,
    "sweep-check": sweep_check,
    "sweep-run": sweep_run,
    "sweep-table": sweep_table,
}
"""Modules of the verbs that have options of their own, each with a function ``parser``."""

BASH = """# Completion of vae-zoo. For this shell: source <(vae-zoo completion {shell})
_vae_zoo() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
  if [[ "$cur" == "=" ]]; then cur=""; fi
  if [[ "$prev" == "=" ]]; then prev="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  if [[ "$COMP_CWORD" == 1 ]]; then
    words="{verbs} --help --version"
  else
    case "${{COMP_WORDS[1]}} $prev" in
{values}
    esac
    if [[ "$cur" == -* ]]; then
      case "${{COMP_WORDS[1]}}" in
        {runs}) words="{shared}" ;;
      esac
      case "${{COMP_WORDS[1]}}" in
{options}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _vae_zoo vae-zoo
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def show(args: list[str]) -> None:
    """Print the script."""
    parser = VerbParser("completion", "Print a script that completes the command, for the shell to source.")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    shell = parser.parse_args(args).shell
    print(fish() if shell == "fish" else ZSH * (shell == "zsh") + bash(shell), end="")


def bash(shell: str) -> str:
    """The script for bash, which zsh reads as well."""
    values = [f'      {_pattern(verbs, after)}) words="{" ".join(words)}" ;;' for verbs, after, words in _values()]
    shared, own = _options()
    options = [f'        {verb}) words+=" {" ".join(f"--{name}" for name in names)}" ;;' for verb, names in own.items()]
    return BASH.format(
        shell=shell,
        verbs=" ".join(verb.name for verb in VERBS),
        values="\n".join(values),
        runs=" | ".join(RUNS),
        shared=" ".join(f"--{name}" for name in shared),
        options="\n".join(options),
    )


def fish() -> str:
    """The script for fish."""
    lines = ["# Completion of vae-zoo. For this shell: vae-zoo completion fish | source"]
    lines += [f"complete -c vae-zoo -n __fish_use_subcommand -f -a {verb.name} -d '{verb.line}'" for verb in VERBS]
    for verbs, after, words in _values():
        what = f"-l {after.removeprefix('--')} -r" if after else "-f"
        lines.append(f"{_fish(verbs)} {what} -a '{' '.join(words)}'")
    shared, own = _options()
    for verbs, names in [(RUNS, shared), *(([verb], names) for verb, names in own.items())]:
        lines.append(f"for option in {' '.join(names)}; {_fish(verbs)} -l $option -r; end")
    return "\n".join(lines) + "\n"


def _values() -> list[tuple[Iterable[str], str, list[str]]]:
    """Verbs, the option after which words are offered, empty for right after the verb, and the words."""
    chosen: list[tuple[Iterable[str], str, list[str]]] = [
        (RUNS, f"--{group}", sorted(choices(group))) for group in ("model", "data")
    ]
    own = {"list": list(list_.TABLES), "show": [*sorted(named()), *packaged()], "check": sorted(choices("model"))}
    own |= {"completion": ["bash", "zsh", "fish"], "sweep-check": list(packaged_sweeps())}
    own |= {"sweep-run": list(packaged_sweeps())}
    chosen.append((["export"], "--format", list(export.FORMATS)))
    chosen.append((["fit-density"], "--density", sorted(fit_density.densities())))
    return [(RUNS, "--config", list(packaged())), *chosen, *(([verb], "", words) for verb, words in own.items())]


def _options() -> tuple[list[str], dict[str, list[str]]]:
    """Options that all verbs of Lightning's share, with those of every model and data set, and what each has beside."""
    found = {}
    for verb in RUNS:
        known = groups(verb)
        for group in ("model", "data"):
            taken = {a.name: None for path in choices(group).values() for a in arguments(path)}
            known[group] = [name for name in taken if group != "model" or name not in LINKED]
        found[verb] = [f"{group}.{name}" if name else group for group, keys in known.items() for name in ["", *keys]]
    shared = [name for name in found["fit"] if name != "c" and all(name in names for names in found.values())]
    shared += ["trust", "help", "help-all"]
    shared += wandb_options()
    own = {verb: [name for name in names if name not in (*shared, "c")] for verb, names in found.items()}
    own |= {verb: module.parser().names() for verb, module in OWN.items()}
    own["fit-density"] += fit_density.settings()
    return shared, {verb: names for verb, names in own.items() if names}


def _pattern(verbs: Iterable[str], after: str) -> str:
    return " | ".join(f'"{verb} {after or verb}"' for verb in verbs)


def _fish(verbs: Iterable[str]) -> str:
    return f"complete -c vae-zoo -n '__fish_seen_subcommand_from {' '.join(verbs)}'"
