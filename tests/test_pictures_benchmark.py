"""The comparison on pictures of 64 x 64: what was measured is what the documentation says."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.common import RESULTS
from benchmarks.pictures import table

PAGE = Path(__file__).parents[1] / "docs" / "tokenizers.md"


def test_the_page_has_what_was_measured() -> None:
    found = json.loads((RESULTS / "pictures.json").read_text())
    assert table(found) in PAGE.read_text(encoding="utf-8")


def test_reconstructions_are_those_of_a_tokenizer_that_trains() -> None:
    found = json.loads((RESULTS / "pictures.json").read_text())["models"]
    ours, plain = found["AutoencoderKL"], found["ConvVAE"]
    assert ours["psnr"] > max(26, 1.3 * plain["psnr"])
    assert ours["reconstructions"]["kid"] < 0.7 * plain["reconstructions"]["kid"]
    assert ours["curve"][-1]["train/adversarial_weight"] > 0
    assert ours["curve"][-1]["train/perceptual"] > 0
    assert -1 < ours["fake_logits"] < ours["real_logits"] < 1
    assert abs(ours["seconds"] - plain["seconds"]) < 5
