"""Compare TVAE with the TVAE of SDV, that is of the package ctgan: the same rows, split and processor time.

    python -m benchmarks.tables                # needs ctgan, in an environment of its own; a quarter of an hour
    python -m benchmarks.tables --seeds 0

Writes results/tables.json: of each table, seed and model the measures of synthetic rows that ``vae-zoo quality`` has,
with as many synthetic rows as training rows and the test split as the unseen rows, and log p(x) of the test split.

ctgan is run with its defaults, and on small tables, where its 300 epochs are 300 steps, also with 1200 steps. TVAE
stops after the processor time of the longer of them and keeps the weights of the highest validation bound, for which
ctgan has no counterpart. Runs alternate. Numbers of both are rounded as in the table.

ctgan has a density too: of a number, a mixture of its modes in the shares that the decoder gives, each a normal
distribution around the decoded place; of a category, the decoded shares. Its training maximises that density, with the
reconstruction counted twice. Its sampler draws from a narrower distribution: it takes the most probable mode and
category. Numbers of a table are rounded, and a density of whole numbers can be made as large as one likes by spikes;
log p(x) is therefore that of the intervals which are rounded to the values, a probability, in nats per row. Encoders of
both have overfitted small tables, so that the posterior of each held-out row is first refined by 500 steps of Adam on
its bound, and then the proposal of 1000 importance samples, for both alike.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, commit, hardware, versions

STEPS, BATCH, SAMPLES, REFINEMENTS = 1200, 500, 1000, 500


class Source(NamedTuple):
    """A table.

    Args:
        frame: Makes the pandas data frame.
        label: Column to predict.
        settings: Arguments of ``Table``.
        test: Fraction of rows for testing.
    """

    frame: Callable[[], Any]
    label: str
    settings: dict[str, Any]
    test: float = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tables", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--keep", type=Path, help="a file of results, whose rows of ctgan are not measured again")
    parser.add_argument("--out", type=Path, default=RESULTS / "tables.json")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = []
    about_run = {"num_samples": SAMPLES, "steps": STEPS, "rows": rows, "commit": commit(), "hardware": hardware()}
    kept = json.loads(args.keep.read_text())["rows"] if args.keep else []
    known = {(row["data"], row["seed"], row["model"]): row for row in kept}
    about_run |= versions("torch", "lightning", "scikit-learn", "ctgan", "rdt")
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in itertools.product(args.seeds, args.tables):
            data, label = opened(name, Path(folder), seed), SOURCES[name].label
            about = {"data": name, "seed": seed}
            batches, seconds = math.ceil(data.num_train / BATCH), 0.0
            for epochs in sorted({300, max(300, math.ceil(STEPS / batches))}):
                model = "ctgan" if epochs == 300 else "ctgan, 1200 steps"
                result = known.get((name, seed, model)) or theirs(seed, data, label, epochs)
                seconds = max(seconds, result["seconds"])
                rows.append({**about, "model": model, **result})
                print(rows[-1], flush=True)
            rows.append({**about, "model": "TVAE", **ours(seed, data, label, seconds, Path(folder))})
            print(rows[-1], flush=True)
            args.out.write_text(json.dumps(about_run, indent=2) + "\n")


def opened(name: str, folder: Path, seed: int) -> Any:
    """The data module of a table, split by the seed."""
    from vae_zoo.data import Table

    source, path = SOURCES[name], folder / f"{name}.csv"
    if not path.exists():
        source.frame().to_csv(path, index=False)
    return Table(path=str(path), test_fraction=source.test, split_seed=seed, batch_size=64, **source.settings)


def breast_cancer() -> Any:
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer(as_frame=True)
    frame = loaded.frame.rename(columns=lambda name: name.replace(" ", "_"))
    frame["diagnosis"] = loaded.target_names[frame.pop("target")]
    return frame


def wine() -> Any:
    from sklearn.datasets import load_wine

    loaded = load_wine(as_frame=True)
    frame = loaded.frame.rename(columns=lambda name: name.replace("/", "_"))
    frame["kind"] = loaded.target_names[frame.pop("target")]
    return frame


def diabetes() -> Any:
    from sklearn.datasets import load_diabetes

    return load_diabetes(as_frame=True, scaled=False).frame


def people() -> Any:
    """The table of the page on tables, with 5000 rows and without gaps, which ctgan does not take."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    city = random.integers(0, 3, 5000)
    age = random.normal(30 + 15 * city, 5).round()
    return pd.DataFrame(
        {
            "city": np.array(["bergen", "oslo", "tromsø"])[city],
            "age": age,
            "income": np.exp(9 + 0.02 * age + 0.2 * random.normal(size=5000)).round(2),
            "member": random.random(5000) < 0.3,
            "visits": random.poisson(age / 20),
            "joined": pd.Timestamp("2020-03-01") + pd.to_timedelta(random.integers(0, 900, 5000), "D"),
        }
    )


