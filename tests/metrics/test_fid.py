"""FID against an independent computation, and its behaviour at the edges."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from lord.data.subjects import DOMAINS
from lord.metrics.features import FeatureNet
from lord.metrics.fid import extract, fid, inception


def fid_by_scipy(first, second):
    first, second = first.double().numpy(), second.double().numpy()
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1])
    gap = first.mean(0) - second.mean(0)
    return float(gap @ gap + np.trace(covariances[0] + covariances[1] - 2 * np.real(root)))


def draw(count, shift, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(64, 64, generator=torch.Generator().manual_seed(99)) / 8
    return torch.randn(count, 64, generator=generator).double() @ mix.double() * scale + shift


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 1.5), (3.0, 0.5)])
def test_agrees_with_scipy(shift, scale):
    real, fake = draw(300, 0, 1, 1), draw(200, shift, scale, 2)
    assert fid(real, fake) == pytest.approx(fid_by_scipy(real, fake), rel=1e-6)


def test_agrees_with_scipy_through_the_network():
    torch.manual_seed(0)
    attributes = {domain: module.ATTRIBUTES for domain, module in DOMAINS.items()}
    network = FeatureNet(attributes, image_size=32, width=8).eval()
    real, fake = torch.rand(100, 3, 32, 32), torch.rand(90, 3, 32, 32) ** 2
    first, second = extract(network, real), extract(network, fake, batch_size=17)
    assert first.shape == (100, 64) and first.dtype == torch.float64
    torch.testing.assert_close(extract(network, fake), second, rtol=1e-4, atol=1e-6)
    assert fid(first, second) == pytest.approx(fid_by_scipy(first, second), rel=1e-6)


def test_equal_sets_have_no_distance():
    real = draw(100, 0, 1, 1)
    assert fid(real, real.clone()) == pytest.approx(0, abs=1e-6)


def test_fewer_images_than_features():
    value = fid(draw(300, 0, 1, 1), draw(16, 1, 1, 2))
    assert np.isfinite(value) and value > 0


def test_bad_features_are_named():
    good = draw(10, 0, 1, 1)
    with pytest.raises(ValueError, match="one width"):
        fid(good, good[:, :3])
    with pytest.raises(ValueError, match="samples: FID needs at least two"):
        fid(good, good[:1])
    with pytest.raises(ValueError, match="reference: features are not finite"):
        fid(good * float("nan"), good)


def test_inception_says_what_it_needs():
    try:
        import torch_fidelity  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match="torch-fidelity"):
            inception()


@pytest.mark.parametrize(
    ("build", "index"),
    [("2.13.0", r"'.\[hub\]'$"), ("2.13.0+cpu", r"'.\[hub\]' --extra-index-url \S+/whl/cpu$")],
)
@pytest.mark.parametrize(
    "problem",
    [
        ModuleNotFoundError("no torch-fidelity"),
        RuntimeError("operator torchvision::nms does not exist"),
    ],
)
def test_what_inception_needs_is_named_with_the_build_of_torch(monkeypatch, problem, build, index):
    def fail(**_):
        raise problem

    monkeypatch.setattr("lord.metrics.fid.FrechetInceptionDistance", fail)
    monkeypatch.setattr(torch, "__version__", build)
    with pytest.raises(ModuleNotFoundError, match=index):
        inception()


def test_another_failure_of_inception_stays_as_it_is(monkeypatch):
    def fail(**_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("lord.metrics.fid.FrechetInceptionDistance", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        inception()
