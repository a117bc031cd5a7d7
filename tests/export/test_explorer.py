"""The page of ``vae-zoo explore``: its own script, run by node, decodes as torch does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import build, saved, tiny
from short import few
from torch import Tensor, nn

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.data import Digits
from vae_zoo.distributions import DiscretizedLogistic, FixedNormal, MixtureNormal, OptimalNormal
from vae_zoo.export.page import MOST_BYTES, explorer, refusal
from vae_zoo.models import AE, SVAE, VAE, VQVAE, ConditionalVAE, ConvVAE, LadderVAE, PoincareVAE
from vae_zoo.nn import ConvDecoder, Dense, GatedDense

SCRIPT = Path(vae_zoo.__file__).parent / "export" / "explorer.js"
BROWSER = Path(__file__).with_name("browser.js")
NODE = shutil.which("node")


class OwnDense(Dense):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sin())


def pixels(x: Tensor) -> np.ndarray:
    """What a canvas holds of images (N, C, H, W)."""
    rgb = x.expand(-1, 3, -1, -1).clamp(0, 1).mul(255).add(0.5).floor()
    return torch.cat([rgb, torch.full_like(rgb[:, :1], 255)], 1).movedim(1, -1).flatten(1).numpy()


def seen(folder: Path, text: str, latents: Tensor) -> dict[str, Any]:
    """What the page shows at first and after some clicks, and what it decodes latents to."""
    if NODE is None:
        pytest.skip("node, which runs the script of the page, is not installed")
    (folder / "page.html").write_text(text, encoding="utf-8")
    (folder / "latents.json").write_text(json.dumps(latents.tolist()))
    args = [NODE, str(BROWSER), str(folder / "page.html"), str(SCRIPT), str(folder / "latents.json")]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def conv(**kwargs: Any) -> Any:
    return partial(ConvDecoder, **{"channels": (8, 16), "hidden": 32, **kwargs})


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    few(
        [
            (VAE, {"decoder": partial(Dense, hidden=[32, 16])}),
            (VAE, {"decoder": partial(Dense, hidden=[32], activation=nn.GELU), "likelihood": OptimalNormal}),
            (VAE, {"decoder": partial(Dense, hidden=[]), "prior": MixtureNormal, "likelihood": FixedNormal}),
            (AE, {"decoder": partial(Dense, hidden=[16], activation=nn.ELU)}),
            (VAE, {"decoder": partial(GatedDense, hidden=[16, 12])}),
            (ConvVAE, {"decoder": conv()}),
            (ConvVAE, {"decoder": conv(activation=nn.SiLU), "shape": (3, 13, 10), "likelihood": FixedNormal}),
            (ConvVAE, {"decoder": conv(activation=partial(nn.LeakyReLU, negative_slope=0.2)), "shape": (1, 28, 28)}),
        ],
        1,
    ),
)
def test_pixels_are_those_of_torch(cls: Any, kwargs: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(cls, **kwargs).eval()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(2)  # latents far enough from each other that a slider between them shows
    x = torch.rand(20, *model.shape)
    text = explorer(model, x, torch.arange(20) % 4)
    z = torch.cat([torch.randn(5, 4), 3 * torch.randn(3, 4)])
    found = seen(tmp_path, text, z)
    with torch.no_grad():
        expected = model.decode(z).mean
        stored = model.embed(x)
        first = pixels(model.decode(stored[:1]).mean)[0]
    assert np.abs(np.array(found["decoded"]) - expected.flatten(1).numpy()).max() < 1e-3
    with torch.no_grad():
        codes = model.embed(expected).numpy()
    assert np.abs(np.array(found["encoded"]) - codes).max() < 1e-2
    assert np.abs(np.array(found["before"]) - first).max() <= 1
    assert np.abs(np.array(found["moved"]) - first).max() > 1, "a slider that is moved changes the picture"
    with torch.no_grad():
        middle = pixels(model.decode(stored.mean(0, keepdim=True)).mean)[0]
        last = pixels(model.decode(stored[1:2]).mean)[0]
    assert np.abs(np.array(found["centre"]) - middle).max() <= 1
    assert np.abs(np.array(found["end"]) - last).max() <= 1, "the path leads to the first example of another class"
    assert (found["sliders"], found["path"], found["near"], found["options"], found["legend"]) == (4, 11, 6, 20, 4)
    assert found["points"] >= 21
    assert found["sampling"] == (cls is not AE and "prior" not in kwargs)
    if found["sampling"]:
        with torch.no_grad():
            mode = pixels(model.decode(torch.zeros(1, 4)).mean)[0]
        assert len(found["samples"]) == 16
        assert all(np.abs(np.array(sample) - mode).max() <= 1 for sample in found["samples"]), "at a temperature of 0"


def test_weights_that_half_precision_would_change_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tiny(VAE).eval()
    with torch.no_grad():
        model.decoder.layers[-1].weight.mul_(100)
    text = explorer(model, torch.rand(5, 1, 8, 8))
    assert '"kind":"float32"' in text
    assert '"kind":"float16"' in explorer(tiny(VAE), torch.rand(5, 1, 8, 8))
    z = torch.randn(4, 4)
    with torch.no_grad():
        expected = model.decode(z).mean.flatten(1).numpy()
    assert np.abs(np.array(seen(tmp_path, text, z)["decoded"]) - expected).max() < 1e-3


def test_a_page_without_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(5, 1, 8, 8)
    assert seen(tmp_path, explorer(tiny(VAE, encoder=OwnDense), x), torch.zeros(1, 4))["encoded"] is None
    model = tiny(VAE)
    whole = explorer(model, x)
    assert '"encoder":{' in whole
    monkeypatch.setattr("vae_zoo.export.page.MOST_BYTES", len(whole.encode()) - 1)
    assert '"encoder":null' in explorer(model, x), "it is left out of a page that would be too large"


def test_the_page_is_whole_and_safe() -> None:
    text = explorer(tiny(VAE), torch.rand(5, 1, 8, 8), title="</script><b>&", about="<i>")
    assert "<b>&" not in text
    assert text.count("</script>") == 2
    assert not re.search(r"@[A-Z]+@", text)
    assert not re.search(r"""(src|href)=|url\(|@import|fetch\(|https?://""", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_the_most_informative_latent_comes_first() -> None:
    torch.manual_seed(0)
    model, x = tiny(VAE).eval(), torch.rand(30, 1, 8, 8)
    with torch.no_grad():
        model.encoder.layers[-1].bias[2] += 3  # a mean far from the prior's
        rates = model.elbo(x).rates.mean(0)
    page = json.loads(re.search(r'id="page">(.*?)</script>', explorer(model, x), re.DOTALL)[1])  # type: ignore[index]
    assert page["order"] == rates.argsort(descending=True).tolist()
    assert page["order"][0] == 2
    assert np.allclose(page["rates"], rates, atol=1e-5)


@pytest.mark.parametrize(
    ("cls", "kwargs", "said"),
    [
        (VAE, {"shape": (5,)}, "VAE is of examples of shape (5,)"),
        (VAE, {"decoder": OwnDense}, "VAE has a OwnDense here"),
        (VAE, {"decoder": partial(Dense, activation=nn.Softsign)}, "VAE has a Dense here"),
        (VAE, {"likelihood": DiscretizedLogistic}, "the mean of DiscretizedLogistic is not its first output"),
        (ConditionalVAE, {}, "the decoder of ConditionalVAE needs labels"),
        (VQVAE, {}, "VQVAE has latents between which there is no path"),
        (SVAE, {}, "SVAE has latents on a curved or bounded space"),
        (PoincareVAE, {}, "PoincareVAE has latents on a curved or bounded space"),
        (LadderVAE, {}, "or LadderVAE decodes with more than its decoder"),
    ],
)
def test_models_without_a_page_say_why(cls: Any, kwargs: Any, said: str) -> None:
    model = tiny(cls, **kwargs).eval()
    assert said in refusal(model)
    with pytest.raises(ValueError, match=re.escape(said)):
        explorer(model, torch.rand(3, *model.shape))


def test_a_page_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_BYTES == 15 * 2**20
    monkeypatch.setattr("vae_zoo.export.page.MOST_BYTES", 2**12)
    with pytest.raises(ValueError, match=r"the page would be of 0\.0 MiB, and at most"):
        explorer(tiny(VAE), torch.rand(3, 1, 8, 8))


def test_the_verb(tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(saved(tmp_path, tiny(VAE), Digits(binarization="threshold")))
    capfd.readouterr()
    main(["explore", "--ckpt_path", path, "--num", "30"])
    assert capfd.readouterr().out == "explore.html\n"
    text = Path("explore.html").read_text(encoding="utf-8")
    assert "<title>VAE of Digits</title>" in text
    assert "4 latents, Bernoulli; 30 examples stored" in text
    assert seen(tmp_path, text, torch.zeros(1, 4))["options"] == 30


def test_weights_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["explore", "--pretrained", "vae_digits", "--num", "12"])
    text = Path("explore.html").read_text(encoding="utf-8")
    model = vae_zoo.from_pretrained("vae_digits")
    z = torch.randn(4, *model.latent_shape)
    with torch.no_grad():
        expected = model.decode(z).mean.flatten(1).numpy()
    assert np.abs(np.array(seen(tmp_path, text, z)["decoded"]) - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--num 1", "--num must be at least 2, got 1"),
        ("--html x.png", "--html must end in .html, got x.png"),
        ("--html no/x.html", "there is no folder no to write x.html to"),
        ("--split all", "argument --split: invalid choice"),
        ("", "the decoder of ConditionalVAE needs labels"),
    ],
)
def test_mistakes_are_one_line(
    options: str, said: str, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(saved(tmp_path, tiny(ConditionalVAE), Digits()))
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["explore", "--ckpt_path", path, *options.split()])
    err = capfd.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1)
    assert said in err
    assert not list(tmp_path.glob("*.html"))
