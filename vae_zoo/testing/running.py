"""Checks of a model in use: repeatable outputs, checkpoints, resuming, several processes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from vae_zoo import hub
from vae_zoo.data import DataModule, Split
from vae_zoo.data.base.splits import SplitName
from vae_zoo.distributions import has_closed_form
from vae_zoo.elbo import ELBOMixin
from vae_zoo.models.base.autoencoder import Autoencoder
from vae_zoo.testing.subject import LINKED, SHAPE, Found, SkipCheck, Subject, quiet_trainer

# The first backward pass starts threads that no fork can use. Tracing a model adds to them: this pass comes before all.
torch.ones((), requires_grad=True).backward()

RANKS = 2
PROCESSES = 0.1
"""Relative difference of metrics that are means over posterior samples, which each process draws independently."""

APART = 1.8
"""Factor on the weights of a model of few layers, after which images of two kinds differ in their metrics."""


def answers(subject: Subject) -> Found:
    """embed, reconstruct and predict are deterministic, and agree on the reconstruction"""
    model, x = subject.build().eval(), subject.images()
    c = subject.labels(len(x))
    with torch.no_grad():
        pairs = {
            "embed": (model.embed(x, c), model.embed(x, c)),
            "reconstruct": (model.reconstruct(x, c), model.reconstruct(x, c)),
            "predict": (model.predict_step((x, c), 0)["reconstruction"], model.reconstruct(x, c)),
        }
    differ = [name for name, (a, b) in pairs.items() if not torch.allclose(a, b, atol=1e-5)]
    return Found(not differ, f"{len(differ)} differ{': ' * bool(differ)}{', '.join(differ)}", "0")


def checkpoints(subject: Subject) -> Found:
    """three rounds of saving and loading with weights_only=True, without arguments"""
    model, x = subject.build(seed=5).eval(), subject.images()
    c, cls = subject.labels(len(x)), type(model)
    if "<locals>" in cls.__qualname__:
        raise SkipCheck("a class inside a function has no path to be loaded by")
    expected = model.reconstruct(x, c)
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(folder)
        for number in range(3):
            path = Path(folder) / f"{number}.ckpt"
            trainer.strategy.connect(model)
            trainer.save_checkpoint(path)
            named = number == 1 and cls.__module__.startswith("vae_zoo.")  # by the file alone, without its class
            model = (hub.load(path) if named else cls.load_from_checkpoint(path, weights_only=True)).eval()
            if type(model) is not cls or not torch.equal(model.reconstruct(x, c), expected):
                return Found(False, f"another model after round {number + 1}", "the same, bitwise")
    return Found(True, "the same, bitwise", "the same, bitwise")


def steps(subject: Subject) -> Found:
    """one batch is one step: no second optimizer advances the counter"""
    with tempfile.TemporaryDirectory() as folder:
        model, data = subject.build(), subject.data()
        trainer = quiet_trainer(folder, limit_train_batches=3)
        trainer.fit(model, data)
    return Found(trainer.global_step == 3, f"{trainer.global_step} steps for 3 batches", "3")


def resuming(subject: Subject) -> Found:
    """a resumed fit is bitwise identical to the uninterrupted one"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "half.ckpt"
        whole = _fit(subject, folder, 2)[0]
        _, trainer = _fit(subject, folder, 1)
        trainer.save_checkpoint(path)
        resumed, _ = _fit(subject, folder, 2, ckpt_path=path)
    state, other = whole.state_dict(), resumed.state_dict()
    differ = [name for name, value in state.items() if not torch.equal(value, other[name])]
    return Found(not differ, f"{len(differ)} of {len(state)} tensors differ", "0")


def processes(subject: Subject) -> Found:
    """two processes use every example once, and give the validation metrics of one"""
    if not torch.distributed.is_available():
        raise SkipCheck("torch is built without torch.distributed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process cannot use the threads of its parent
    try:
        metrics = [_validated(subject, ranks) for ranks in (1, RANKS)]
    finally:
        torch.set_num_threads(threads)
    one, two = metrics
    if one.keys() != two.keys():
        return Found(False, f"{len(one)} and {len(two)} metrics", "the same ones")
    known = ("elbo", "reconstruction", *["kl"] * _has_closed_divergence(subject))
    means = [name for name in one if name.removeprefix("val/") in known]  # over examples
    gaps = {name: abs(one[name] - two[name]) / max(1.0, abs(one[name])) for name in means or one}
    worst = max(gaps, key=lambda name: gaps[name])
    return Found(gaps[worst] <= PROCESSES, f"{worst} differs by {100 * gaps[worst]:.1g} %", f"{100 * PROCESSES:g} %")


def _has_closed_divergence(subject: Subject) -> bool:
    """Whether the divergence has no noise of its own, which near 0 is a large part of it."""
    model = subject.build()
    if not isinstance(model, ELBOMixin):
        return True
    x = subject.images(2)
    c = subject.labels(2)
    with torch.no_grad():
        return has_closed_form(model.encode(x, c), model.prior(c))


class _Alternating(DataModule):
    """Black and white images in turn, an odd number: each of two processes sees one kind, and not as many."""

    def dataset(self, split: SplitName) -> Split:
        del split
        x = (torch.arange(405) % 2).float().reshape(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()
        return Split(x, torch.arange(405) % LINKED["num_classes"])

    @property
    def num_classes(self) -> int:
        return LINKED["num_classes"]


def _validated(subject: Subject, ranks: int) -> dict[str, float]:
    model = subject.build()
    parameters = list(model.parameters())
    with torch.no_grad():
        for p in parameters:  # until the two kinds of image are far apart, and no further where many layers multiply
            p.mul_(APART ** min(1.0, 20 / len(parameters)))
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(folder, devices=ranks, **({"strategy": "ddp_fork"} if ranks > 1 else {}))
        (values,) = trainer.validate(model, _Alternating(batch_size=8, eval_batch_size=40), verbose=False)
    return dict(values)


def _fit(subject: Subject, folder: str, epochs: int, **kwargs: Any) -> tuple[Autoencoder, Trainer]:
    model = subject.build(seed=3)
    trainer = quiet_trainer(folder, max_epochs=epochs, limit_val_batches=1)
    trainer.fit(model, subject.data(), **kwargs)
    return model, trainer


CHECKS = (answers, checkpoints, steps, resuming, processes)
