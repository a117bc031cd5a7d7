"""``vae-zoo fit-density``: a density fitted to the latents of a trained model, as its new prior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_zoo.cli.errors import nearest_or_all
from vae_zoo.cli.inspect.configs import parsed
from vae_zoo.cli.inspect.sources import arguments, is_concrete, public
from vae_zoo.cli.run.described import data_of, trained
from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser, check_seed, check_writable

DESCRIPTION = """Encode the training data of a trained model, fit a density to the latents, and write a checkpoint of
the model with that density as its prior, which test, sample, export and vae_zoo.load take as any other. Settings of
the density are options, as in --density.num_components 20; vae-zoo show GMM lists them."""
KINDS = ("vae_zoo.samplers.Density", "vae_zoo.samplers.CodeDensity")


class Asked(NamedTuple):
    """What the command line asks for.

    Args:
        ckpt_path: Checkpoint, or folder of a shared model.
        path: Path of the density's class.
        settings: Arguments of the density by name.
        out: Checkpoint to write.
        num: Number of examples to encode; None for all.
        seed: Seed of draws and fit.
    """

    ckpt_path: Path
    path: str
    settings: dict[str, Any]
    out: Path
    num: int | None
    seed: int


def densities() -> dict[str, str]:
    """Densities of the zoo by name, with their paths."""
    return {n: path for n, path in public("vae_zoo.samplers").items() if any(is_concrete(path, kind) for kind in KINDS)}


def settings() -> list[str]:
    """Names of the settings of all densities, for completion."""
    taken = (a.name for path in densities().values() for a in arguments(path) if a.by_name)
    return [f"density.{name}" for name in dict.fromkeys(taken)]


def parser() -> VerbParser:
    """Options of the verb, besides the settings of the density."""
    made = VerbParser("fit-density", DESCRIPTION)
    made.add_checkpoint()
    what = f"{', '.join(densities())}, or my_file.MyDensity"
    made.add_argument("--density", required=True, metavar="CLASS", help=what)
    made.add_argument("--num", type=int, metavar="N", help="training examples to encode, drawn at random; else all")
    made.add_argument(
        "--out", type=Path, metavar="FILE", help="a .ckpt file (beside the checkpoint: NAME_DENSITY.ckpt)"
    )
    made.add_argument("--seed", type=int, default=0, help="seed of the draws from the posterior and of the fit (0)")
    return made


def fit_density(args: list[str]) -> None:
    """Run ``vae-zoo fit-density``.

    Raises:
        ValueError: If an option is invalid, or the model does not take the density.
        FileNotFoundError: If there is no such checkpoint, or no folder to write to.
    """
    asked = read(args)
    greet("fit-density", f"{asked.path.rpartition('.')[2]} to the latents of {asked.ckpt_path}", piped=True)
    import torch

    from vae_zoo.checkpoints.files import check_writable, write
    from vae_zoo.distributions import check_pair
    from vae_zoo.samplers import Density, check_replaceable, latents, with_prior

    quiet()
    cls = _class(asked.path)
    model, described, content = trained(asked.ckpt_path)
    _, attribute = check_replaceable(model, cls)
    check_writable(asked.out.parent)
    density = _made(cls, model, asked)
    if isinstance(density, Density):
        density.adopt(model)
    if attribute == "latent_prior" and model.posterior.is_density:
        check_pair(model.posterior, density)  # before anything is encoded
    data = data_of(described, asked.ckpt_path)
    if torch.cuda.is_available():
        model.to("cuda")
    density.fit(latents(model, data, num=asked.num, seed=asked.seed))
    fitted = with_prior(model, density)
    held = list(latents(model, data, "val", seed=asked.seed))
    checkpoint: dict[str, Any] = {
        **{name: content.get(name, 0) for name in ("epoch", "global_step")},
        "pytorch-lightning_version": content.get("pytorch-lightning_version", "2.6.6"),
        "state_dict": {name: x.cpu() for name, x in fitted.state_dict().items()},
    }
    fitted.on_save_checkpoint(checkpoint)
    checkpoint["vae_zoo"]["data"] = described
    write(checkpoint, asked.out)
    for name, prior in ((_name(model, attribute), model), (_name(fitted, attribute), fitted)):
        if name:
            print(f"log p(z) of validation latents under {name}: {_score(prior, attribute, held):.2f} nats")
    print(asked.out)


def read(args: Sequence[str]) -> Asked:
    """What the command line asks for; mistakes are found before torch is imported.

    Raises:
        ValueError: If an option is invalid.
        FileNotFoundError: If there is no folder to write to.
    """
    given, rest = parser().parse_known_args(_joined(args))
    known = densities()
    if "." not in given.density and given.density not in known:
        raise ValueError(f"--density: there is no class {given.density}{nearest_or_all(given.density, list(known))}")
    path = known.get(given.density, given.density)
    taken = [argument.name for argument in arguments(path) if argument.by_name] if given.density in known else []
    wanted: dict[str, Any] = {}
    for option in rest:
        flag, _, value = option.partition("=")
        name = flag.removeprefix("--density.")
        if name == flag:
            raise ValueError(f"unknown option {flag}{nearest_or_all(flag, [f'--{n}' for n in parser().names()])}")
        if taken and name not in taken:
            raise ValueError(f"{given.density} has no setting {name}{nearest_or_all(name, taken)}")
        wanted[name] = parsed(value, flag)
    if given.num is not None and given.num < 1:
        raise ValueError(f"--num must be at least 1, got {given.num}.")
    check_seed(given.seed)
    out = given.out or _beside(given.ckpt_path, path.rpartition(".")[2])
    _check_out(out, given.ckpt_path)
    return Asked(given.ckpt_path, path, wanted, out, given.num, given.seed)


def _joined(args: Sequence[str]) -> list[str]:
    """Arguments with each setting and its value in one."""
    found: list[str] = []
    for arg in args:
        if found and found[-1].startswith("--density.") and "=" not in found[-1]:
            found[-1] += f"={arg}"
        else:
            found.append(arg)
    return found


def _beside(ckpt_path: Path, name: str) -> Path:
    folder, stem = (ckpt_path, "model") if ckpt_path.is_dir() else (ckpt_path.parent, ckpt_path.stem)
    return folder / f"{stem}_{name}.ckpt"


def _check_out(out: Path, ckpt_path: Path) -> None:
    if out.suffix != ".ckpt":
        raise ValueError(f"--out must end in .ckpt, got {out}.")
    check_writable(out)
    if out.is_dir() or out.resolve() == ckpt_path.resolve():
        raise ValueError(f"--out must be a new file, {out} is {'a folder' if out.is_dir() else 'the checkpoint'}.")


def _class(path: str) -> Any:
    from vae_zoo.samplers import CodeDensity, Density
    from vae_zoo.security import trust

    trust.check_classes({"class_path": path}, "--density")
    cls = trust.import_class(path)
    if not (isinstance(cls, type) and issubclass(cls, (Density, CodeDensity))):
        raise ValueError(f"--density must be a class derived from vae_zoo.samplers.Density, {path} is not.")
    return cls


def _made(cls: Any, model: Any, asked: Asked) -> Any:
    """A density of the shape of the model's latents, or of its codes."""
    from vae_zoo.checkpoints.hyperparameters import check_types

    given = {"seed": asked.seed, **asked.settings}
    check_types(cls, given)
    sizes = (
        (model.code_prior.grid, model.code_prior.num_codes) if hasattr(model, "code_prior") else (model.latent_shape,)
    )
    try:
        return cls(*sizes, **given)
    except TypeError as error:
        raise ValueError(f"--density {cls.__name__}: {error}.") from error


def _name(model: Any, attribute: str) -> str:
    prior = getattr(model, attribute, None)
    return "" if prior is None else type(prior).__name__


def _score(model: Any, attribute: str, held: list[Any]) -> float:
    """Mean log-density of latents under the prior of a model, in nats."""
    import torch

    prior = getattr(model, attribute)
    with torch.no_grad():
        p = prior if attribute == "code_prior" else model.prior()
        return float(torch.cat([p.log_prob(z) for z in held]).double().mean())
