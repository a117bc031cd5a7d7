"""``vae-zoo compare``: the evidence of several trained models on the same examples."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_zoo.cli.run.described import Trained, collected, data_of, trained
from vae_zoo.cli.terminal import console, greet, quiet
from vae_zoo.cli.verbs import VerbParser, check_seed, check_writable, checkpoint_of
from vae_zoo.system.writing import replacing

DESCRIPTION = """Compare trained models by log p(x) of the same examples: means, and differences from the best with
their standard errors, example by example. A run is a checkpoint, a folder of save_pretrained, or the folder of a fit,
of which the last checkpoint is taken. Models must be of the same data, and have the same likelihood."""
COLUMNS = (
    *("run", "model", "num_examples", "log_evidence", "log_evidence_se", "elbo", "kl"),
    *("difference", "difference_se", "p"),
)


class Run(NamedTuple):
    """One trained model with its values of each example.

    Args:
        name: What the command line calls it.
        model: Name of its class.
        log_evidence: log p(x) of each example, (N,).
        elbo: Bound of each example, (N,).
        kl: Rate of each example, (N,).
    """

    name: str
    model: str
    log_evidence: Any
    elbo: Any
    kl: Any


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("compare", DESCRIPTION)
    made.add_argument("runs", nargs="+", metavar="RUN", help="a checkpoint, or the folder of a fit")
    made.add_argument("--split", choices=("val", "test"), default="test", help="examples to compare on (test)")
    made.add_argument("--num_samples", type=int, default=500, metavar="K", help="importance samples of each (500)")
    made.add_argument("--num", type=int, metavar="N", help="the first N examples; all if not given")
    made.add_argument("--across_likelihoods", action="store_true", help="also compare densities of different families")
    made.add_argument("--out", type=Path, metavar="FILE", help="a .csv file with the table")
    made.add_argument("--seed", type=int, default=0, help="seed of the importance samples (0)")
    return made


def compare(args: list[str]) -> None:
    """Run ``vae-zoo compare``.

    Raises:
        ValueError: If an option is invalid, or the models do not compare.
        FileNotFoundError: If there is no such run, or no folder to write to.
    """
    options = parser().parse_args(args)
    paths = {name: checkpoint_of(Path(name)) for name in options.runs}
    refuse(options, len(paths))
    greet("compare", f"{len(paths)} models on the {options.split} split", piped=True)
    quiet()
    found = {short(name, list(paths)): trained(path) for name, path in paths.items()}
    check_alike({name: run.model for name, run in found.items()}, options.across_likelihoods)
    parts = {name: examples(run, name, options.split, options.num) for name, run in found.items()}
    check_same_examples({name: x for name, (x, _) in parts.items()}, options.split)
    given = (options.num_samples, options.seed)
    pairs = zip(paths, found.items(), strict=True)
    runs = [values(path, run.model, *parts[name], *given) for path, (name, run) in pairs]
    rows = table(runs)
    show(rows, options.num_samples)
    if options.out is not None:
        with replacing(options.out) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        print(options.out)


def refuse(options: Any, num: int) -> None:
    """Refuse invalid options.

    Raises:
        ValueError: If a number is out of range, or there are not two different runs.
        FileNotFoundError: If there is no folder to write to.
    """
    if num < 2:
        raise ValueError("give at least two different runs to compare.")
    if options.num_samples < 1:
        raise ValueError(f"--num_samples must be at least 1, got {options.num_samples}.")
    if options.num is not None and options.num < 2:
        raise ValueError(f"--num must be at least 2, got {options.num}.")
    check_seed(options.seed)
    if options.out is not None and options.out.suffix != ".csv":
        raise ValueError(f"--out must end in .csv, got {options.out}.")
    if options.out is not None:
        check_writable(options.out)


def check_alike(models: dict[str, Any], across: bool) -> None:
    """Refuse models whose evidence is unknown, or of another kind than that of the first.

    Raises:
        ValueError: With the two models, and what differs.
    """
    from vae_zoo.checkpoints.hyperparameters import plain
    from vae_zoo.elbo import ELBOMixin, has_density

    for name, model in models.items():
        if not isinstance(model, ELBOMixin) or not has_density(model):
            raise ValueError(f"{name}: {type(model).__name__} has no importance-weighted evidence: leave it out.")
    (first, model), *others = models.items()
    for name, other in others:
        if tuple(other.shape) != tuple(model.shape):
            raise ValueError(
                f"{first} is of examples of shape {tuple(model.shape)}, {name} of {tuple(other.shape)}: "
                "they do not compare."
            )
        if _is_given_labels(model) != _is_given_labels(other):
            given, plain_one = (first, name) if _is_given_labels(model) else (name, first)
            raise ValueError(f"{given} has log p(x|c), given labels, and {plain_one} log p(x): they do not compare.")
        a, b = (type(m.likelihood).__name__ for m in (model, other))
        if model.likelihood.is_discrete != other.likelihood.is_discrete:
            raise ValueError(f"{first} has {a} and {name} has {b}: a density and a probability do not compare.")
        settings = [plain(m.recorded()["init_args"].get("likelihood")) for m in (model, other)]
        if (a != b or settings[0] != settings[1]) and not across:
            raise ValueError(
                f"{first} and {name} have different likelihoods ({a}, {b}), by which their evidence differs too: "
                "compare models of one likelihood, or give --across_likelihoods."
            )


def examples(run: Trained, name: str, split: str, num: int | None) -> tuple[Any, Any]:
    """Examples and conditions of a split of the data of a run, as evaluation sees them."""
    data = data_of(run.data, Path(name))
    data.setup("validate" if split == "val" else "test")
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    return collected(run.model, data, loader, num)


def _is_given_labels(model: Any) -> bool:
    from vae_zoo.models import ConditionalVAE

    return isinstance(model, ConditionalVAE) and not hasattr(model, "classify")  # the latter infers them


def check_same_examples(found: dict[str, Any], split: str) -> None:
    """Refuse models that were trained on different data.

    Raises:
        ValueError: With the two models.
    """
    import torch

    (first, x), *others = found.items()
    for name, other in others:
        if x.shape != other.shape or not torch.allclose(x, other, rtol=0, atol=0, equal_nan=True):
            raise ValueError(f"the {split} splits of {first} and {name} hold other examples: they do not compare.")


def values(name: str, model: Any, x: Any, c: Any, num_samples: int, seed: int) -> Run:
    """Evidence, bound and rate of each example."""
    import torch

    from vae_zoo.evaluation.scores import scores

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: list[dict[str, Any]] = []
    model.to(device)
    for n, rows in enumerate(x.split(256)):
        part = None if c is None else c[256 * n : 256 * (n + 1)].to(device)
        found.append(scores(model, rows.to(device), part, seed=seed + n, num_samples=num_samples))
    keys = ("log_evidence", "elbo", "kl")
    return Run(name, type(model).__name__, *(torch.cat([part[key] for part in found]).cpu().double() for key in keys))


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Rows from the best to the worst, with differences from the best; probabilities are corrected for their number."""
    from vae_zoo.evaluation.comparison import holm, paired_difference

    best, *others = sorted(runs, key=lambda run: -run.log_evidence.mean())
    gaps = [paired_difference(run.log_evidence, best.log_evidence) for run in others]
    corrected = holm([gap.p for gap in gaps])
    rows: list[dict[str, Any]] = []
    for number, run in enumerate((best, *others)):
        mean, error = run.log_evidence.mean().item(), (run.log_evidence.std() / len(run.log_evidence) ** 0.5).item()
        start = (run.name, run.model, len(run.elbo), mean, error, run.elbo.mean().item(), run.kl.mean().item())
        gap = gaps[number - 1] if number else None
        end = (gap.mean, gap.error, corrected[number - 1]) if gap else (0.0, 0.0, "")
        rows.append(dict(zip(COLUMNS, (*start, *end), strict=True)))
    return rows


