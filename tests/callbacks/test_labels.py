"""Titles and labels around pictures, their formats and colours."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Record, quiet_trainer, tiny, tiny_data
from PIL import Image
from torch import Tensor

from vae_zoo.callbacks import LatentScatter, PredictionWriter, ReconstructionGrid, SampleGrid, TraversalGrid
from vae_zoo.callbacks.pictures import curves, drawing, labels
from vae_zoo.callbacks.pictures.folders import save_picture
from vae_zoo.callbacks.pictures.labelled import Labels, Picture
from vae_zoo.callbacks.pictures.labels import Source
from vae_zoo.callbacks.pictures.latent_scatter import Circles, circles_of, scatter
from vae_zoo.callbacks.pictures.themes import COLOURS, THEMES, Look
from vae_zoo.callbacks.pictures.traversals import traversals
from vae_zoo.distributions import MixtureNormal
from vae_zoo.models import AE, SVAE, VAE, CategoricalVAE, ConditionalVAE, GammaVAE, LadderVAE, PoincareVAE

ALL = Labels("a title", [("z3", "1.8 nats", "−3 … 3"), ("z11", "0.0 nats", "−3 … 3")], ["cat", "grizzly bear"], ["−3"])
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 64, 64), (4, 8, 8), (2, 40), (1, 8, 9, 10)]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_labels_leave_the_pixels_as_they_are(shape: tuple[int, ...], theme: Any) -> None:
    x = torch.rand(5, *shape)
    raw = curves.panels(x, 3, theme=THEMES[theme]) if len(shape) == 2 else drawing.grid(x, 3)
    picture = drawing.picture(x, 3, ALL, Look(theme=theme))
    assert isinstance(picture, Picture)
    pixels, (left, top) = picture.pixels(), picture.inside
    assert min(left, top, pixels.shape[1] - raw.shape[1], pixels.shape[2] - raw.shape[2]) > 0
    inside = pixels[:, top : top + raw.shape[1], left : left + raw.shape[2]]
    atol = 0.0021 if len(shape) == 2 and theme == "transparent" else 1e-6  # its opacity has 8 bits
    torch.testing.assert_close(inside, (raw * 255 + 0.5).floor() / 255, rtol=0, atol=atol)


def test_bare_pixels_are_those_of_the_grid() -> None:
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(drawing.picture(x, 3, ALL, Look(labels=False)), drawing.grid(x, 3))
    figure = drawing.picture(x, 3, ALL, Look(labels=False, format="svg"))
    torch.testing.assert_close(figure.pixels(), drawing.grid(x, 3), rtol=0, atol=0.003)


def test_a_picture_too_long_for_a_figure_has_its_pixels_alone(tmp_path: Path) -> None:
    picture = drawing.picture(torch.rand(1, 1, 1, 2200), 1, ALL, Look(format="svg"))
    assert torch.is_tensor(picture)
    with pytest.raises(ValueError, match=r"^a picture of 70400 by 32 pixels goes to a \.png only, got .*s\.svg\.$"):
        drawing.save(picture, tmp_path / "s.svg")
    assert not list(tmp_path.iterdir())


def test_formats(tmp_path: Path) -> None:
    for kind in ("png", "svg", "pdf"):
        picture = drawing.picture(torch.rand(4, 1, 8, 8), 2, ALL, Look(format=kind))
        for name in ("a", "b"):
            picture.save(tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes(), "without a date"
    text = (tmp_path / "a.svg").read_text()
    found = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert set(found) == {"a title", "z3", "1.8 nats", "−3 … 3", "z11", "0.0 nats", "cat", "grizzly bear", "−3"}
    assert text.count("<image") == text.count("image-rendering:pixelated") == 1, "pixels stay sharp"
    assert b"/Interpolate true" not in (tmp_path / "a.pdf").read_bytes()


def test_transparent_and_dark(tmp_path: Path) -> None:
    corners = {}
    for theme in THEMES:
        picture = drawing.picture(torch.rand(4, 1, 8, 8), 2, ALL, Look(theme=theme))
        picture.save(tmp_path / f"{theme}.png")
        with Image.open(tmp_path / f"{theme}.png") as image:
            corners[theme] = image.getpixel((0, 0))
    assert corners == {"white": (255, 255, 255), "dark": (19, 20, 22), "transparent": (255, 255, 255, 0)}


class TestTraversals:
    def rows(self, model: Any, x: Tensor, **kwargs: Any) -> tuple[list[int], Labels]:
        with torch.no_grad():
            found = traversals(model, x, **kwargs)
            return found.dims.tolist(), labels.traversals(Source("VAE"), model, x, None, found)

    def test_rows_in_descending_order_with_their_rates(self, images: Tensor) -> None:
        model = tiny(VAE)
        _, written = self.rows(model, images)
        q = model.encode(images)
        order = q.mean.var(0).argsort(descending=True).tolist()
        by_hand = (0.5 * (q.mean**2 + q.stddev**2 - 1) - q.stddev.log()).mean(0)
        assert [row[0] for row in written.rows] == [f"z{dim}" for dim in order]
        assert [row[1] for row in written.rows] == [f"{by_hand[dim]:.1f} nats" for dim in order]
        assert {row[2] for row in written.rows} == {"−3 … 3"}
        assert list(written.below) == ["−3", *[""] * 4, "0", *[""] * 4, "3"]

    def test_rates_beyond_the_first_example(self, images: Tensor) -> None:
        model = tiny(VAE)
        one, all_of_them = (labels.rates(model, x, None) for x in (images[:1], images))
        assert one is not None
        assert not torch.allclose(one, all_of_them)

    def test_no_rates_where_there_are_none(self, images: Tensor) -> None:
        mixture = tiny(VAE, prior=partial(MixtureNormal, num_components=3))
        for model in (tiny(AE), mixture):
            assert labels.rates(model, images, None) is None
            assert {len(row) for row in self.rows(model, images)[1].rows} == {2}

    @pytest.mark.parametrize(
        ("cls", "ends"), [(SVAE, "−1 … 1"), (PoincareVAE, "−0.905 … 0.905"), (GammaVAE, "0.0498 … 20.1")]
    )
    def test_ranges_of_other_latents(self, cls: Any, ends: str, images: Tensor) -> None:
        model = tiny(cls, latent_dim=1) if cls is PoincareVAE else tiny(cls)
        _, written = self.rows(model, images)
        assert {row[-1] for row in written.rows} == {ends}

    def test_conditions(self, images: Tensor) -> None:
        model, c = tiny(ConditionalVAE), torch.arange(len(images)) % 3
        found = labels.rates(model, images, c)
        assert found is not None
        torch.testing.assert_close(found.sum(), model.elbo(images, c, 1).kl.mean())

    def test_state_of_randomness_is_kept(self, images: Tensor) -> None:
        state = torch.get_rng_state()
        labels.rates(tiny_once(), images, None)
        torch.set_rng_state(state)
        before = torch.rand(3)
        torch.set_rng_state(state)
        labels.rates(tiny_once(), images, None)
        assert torch.equal(torch.rand(3), before)


def tiny_once() -> Any:
    """A model that is built without touching the state of randomness."""
    state = torch.get_rng_state()
    model = tiny(VAE)
    torch.set_rng_state(state)
    return model


def texts(picture: Any, folder: Path) -> list[str]:
    """What is written in a picture."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture.save(folder / "texts.svg").read_text())


