"""Likelihoods of discrete values: 8-bit images, and other data on an even grid of levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Categorical as Weights
from torch.distributions import Distribution, MixtureSameFamily, constraints

from vae_zoo.distributions.families import Family, check_bounds, log_of_scale
from vae_zoo.distributions.likelihoods.levels import CategoricalLevels, CoupledLogisticLevels, LogisticLevels
from vae_zoo.distributions.normal import independent
from vae_zoo.functional import exact
from vae_zoo.typing import Shape


class Levels(Family):
    """Base of families over the levels 0, 1/(n-1), …, 1.

    Args:
        shape: Shape of one event.
        num_values: Number n of levels.
    """

    support = constraints.interval(0.0, 1.0)
    is_discrete = True

    def __init__(self, shape: Shape, *, num_values: int = 256) -> None:
        super().__init__(shape)
        if num_values < 2:
            raise ValueError(f"num_values must be at least 2, got {num_values}.")
        self.num_values = num_values

    @property
    def advice(self) -> str:  # type: ignore[override]
        """Advice for other data."""
        steps = self.num_values - 1
        return f"divide integers from 0 to {steps} by {steps}, neither resize nor normalise them, or use SharedNormal"

    def gist(self, x: Tensor) -> Tensor:
        steps, x = self.num_values - 1, self.known(x)
        level = exact(x).detach() * steps
        off = (level - level.round()).abs() / max(1e-3, torch.finfo(x.dtype).eps * steps)
        worst = off.flatten().argmax()  # the first of them
        return torch.cat([super().gist(x), off.flatten()[worst][None].float(), x.flatten()[worst][None].float()])

    def allows(self, gists: Tensor) -> Tensor:
        return super().allows(gists) & (gists[..., -2] <= 1)

    def complaint(self, gist: Tensor) -> str:
        if not bool(super().allows(gist)):
            return super().complaint(gist)
        steps, value = self.num_values - 1, float(gist[-1])
        return f"{type(self).__name__} needs data in multiples of 1/{steps}, got {value:.6g}: {self.advice}"


class DiscretizedLogistic(Levels):
    r"""Independent logistic densities, integrated over the bin around each level of an 8-bit image.

    .. math:: p(x_i|z) = \sigma \Big( \frac{x_i + \delta - \mu_i}{s_i} \Big)
        - \sigma \Big( \frac{x_i - \delta - \mu_i}{s_i} \Big), \quad \delta = \frac{1}{2 (n - 1)}

    It is a probability of the pixels as stored, and its bits per dimension are a code length.

    With ``edges``, the bins of 0 and 1 extend to infinity and the probabilities of all levels sum to 1; this is
    the usual definition. Without, as in the code of the VampPrior paper, every bin has the same width and the
    mass outside of the image's range is lost: the sum is below 1, which can only make results worse. That
    paper puts level k at (k + ½) / 256 with bins of 1/256 rather than at k / 255 with bins of 1/255; the two are
    related by a linear map, which does not change probabilities. Its 4.63 bits per dimension on Frey Faces correspond
    to ``edges=False, sigmoid=True, min_log_scale=-4.5, max_log_scale=0``, except for the 1e-7 that its code adds to
    every probability: a floor of -16 nats per pixel, with which the probabilities do not sum to 1 either.

    References:
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)
        | https://arxiv.org/abs/1606.04934

    Args:
        shape: Shape of one event.
        num_values: Number n of levels.
        shared: Whether to learn one scale for all values, instead of one for each value from the network.
        scale: Initial value of a shared scale; the data range from 0 to 1.
        edges: Whether the outer bins extend to infinity.
        sigmoid: Whether the location is the sigmoid of the network's output, and therefore within the image's range.
        min_log_scale: Lower bound of the log-scale.
        max_log_scale: Upper bound of the log-scale.

    Raises:
        ValueError: If num_values is below 2, scale is not positive and finite, or the bounds do not leave room.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        num_values: int = 256,
        shared: bool = False,
        scale: float = 0.1,
        edges: bool = True,
        sigmoid: bool = False,
        min_log_scale: float = -7.0,
        max_log_scale: float = 7.0,
    ) -> None:
        super().__init__(shape, num_values=num_values)
        check_bounds(min_log_scale, max_log_scale)
        log_scale = log_of_scale(scale)
        self.edges, self.sigmoid = edges, sigmoid
        self.min_log_scale, self.max_log_scale = min_log_scale, max_log_scale
        self.log_scale = nn.Parameter(torch.tensor(log_scale)) if shared else None

    @property
    def param_shape(self) -> Shape:
        return self.shape if self.log_scale is not None else (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        if self.log_scale is None:
            loc, log_scale = params.unbind(-len(self.param_shape))
        else:
            loc, log_scale = params, self.log_scale.to(params.dtype)
        loc = loc.sigmoid() if self.sigmoid else loc
        log_scale = log_scale.clamp(self.min_log_scale, self.max_log_scale)
        return independent(LogisticLevels(loc, log_scale, self.num_values, self.edges), len(self.shape))


class MixtureOfDiscretizedLogistics(Levels):
    r"""Independent mixtures of discretised logistic densities, one of K components for every pixel and channel.

    .. math:: p(x_i|z) = \sum_{k=1}^K \pi_{ik} \, p_k(x_i|z)

    Channels are independent given z; :class:`CoupledMixtureOfLogistics` is the form of PixelCNN++, whose channels are
    not.

    References:
        | PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood (Salimans et al., 2017)
        | https://arxiv.org/abs/1701.05517

    Args:
        shape: Shape of one event.
        num_components: Number K of components.
        num_values: Number n of levels.
        min_log_scale: Lower bound of the log-scale; the data range from 0 to 1.
        max_log_scale: Upper bound of the log-scale.

    Raises:
        ValueError: If num_components is below 1 or num_values below 2, or the bounds do not leave room.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        num_components: int = 5,
        num_values: int = 256,
        min_log_scale: float = -7.0,
        max_log_scale: float = 7.0,
    ) -> None:
        super().__init__(shape, num_values=num_values)
        check_bounds(min_log_scale, max_log_scale)
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        self.num_components = num_components
        self.min_log_scale, self.max_log_scale = min_log_scale, max_log_scale

    @property
    def param_shape(self) -> Shape:
        return (3, self.num_components, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        weights, loc, log_scale = params.movedim(-1 - len(self.shape), -1).unbind(-2 - len(self.shape))
        log_scale = log_scale.clamp(self.min_log_scale, self.max_log_scale)
        parts = LogisticLevels(loc, log_scale, self.num_values, True)
        mixture = MixtureSameFamily(Weights(logits=weights, validate_args=False), parts, validate_args=False)
        return independent(mixture, len(self.shape))


class CoupledMixtureOfLogistics(MixtureOfDiscretizedLogistics):
    r"""Mixture of discretised logistic densities of each pixel whose later channels depend on the earlier ones.

    .. math:: p(x_i|z) = \sum_{k=1}^K \pi_{ik} \prod_{c=1}^C p_{ikc}(x_{ic} | x_{i,<c}, z), \quad
        \mu_{ikc} = m_{ikc} + \sum_{d<c} \tanh(a_{ikcd}) \, (x_{id} - \tfrac{1}{2})

    The channels of a pixel share one component, and the location of each is shifted by the values of those before it: a
    decoder need not tell how bright a pixel is to tell its hue. This is the likelihood of PixelCNN++ and of deep
    hierarchies of colour images. With one channel it is :class:`MixtureOfDiscretizedLogistics`.

    References:
        | PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood (Salimans et al., 2017)
        | https://arxiv.org/abs/1701.05517

    Args:
        shape: Shape of one event, channels first.
        kwargs: Arguments of :class:`MixtureOfDiscretizedLogistics`.
    """

    @property
    def _parts(self) -> list[int]:
        """Channels of parameters of each kind: weights, locations, log-scales, couplings."""
        num, channels = self.num_components, self.shape[0]
        return [num, num * channels, num * channels, num * channels * (channels - 1) // 2]

    @property
    def param_shape(self) -> Shape:
        return (sum(self._parts), *self.shape[1:])

    def distribution(self, params: Tensor) -> Distribution:
        channel = -len(self.shape)
        logits, *others = params.split(self._parts, channel)
        loc, log_scale, coupling = (
            t.unflatten(channel, (self.num_components, t.shape[channel] // self.num_components)) for t in others
        )
        log_scale = log_scale.clamp(self.min_log_scale, self.max_log_scale)
        sides = len(self.shape) - 1
        return CoupledLogisticLevels(logits, loc, log_scale, torch.tanh(coupling), self.num_values, sides)


class Categorical(Levels):
    r"""Independent values, each with a free probability for every level; assumes no order or distance between levels.

    .. math:: \log p(x|z) = \sum_i \log \mathrm{softmax}(l_i)_{(n - 1) x_i}

    The data are categories 0 … n-1 divided by n-1, like images in [0, 1]. The mean is the mean of the levels.

    Args:
        shape: Shape of one event.
        num_values: Number n of categories; the network outputs n logits for every value.

    Raises:
        ValueError: If num_values is below 2.
    """

    @property
    def param_shape(self) -> Shape:
        return (self.num_values, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        logits = params.movedim(-len(self.param_shape), -1)
        return independent(CategoricalLevels(logits=logits, validate_args=False), len(self.shape))