SOURCES = {
    "breast cancer": Source(breast_cancer, "diagnosis", {"scaling": "log1p"}),
    "wine": Source(wine, "kind", {}),
    "diabetes": Source(diabetes, "target", {"columns": {"sex": "category"}}),
    "people": Source(people, "city", {"scaling": {"income": "log"}}, 0.2),
}


def ours(seed: int, data: Any, label: str, seconds: float, folder: Path) -> dict[str, Any]:
    """TVAE, stopped after so many seconds of processor time."""
    import torch
    from lightning.pytorch import seed_everything

    from vae_zoo.evaluation.sampling import generate
    from vae_zoo.models import TVAE
    from vae_zoo.testing.subject import quiet_trainer

    seed_everything(seed, verbose=False)
    model: Any = TVAE(shape=data.shape, latent_dim=16, likelihood=data.likelihood, scaling=data.scaling)
    keeper = keep_best(seconds)
    quiet_trainer(folder, max_epochs=-1, callbacks=[keeper], check_val_every_n_epoch=2).fit(model, data)
    took = time.process_time() - keeper.started
    model.load_state_dict(keeper.best)
    model.eval()
    x = data.load("test").x
    with torch.no_grad():
        q = model.encode(x)
    drawn, _ = generate(model, len(data.load("train").x), mean=False, seed=seed)
    return {
        **measured(drawn.cpu().float().numpy(), data, label, seed),
        **density(lambda z: own_log_px(model, z, x, steps(data.columns)), q.mean, q.stddev),
        "seconds": took,
    }


def keep_best(seconds: float) -> Any:
    """A callback that stops a fit after so much processor time, and keeps the weights of the highest bound."""
    from lightning.pytorch import Callback

    class KeepBest(Callback):
        started, highest, best = time.process_time(), -math.inf, dict[str, Any]()

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            bound = float(trainer.callback_metrics.get("val/elbo", -math.inf))
            if bound > self.highest or not self.best:
                self.highest = bound
                self.best = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = time.process_time() - self.started > seconds

    return KeepBest()


def theirs(seed: int, data: Any, label: str, epochs: int) -> dict[str, Any]:
    """TVAE of ctgan."""
    import ctgan.synthesizers.tvae as module
    import numpy as np
    import pandas as pd
    import torch
    from ctgan.data_transformer import DataTransformer

    columns = data.columns
    names = [column["name"] for column in columns]
    discrete = [column["name"] for column in columns if column["type"] in ("category", "boolean")]
    frames = {split: pd.DataFrame(data.load(split).x.numpy().astype(float), columns=names) for split in SPLITS}
    encoders: list[Any] = []

    def recorded(self: Any, *args: Any) -> None:
        made(self, *args)
        encoders.append(self)

    DataTransformer._parallel_transform = DataTransformer._synchronous_transform  # whose time is counted
    made, module.Encoder.__init__ = module.Encoder.__init__, recorded  # a fit does not keep its encoder
    try:
        model = module.TVAE(epochs=epochs, batch_size=BATCH, enable_gpu=False)
        model.set_random_state(seed)
        started = time.process_time()
        model.fit(frames["train"], discrete)
        took = time.process_time() - started
    finally:
        module.Encoder.__init__ = made
    np.random.seed(seed)
    drawn = model.sample(len(frames["train"])).to_numpy(np.float32)
    read = torch.from_numpy(model.transformer.transform(frames["test"]).astype("float32"))
    with torch.no_grad():
        mean, std, _ = encoders[0].eval()(read)
    widths = dict(zip(names, steps(columns), strict=True))
    found = density(lambda z: log_px(model, z, frames["test"], widths), mean, std)
    return {**measured(drawn, data, label, seed), **found, "seconds": took}


SPLITS = ("train", "test")


