from __future__ import annotations

import torch

from vae_zoo.metrics import LoggedMetrics


def test_means_over_uneven_batches() -> None:
    values = torch.randn(10)
    curves = LoggedMetrics()
    for part in values.split([1, 6, 3]):
        curves.update({"a": part.mean(), "b": 2 * part.mean()}, len(part))
    means = curves.compute()
    torch.testing.assert_close(means, {"a": values.mean(), "b": 2 * values.mean()})


def test_vectors() -> None:
    values, weights = torch.rand(10, 3), torch.rand(10)
    curves = LoggedMetrics()
    for rows in (slice(4), slice(4, 10)):
        curves.update({"a": values[rows].mean(0), "b[c]": weights[rows].mean()}, len(values[rows]))
    assert curves.names == ["a[0]", "a[1]", "a[2]", "b[c]"]
    torch.testing.assert_close(curves.compute(), {"a": values.mean(0), "b[c]": weights.mean()})


def test_a_name_of_some_batches_is_a_mean_over_these() -> None:
    curves, again = LoggedMetrics(), LoggedMetrics()
    curves.update({"a": torch.tensor(1.0)}, 3)
    curves.update({"a": torch.tensor(5.0), "rare": torch.tensor(7.0)}, 1)
    curves.update({"a": torch.tensor(3.0)}, 4)
    again.load_state_dict(curves.state_dict())
    for each in (curves, again):
        assert {name: x.item() for name, x in each.compute().items()} == {"a": 2.5, "rare": 7.0}
        assert each.compute() == {}


def test_many_batches_of_large_values_have_their_mean() -> None:
    curves = LoggedMetrics()
    for _ in range(2000):
        curves.update({"a": torch.tensor(-543210.7)}, 32)
    assert curves.compute()["a"] == torch.tensor(-543210.7)


def test_compute_forgets() -> None:
    curves = LoggedMetrics()
    curves.update({"a": torch.tensor(1.0)}, 3)
    curves.compute()
    assert curves.compute() == {}
    curves.update({"a": torch.tensor(5.0)}, 1)
    assert curves.compute()["a"] == 5


def test_sums_over_ranks_with_shares_of_different_size() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 10.0])
    here, there = LoggedMetrics(), LoggedMetrics()
    here.update({"a": values[:3].mean()}, 3)
    there.update({"a": values[3:].mean()}, 1)
    parts: list[torch.Tensor] = []
    there.compute(lambda x: parts.append(x) or x)
    assert here.compute(lambda x: x + parts[0])["a"] == values.mean()


def test_holds_no_graph() -> None:
    curves = LoggedMetrics()
    curves.update({"a": torch.ones((), requires_grad=True) * 2}, 1)
    assert not curves.compute()["a"].requires_grad
