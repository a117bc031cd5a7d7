"""``vae-zoo quality``: how close synthetic rows of a table are to real ones, and whether they copy any."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vae_zoo.cli.terminal import console, greet, quiet
from vae_zoo.cli.verbs import VerbParser, check_seed, check_writable, checkpoint_of

if TYPE_CHECKING:
    from vae_zoo.evaluation.quality import Quality

DESCRIPTION = """Compare synthetic rows with real rows that their model was not fitted to: columns, pairs of columns, a
classifier, a predictor of a column, and the closest training rows. Give the checkpoint of the model, whose data tell
which rows it has seen; or a file of rows that it has not seen, and one of those it has."""
SHOWN = 8
"""Number of findings of one kind, and of pairs of columns, that are printed."""


class Tables(NamedTuple):
    """Rows as numbers.

    Args:
        synthetic: Synthetic rows, (N, D).
        real: Real rows that the model was not fitted to, (M, D).
        train: Rows that it was fitted to, (L, D), or None.
        columns: The columns.
    """

    synthetic: Any
    real: Any
    train: Any
    columns: list[dict[str, Any]]


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("quality", DESCRIPTION)
    made.add_argument("--synthetic", type=Path, required=True, metavar="FILE", help="a .csv, .tsv or .parquet file")
    made.add_argument("--ckpt_path", type=Path, metavar="PATH", help="checkpoint of the model of the table")
    made.add_argument("--real", type=Path, metavar="FILE", help="real rows that no model was fitted to")
    made.add_argument("--train", type=Path, metavar="FILE", help="with --real: the rows that the model was fitted to")
    what = "with --ckpt_path: which unseen rows to compare with (both)"
    made.add_argument("--split", choices=("both", "val", "test"), default="both", help=what)
    what = "a column to predict, by predictors fitted to synthetic and to training rows"
    made.add_argument("--label_column", metavar="COLUMN", help=what)
    what = "a column to leave out, such as an id; may be repeated"
    made.add_argument("--ignore", action="append", default=[], metavar="COLUMN", help=what)
    what = "with --real: number, category, boolean, count or date; may be repeated (inferred)"
    made.add_argument("--type", action="append", default=[], metavar="COLUMN=TYPE", help=what)
    made.add_argument("--out", type=Path, metavar="FILE", help="a .json file with all measures")
    made.add_argument("--seed", type=int, default=0, help="seed of all draws (0)")
    return made


def quality(args: list[str]) -> None:
    """Run ``vae-zoo quality``.

    Raises:
        ValueError: If an option is invalid, or the tables do not compare.
        FileNotFoundError: If there is no such file, or no folder to write to.
    """
    options = parser().parse_args(args)
    refuse(options)
    greet("quality", str(options.synthetic), piped=True)

    from vae_zoo.evaluation import quality as measures
    from vae_zoo.system.writing import write_text

    quiet()
    tables = of_checkpoint(options) if options.ckpt_path else of_files(options)
    names = [column["name"] for column in tables.columns]
    if options.label_column is not None and options.label_column not in names:
        raise ValueError(f"--label_column must be one of {', '.join(names[:12])}, got {options.label_column}.")
    given: dict[str, Any] = {"train": tables.train, "label": options.label_column, "seed": options.seed}
    found = measures.quality(tables.synthetic, tables.real, tables.columns, **given)
    show(found)
    if found.privacy and found.privacy.copies_real > 0.5:
        what = f"{found.privacy.copies_real:.0%} of the real rows are training rows"
        print(f"vae-zoo: {what}: give rows that the model was not fitted to.", file=sys.stderr)
    if options.out is not None:
        write_text(options.out, json.dumps(found.plain(), indent=2) + "\n")
        print(options.out)


def refuse(options: Any) -> None:
    """Refuse invalid options.

    Raises:
        ValueError: If options exclude each other, or one is invalid.
        FileNotFoundError: If there is no folder to write to.
    """
    if (options.ckpt_path is None) == (options.real is None):
        raise ValueError("give either --ckpt_path, or --real with rows that the model was not fitted to.")
    if options.ckpt_path is not None:
        for name in ("train", "type"):
            if getattr(options, name):
                raise ValueError(f"--{name} goes with --real: the checkpoint tells it, leave it out.")
    elif options.split != "both":
        raise ValueError("--split goes with --ckpt_path: leave it out.")
    check_seed(options.seed, bits=32)
    if options.out is not None and options.out.suffix != ".json":
        raise ValueError(f"--out must end in .json, got {options.out}.")
    if options.out is not None:
        check_writable(options.out)


def of_checkpoint(options: Any) -> Tables:
    """The rows that a model was fitted to and those that it was not, by the data of its checkpoint.

    Raises:
        ValueError: If the model is of no table, or the synthetic rows do not fit it.
        FileNotFoundError: If there is no checkpoint.
    """
    import numpy as np

    from vae_zoo.cli.run.described import data_of, labels_of, trained
    from vae_zoo.data.files.frames import read_frame

    path = checkpoint_of(options.ckpt_path)
    run = trained(path)
    columns = getattr(run.model.likelihood, "columns", None)
    if columns is None:
        raise ValueError(f"{type(run.model).__name__} is no model of a table: fit one on --data Table.")
    data = data_of(run.data, path)
    data.adopt(run.content["vae_zoo"]["model"]["init_args"])
    data.known_classes = run.content["vae_zoo"].get("classes")
    frames = {options.synthetic: read_frame(options.synthetic)}
    loaded = {split: data.load(split) for split in ("train", "val", "test")}
    parts = {split: found.x.numpy() for split, found in loaded.items()}
    if data.num_classes and getattr(data, "label_column", None) in frames[options.synthetic]:
        columns = [*columns, labels_of(run.content["vae_zoo"], data.num_classes)]
        for split, found in loaded.items():
            known = np.where(found.y < 0, np.nan, found.y)
            parts[split] = np.column_stack([parts[split], known]).astype(np.float32)
    kept = [n for n, column in enumerate(columns) if column["name"] not in options.ignore]
    real = np.concatenate([parts[split] for split in ("val", "test") if options.split in (split, "both")])
    columns = [columns[n] for n in kept]
    check_names(frames, [column["name"] for column in columns], options.ignore, "the model")
    check_rows({**frames, "unseen rows of the checkpoint": real, "training rows of the checkpoint": parts["train"]})
    columns, (synthetic,) = encoded(frames, columns)
    return Tables(synthetic, real[:, kept], parts["train"][:, kept], columns)


def of_files(options: Any) -> Tables:
    """The rows of files, with types inferred from the real ones.

    Raises:
        ValueError: If their columns or types differ.
        FileNotFoundError: If there is no such file.
    """
    from vae_zoo.data.files.frames import check_types, infer, read_frame
    from vae_zoo.system.extras import require

    pandas = require("pandas", "table", "A table")
    paths = [options.synthetic, options.real, *([options.train] if options.train else [])]
    frames = {path: read_frame(path) for path in paths}
    if len(frames) < len(paths):
        raise ValueError("--synthetic, --real and --train must be different files.")
    known = pandas.concat([frames[path].astype(object) for path in paths[1:]], ignore_index=True)
    types = dict(text.partition("=")[::2] for text in options.type)
    for option, names in (("--ignore", options.ignore), ("--type", types)):
        for name in names:
            if name not in known.columns and name not in frames[options.synthetic].columns:
                raise ValueError(f"{option}: {options.real} has no column {name}, but {', '.join(known.columns[:12])}.")
    check_types(types, "--type ")
    known = known[[name for name in known.columns if name not in options.ignore]]
    check_names(frames, list(known.columns), options.ignore, str(options.real))
    check_rows(frames)
    columns = infer(known, types, len(known), str(options.real))
    columns, (synthetic, real, *train) = encoded(frames, columns)
    return Tables(synthetic, real, train[0] if train else None, columns)


def encoded(frames: Any, columns: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], Any]:
    """The columns, with categories that only the first frame has, and the rows of each frame as numbers.

    Raises:
        ValueError: If a cell is of another type.
    """
    from vae_zoo.data.files.frames import encode, extended

    columns = extended(columns, next(iter(frames.values())))
    return columns, [encode(frame, columns, str(path)) for path, frame in frames.items()]


def check_names(frames: Any, names: Sequence[str], ignore: Sequence[str], where: str) -> None:
    """Refuse frames with other columns.

    Raises:
        ValueError: With the first column that one has and the other has not.
    """
    for path, frame in frames.items():
        own = [name for name in frame.columns if name not in ignore]
        for name in names:
            if name not in own:
                raise ValueError(f"{path} lacks the column {name} of {where}: leave it out by --ignore {name}.")
        for name in own:
            if name not in names:
                raise ValueError(f"{path} has a column {name}, which {where} lacks: leave it out by --ignore {name}.")


def check_rows(tables: Any) -> None:
    """Refuse tables of too few rows.

    Raises:
        ValueError: With the number of rows.
    """
    from vae_zoo.evaluation.quality.report import FEWEST

    for name, rows in tables.items():
        if len(rows) < FEWEST:
            raise ValueError(f"{name}: {len(rows)} rows are too few to compare, at least {FEWEST} are needed.")


def show(found: Quality) -> None:
    """Print the tables and the findings."""
    from rich.table import Table

    page = console(120)
    sizes = ", ".join(f"{num} {name}" for name, num in found.num_rows.items())
    printed = Table(title=f"columns of {sizes} rows")
    printed.add_column("column", overflow="fold")
    printed.add_column("type")
    for name in ("distance", "by chance up to", "training rows", "missing", "really", ""):
        printed.add_column(name, justify="right", no_wrap=True)
    for row in found.marginals:
        mark = " ".join(["differs"] * row.differs + ["missing"] * row.missing_differs)
        reference = "" if row.reference is None else f"{row.reference:.3f}"
        rates = (f"{row.missing:.1%}", f"{row.missing_real:.1%}")
        name = row.column.replace("[", r"\[")
        printed.add_row(name, row.kind, f"{row.distance:.3f}", f"{row.limit:.3f}", reference, *rates, mark)
    page.print(printed)
    summary = Table(title="rows as a whole")
    for name in ("measure", "synthetic", "real", "ideal"):
        summary.add_column(name, overflow="fold", justify="left" if name == "measure" else "right")
    for cells in lines(found):
        summary.add_row(*cells)
    page.print(summary)
    print("± is one standard error. Distances: Kolmogorov–Smirnov, total variation of categories and booleans.")
    if found.gaps:
        print("Synthetic rows are complete: classifier, predictor and distances see them with the gaps of real rows.")
    findings = found.findings
    for line in findings[:SHOWN]:
        print(f"found: {line}")
    if len(findings) > SHOWN:
        print(f"found: {len(findings) - SHOWN} more, in the file of --out")
    if not findings:
        print("found: nothing")


def lines(found: Quality) -> list[tuple[str, str, str, str]]:
    """Lines of the second table: a measure, its values for synthetic and for real rows, and the ideal."""
    pairs = found.associations
    references = [abs(pair.reference - pair.real) for pair in pairs if pair.reference is not None]
    reference = f"{sum(references) / len(references):.3f}" if references else ""
    rows = [("mean difference of associations", f"{found.association_difference:.3f}", reference, "0")]
    if pairs:
        worst = pairs[0]
        what = f"largest: {worst.first}, {worst.second}".replace("[", r"\[")
        rows.append((what, f"{worst.synthetic:.2f}", f"{worst.real:.2f}", "equal"))
    area = found.two_sample
    rows.append(("AUROC of a classifier against real rows", f"{area.value:.3f} ± {area.error:.3f}", "", "0.5"))
    if found.utility:
        use = found.utility
        score = {"auroc": "AUROC", "r2": "R²"}[use.score]
        real = "" if use.real is None else f"{use.real:.3f}"
        loss = "" if use.loss is None else f"loss {use.loss:.3f} ± {use.error:.3f}"
        own = f"{use.synthetic:.3f}" + (f" ± {use.error:.3f}" if use.loss is None else "")
        rows.append((rf"{score} of {use.label}, fitted to {use.num_train} rows", own, real, loss or "1"))
    if found.privacy:
        near = found.privacy
        rows.append(("copies of training rows", f"{near.copies:.2%}", f"{near.copies_real:.2%}", "equal"))
        what = "median distance to the closest training row"
        rows.append((what, f"{near.distance:.4f}", f"{near.distance_real:.4f}", "equal"))
        what = "nearer to training than to unseen rows"
        rows.append((what, f"{near.nearer:.1%} ± {near.nearer_error:.1%}", "", "50%"))
    return rows
