from __future__ import annotations

import inspect

import pytest

from vae_zoo import data, models
from vae_zoo.cli import main, packaged
from vae_zoo.cli.commands.list import entries
from vae_zoo.data import DataModule


def test_every_model_with_its_paper_and_configs() -> None:
    found = {entry.name: entry for entry in entries("model")}
    assert set(found) == set(models.__all__) - {"Autoencoder"}
    for name, entry in found.items():
        assert entry.line
        assert entry.link.startswith("https://"), name
        assert entry.paper.split(" (")[0] in (inspect.getdoc(getattr(models, name)) or "")
        assert entry.configs or name == "VAE", f"{name} has no configuration"  # which MLPVAE and ConvVAE stand for


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
