import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torchmetrics.functional.image import lpips as theirs

from lord.metrics.lpips import BACKBONE, REVISION, Lpips, load_lpips, lpips


@pytest.fixture(scope="module")
def backbone():
    """VGG-16 with random weights whose features do not fade out."""
    torch.manual_seed(0)
    features = Lpips().features
    for layer in features:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return features


@pytest.fixture
def network(backbone, tmp_path, monkeypatch):
    """What is loaded where the hub has that backbone, with the layers that classify."""
    path = tmp_path / "model.safetensors"
    tensors = {f"features.{name}": value for name, value in backbone.state_dict().items()}
    save_file(tensors | {"pre_logits.fc1.weight": torch.ones(2, 2)}, path)

    def download(repository, name, revision):
        assert (repository, name, revision) == (BACKBONE, "model.safetensors", REVISION)
        return path

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return load_lpips()


def pictures(count=3, height=32, width=48):
    generator = torch.Generator().manual_seed(1)
    return torch.rand((count, 3, height, width), generator=generator)


def test_distances_are_those_of_torchmetrics(network, backbone, monkeypatch):
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_: backbone)
    images, others = pictures(), pictures().roll(1, 0)
    expected = theirs.learned_perceptual_image_patch_similarity(
        images, others, net_type="vgg", reduction="none", normalize=True
    )
    assert expected.min() > 0.01
    torch.testing.assert_close(lpips(network, images, others), expected, rtol=1e-4, atol=1e-6)


def test_a_picture_is_no_distance_from_itself_and_further_the_more_it_is_changed(network):
    images = pictures()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    found = [
        lpips(network, images, (images + level * noise).clamp(0, 1)).mean().item()
        for level in (0, 0.02, 0.1, 0.5)
    ]
    assert found[0] == 0 and found == sorted(set(found))


def test_what_cannot_be_compared_is_named(network):
    with pytest.raises(ValueError, match="one shape"):
        lpips(network, pictures(2), pictures(3))
    with pytest.raises(ValueError, match="at least 16 pixels"):
        lpips(network, pictures(height=15), pictures(height=15))


def test_features_that_are_not_to_be_had_are_named(monkeypatch):
    def fail(*_, **__):
        raise LocalEntryNotFoundError("no connection\nand no cache")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(OSError, match=f"LPIPS needs model.safetensors of {BACKBONE}"):
        load_lpips()
