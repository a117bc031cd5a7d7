"""``vae-zoo doctor``: what is wrong with data before training, or with a trained model, and what to do about it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from vae_zoo.cli.terminal import greet, quiet, width
from vae_zoo.cli.verbs import VerbParser, check_seed, check_writable, checkpoint_of
from vae_zoo.system.writing import write_text

DESCRIPTION = """Examine data before training, or a trained model: what is found is named, with what was measured, what
is normal and what to do, faults first. For data, a model and the command that fits it are recommended. The exit code is
0 whatever is found."""
_MARGIN = 9


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("doctor", DESCRIPTION)
    what = "a checkpoint or the folder of a fit; or a file of data, or a folder of images"
    made.add_argument("path", type=Path, metavar="PATH", help=what)
    made.add_argument("--num", type=int, default=512, metavar="N", help="largest number of examples of a split (512)")
    made.add_argument("--seed", type=int, default=0, help="seed of the choice of examples, and of all noise (0)")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the findings to a .json file")
    what = "other examples for a model: a data set, and --data.OPTION VALUE; its own if not given"
    made.add_argument("--data", metavar="NAME", help=what)
    made.add_argument("--test", type=Path, metavar="FILE", help="the test split of a file of data")
    made.add_argument("--label_column", metavar="NAME", help="column of a table with labels")
    made.add_argument("--id_column", metavar="NAME", help="column of a table with ids")
    layouts = ("vector", "sequence", "image", "volume")
    made.add_argument("--layout", choices=layouts, help="what the axes of an array mean, where its shape does not tell")
    made.add_argument("--transpose", action="store_true", help="rows of a file of counts are features")
    return made


def doctor(args: list[str]) -> None:
    """Run ``vae-zoo doctor``.

    Raises:
        ValueError: If an option is invalid, or the file cannot be read.
        FileNotFoundError: If there is no such file, or no folder to write to.
    """
    options, rest = parser().parse_known_args(args)
    changes = data_options(rest)
    refuse(options)
    greet("doctor", str(options.path), piped=True)
    quiet()
    path = checkpoint(options.path)
    report = of_data(options, changes) if path is None else of_checkpoint(path, options, changes)
    show(report)
    if options.json is not None:
        write_text(options.json, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        print(options.json)


def refuse(options: Any) -> None:
    """Refuse invalid options.

    Raises:
        ValueError: If a number is out of range, or the extension of the JSON file is another.
        FileNotFoundError: If there is nothing to examine, or no folder to write to.
    """
    if options.num < 20:
        raise ValueError(f"--num must be at least 20, for errors to mean anything, got {options.num}.")
    check_seed(options.seed)
    if options.json is not None and options.json.suffix != ".json":
        raise ValueError(f"--json must end in .json, got {options.json}.")
    if options.json is not None:
        check_writable(options.json)
    if not options.path.exists():
        raise FileNotFoundError(
            f"there is nothing at {options.path}: give a checkpoint, a file of data, or a folder of images."
        )


def data_options(rest: Sequence[str]) -> dict[str, Any]:
    """Options ``--data.NAME VALUE`` as arguments of a data module.

    Raises:
        ValueError: If there is another option, or a value is missing.
    """
    from vae_zoo.cli.errors import nearest_or_all

    found: dict[str, str] = {}
    words = list(rest)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        name = flag.removeprefix("--data.")
        if name == flag:
            raise ValueError(f"unknown option {flag}{nearest_or_all(flag, [f'--{n}' for n in parser().names()])}")
        if not equals and not words:
            raise ValueError(f"{flag} needs a value.")
        found[name] = value if equals else words.pop(0)
    if not found:
        return {}
    import yaml

    return {name: yaml.safe_load(value) for name, value in found.items()}


def checkpoint(path: Path) -> Path | None:
    """The checkpoint at a path: itself, a folder of a shared model, or the last one of the folder of a fit."""
    if path.is_file() and path.suffix != ".ckpt":
        return None
    try:
        return checkpoint_of(path)
    except FileNotFoundError:
        return None


def of_data(options: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """What is found in data, and a model for them.

    Raises:
        ValueError: If they cannot be read, or an option is one of checkpoints.
    """
    from vae_zoo.evaluation.diagnosis import diagnose_data, read_source, recommend

    if options.data is not None or changes:
        raise ValueError(f"--data belongs to a checkpoint, and {options.path} holds data: leave it out.")
    given = {name: getattr(options, name) for name in ("label_column", "id_column", "transpose", "layout", "seed")}
    source = read_source(options.path, options.test, **given)
    found = [finding._asdict() for finding in diagnose_data(source)]
    what = {"path": str(options.path), "kind": source.kind, "examples": source.num}
    return {**what, "findings": found, "recommended": recommend(source)._asdict()}


def of_checkpoint(path: Path, options: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """What is found in a checkpoint, and in its model with its own or other examples.

    Raises:
        ValueError: If it is damaged, names no data, or has other data than asked for.
    """
    import torch

    from vae_zoo.checkpoints.folders import read_folder
    from vae_zoo.checkpoints.load import read, restore
    from vae_zoo.cli.run.described import data_of
    from vae_zoo.evaluation.diagnosis import by_severity, diagnose_content, diagnose_model
    from vae_zoo.models import Autoencoder

    for name in ("test", "label_column", "id_column", "transpose", "layout"):
        if getattr(options, name):
            raise ValueError(f"--{name} belongs to a file of data: give --data.OPTION for other examples of a model.")
    content = read_folder(path) if path.is_dir() else read(path)
    found = diagnose_content(content)
    report = {"path": str(path), "kind": "checkpoint"}
    if any(finding.name == "weights_not_finite" and finding.severity == "fault" for finding in found):
        return {**report, "findings": [finding._asdict() for finding in found]}
    described: dict[str, Any] | None = content["vae_zoo"].get("data")
    if not described and not options.data:
        raise ValueError(
            f"{path} names no data, as after a fit in Python: name those that it was fitted to, by --data."
        )
    model: Any = restore(Autoencoder, content, str(path))
    if torch.cuda.is_available():
        model.to("cuda")
    init_args = content["vae_zoo"]["model"]["init_args"]
    asked = chosen_data(options.data, described, changes) if options.data or changes else None
    data = data_of(described or asked or {}, path)
    data.adopt(init_args)
    test = others(model, asked, init_args, content, options.num) if described and asked else None
    curve = watched(path, content, model)
    given: dict[str, Any] = {"test": test, "curve": curve, "num": options.num, "seed": options.seed}
    both = by_severity([*found, *diagnose_model(model, data, **given)])
    return {**report, "model": type(model).__name__, "findings": [finding._asdict() for finding in both]}


def chosen_data(name: str | None, described: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The data that options name, as plain data: of a class with these arguments, or the described ones, changed."""
    from vae_zoo.cli.inspect.options import choices

    if described and name in (None, described["class_path"].rpartition(".")[2]):
        return {**described, "init_args": {**described.get("init_args", {}), **changes}}
    return {"class_path": choices("data").get(str(name), str(name)), "init_args": changes}


