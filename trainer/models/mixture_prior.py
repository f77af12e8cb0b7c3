"""The Gaussian-mixture prior of the latent space: Eq. (5)-(7), (15)-(17), always by log-sum-exp."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOG_VARIANCE_LIMIT = 10.0
_LOG_2PI = math.log(2.0 * math.pi)


class MixturePrior(nn.Module):
    """Free parameters pi, mu_c, sigma_c^2 (diagonal, reading A7), as logits, means, log variances.

    `floor` (J,) is the smallest log variance of each dimension; see `project_`.

    Args:
        components: K.
        latent: J.
    """

    floor: Tensor

    def __init__(self, components: int, latent: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.zeros(components, latent))
        self.log_variances = nn.Parameter(torch.zeros(components, latent))
        self.register_buffer("floor", torch.full((latent,), -LOG_VARIANCE_LIMIT))

    @torch.no_grad()
    def assign(
        self, weights: Tensor, means: Tensor, variances: Tensor, relative_floor: float
    ) -> None:
        """Take over a mixture: weights (K,), means (K, J), variances (K, J).

        The floor becomes `relative_floor` times the pooled variance of the mixture.
        """
        centre = weights @ means
        pooled = weights @ (variances + (means - centre) ** 2)
        self.logits.copy_(torch.log(weights))
        self.means.copy_(means)
        self.log_variances.copy_(torch.log(variances))
        self.floor.copy_(torch.log(relative_floor * pooled).clamp(min=-LOG_VARIANCE_LIMIT))
        self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        """Move the log variances back between their floor and the limit (after each step).

        A clamp inside the loss instead would cut the gradient, and a component that once touched
        the floor could never leave it.
        """
        self.log_variances.copy_(torch.maximum(self.log_variances, self.floor))
        self.log_variances.clamp_(max=LOG_VARIANCE_LIMIT)

    def log_joint(self, z: Tensor) -> Tensor:
        """Log p(z, c) = log pi_c + log N(z; mu_c, sigma_c^2), (N, J) -> (N, K), Eq. (16).

        Differences are formed before they are squared: the expanded form loses all digits far out.
        """
        difference = z.unsqueeze(1) - self.means
        inverse = torch.exp(-self.log_variances)
        quadratic = (difference * difference * inverse).sum(-1)
        normaliser = (_LOG_2PI + self.log_variances).sum(-1)
        return torch.log_softmax(self.logits, 0) - 0.5 * (normaliser + quadratic)

    def log_responsibilities(self, z: Tensor) -> Tensor:
        """Log gamma_c = log p(c given z), (N, J) -> (N, K), Eq. (15)."""
        return torch.log_softmax(self.log_joint(z), 1)

    def energy(self, z: Tensor) -> Tensor:
        """-log p(z), (N, J) -> (N,), Eq. (17) in reading A9 (i)."""
        return -torch.logsumexp(self.log_joint(z), 1)

    def kl(self, mean: Tensor, log_variance: Tensor, log_gamma: Tensor) -> Tensor:
        """KL(q(z, c given x), p(z, c)) in closed form: the last three terms of Eq. (14).

        Args:
            mean: mu~ of q(z given x), (N, J).
            log_variance: log sigma~^2, (N, J).
            log_gamma: log q(c given x), (N, K), rows that sum to 1 after exp.

        Returns:
            (N,), in nats.
        """
        inverse = torch.exp(-self.log_variances)
        difference = mean.unsqueeze(1) - self.means
        spread = torch.exp(log_variance) @ inverse.T + (difference * difference * inverse).sum(-1)
        log_pi = torch.log_softmax(self.logits, 0)
        per_component = 0.5 * (self.log_variances.sum(-1) + spread) - log_pi + log_gamma
        entropy = 0.5 * (1.0 + log_variance).sum(-1)
        return (torch.exp(log_gamma) * per_component).sum(-1) - entropy
