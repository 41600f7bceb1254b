"""Training of the metric networks at toy size: resumes exactly, saves, loads, refuses."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from lord.data.subjects import DOMAINS
from lord.metrics.clip import ASSETS as CLIP
from lord.metrics.clip import ClipSettings, load_clip, train_clip
from lord.metrics.features import ASSETS as FEATURES
from lord.metrics.features import FeatureSettings, load_features, train_features
from lord.metrics.pool import attribute_names, render_pool, training_view
from lord.training import loop as training

TOY = {
    "steps": 6,
    "batch_size": 8,
    "warmup": 2,
    "images_per_domain": 12,
    "held_out_per_domain": 8,
    "image_size": 32,
    "checkpoint_every": 3,
}
TRAININGS = {
    "features": (train_features, FeatureSettings(**TOY, width=8), load_features),
    "clip": (train_clip, ClipSettings(**TOY, width=32, vision_layers=1, text_layers=1), load_clip),
}


@pytest.fixture(scope="module")
def pool(tiny):
    return render_pool(tiny.pipeline, "train", 6, 32)


def test_pool_knows_its_images(pool):
    assert pool.images.shape == pool.decoded.shape == (12, 3, 32, 32)
    assert ((pool.kinds == 0) == (pool.severities == 0)).all()
    assert pool.images.dtype == torch.uint8
    assert len(pool.captions) == 12
    for column, (domain, _) in enumerate(attribute_names()):
        own = pool.domains == list(DOMAINS).index(domain)
        assert (pool.attributes[own, column] >= 0).all()
        assert (pool.attributes[~own, column] == -1).all()


def test_pool_grows_without_changing(pipeline, pool):
    smaller = render_pool(pipeline, "train", 3, 32)
    assert torch.equal(smaller.images[:3], pool.images[:3])
    assert torch.equal(smaller.kinds[3:], pool.kinds[6:9])


def test_every_batch_has_clean_and_degraded_images(pool):
    view = training_view(pool, seed=5, batch_size=8)
    assert (view.kinds[:2] == 0).all() and (view.severities[:2] == 0).all()
    assert (view.kinds[2:4] > 0).all() and (view.severities[2:4] >= 0.2).all()
    assert torch.equal(view.kinds[4:], pool.kinds[view.rows[4:]])
    assert torch.equal(view.images, training_view(pool, seed=5, batch_size=8).images)


@pytest.mark.parametrize("name", TRAININGS)
def test_interrupted_training_ends_the_same(pipeline, tmp_path, monkeypatch, name):
    train, settings, load = TRAININGS[name]
    train(pipeline, tmp_path / "whole", tmp_path / "work-a", settings)

    class Killed(Exception):
        pass

    def stop_at_five(items, *args, **options):
        for item in items:
            if item == 5:
                raise Killed
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(training, "track", stop_at_five)
        with pytest.raises(Killed):
            train(pipeline, tmp_path / "resumed", tmp_path / "work-b", settings)
    train(pipeline, tmp_path / "resumed", tmp_path / "work-b", settings)

    left = [path.name for path in (tmp_path / "work-b").iterdir()]
    assert all(path.startswith("pool-") for path in left)
    files = [tmp_path / run / "model.safetensors" for run in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    network = load(tmp_path / "whole")
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_saved_networks_are_complete(pipeline, tmp_path):
    train_features(pipeline, tmp_path / "features", tmp_path, TRAININGS["features"][1])
    config = json.loads((tmp_path / "features" / "config.json").read_text())
    assert set(config["held_out"]["attributes"]) == set(DOMAINS)
    assert 0 <= config["held_out"]["degradation"] <= 1

    encoder = train_clip(pipeline, tmp_path / "clip", tmp_path, TRAININGS["clip"][1])
    assert CLIPModel.from_pretrained(tmp_path / "clip").config.vision_config.image_size == 32
    loaded = load_clip(tmp_path / "clip")
    texts = ["Good photo.", "a landscape of hills, in winter"]
    torch.testing.assert_close(
        loaded.get_text_features(**loaded.tokenize(texts)),
        encoder.get_text_features(**encoder.tokenize(texts)),
    )


@pytest.mark.parametrize("load", [load_features, load_clip])
def test_missing_network_is_named(tmp_path, load):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load(tmp_path)


@pytest.mark.parametrize(("load", "whole"), [(load_features, FEATURES), (load_clip, CLIP)])
def test_a_broken_network_is_named(tmp_path, load, whole):
    config, weights = "config.json", "model.safetensors"
    for name, content in (
        *((config, text) for text in (b"", b"[]", b'{"a": 1}', b"\xff")),
        *((weights, content) for content in (b"", b"x" * 99)),
    ):
        folder = shutil.copytree(whole, tmp_path / "net")
        (folder / name).write_bytes(content)
        with pytest.raises((ValueError, OSError), match="net"):
            load(folder)
        shutil.rmtree(folder)
    tensors = load_file(whole / weights)
    first = next(name for name, value in tensors.items() if value.is_floating_point())
    nan = torch.full_like(tensors[first], torch.nan)
    for broken in (tensors | {first: nan}, {k: v for k, v in tensors.items() if k != first}):
        folder = shutil.copytree(whole, tmp_path / "net")
        save_file(broken, folder / weights, {"format": "pt"})
        with pytest.raises(ValueError, match=r"net: .* is broken, or of another version: "):
            load(folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("size", [None, "abc", -1, 10**9, []])
def test_a_size_that_no_network_has_is_named(tmp_path, size):
    folder = shutil.copytree(FEATURES, tmp_path / "net")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_size": size}))
    with pytest.raises(ValueError, match="image_size: "):
        load_features(folder)
