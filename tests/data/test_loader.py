from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch

from vae_zoo.data import TensorLoader


def loader(num: int = 23, **kwargs: Any) -> TensorLoader:
    x = torch.randint(0, 256, (num, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return TensorLoader(x, torch.arange(num) % 5, **{"batch_size": 4, **kwargs})


def indices(source: TensorLoader) -> list[int]:
    return torch.cat([batch.index for batch in source]).tolist()


def test_whole_batches_equal_single_examples() -> None:
    source = loader(training=True)
    for batch in source:
        assert batch.y is not None
        for x, y, index in zip(batch.x, batch.y, batch.index, strict=True):
            assert torch.equal(x, source.x[index])
            assert y == index % 5


def test_order_is_a_function_of_seed_and_epoch() -> None:
    orders: dict[tuple[int, int], list[int]] = {}
    for seed in (0, 1):
        source = loader(training=True, seed=seed)
        for epoch in (0, 1, 0):
            source.set_epoch(epoch)
            assert sorted(order := indices(source)) == list(range(23))
            assert orders.setdefault((seed, epoch), order) == order
    assert len({tuple(order) for order in orders.values()}) == 4


def test_keys_differ_between_batches_epochs_ranks_and_seeds() -> None:
    keys = []
    for seed in (0, 1):
        for rank in (0, 1):
            source = loader(training=True, seed=seed, rank=rank, world_size=2)
            for epoch in (0, 1):
                source.set_epoch(epoch)
                keys += [batch.key for batch in source]
    assert len(set(keys)) == len(keys) == 2 * 2 * 2 * 3


@pytest.mark.parametrize("num", [1, 2, 3, 23, 24])
@pytest.mark.parametrize("world_size", [2, 3])
def test_training_ranks_take_as_many_steps_and_cover_everything(num: int, world_size: int) -> None:
    ranks = [loader(num, training=True, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(source) for source in ranks}) == 1
    assert len({len(indices(source)) for source in ranks}) == 1
    seen = [*chain(*map(indices, ranks))]
    assert set(seen) == set(range(num))
    assert len(seen) - num < world_size


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_evaluation_ranks_see_each_example_once(batch_size: int) -> None:
    ranks = [loader(rank=rank, world_size=3, batch_size=batch_size) for rank in range(3)]
    assert sorted([*chain(*map(indices, ranks))]) == list(range(23))
    assert all(len(list(source)) == len(source) for source in ranks)


def test_evaluation_is_in_order_and_never_changes() -> None:
    source = loader()
    before = [(batch.key, batch.index.tolist()) for batch in source]
    source.set_epoch(4)
    assert [(batch.key, batch.index.tolist()) for batch in source] == before
    assert indices(source) == list(range(23))


def test_drop_last() -> None:
    sizes = [len(batch.x) for batch in loader(training=True, drop_last=True)]
    assert sizes == [4] * 5
    ranks = [loader(23, training=True, drop_last=True, rank=rank, world_size=2) for rank in range(2)]
    seen = [*chain(*map(indices, ranks))]
    assert len(set(seen)) == len(seen) == 16
    assert sum(len(batch.x) for batch in loader(drop_last=True)) == 23


def test_drop_last_of_everything() -> None:
    with pytest.raises(ValueError, match=r"^drop_last leaves no batch: 3 training examples, but batch_size is 4\.$"):
        loader(3, training=True, drop_last=True)


def test_breaking_off_an_epoch_does_not_move_the_next_start() -> None:
    source = loader(training=True)
    first = next(iter(source)).index.tolist()
    assert next(iter(source)).index.tolist() == first


@pytest.mark.parametrize("position", [0, 1, 3, 5])
def test_state(position: int) -> None:
    source = loader(training=True)
    source.set_epoch(2)
    batches = iter(source)
    for _ in range(position):
        next(batches)
    state = source.state_dict()
    rest = [(batch.key, batch.index.tolist()) for batch in batches]

    resumed = loader(training=True)
    resumed.load_state_dict(state)
    iter(resumed)  # as Lightning does, to see whether it can
    resumed.set_epoch(2)
    assert [(batch.key, batch.index.tolist()) for batch in resumed] == rest
    assert len(indices(resumed)) == 23


def test_state_of_another_epoch_length() -> None:
    source = loader(training=True)
    next(iter(source))
    with pytest.raises(ValueError, match=r"^Cannot resume after batch 1 of 6: the epoch now has 3 batches.*epoch\.$"):
        loader(training=True, batch_size=8).load_state_dict(source.state_dict())
    indices(source)
    loader(training=True, batch_size=8).load_state_dict(source.state_dict())


def test_no_labels() -> None:
    assert next(iter(TensorLoader(torch.zeros(2, 3), batch_size=2))).y is None