def others(model: Any, asked: dict[str, Any], init_args: Any, content: Any, num: int) -> Any:
    """Examples of another source than that of the training: all of it, or its test split if it has only splits."""

    from vae_zoo.cli.run.described import collected, data_of
    from vae_zoo.evaluation.diagnosis.models.examined import Examples

    data = data_of(asked, Path("--data"))
    data.adopt(init_args)
    data.known_classes = content["vae_zoo"].get("classes")
    data.predict_split = "all" if data.whole() is not None else "test"
    data.setup("predict")
    if tuple(data.shape) != tuple(model.shape):
        raise ValueError(f"--data: examples must be of shape {tuple(model.shape)}, got {tuple(data.shape)}.")
    return Examples(*collected(model, data, data.predict_dataloader(), num))


def watched(path: Path, content: Any, model: Any) -> list[float]:
    """Values of the model's monitor in the metrics beside a checkpoint, up to its step; higher is better."""
    file = path.parent.parent / "metrics.csv"
    if not file.is_file():
        return []
    last = content.get("global_step", 0)
    sign = 1 if model.monitor_mode == "max" else -1
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row.get(model.monitor)]
    return [sign * float(row[model.monitor]) for row in rows if float(row.get("step") or 0) <= last]


def show(report: dict[str, Any]) -> None:
    """Print the findings."""
    findings = report["findings"]
    counts = {kind: sum(f["severity"] == kind for f in findings) for kind in ("fault", "warning", "fine")}
    many = {"fault": "faults", "warning": "warnings"}
    for finding in findings:
        print(_line(finding["severity"], f"{finding['name']}: {finding['measured']}"))
        if finding["remedy"]:
            print(_line("", f"normal: {finding['normal']}"))
            print(_line("", f"remedy: {finding['remedy']}"))
    if recommended := report.get("recommended"):
        parts = ("model", "likelihood", "network", "latent_dim", "batch_size")
        print("\nrecommended")
        for part in parts:
            print(_line("", f"{part.replace('_', ' ')}: {recommended[part]}"))
        print(f"\n{recommended['command']}\n")
    words = [f"{n} {kind if n == 1 else many.get(kind, kind)}" for kind, n in counts.items()]
    print(f"{report['path']}: {', '.join(words)}")


def _line(start: str, text: str) -> str:
    columns = width()
    head = f"{start:{_MARGIN}}{text}"
    if columns is None:
        return head
    return fill(head, max(40, columns), subsequent_indent=" " * _MARGIN, break_long_words=False)