def test_what_the_callbacks_write(images: Tensor, tmp_path: Path) -> None:
    data = SimpleNamespace(classes=("cat", "a bird that has a rather long name", "ox"))
    found = {}
    for cls in (SampleGrid, ReconstructionGrid, TraversalGrid):
        callback = cls(num=6)
        callback._data = data
        with torch.no_grad():
            found[cls] = texts(callback.draw(tiny(ConditionalVAE), images[:6], torch.arange(6) % 3), tmp_path)
    title = "ConditionalVAE on SimpleNamespace: "
    classes = "cat a bird that has a rathe… ox"
    assert " ".join(found[SampleGrid]) == f"{title}6 samples, temperature 1 {classes}"
    together = " ".join(found[ReconstructionGrid])
    assert together == f"{title}6 examples, each to the left of its reconstruction"
    assert sum("nats" in text for text in found[TraversalGrid]) == 4
    with torch.no_grad():
        lines = LatentScatter(num=6)
        lines._data = data
        found[LatentScatter] = texts(lines.draw(tiny(ConditionalVAE), images[:6], torch.arange(6) % 3), tmp_path)
    assert {"cat", "ox", "1 σ", "2 σ", "3 σ"} <= set(found[LatentScatter])
    assert f"{title}posterior means of 6 validation" in " ".join(found[LatentScatter])


