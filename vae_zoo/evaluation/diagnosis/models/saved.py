"""Diagnoses of the content of a checkpoint, before a model is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import vae_zoo
from vae_zoo.evaluation.diagnosis.finding import Finding, judge

Content = Mapping[str, Any]
"""Content of a checkpoint, as plain data and tensors: see :func:`vae_zoo.checkpoints.load.read`."""


def weights_not_finite(content: Content) -> Finding | None:
    """Weights are NaN, or parameters infinite: the model cannot be made, and nothing else is examined.

    The remedy is an earlier checkpoint, and a smaller learning rate or clipped gradients for the next fit.
    """
    weights = {name: x for name, x in content.get("state_dict", {}).items() if isinstance(x, Tensor)}
    bad = [name for name, x in weights.items() if x.is_floating_point() and not bool(torch.isfinite(x).all())]
    bad = [name for name in bad if bool(weights[name].isnan().any()) or _is_parameter(name)]
    return judge(
        "weights_not_finite",
        "fault" if bad else "fine",
        f"{len(bad)} of {len(weights)} tensors of weights are not finite" + (f", the first {bad[0]}" if bad else ""),
        "all are finite",
        "take an earlier checkpoint; fit again with --trainer.gradient_clip_val 1 and a smaller --model.optimizer.lr",
    )


def _is_parameter(name: str) -> bool:
    """Whether an infinity counts: buffers, such as bounds, may hold one."""
    return name.endswith(("weight", "bias", "scale"))


def saved_by_another_version(content: Content) -> Finding | None:
    """The checkpoint was saved by another version of vae_zoo.

    Models are made from the arguments that it names, so that it may load; defaults may have changed since then.
    """
    own, saved = vae_zoo.__version__, str((content.get("vae_zoo") or {}).get("version", ""))
    same = saved.split(".")[:2] == own.split(".")[:2]
    return judge(
        "saved_by_another_version",
        "fine" if same else "warning",
        f"saved by vae_zoo {saved or 'of an unknown version'}, this is {own}",
        "the same version, up to its last number",
        f"install vae_zoo {saved} to repeat its results, or fit again" if saved else "fit again to be able to tell",
    )


def cannot_be_resumed(content: Content) -> Finding | None:
    """The checkpoint lacks the state of its optimizer or of the loops, or that state does not fit the weights.

    Such a checkpoint can be evaluated, but a fit from it starts with an optimizer that has forgotten everything. Not
    examined in folders of ``save_pretrained``, which hold no such state.
    """
    if "optimizer_states" not in content and "loops" not in content and "epoch" not in content:
        return None
    lost = [name for name in ("optimizer_states", "loops") if not content.get(name)]
    unfit = "" if lost else _misfit(content)
    return judge(
        "cannot_be_resumed",
        "fault" if unfit else "warning" if lost else "fine",
        unfit or (f"there is no state of {' and '.join(lost)}" if lost else "optimizer and loops have their state"),
        "all of it is there and fits the weights",
        "resume from the last.ckpt of a fit instead, or start from these weights alone (--start.path)",
    )


def _misfit(content: Content) -> str:
    """What does not fit of the optimizer's state: moments of other shapes than any weight."""
    shapes = {tuple(x.shape) for x in content["state_dict"].values() if isinstance(x, Tensor)}
    for state in content["optimizer_states"]:
        groups = state.get("param_groups", [])
        listed = {index for group in groups for index in group.get("params", [])}
        if not set(state.get("state", {})) <= listed:
            return "the optimizer has state of parameters that are in none of its groups"
        for moments in state.get("state", {}).values():
            for name, x in moments.items() if isinstance(moments, dict) else ():
                if isinstance(x, Tensor) and x.ndim and tuple(x.shape) not in shapes:
                    return f"the optimizer has a {name} of shape {tuple(x.shape)}, which no weight has"
    return ""


def warm_up_unfinished(content: Content) -> Finding | None:
    """The fit ended while a callback was still raising the weight of the divergence to 1.

    Such a model maximises something else than the bound. Callbacks of annealing save whether a validation came after
    the end of their schedule.
    """
    states = content.get("callbacks") or {}
    found = {name: state for name, state in states.items() if isinstance(state, dict) and set(state) == {"settled"}}
    if not found:
        return None
    name = next(iter(found)).partition("{")[0].rpartition(".")[2]
    late = not all(state["settled"] for state in found.values())
    return judge(
        "warm_up_unfinished",
        "warning" if late else "fine",
        f"no validation came after the end of {name}" if late else f"{name} had ended",
        "the schedule ends within the fit",
        "fit on (--ckpt_path of last.ckpt with a larger --trainer.max_epochs), or shorten the schedule (num_epochs)",
    )