def density(log_px: Callable[[Any], Any], mean: Any, std: Any) -> dict[str, float]:
    """Bound and importance-weighted estimate of log p(x), nats per row, after a refinement of the posteriors.

    Args:
        log_px: log p(x|z) of all rows, (B,), for one latent each, (B, D).
        mean: Means of the posteriors that the encoder gives, (B, D).
        std: Their standard deviations, (B, D).
    """
    import torch
    from torch.distributions import Normal, kl_divergence

    from vae_zoo.elbo.importance import pareto_shape, tail_size

    torch.manual_seed(0)
    prior, loc, log_std = Normal(0.0, 1.0), mean.clone().requires_grad_(), std.log().requires_grad_()
    optimizer = torch.optim.Adam([loc, log_std], lr=0.01)
    for _ in range(REFINEMENTS):
        q = Normal(loc, log_std.exp())
        loss = (kl_divergence(q, prior).sum(1) - log_px(q.rsample())).sum()
        (loc.grad, log_std.grad) = torch.autograd.grad(loss, [loc, log_std])
        optimizer.step()
    with torch.no_grad():
        q, parts = Normal(loc, log_std.exp()), []
        for _ in range(SAMPLES):
            z = q.sample()
            parts.append(log_px(z) + (prior.log_prob(z) - q.log_prob(z)).sum(1))
        log_w = torch.stack(parts).double()
    return {
        "log_evidence": (log_w.logsumexp(0) - math.log(SAMPLES)).mean().item(),
        "elbo": log_w.mean().item(),
        "pareto_k": pareto_shape(log_w.topk(tail_size(SAMPLES) + 1, 0).values).mean().item(),
    }


def steps(columns: Any) -> list[float]:
    """What the values of each column are rounded to; a day for dates."""
    return [10.0 ** -(column.get("digits") or 0) for column in columns]


def log_px(model: Any, z: Any, frame: Any, widths: dict[str, float]) -> Any:
    """log p(x|z) of each row by ctgan's decoder, by the modes and shares that it gives."""
    import torch

    decoded, sigmas = model.decoder(z)
    start, total = 0, torch.zeros(len(z), dtype=torch.float64)
    for info in model.transformer._column_transform_info_list:
        own, name = decoded[:, start : start + info.output_dimensions].double(), info.column_name
        if info.column_type == "continuous":
            gm = info.transform
            valid = gm.valid_component_indicator
            loc = torch.tensor(gm._bgm_transformer.means_.reshape(-1)[valid])
            size = 4 * torch.tensor(gm._bgm_transformer.covariances_.reshape(-1)[valid]).sqrt()
            x, half = torch.tensor(frame[name].to_numpy(float))[:, None], widths[name] / 2
            modes = interval(x - half, x + half, loc + size * torch.tanh(own[:, :1]), size * sigmas[start].double())
            total = total + (modes + own[:, 1:].log_softmax(1)).logsumexp(1)
        else:
            levels = torch.tensor(info.transform.transform(frame[[name]]).to_numpy(float))
            total = total + (own.log_softmax(1) * levels).sum(1)
        start += info.output_dimensions
    return total


def own_log_px(model: Any, z: Any, x: Any, widths: list[float]) -> Any:
    """log p(x|z) of each row by the decoder of TVAE."""
    import torch

    from vae_zoo.distributions.likelihoods.scaled import unscaled

    values = unscaled(model.decode(z)).base_dist  # type: ignore[attr-defined]
    layout, scaling = values.layout, copy.deepcopy(model.likelihood.scaling).double()  # intervals are narrow
    half = torch.tensor(widths, dtype=torch.float64) / 2
    low, high = (scaling(x.double() + side)[:, layout.number] for side in (-half, half))
    numbers = interval(low, high, values.loc.double(), values.log_scale.exp().double()).sum(1)
    others = torch.cat([layout.boolean, layout.count, layout.category])
    return numbers + values.log_prob(model.likelihood.scaled(x))[:, others].double().sum(1)


def interval(low: Any, high: Any, loc: Any, scale: Any) -> Any:
    """Logarithm of the probability of an interval under a normal distribution, in both tails."""
    import torch
    from torch.special import log_ndtr

    a, b = (low - loc) / scale, (high - loc) / scale
    a, b = torch.where(a + b > 0, -b, a), torch.where(a + b > 0, -a, b)  # left of the middle, where it is exact
    return log_ndtr(b) + torch.log(-torch.expm1((log_ndtr(a) - log_ndtr(b)).clamp(max=-1e-12)))


def measured(drawn: Any, data: Any, label: str, seed: int) -> dict[str, Any]:
    """The quality of rows, rounded as those of the table are."""
    from vae_zoo.data.files.frames import decode, encode
    from vae_zoo.evaluation.quality import quality

    rows = encode(decode(drawn, data.columns).astype(object), data.columns, "drawn rows")
    train, test = (data.load(split).x.numpy() for split in SPLITS)
    found = quality(rows, test, data.columns, train=train, label=label, seed=seed)
    use, near = found.utility, found.privacy
    assert use is not None
    assert near is not None
    return {
        "auroc": found.two_sample.value,
        "auroc_se": found.two_sample.error,
        "marginal_distance": found.marginal_distance,
        "association_difference": found.association_difference,
        "score": use.synthetic,
        "score_real": use.real,
        "distance": near.distance,
        "distance_real": near.distance_real,
        "nearer": near.nearer,
        "copies": near.copies,
    }


if __name__ == "__main__":
    main()
