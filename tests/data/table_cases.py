"""A table of people, and a model of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers import small

from vae_zoo.data import Table
from vae_zoo.models import VAE
from vae_zoo.testing.subject import quiet_trainer

CITIES = ["bergen", "oslo", "tromsø"]


def people(folder: Path, num: int = 300, name: str = "people.csv", gaps: float = 0.08, seed: int = 0) -> str:
    """A table whose age depends on the city, income on age, and smoking on age."""
    random = np.random.default_rng(seed)
    city = random.integers(0, 3, num)
    age = random.normal(30 + 20 * city, 4).round().astype(int)
    income = np.exp(9 + 0.02 * age + 0.1 * random.normal(size=num))
    smokes = np.where(random.random(num) < 1 / (1 + np.exp((age - 50) / 4)), "yes", "no")
    visits = random.poisson(age / 20)
    joined = np.datetime64("2020-03-01") + random.integers(0, 900, num)
    lines = ["id,city,age,income,smokes,visits,joined"]
    for n in range(num):
        cells = [CITIES[city[n]], age[n], f"{income[n]:.2f}", smokes[n], visits[n], joined[n]]
        lines.append(",".join([f"p{n}", *("" if random.random() < gaps else str(cell) for cell in cells)]))
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def table(folder: Path, **kwargs: Any) -> Table:
    settings = {"id_column": "id", "columns": {"visits": "count"}, "scaling": {"income": "log"}, "batch_size": 64}
    return Table(path=people(folder), **{**settings, **kwargs})


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def fitted(folder: Path, epochs: int = 60) -> tuple[Any, Table]:
    data = table(folder)
    torch.manual_seed(0)
    model = VAE(
        shape=data.shape,
        latent_dim=2,
        likelihood=data.likelihood,
        missing=True,
        scaling=data.scaling,
        encoder=small,
        decoder=small,
    )
    model.lr = 1e-2
    quiet_trainer(folder, max_epochs=epochs).fit(model, data)
    return model.eval(), data
