"""The benchmarks of speed: contenders do the same work, ratios are taken within a round, and the page shows them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import contenders, gpu, report, throughput
from benchmarks.lightning_contenders import model
from benchmarks.work import WORKS, Clock, Work


@pytest.mark.parametrize("work", WORKS.values(), ids=["mlp", "large batch", "conv"])
def test_the_bound_by_hand_is_ours(work: Work) -> None:
    torch.manual_seed(0)
    by_hand, ours = contenders.ByHand(work), model(work)
    theirs = [p for net in (by_hand.encoder, by_hand.decoder) for p in net.parameters()]
    mine = [p for net in (ours.encoder, ours.decoder) for p in net.parameters()]
    with torch.no_grad():
        for a, b in zip(mine, theirs, strict=True):
            a.copy_(b)
        for p in list(by_hand.encoder.parameters())[-2:]:
            p[work.latent_dim :] *= 2  # log σ² by hand, log σ here
    x = torch.rand(6, *work.shape)
    torch.manual_seed(1)
    reconstruction, divergence = by_hand.terms(x)
    torch.manual_seed(1)
    found = ours.losses(x)
    torch.testing.assert_close(-found["reconstruction"], reconstruction, rtol=1e-4, atol=0)
    torch.testing.assert_close(found["kl"], divergence, rtol=1e-4, atol=1e-5)


def test_networks_have_the_same_layers() -> None:
    for work in WORKS.values():
        kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.ReLU)
        ours = model(work)
        for a, b in ((work.encoder(), ours.encoder), (work.decoder(), ours.decoder)):
            assert [str(m) for m in a.modules() if isinstance(m, kinds)] == [
                str(m) for m in b.modules() if isinstance(m, kinds)
            ]


def test_ratios_are_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gets slower for everybody changes no ratio."""
    load = iter([1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 2.0, 2.0])  # first a warming run of each, then three rounds of both

    def contender(seconds: float) -> contenders.Run:
        def run(steps: int) -> Clock:
            slow = next(load)
            return Clock(cpu=seconds * slow * steps, wall=2 * seconds * slow * steps)

        return run

    work = next(iter(WORKS.values()))
    entries = {
        "hand": lambda *_: contender(3.0),
        "fast": lambda *_: contender(1.5),
        "pythae": lambda *_: pytest.fail("it is not there"),
    }
    monkeypatch.setattr(throughput, "installed", lambda name: name != "pythae")
    rows = throughput.interleaved(work, torch.device("cpu"), entries, rounds=3, steps=10)
    assert rows["fast"]["ratio"] == [2.0, 2.0, 2.0]
    assert rows["fast"]["cpu_ms"] == [3000.0, 1500.0, 7500.0]
    assert rows["pythae"] == {"missing": "not installed"}


def test_report(tmp_path: Path) -> None:
    path, picture = tmp_path / "throughput.json", tmp_path / "plot.png"
    assert "Not measured" in report.throughput(path)
    row = {"ratio": [1.25, 1.2, 1.3], "cpu_ms": [4.0, 3.0, 5.0], "wall_ms": [4.0, 3.0, 5.0]}
    rows = {"hand-written": row, "vae_zoo": row, "pythae": {"missing": "not installed"}}
    result = {"hardware": "a processor", "versions": {"torch": "2"}, "commit": "abc", "rounds": 3}
    result |= {"fit": {"one": rows, "two": rows}, "evaluation": {"vae_zoo": row}, "peak_mib": {"vae_zoo": 900}}
    path.write_text(json.dumps(result))
    text = report.throughput(path)
    assert "| vae_zoo | 1.25 (1.20 to 1.30) | 1.25 (1.20 to 1.30) |" in text
    assert "| pythae | not installed | not installed |" in text
    assert "3 interleaved rounds; a processor; torch 2; commit abc" in text
    report.plot(path, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_run_on_a_gpu_keeps_what_it_has_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    command = ["gpu", "--device", "cpu", "--minutes", "0", "--test-minutes", "0", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(gpu.time, "perf_counter", iter(range(100)).__next__)
    gpu.main()
    result = json.loads(out.read_text())
    assert result["device"] == "none: tried on the CPU"
    assert all("not begun" in result[name]["error"] for name in ("peak", "evidence", "memory", "tests"))
    if not torch.cuda.is_available():
        monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "none.json")])
        with pytest.raises(SystemExit, match="there is no CUDA device"):
            gpu.main()
        assert not (tmp_path / "none.json").exists()


def test_a_section_that_fails_on_a_gpu_is_kept_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for code, out, err, found in (
        (0, 'a table\n{"seconds": 1}', "a warning", {"seconds": 1}),
        (
            1,
            "a table",
            "Traceback\n  a line\ntorch.AcceleratorError: no memory\nmore of it",
            {"error": "torch.AcceleratorError: no memory"},
        ),
        (-9, "", "", {"error": "exit code -9"}),
    ):
        done = gpu.subprocess.CompletedProcess([], code, out, err)
        monkeypatch.setattr(gpu.subprocess, "run", lambda *args, done=done, **kwargs: done)
        assert gpu.alone("peak", "cpu", 1, 0) == found
