"""The page of ``vae-zoo explore`` in a real browser: pixels, controls, widths and the dark form."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import browsing, missing
from helpers import build
from PIL import Image
from torch import Tensor

from vae_zoo.export.page import explorer
from vae_zoo.models import ConvVAE
from vae_zoo.nn import ConvDecoder

SHAPE = (3, 13, 10)
PIXELS = """(id) => {
    const canvas = document.getElementById(id);
    return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if why := missing():
        pytest.skip(why)
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any, Tensor]]:
    """The page, its model and the latents of its examples; the page asks for nothing and reports no error."""
    torch.manual_seed(0)
    model = build(ConvVAE, decoder=partial(ConvDecoder, channels=(8, 16), hidden=32), shape=SHAPE).eval()
    x = torch.rand(20, *SHAPE)
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(explorer(model, x, torch.arange(20) % 4), encoding="utf-8")
    shown = browser.new_page(viewport={"width": 1280, "height": 900})
    noticed: set[str] = set()
    shown.on("request", lambda request: noticed.add(request.url))
    shown.on("console", lambda message: message.type == "error" and noticed.add(message.text))
    shown.on("pageerror", lambda error: noticed.add(str(error)))
    shown.goto(path.as_uri())
    with torch.no_grad():
        latents = model.embed(x)
    yield shown, model, latents
    assert noticed == {path.as_uri()}


def drawn(page: Any, canvas: str = "current") -> np.ndarray:
    """The picture of a canvas, (C, H, W) in [0, 1]; by default that of the sliders."""
    rgba = np.array(page.evaluate(PIXELS, canvas), dtype=np.float64).reshape(*SHAPE[1:], 4)
    return rgba[..., :3].transpose(2, 0, 1) / 255


@torch.no_grad()
def expected(model: Any, z: Tensor) -> np.ndarray:
    return model.decode(z[None]).mean[0].double().numpy()


def test_pixels_are_those_of_torch(page: Any) -> None:
    shown, model, latents = page
    decoded = shown.evaluate(
        "(z) => Array.from(decoder(JSON.parse(document.getElementById('page').textContent))(z))", latents[3].tolist()
    )
    assert np.abs(np.array(decoded).reshape(SHAPE) - expected(model, latents[3])).max() < 1e-3
    shown.reload()
    assert np.abs(drawn(shown) - expected(model, latents[0])).max() < 0.5 / 255 + 1e-3


def test_a_slider_changes_the_picture(page: Any) -> None:
    shown, model, latents = page
    shown.reload()
    before, slider = drawn(shown), shown.locator("#sliders input").first
    slider.focus()
    for _ in range(40):
        shown.keyboard.press("ArrowRight")
    value = float(slider.input_value())
    dim = int(shown.locator("#sliders span").first.inner_text().partition(",")[0].removeprefix("z"))
    assert value != pytest.approx(float(latents[0, dim]), abs=1e-3)
    after = drawn(shown)
    assert np.abs(after - before).max() > 1 / 255
    z = latents[0].clone()
    z[dim] = value
    assert np.abs(after - expected(model, z)).max() < 0.5 / 255 + 1e-3


def test_a_click_on_the_map_and_on_a_sample(page: Any) -> None:
    shown, model, latents = page
    shown.reload()
    shown.locator("#map").click(position={"x": 40, "y": 40})
    now = drawn(shown)
    gaps = [np.abs(now - expected(model, z)).max() for z in latents]
    assert min(gaps) < 0.5 / 255 + 1e-3
    shown.locator("#samples canvas").nth(2).click()
    assert np.abs(drawn(shown) - now).max() > 1 / 255


def test_an_own_picture(page: Any, tmp_path: Path) -> None:
    shown, model, _ = page
    shown.reload()
    shown.locator("#own").scroll_into_view_if_needed()
    box = shown.locator("#own").bounding_box()
    shown.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    shown.mouse.down()
    shown.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    shown.mouse.up()
    picture = torch.tensor(drawn(shown, "own"), dtype=torch.float32)
    assert 0.05 < float(picture.mean()) < 0.6
    with torch.no_grad():
        z = model.embed(picture[None])[0]
    for canvas in ("again", "current"):
        assert np.abs(drawn(shown, canvas) - expected(model, z)).max() < 0.5 / 255 + 5e-3
    shown.locator("#clear").click()
    assert drawn(shown, "own").max() == 0

    Image.new("RGB", (26, 20), (255, 128, 0)).save(tmp_path / "wide.png")
    shown.locator("#file").set_input_files(tmp_path / "wide.png")
    picture = drawn(shown, "own")
    while not picture.any():  # it is read in the background
        picture = drawn(shown, "own")
    assert np.allclose(picture[:, 6, 5] * 255, (255, 128, 0), atol=2)
    assert picture[:, 0].max() == 0, "a picture of another shape is fitted in, on black"
    (tmp_path / "no.png").write_text("no picture")
    shown.locator("#file").set_input_files(tmp_path / "no.png")
    trouble = shown.get_by_text("no.png is no picture that this browser reads")
    trouble.wait_for()
    assert np.array_equal(drawn(shown, "own"), picture)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(page: Any, width: int) -> None:
    shown, _, _ = page
    shown.set_viewport_size({"width": width, "height": 844})
    shown.reload()
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    boxes = shown.evaluate("Array.from(document.querySelectorAll('section'), (s) => s.getBoundingClientRect().right)")
    assert max(boxes) <= width
    assert (
        shown.evaluate("getComputedStyle(document.querySelector('main')).gridTemplateColumns").count("px") == 1
    ) == (width < 704)


def test_the_dark_form(page: Any, tmp_path: Path) -> None:
    shown, _, _ = page
    back = "getComputedStyle(document.body).backgroundColor"
    found = []
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        shown.screenshot(path=tmp_path / f"{scheme}.png")
        found.append(shown.evaluate(back))
    assert found == ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]