def show(rows: Sequence[dict[str, Any]], num_samples: int) -> None:
    """Print the table."""
    from rich.table import Table

    printed = Table(title=f"log p(x) of {rows[0]['num_examples']} examples, {num_samples} importance samples, nats")
    printed.add_column("run", overflow="fold", ratio=1)
    printed.add_column("model", no_wrap=True)
    for name in ("log p(x)", "ELBO", "KL", "from the best", "p"):
        printed.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        gap = f"{row['difference']:.2f} ± {row['difference_se']:.2f}" if row["p"] != "" else "best"
        evidence = f"{row['log_evidence']:.2f} ± {row['log_evidence_se']:.2f}"
        p = "" if row["p"] == "" else f"{row['p']:.1g}" if row["p"] >= 1e-4 else "< 1e-4"
        printed.add_row(
            *(short(row["run"], [r["run"] for r in rows]).replace("[", r"\["), row["model"], evidence),
            *(f"{row['elbo']:.2f}", f"{row['kl']:.2f}", gap, p),
        )
    console(140).print(printed)
    print("± is the standard error over examples; p is corrected for the number of models. Other seeds are ignored.")


def short(name: str, names: Sequence[str]) -> str:
    """The name of a run without what all names begin with."""
    own, every = Path(name).parts, [Path(other).parts for other in names]
    same = next((n for n in range(len(own)) if len({parts[: n + 1] for parts in every}) > 1), len(own) - 1)
    return str(Path(*own[same:]))
