"""Published artifacts: a wheel and a source distribution that work without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

import vae_zoo

ROOT = Path(__file__).parents[1]


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command without what this process knows of the checkout."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VAE_ZOO_TRACEBACK", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution of the checkout, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "source", filter="data")
    (tree,) = (folder / "source").iterdir()
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=tree)
    return folder


@pytest.mark.slow
def test_what_is_in_them(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"vae_zoo-{vae_zoo.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    package = Path(vae_zoo.__file__).parent
    ours = {f"vae_zoo/{p.relative_to(package).as_posix()}" for p in package.rglob("*.py")}
    configs = {
        f"vae_zoo/configs/{p.relative_to(ROOT / 'configs').as_posix()}" for p in (ROOT / "configs").rglob("*.yaml")
    }
    weights = {
        f"vae_zoo/weights/{p.parent.name}/{p.name}"
        for kind in ("json", "safetensors")
        for p in package.glob(f"weights/*/*.{kind}")
    }
    assert len(weights) >= 24
    assert ours | configs | weights | {"vae_zoo/py.typed"} <= names
    others = {name for name in names if not name.startswith("vae_zoo/")}
    assert all(name.startswith(f"vae_zoo-{vae_zoo.__version__}.dist-info/") for name in others)
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "docs/changelog.md", "tests/conftest.py"} <= inside
    assert not any(re.search(r"__pycache__|\.ckpt$|^results", name) for name in inside | names if "/older/" not in name)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_installed_and_run(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    home, bin_ = tmp_path / "env", "Scripts" if os.name == "nt" else "bin"
    call(sys.executable, "-m", "venv", "--without-pip", home, cwd=tmp_path)
    python = home / bin_ / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    (site,) = home.rglob("site-packages")
    # The libraries of this environment, without what an editable installation puts on the path.
    (site / "libraries.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")
    where = call(python, "-c", "import vae_zoo; print(vae_zoo.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(home)
    command = home / bin_ / "vae-zoo"
    assert call(command, "--version", cwd=tmp_path) == f"vae-zoo {vae_zoo.__version__}\n"
    assert "BetaVAE" in call(command, "list", cwd=tmp_path)
    assert "class_path: MLPVAE" in call(command, "show", "vae_digits", cwd=tmp_path)
    call(command, "fit", "--config", "vae_digits", "--trainer.fast_dev_run", "true", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["env"]
    assert call(command, "sample", "--pretrained", "vae_mnist", "--out", "s.png", cwd=tmp_path) == "s.png\n"


def test_the_version_is_one_and_the_changelog_knows_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'^version = "(.+)"', text, re.MULTILINE) == [vae_zoo.__version__]
    headings = re.findall(r"^## (\S+)", (ROOT / "docs" / "changelog.md").read_text(), re.MULTILINE)
    assert headings[0] == vae_zoo.__version__
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", heading) for heading in headings)
    assert (ROOT / "vae_zoo" / "py.typed").is_file()


def test_every_extra_is_in_the_documentation() -> None:
    table = (ROOT / "pyproject.toml").read_text().partition("optional-dependencies]\n")[2].partition("\n[")[0]
    extras = re.findall(r"^(\w+) = \[", table, re.MULTILINE)
    said = (ROOT / "docs" / "releases.md").read_text()
    assert extras
    assert [name for name in extras if f"`{name}`" not in said] == []


def test_releases_that_are_known_to_fail_are_out_of_bounds() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '"lightning>=2.6.6,' in text, "2.6.2 and 2.6.3 were withdrawn, and those before 2.6.6 execute code on load"
    assert re.search(r'"jsonargparse\[signatures\]>=[\d.]+,<(5|4\.\d+)"', text), "5 drops what LightningCLI calls"


def test_the_oldest_releases(tmp_path: Path) -> None:
    lines = call(sys.executable, ROOT / ".ci" / "lowest.py", cwd=tmp_path).split()
    bounds = dict(line.split("==") for line in lines)
    assert {"torch", "lightning", "numpy", "wandb", "zuko", "onnx", "pytest"} <= bounds.keys()
    for name, version in bounds.items():
        assert re.search(rf'"{name}(\[\w+\])?>={re.escape(version)}[",]', (ROOT / "pyproject.toml").read_text())
