from __future__ import annotations

import pytest
import torch

from vae_zoo.nn import CodePrior, code_prior
from vae_zoo.system.memory import Peak


def prior(grid: tuple[int, ...] = (2, 1), num_codes: int = 3) -> CodePrior:
    torch.manual_seed(0)
    made = CodePrior(grid, num_codes, width=8, num_heads=2)
    for p in made.parameters():
        p.data.mul_(3)  # away from the uniform distribution that it starts near
    return made


def every_grid(num_codes: int, places: int) -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(num_codes)] * places)


def test_sums_to_one() -> None:
    grids = every_grid(3, 4).reshape(-1, 2, 2)
    log_prob = prior((2, 2)).log_prob(grids)
    assert log_prob.shape == (81,)
    assert torch.logsumexp(log_prob, 0).item() == pytest.approx(0, abs=1e-5)
    assert log_prob.std() > 0.1


def test_samples_have_its_probabilities() -> None:
    made, grids = prior(), every_grid(3, 2)
    codes = made.sample(20_000)
    assert codes.shape == (20_000, 2, 1)
    part = (codes.flatten(1)[:, None] == grids).all(-1).float().mean(0)
    torch.testing.assert_close(part, made.log_prob(grids[..., None]).exp().detach(), rtol=0, atol=0.012)
    assert made.sample(0).shape == (0, 2, 1)


def recomputed(made: CodePrior, num: int, temperature: float) -> torch.Tensor:
    """Draws by the definition: of each place from all places before it."""
    codes = torch.zeros(num, 0, dtype=torch.long)
    for _ in range(len(made.places)):
        probs = torch.softmax(made._log_probs(codes)[:, -1] / temperature, -1)
        codes = torch.cat([codes, torch.multinomial(probs, 1)], 1)
    return codes.unflatten(1, made.grid)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_are_those_of_the_definition(temperature: float) -> None:
    made = prior((4, 4), 7)
    torch.manual_seed(1)
    drawn = made.sample(64, temperature=temperature)
    torch.manual_seed(1)
    with torch.no_grad():
        assert torch.equal(drawn, recomputed(made, 64, temperature))
    assert len(drawn.unique()) > 3


def test_memory_of_drawing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values of at most so many bytes, however many grids are drawn; the first ones are the same."""
    made = prior((4, 4), 7)  # 2 layers, 8 features and 16 places in float32 are 2 KiB a grid
    monkeypatch.setattr(code_prior, "CACHE_BYTES", 2**16)
    peaks, drawn = [], []
    for num in (32, 320):
        torch.manual_seed(1)
        with Peak() as peak:
            drawn.append(made.sample(num))
        peaks.append(peak.bytes - 8 * drawn[-1].numel())
    assert peaks[1] < 1.1 * peaks[0]
    assert torch.equal(drawn[0], drawn[1][:32])


def test_work_of_drawing_grows_with_the_places() -> None:
    """Each place goes through the blocks once."""
    made, seen = prior((4, 4), 7), []
    made.blocks[0].register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    made.sample(2)
    assert seen == [1] * 16


def test_a_place_sees_only_those_before() -> None:
    made = prior((5,), 4)
    codes = torch.tensor([[0, 1, 2, 3, 0]])
    changed = codes.clone()
    changed[:, 2] = 0
    first, second = made._log_probs(codes[:, :-1]), made._log_probs(changed[:, :-1])
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert ((first - second)[:, 3:].abs().amax(-1) > 1e-3).all()


def test_learns_what_goes_with_what() -> None:
    """The second of two codes repeats the first, uniform one: log 4 nats."""
    made = CodePrior((2,), 4, width=16)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(100):
        codes = torch.randint(4, (64, 1)).expand(-1, 2)
        loss = -made.log_prob(codes).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(1.386, abs=0.05)
    codes = made.sample(100)
    assert (codes[:, 0] == codes[:, 1]).float().mean() > 0.97


@pytest.mark.parametrize("kwargs", [{"width": 6}, {"num_layers": 0}, {"num_heads": 0}])
def test_bad_values(kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sizes must be at least 1 and num_heads divide width, got"):
        CodePrior((2,), 3, **kwargs)
