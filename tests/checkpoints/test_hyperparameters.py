from __future__ import annotations

import enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SHAPE, same_weights, saved
from short import few
from torch import nn

from vae_zoo.checkpoints.hyperparameters import Recorded, import_path, plain
from vae_zoo.data import Digits, Sprites
from vae_zoo.distributions import FixedNormal
from vae_zoo.functional import kl_normal
from vae_zoo.models import VAE, BetaVAE, ConvVAE
from vae_zoo.nn import Dense


class Colour(enum.Enum):
    RED = 1


class Word(str):
    """A string that torch.load would refuse."""

    __slots__ = ()


class Nested:
    class Inner: ...

    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (True, True),
        (None, None),
        (1.5, 1.5),
        ("a", "a"),
        ((1, 2), [1, 2]),
        ([1, (2.0, "b")], [1, [2.0, "b"]]),
        (range(2), [0, 1]),
        (torch.Size([1, 8, 8]), [1, 8, 8]),
        ({"a": (1,)}, {"a": [1]}),
        ({1: Path("a") / "b"}, {"1": "a/b"}),
        (Colour.RED, "RED"),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(2), 2),
        (Word("a"), "a"),
        (torch.tensor(0.5), 0.5),
        (torch.tensor(3), 3),
        (nn.ReLU, {"class_path": "torch.nn.ReLU"}),
        (torch.optim.Adam, {"class_path": "torch.optim.Adam"}),
        (Dense, {"class_path": "vae_zoo.nn.Dense"}),
        (partial(Dense), {"class_path": "vae_zoo.nn.Dense", "init_args": {}}),
        (
            partial(Dense, hidden=(4, np.int64(5)), activation=nn.Tanh),
            {
                "class_path": "vae_zoo.nn.Dense",
                "init_args": {"hidden": [4, 5], "activation": {"class_path": "torch.nn.Tanh"}},
            },
        ),
        (
            partial(partial(FixedNormal, scale=0.2), scale=0.3),
            {"class_path": "vae_zoo.distributions.FixedNormal", "init_args": {"scale": 0.3}},
        ),
        (kl_normal, "vae_zoo.functional.kl_normal"),
    ],
)
def test_plain(value: Any, expected: Any) -> None:
    result = plain(value)
    assert result == expected
    assert type(result) is type(expected)


def test_plain_is_read_by_a_safe_load(tmp_path: Path) -> None:
    value = plain(
        {"a": np.float64(1), "b": np.str_("x"), "c": Word("y"), "d": Colour.RED, "e": partial(Dense, hidden=())}
    )
    torch.save(value, tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt", weights_only=True) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (nn.Linear(1, 1), "Linear"),
        (lambda x: x, "function"),
        (torch.zeros(2), "a tensor"),
        (np.zeros(2), "ndarray"),
        ({1, 2}, "set"),
        (object(), "object"),
        (partial(kl_normal, torch.zeros(1)), "partial"),
        (partial(Dense, (1, 8, 8)), "partial"),
        (Nested().method, "method"),
        ([nn.ReLU()], "ReLU"),
        ({"a": {"b": nn.ReLU()}}, "ReLU"),
        (partial(Dense, activation=nn.ReLU()), "ReLU"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_not_plain(value: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"must be plain data, a class or a partial of one, got {kind}"):
        plain(value)


def test_import_path() -> None:
    assert import_path(Dense) == "vae_zoo.nn.Dense"
    assert import_path(VAE) == "vae_zoo.models.VAE"
    assert import_path(FixedNormal) == "vae_zoo.distributions.FixedNormal"
    assert import_path(nn.Tanh) == "torch.nn.Tanh"
    assert import_path(Colour) == f"{__name__}.Colour"
    assert import_path(Nested.Inner) == f"{__name__}.Nested.Inner"


class Fixed(BetaVAE):
    """A subclass that fixes an argument of its base and has one of its own."""

    def __init__(self, *, width: int = 8, **kwargs: Any) -> None:
        super().__init__(encoder=partial(Dense, hidden=[width]), beta=2.0, **kwargs)
        self.width = width


class Further(Fixed):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(width=3, **kwargs)


class Data(Sprites):
    def __init__(self, *, extra: int = 0, **kwargs: Any) -> None:
        super().__init__(num_examples=30, **kwargs)


class Unknown(VAE):
    """Does to its arguments what Lightning's own record of them does not survive."""

    def __init__(self, *, width: int = 8, **kwargs: Any) -> None:
        VAE.__init__(self, encoder=partial(Dense, hidden=[width]), **kwargs)  # not by super
        self.save_hyperparameters(ignore=["width"])


class TestRecorded:
    def test_keeps_what_the_outermost_constructor_was_given(self) -> None:
        model = Fixed(shape=SHAPE, latent_dim=3, width=5)
        expected = {"shape": [1, 8, 8], "latent_dim": 3, "width": 5}
        assert model.recorded() == {"class_path": f"{__name__}.Fixed", "init_args": expected}
        assert dict(model.hparams) == expected
        assert Further(shape=SHAPE).recorded()["init_args"] == {"shape": [1, 8, 8]}

    def test_builds_the_same_model_again(self) -> None:
        for cls in (Fixed, Further, ConvVAE):
            model = cls(shape=SHAPE, latent_dim=3)
            again = cls(**model.recorded()["init_args"])
            assert again.recorded() == model.recorded()
            assert {k: v.shape for k, v in again.state_dict().items()} == {
                k: v.shape for k, v in model.state_dict().items()
            }

    @pytest.mark.parametrize("cls", few([Fixed, Further, Unknown], 1))
    def test_a_checkpoint_is_loaded_by_its_class_and_by_its_base(self, cls: type[VAE], tmp_path: Path) -> None:
        kwargs = {} if cls is Further else {"width": 5}
        model = cls(shape=SHAPE, latent_dim=3, **kwargs)
        path = saved(tmp_path, model)
        for again in (cls.load_from_checkpoint(path), VAE.load_from_checkpoint(path)):
            assert type(again) is cls
            assert same_weights(again, model)

    def test_an_instance_loads_no_checkpoint(self, tmp_path: Path) -> None:
        model = VAE(shape=SHAPE, latent_dim=3)
        with pytest.raises(TypeError, match=r"a new object: call VAE.load_from_checkpoint\(…\), and keep it"):
            model.load_from_checkpoint(saved(tmp_path, model))

    def test_arguments_by_name_only(self) -> None:
        class Positional(Recorded):
            def __init__(self, a: int, **kwargs: Any) -> None: ...

        assert Positional(a=1).recorded()["init_args"] == {"a": 1}
        with pytest.raises(TypeError, match="Positional takes its arguments by name, got 1 without"):
            Positional(1)

    def test_data_modules_too(self) -> None:
        assert Digits(batch_size=7).recorded() == {"class_path": "vae_zoo.data.Digits", "init_args": {"batch_size": 7}}
        data = Data(extra=1, image_size=8)
        assert data.recorded() == {"class_path": f"{__name__}.Data", "init_args": {"extra": 1, "image_size": 8}}

    @pytest.mark.parametrize(
        "kwargs",
        [{"encoder": Dense(SHAPE, (2, 4))}, {"decoder": lambda i, o: Dense(i, o)}, {"likelihood": FixedNormal(SHAPE)}],
    )
    def test_instances_and_lambdas_are_refused(self, kwargs: dict[str, Any]) -> None:
        with pytest.raises(TypeError, match="must be plain data, a class or a partial of one, got") as error:
            VAE(shape=SHAPE, latent_dim=4, **kwargs)
        assert "\n" not in str(error.value)
