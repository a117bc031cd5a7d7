"""``vae-zoo impute``: a table with its missing cells filled in."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import Any

from vae_zoo.cli.commands.sample import TABLES
from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser, check_seed, check_writable

DESCRIPTION = """Fill in the missing cells of a table by a trained model of such tables: with the mean of numbers given
the known cells of the row and the most probable category, or with draws, one file each. Other cells and columns stay as
they are."""
CHUNK = 256
"""Rows filled in at once."""


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("impute", DESCRIPTION)
    made.add_checkpoint()
    made.add_argument("--table", type=Path, required=True, metavar="FILE", help="a .csv, .tsv or .parquet file")
    made.add_argument("--out", type=Path, metavar="FILE", help="the filled table (NAME_filled, beside the other)")
    made.add_argument("--draws", type=int, default=0, metavar="M", help="files OUT_1 … OUT_M of draws, not means (0)")
    made.add_argument("--num_samples", type=int, default=1000, metavar="K", help="importance samples of a row (1000)")
    made.add_argument("--seed", type=int, default=0, help="seed of the samples (0)")
    return made


def impute(args: list[str]) -> None:
    """Run ``vae-zoo impute``.

    Raises:
        ValueError: If an option is invalid, the model is of no table, or the table does not fit it.
        FileNotFoundError: If there is no such file, or no folder to write to.
    """
    options = parser().parse_args(args)
    out: Path = options.out or options.table.with_name(f"{options.table.stem}_filled{options.table.suffix}")
    refuse(options.draws, options.num_samples, options.seed, out)
    if out.resolve() == options.table.resolve():
        raise ValueError(f"--out must be another file than the table, {out}.")
    greet("impute", f"{options.table} by {options.ckpt_path}", piped=True)

    import torch

    from vae_zoo.data.files.frames import encode, read_frame, write_frame
    from vae_zoo.hub import load

    quiet()
    model = load(options.ckpt_path)
    columns = getattr(model.likelihood, "columns", None)
    if columns is None or not hasattr(model, "impute"):
        raise ValueError(f"{type(model).__name__} is no model of a table with a bound: fit one on --data Table.")
    frame = read_frame(options.table)
    x = encode(frame, columns, str(options.table))
    model.likelihood.check(torch.from_numpy(x))
    c = _labels(model, options.ckpt_path, frame, options.table)
    for number in range(1, options.draws + 1) if options.draws else (0,):
        path = out.with_name(f"{out.stem}_{number}{out.suffix}") if number else out
        filled = _filled(model, x, c, options.num_samples, mean=not number, seed=options.seed + number)
        write_frame(path, _replaced(frame, x, filled, columns))
        print(path)


def _labels(model: Any, ckpt_path: Path, frame: Any, table: Path) -> Any:
    """Labels of the rows, (N,), by the column that the model was fitted with; None for a model that needs none.

    Raises:
        ValueError: If the model names no labels, or the table has no such column or other labels in it.
    """
    import torch

    from vae_zoo.cli.run.described import about, labels_of
    from vae_zoo.evaluation.sampling import num_classes

    if not num_classes(model) or hasattr(model, "classify"):  # the latter infers them
        return None
    known, name = about(ckpt_path), type(model).__name__
    if not known.get("classes"):
        raise ValueError(f"{ckpt_path} does not name the labels that {name} needs: call model.impute(x, c) in Python.")
    column = labels_of(known, num_classes(model))
    if column["name"] not in frame.columns:
        raise ValueError(f"{table} has no column {column['name']}, the labels of the rows, which {name} needs: add it.")
    labels = frame[column["name"]].to_numpy(object).astype(str).tolist()
    codes = {text: code for code, text in enumerate(column["categories"])}
    for row, label in enumerate(labels):
        if label not in codes:
            shown = ", ".join(column["categories"][:8]) + (", …" if len(codes) > 8 else "")
            raise ValueError(
                f"{column['name']} in row {row} of {table} is {label!r}, and {name} knows the labels {shown}: correct "
                "it or leave the row out."
            )
    return torch.tensor([codes[label] for label in labels])


def _filled(model: Any, x: Any, c: Any, num_samples: int, *, mean: bool, seed: int) -> Any:
    import torch

    from vae_zoo.system.seeding import forked

    with forked(seed, model.device):
        given = repeat(None) if c is None else c.to(model.device).split(CHUNK)
        parts = [
            model.impute(part.to(model.device), labels, num_samples=num_samples, mean=mean).cpu()
            for part, labels in zip(torch.from_numpy(x).split(CHUNK), given, strict=False)
        ]
    return torch.cat(parts).float().numpy()


def _replaced(frame: Any, x: Any, filled: Any, columns: Any) -> Any:
    """The frame with the cells that are NaN in x taken from the filled rows."""
    import numpy as np

    from vae_zoo.data.files.frames import decode, like

    made, frame = decode(filled, columns), frame.copy()
    for place, column in enumerate(columns):
        missing, name = np.isnan(x[:, place]), column["name"]
        if missing.any():
            frame[name] = like(frame[name], made[name], missing)
    return frame


def refuse(draws: int, num_samples: int, seed: int, out: Path) -> None:
    """Refuse invalid options.

    Raises:
        ValueError: If a number is out of range, or the extension of out is unknown.
        FileNotFoundError: If there is no folder to write to.
    """
    if draws < 0 or num_samples < 1:
        raise ValueError(f"--draws must be at least 0 and --num_samples at least 1, got {draws} and {num_samples}.")
    check_seed(seed, bits=62)
    if out.suffix not in TABLES:
        raise ValueError(f"--out must end in {', '.join(TABLES)}, got {out}.")
    check_writable(out)
