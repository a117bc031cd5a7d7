from __future__ import annotations

import inspect

import pytest
from helpers import MODELS, build

from vae_zoo import data, models
from vae_zoo.cli import main, packaged
from vae_zoo.cli.commands.list import FAMILIES, entries
from vae_zoo.data import DataModule
from vae_zoo.elbo import ELBOMixin, Generative, has_density
from vae_zoo.models import VQVAE


def test_every_model_with_its_paper_and_configs() -> None:
    found = {entry.name: entry for entry in entries("model")}
    assert set(found) == set(models.__all__) - {"Autoencoder"}
    for name, entry in found.items():
        assert entry.line
        assert entry.link.startswith("https://"), name
        assert entry.paper.split(" (")[0] in (inspect.getdoc(getattr(models, name)) or "")
        assert entry.reports == getattr(models, name).reports
        assert entry.configs or name == "VAE", f"{name} has no configuration"  # which MLPVAE and ConvVAE stand for


def test_models_come_by_family(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of models is a family, and says what they have in common."""
    assert {entry.family for entry in entries("model")} == set(FAMILIES)
    main(["list", "models"])
    out = capsys.readouterr().out
    assert out.index("The autoencoder, the VAE") < out.index("\nVAE ") < out.index("Models that change the objective")
    assert out.index("Models that match the aggregate posterior") < out.index("\nWAE ")
    assert "reports the evidence by annealed importance sampling only" in out


@pytest.mark.parametrize("cls", MODELS)
def test_what_a_model_reports_follows_from_what_it_is(cls: type) -> None:
    if cls is VQVAE or issubclass(cls, VQVAE):
        assert cls.reports == "E"  # with the prior over its codes
        return
    model = build(cls)
    bound = isinstance(model, ELBOMixin) and has_density(model)
    played = isinstance(model, Generative) and has_density(model) and not model.game
    assert cls.reports == ("E" if bound else "A" if played else "-")


def test_every_data_set_that_can_be_run() -> None:
    classes = {name: cls for name in data.__all__ if inspect.isclass(cls := getattr(data, name))}
    runnable = {name for name, cls in classes.items() if issubclass(cls, DataModule) and not inspect.isabstract(cls)}
    found = {entry.name: entry for entry in entries("data")}
    assert set(found) == runnable
    assert "Images" in set(classes) - runnable
    assert "vae_mnist" in found["MNIST"].configs


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    out = capsys.readouterr().out
    for word in ("BetaVAE", "beta_vae_sprites", "Importance Weighted Autoencoders (Burda et al., 2016)", "ImageFolder"):
        assert word in out
    main(["list", "data"])
    out = capsys.readouterr().out
    assert "ImageFolder" in out
    assert "BetaVAE" not in out
    main(["list", "configs"])
    out = capsys.readouterr().out
    assert all(name in out for name in packaged())
    assert "vae_zoo[wandb]" in out, "brackets are text"


@pytest.mark.parametrize("part", ["models", "data", "configs"])
@pytest.mark.parametrize("columns", [60, 80, 120, None])
def test_nothing_that_one_copies_is_cut(
    part: str, columns: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_zoo.cli.commands.list.width", lambda: columns)
    main(["list", part])
    out = capsys.readouterr().out
    words = set(out.replace(",", " ").split())
    if part == "configs":
        assert words >= set(packaged())
    else:
        for entry in entries("model" if part == "models" else "data"):
            assert words >= {entry.name, *entry.link.split(), *(entry.configs if part == "models" else ())}
    body = out.partition("Run one:")[0].splitlines()
    assert columns is None or all(len(line) <= columns or len(line.split()) == 1 for line in body)


def test_in_a_pipe_a_configuration_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "configs"])
    lines = capsys.readouterr().out.splitlines()
    for name in packaged():
        assert sum(line.startswith(f"{name} ") for line in lines) == 1
    assert len(lines) == len(packaged()) + len(["Configs", "", "", "Run one", "More"])


def test_another_table_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["list", "everything"])
    assert done.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "invalid choice: 'everything' (choose from" in line
