"""Table I and Eq. (14)-(17): counts, shapes, closed forms against sampling, known special cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from trainer.models.gmfc_vae import GmfcVae, stage_sides
from trainer.models.mixture_prior import LOG_VARIANCE_LIMIT, MixturePrior


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def random_prior(components: int, latent: int, seed: int = 0) -> MixturePrior:
    generator = torch.Generator().manual_seed(seed)
    prior = MixturePrior(components, latent).double()
    with torch.no_grad():
        prior.logits.copy_(torch.randn(components, generator=generator))
        prior.means.copy_(2.0 * torch.randn(components, latent, generator=generator))
        prior.log_variances.copy_(0.7 * torch.randn(components, latent, generator=generator))
    return prior


def small_model(components: int = 3, latent: int = 4) -> GmfcVae:
    torch.manual_seed(1)
    model = GmfcVae(filters=(4, 6, 8, 5), latent=latent, components=components, patch=12).double()
    model.prior = random_prior(components, latent)
    model.sigma_x2.fill_(0.02)
    return model


def patches(n: int = 6, side: int = 12) -> Tensor:
    return torch.rand(n, 3, side, side, dtype=torch.float64)


def test_table_one_has_the_printed_parameters() -> None:
    model = GmfcVae()
    assert count(model.encoder.trunk) == 633_024
    assert count(model.encoder.mean) + count(model.encoder.log_variance) == 8_320
    assert count(model.decoder) == 632_963
    assert count(model) - count(model.prior) == 1_274_307
    assert count(model.prior) == 20 * (1 + 2 * 64)


def test_text_version_has_the_computed_parameters() -> None:
    model = GmfcVae(filters=(32, 64, 128, 256))
    assert count(model) - count(model.prior) == 875_011


def test_table_one_has_the_printed_shapes() -> None:
    model = GmfcVae()
    shapes = []
    for module in [*model.encoder.trunk, *model.decoder.layers]:
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    z = model.encoder(torch.rand(2, 3, 28, 28))
    assert z.shape == (2, 64)
    model.decoder(z)
    assert shapes == [
        (64, 14, 14),
        (128, 7, 7),
        (256, 4, 4),
        (64, 1, 1),
        (256, 4, 4),
        (128, 7, 7),
        (64, 14, 14),
        (3, 28, 28),
    ]


def test_means_are_not_rectified() -> None:
    torch.manual_seed(0)
    mean, log_variance = GmfcVae().encoder.distribution(torch.rand(64, 3, 28, 28))
    assert (mean < 0).any()
    assert (log_variance < 0).any()


@pytest.mark.parametrize("side", [8, 9, 12, 16, 21, 28, 32])
def test_decoder_mirrors_the_encoder_for_any_side(side: int) -> None:
    model = GmfcVae(filters=(2, 2, 2, 2), latent=3, components=2, patch=side)
    x = torch.rand(2, 3, side, side)
    assert model.decoder(model.encoder(x)).shape == x.shape
    assert stage_sides(28) == [28, 14, 7, 4]


@pytest.mark.parametrize(("output", "inside"), [("sigmoid", True), ("linear", False)])
def test_output_activation_is_a_setting(output: str, inside: bool) -> None:
    torch.manual_seed(0)
    model = GmfcVae(filters=(4, 4, 4, 4), latent=3, components=2, patch=8, output=output)
    x = model.decoder(100.0 * torch.randn(50, 3))
    assert bool(((x >= 0) & (x <= 1)).all()) is inside


def test_energy_equals_the_mixture_density_of_scipy() -> None:
    prior = random_prior(4, 3)
    z = torch.randn(20, 3, dtype=torch.float64)
    weights = torch.softmax(prior.logits, 0).detach().numpy()
    density = sum(
        weight
        * multivariate_normal(
            prior.means[c].detach().numpy(), np.diag(prior.log_variances[c].exp().detach().numpy())
        ).pdf(z.numpy())
        for c, weight in enumerate(weights)
    )
    np.testing.assert_allclose(prior.energy(z).detach().numpy(), -np.log(density), rtol=1e-10)


def test_responsibilities_sum_to_one_and_follow_bayes() -> None:
    prior = random_prior(4, 3)
    z = torch.randn(20, 3, dtype=torch.float64)
    gamma = prior.log_responsibilities(z).exp()
    torch.testing.assert_close(gamma.sum(1), torch.ones(20, dtype=torch.float64))
    joint = prior.log_joint(z).exp()
    torch.testing.assert_close(gamma, joint / joint.sum(1, keepdim=True))


def test_closed_form_kl_equals_a_monte_carlo_estimate() -> None:
    latent, components, samples = 5, 4, 400_000
    prior = random_prior(components, latent)
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(latent, generator=generator, dtype=torch.float64)
    log_variance = 0.5 * torch.randn(latent, generator=generator, dtype=torch.float64)
    log_gamma = torch.log_softmax(torch.randn(components, generator=generator).double(), 0)
    posterior = Independent(Normal(mean, torch.exp(0.5 * log_variance)), 1)
    noise = torch.randn(samples, latent, generator=generator, dtype=torch.float64)
    z = mean + torch.exp(0.5 * log_variance) * noise
    with torch.no_grad():
        # log q(z) + log q(c) - log p(z, c), averaged over z by sampling and over c exactly.
        inner = posterior.log_prob(z)[:, None] + log_gamma - prior.log_joint(z)
        estimates = (inner * log_gamma.exp()).sum(1)
        closed = float(prior.kl(mean[None], log_variance[None], log_gamma[None]))
    error = float(estimates.std()) / math.sqrt(samples)
    assert abs(float(estimates.mean()) - closed) < 4.0 * error
    assert error < 0.02


def test_loss_is_the_negative_elbo_of_the_sample() -> None:
    model, x = small_model(), patches()
    noise = torch.randn(6, 4, dtype=torch.float64)
    terms = model.terms(x, noise)
    mean, log_variance = model.encoder.distribution(x)
    z = mean.double() + torch.exp(0.5 * log_variance.double()) * noise
    likelihood = Independent(Normal(model.decoder(z), model.sigma_x2.sqrt()), 3).log_prob(x)
    torch.testing.assert_close(terms.reconstruction, -likelihood, rtol=1e-5, atol=1e-3)
    kl = model.prior.kl(mean.double(), log_variance.double(), model.prior.log_responsibilities(z))
    torch.testing.assert_close(terms.kl, kl, rtol=1e-5, atol=1e-5)


def test_printed_loss_has_half_as_pixel_variance() -> None:
    """With sigma_x^2 = 1/2 the first part is the squared error and a constant (A6 (a))."""
    model, x = small_model(), patches()
    model.sigma_x2.fill_(0.5)
    terms = model.terms(x, torch.zeros(6, 4, dtype=torch.float64))
    constant = 0.5 * 3 * 12 * 12 * math.log(math.pi)
    squared = (x - model.decoder(terms.z)).square().flatten(1).sum(1)
    torch.testing.assert_close(terms.reconstruction, squared + constant, rtol=1e-6, atol=1e-4)


def test_one_component_is_a_vae_with_a_learned_gaussian_prior() -> None:
    model, x = small_model(components=1), patches()
    noise = torch.randn(6, 4, dtype=torch.float64)
    terms = model.terms(x, noise)
    mean, log_variance = model.encoder.distribution(x)
    posterior = Independent(Normal(mean.double(), (0.5 * log_variance.double()).exp()), 1)
    prior = Normal(model.prior.means[0], (0.5 * model.prior.log_variances[0]).exp())
    expected = kl_divergence(posterior, Independent(prior.expand(mean.shape), 1))
    torch.testing.assert_close(terms.kl, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(terms.log_gamma, torch.zeros_like(terms.log_gamma))


def test_permuting_components_changes_nothing() -> None:
    model, x = small_model(components=5), patches()
    noise = torch.randn(6, 4, dtype=torch.float64)
    before, energy = model.terms(x, noise), model.prior.energy(model.encoder(x))
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.copy_(parameter[order].clone())
    after = model.terms(x, noise)
    torch.testing.assert_close(after.kl, before.kl)
    torch.testing.assert_close(model.prior.energy(model.encoder(x)), energy)
    torch.testing.assert_close(after.log_gamma, before.log_gamma[:, order])


def test_splitting_a_component_changes_neither_energy_nor_its_gradient() -> None:
    whole, split = random_prior(3, 4), MixturePrior(4, 4).double()
    with torch.no_grad():
        halved = torch.softmax(whole.logits, 0)[[0, 1, 2, 2]] * torch.tensor([1, 1, 0.5, 0.5])
        split.logits.copy_(halved.log())
        split.means.copy_(whole.means[[0, 1, 2, 2]])
        split.log_variances.copy_(whole.log_variances[[0, 1, 2, 2]])
    results = []
    for prior in (whole, split):
        z = torch.randn(
            30, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64
        ).requires_grad_()
        energy = prior.energy(z)
        energy.sum().backward()
        results.append((energy.detach(), z.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])
    # The KL part is the same too, as gamma is shared between the halves.
    mean, log_variance = torch.randn(2, 7, 4, dtype=torch.float64)
    kls = [p.kl(mean, log_variance, p.log_responsibilities(mean)) for p in (whole, split)]
    torch.testing.assert_close(kls[0], kls[1])


def test_loss_and_gradients_are_finite_a_thousand_away() -> None:
    """In float32 at J = 64, where every density underflows, and with the narrowest components."""
    model = GmfcVae()
    with torch.no_grad():
        model.prior.means.normal_(generator=torch.Generator().manual_seed(0)).add_(1e3)
        model.prior.log_variances.fill_(-LOG_VARIANCE_LIMIT)
    terms = model.terms(torch.rand(4, 3, 28, 28), torch.randn(4, 64))
    loss = (terms.reconstruction + terms.kl).mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert torch.isfinite(terms.log_gamma.exp()).all()


def test_far_patches_still_know_their_component() -> None:
    """What exp-then-add-epsilon codes lose: gamma far from all components is not uniform."""
    prior = MixturePrior(2, 64)
    with torch.no_grad():
        prior.means[1] = 0.1
    gamma = prior.log_responsibilities(torch.full((1, 64), 50.0)).exp()
    assert gamma[0, 1] > 0.999


def test_variances_stay_between_floor_and_limit_after_projection() -> None:
    prior = MixturePrior(2, 3)
    means = torch.tensor([[0.0, 0, 0], [2.0, 0, 0]])
    prior.assign(torch.tensor([0.5, 0.5]), means, torch.full((2, 3), 0.25), 1e-3)
    pooled = torch.tensor([0.25 + 1.0, 0.25, 0.25])
    torch.testing.assert_close(prior.floor, torch.log(1e-3 * pooled))
    with torch.no_grad():
        prior.log_variances.copy_(torch.tensor([[-50.0, 0, 50.0], [0.0, 0, 0]]))
    prior.project_()
    assert prior.log_variances[0, 0] == prior.floor[0]
    assert prior.log_variances[0, 2] == LOG_VARIANCE_LIMIT
    assert torch.equal(prior.log_variances[1], torch.zeros(3))


def test_posterior_starts_narrow_for_the_joint_stage() -> None:
    torch.manual_seed(0)
    model = GmfcVae()
    model.start_joint(0.04)
    _, log_variance = model.encoder.distribution(torch.rand(16, 3, 28, 28))
    torch.testing.assert_close(log_variance.exp().mean(), torch.tensor(0.04), rtol=0.05, atol=0)


def test_reduced_precision_leaves_the_mixture_in_float32() -> None:
    model = GmfcVae(filters=(4, 4, 4, 4), latent=3, components=2, patch=8)
    x, noise = torch.rand(5, 3, 8, 8), torch.randn(5, 3)
    exact = model.terms(x, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = model.terms(x, noise)
    assert reduced.kl.dtype == reduced.reconstruction.dtype == torch.float32
    torch.testing.assert_close(reduced.reconstruction, exact.reconstruction, rtol=0.03, atol=0.5)
