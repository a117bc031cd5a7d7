from __future__ import annotations

from itertools import permutations

import pytest
import torch

from vae_zoo.metrics import ClusterAccuracy, ClusterARI, ClusterNMI
from vae_zoo.metrics.clusters import ClusterMetric


def accuracy(clusters: torch.Tensor, classes: torch.Tensor) -> float:
    metric = ClusterAccuracy()
    metric.update(clusters, classes)
    return metric.compute().item()


class TestClusterAccuracy:
    @pytest.mark.parametrize("seed", range(3))
    def test_is_the_best_of_all_assignments(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        clusters, classes = torch.randint(4, (2, 50), generator=generator)
        best = max((torch.tensor(p)[clusters] == classes).float().mean().item() for p in permutations(range(4)))
        assert accuracy(clusters, classes) == pytest.approx(best)

    def test_numbers_of_clusters_do_not_matter(self) -> None:
        y = torch.randint(5, (100,))
        assert accuracy(torch.randperm(5)[y], y) == 1

    def test_a_class_in_two_clusters_counts_once(self) -> None:
        """Whereas purity, which assigns both clusters to it, would be 1."""
        assert accuracy(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 1])) == 0.75

    def test_fewer_clusters_than_classes(self) -> None:
        assert accuracy(torch.zeros(4, dtype=torch.long), torch.tensor([0, 1, 2, 2])) == 0.5

    def test_batches_do_not_matter(self) -> None:
        clusters, classes = torch.randint(3, (2, 60))
        metric = ClusterAccuracy()
        for rows in torch.randperm(60).split([1, 20, 39]):
            metric.update(clusters[rows], classes[rows])
        assert metric.compute().item() == accuracy(clusters, classes)


class TestInformationAndPairs:
    def test_of_equal_and_of_independent_partitions(self) -> None:
        y, other = torch.arange(400) % 4, torch.arange(400) // 100
        for metric in (ClusterNMI(), ClusterARI()):
            metric.update((y + 1) % 4, y)
            assert metric.compute() == 1
            metric.reset()
            metric.update(other, y)
            assert metric.compute().item() == pytest.approx(0, abs=0.01)

    def test_by_hand(self) -> None:
        """Two classes, of which one is in two clusters: I = H(y) = log 2, H(k) = 1.5 log 2."""
        metrics = ClusterNMI(), ClusterARI()
        for metric in metrics:
            metric.update(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1]))
        assert metrics[0].compute().item() == pytest.approx(2 / 2.5)
        expected = 1 * 2 / 6  # pairs within clusters times pairs within classes, over all pairs
        assert metrics[1].compute().item() == pytest.approx((1 - expected) / ((1 + 2) / 2 - expected))


@pytest.mark.parametrize("cls", [ClusterAccuracy, ClusterNMI, ClusterARI])
def test_examples_of_unknown_class_are_left_out(cls: type) -> None:
    clusters, classes = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, -1, 1, 1, -1])
    metric = cls()
    metric.update(clusters, classes)
    assert metric.compute() == 1


@pytest.mark.parametrize("cls", [ClusterAccuracy, ClusterNMI, ClusterARI])
def test_of_nothing(cls: type[ClusterMetric]) -> None:
    metric = cls()
    metric.update(*torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match=f"{cls.__name__} needs examples, got none"):
        metric.compute()