def test_titles_of_samples() -> None:
    source = Source("VAE", "Digits", ("zero", 1))
    assert labels.samples(source, 1).title == "VAE on Digits: 1 sample, temperature 1"
    assert labels.samples(source, 8, label=0).title == "VAE on Digits: 8 samples of class zero, temperature 1"
    found = labels.samples(source, 8, 3, temperature=[0.7, 1.0], mean=False)
    assert found.title == "VAE on Digits: 8 samples, drawn from p(x|z), temperatures 0.7, 1"
    assert found.above == ["zero", "1", "2"]


def test_no_rates_of_discrete_latents(images: Tensor) -> None:
    assert TraversalGrid().draw(tiny(CategoricalVAE), images, None) is None


def test_files_of_another_format(tmp_path: Path) -> None:
    logged = []
    logger = type("Mine", (Record,), {"log_image": lambda self, key, images, step: logged.append((key, images[0]))})()
    trainer = quiet_trainer(tmp_path, logger=logger)
    picture = drawing.picture(torch.rand(4, 1, 8, 8), 2, ALL, Look(format="svg"))
    path = save_picture(trainer, "samples", picture, "svg")
    assert path == tmp_path / "images" / "samples_0001.svg"
    ((key, pixels),) = logged
    assert key == "samples"
    assert torch.equal(pixels, picture.pixels()), "loggers get pixels of the same picture"


def test_predictions(tmp_path: Path) -> None:
    writer = PredictionWriter(format="svg", embedding="pca", theme="dark", num_paths=2, num_dims=2, num_steps=3)
    trainer = quiet_trainer(tmp_path, callbacks=[writer])
    trainer.predict(tiny(VAE), tiny_data(), return_predictions=False)
    names = {path.stem: path.read_text() for path in tmp_path.rglob("*.svg")}
    assert set(names) == {"samples", "reconstructions", "traversals", "interpolations", "embedding"}
    assert not list(tmp_path.rglob("*.png"))
    with np.load(next(tmp_path.rglob("interpolations.npz"))) as ends:
        first, second = ends["index"][0]
    assert f">{first} → {second}</text>" in names["interpolations"]
    assert names["traversals"].count(" nats</text>") == 2
    assert all("#131416" in text for text in names.values())


class TestScatter:
    def test_circles_of_the_prior(self) -> None:
        assert circles_of(tiny(VAE)) == Circles((1.0, 2.0, 3.0))
        assert circles_of(tiny(SVAE)) == Circles((1.0,), confining=True)
        assert circles_of(tiny(PoincareVAE)).confining
        for model in (tiny(AE), tiny(LadderVAE), tiny(VAE, prior=partial(MixtureNormal, num_components=3))):
            assert circles_of(model) == Circles()

    def test_they_are_round_and_in_view(self) -> None:
        picture = scatter(0.1 * torch.randn(20, 2), circles=Circles((1.0, 2.0, 3.0)))
        (axes,) = picture.figure.axes
        assert [patch.radius for patch in axes.patches] == [1, 2, 3]
        assert axes.get_aspect() == 1
        assert max(axes.get_xlim()[0], axes.get_ylim()[0]) < -3
        assert min(axes.get_xlim()[1], axes.get_ylim()[1]) > 3

    @pytest.mark.parametrize("num", [8, 15])
    def test_colours_are_safe(self, num: int) -> None:
        z, y = torch.randn(60, 2), torch.arange(60) % num
        (axes,) = scatter(z, y).figure.axes
        looks = [(line.get_color(), line.get_marker()) for line in axes.get_legend().legend_handles]
        assert len(set(looks)) == num
        assert {colour for colour, _ in looks[:8]} == set(COLOURS)
        assert len(axes.collections) == -(-num // 8), "in the order of the data, so that no class hides another"

    def test_black_is_seen_on_black(self) -> None:
        z, y = torch.randn(60, 2), torch.arange(60) % 8
        (axes,) = scatter(z, y, theme=THEMES["dark"]).figure.axes
        assert "#000000" not in [line.get_color() for line in axes.get_legend().legend_handles]


@pytest.mark.parametrize("cls", [SampleGrid, ReconstructionGrid, TraversalGrid, LatentScatter, PredictionWriter])
@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"format": "gif"}, "format must be png, svg or pdf, got 'gif'."),
        ({"theme": "blue"}, "theme must be white, transparent or dark, got 'blue'."),
    ],
)
def test_mistakes(cls: Any, kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        cls(**kwargs)
