"""Identity match: range, meaning and errors."""

import pytest
import torch

from lord.data.subjects import DOMAINS
from lord.metrics.features import FeatureNet, recognise
from lord.metrics.identity import identity_match


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    attributes = {domain: module.ATTRIBUTES for domain, module in DOMAINS.items()}
    return FeatureNet(attributes, image_size=32, width=8).eval()


def test_is_the_mean_probability_of_the_subjects_values(network):
    images = torch.rand(5, 3, 32, 32)
    identity = {"skin": 1, "glasses": 0}
    scores = identity_match(network, images, "portraits", identity, batch_size=2)
    logits = network.classify(network(images))
    expected = (
        logits["portraits", "skin"].softmax(1)[:, 1]
        + logits["portraits", "glasses"].softmax(1)[:, 0]
    ) / 2
    torch.testing.assert_close(scores, expected.detach(), rtol=1e-4, atol=1e-5)
    assert scores.min() >= 0 and scores.max() <= 1


def test_bad_arguments_are_named(network):
    images = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match="unknown domain 'cats'"):
        identity_match(network, images, "cats", {"skin": 0})
    with pytest.raises(ValueError, match="'skin' has no value 9"):
        identity_match(network, images, "portraits", {"skin": 9})
    with pytest.raises(ValueError, match="at least one image"):
        identity_match(network, images[:0], "portraits", {"skin": 0})


def test_recognise_reads_every_attribute(network):
    images = torch.rand(5, 3, 32, 32)
    values = recognise(network, images, "landscapes", batch_size=2)
    assert list(values) == list(DOMAINS["landscapes"].ATTRIBUTES)
    logits = network.classify(network(images))
    assert torch.equal(values["sky"], logits["landscapes", "sky"].argmax(1))
    with pytest.raises(ValueError, match="unknown domain 'cats'"):
        recognise(network, images, "cats")
