import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from topologies import change_json
from transformers import (
    BertConfig,
    BertModel,
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from lord.metrics.clip_iqa import CLIP_MEAN, CLIP_STD
from lord.metrics.fid import extract
from lord.metrics.resemblance import ceiling, load_encoder, resemblance

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SEEN = {"image_size": 28, "patch_size": 14}


def save(folder, network, processor=BitImageProcessor):
    """An encoder as the hub has it."""
    network.save_pretrained(folder)
    processor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, resample=3
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def same_weights():
    torch.manual_seed(0)


def dino():
    return Dinov2Model(Dinov2Config(**SMALL, **SEEN)).eval()


def pictures(count=3, height=28, width=28):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator) / 255


def normalised(images):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (images - mean) / std


def test_the_embedding_of_a_vision_transformer_is_its_class_token(tmp_path):
    network, images = dino(), pictures()
    encoder = load_encoder(save(tmp_path, network))
    with torch.inference_mode():
        expected = network(normalised(images)).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
    assert not any(weight.requires_grad for weight in encoder.parameters())


def test_dino_has_no_pooler_and_needs_none(tmp_path):
    """Files of the first DINO have none; transformers would fill it with random numbers."""
    network = ViTModel(ViTConfig(**SMALL, **SEEN), add_pooling_layer=False).eval()
    encoder = load_encoder(save(tmp_path, network))
    assert "pooler.dense.weight" in encoder.network.state_dict()
    with torch.inference_mode():
        expected = network(normalised(pictures())).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(pictures()), expected, rtol=1e-4, atol=1e-5)


def test_the_embedding_of_a_clip_is_what_its_texts_are_compared_with(tmp_path):
    config = CLIPConfig(
        text_config=SMALL | {"vocab_size": 20}, vision_config=SMALL | SEEN, projection_dim=8
    )
    network = CLIPModel(config).eval()
    encoder = load_encoder(save(tmp_path, network, CLIPImageProcessor))
    with torch.inference_mode():
        expected = network.get_image_features(normalised(pictures())).pooler_output
    assert expected.shape == (3, 8)
    torch.testing.assert_close(encoder(pictures()), expected, rtol=1e-4, atol=1e-5)


def test_pictures_of_any_shape_are_cut_to_what_the_encoder_takes(tmp_path):
    encoder = load_encoder(save(tmp_path, dino()))
    wide = pictures(height=28, width=40)
    torch.testing.assert_close(encoder(wide), encoder(wide[..., 6:34]), rtol=1e-4, atol=1e-5)


def test_the_output_of_a_network_of_timm_is_the_embedding(tmp_path):
    """As of a network for faces, whose last layer is its embedding and names no classes."""
    timm = pytest.importorskip("timm", exc_type=ImportError)
    own = {"patch_size": 8, "class_token": False, "global_pool": "avg", "depth": 2}
    network = timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=12, **own).eval()
    statistics = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    sizes = {"input_size": [3, 16, 16], "fixed_input_size": True, "crop_pct": 1.0}
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 12,
        "global_pool": "avg",
        "pretrained_cfg": statistics | sizes,
        "model_args": own,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    images = pictures(height=16, width=16)
    with torch.inference_mode():
        expected = network((images - 0.5) / 0.5)
    assert expected.shape == (3, 12)
    torch.testing.assert_close(load_encoder(str(tmp_path))(images), expected, rtol=1e-4, atol=1e-5)


def test_timm_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 512, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModuleNotFoundError, match=r"needs timm; .* pip install -e '.\[hub\]'"):
        load_encoder(str(tmp_path))


def test_who_looks_alike_resembles():
    one = torch.tensor([[3.0, 0], [0, 2]])
    assert resemblance(one, one).tolist() == [0.5, 0.5]
    assert resemblance(torch.tensor([[5.0, 0]]), torch.tensor([[1.0, 0], [2, 0]])).tolist() == [1]
    assert resemblance(torch.tensor([[-1.0, 0]]), torch.tensor([[1.0, 0]])).tolist() == [-1]


def test_the_ceiling_is_of_pairs_of_different_references():
    generator = torch.Generator().manual_seed(3)
    references = torch.randn((5, 4), generator=generator, dtype=torch.float64)
    pairs = [
        torch.cosine_similarity(references[a], references[b], dim=0)
        for a in range(5)
        for b in range(5)
        if a != b
    ]
    assert ceiling(references) == pytest.approx(torch.stack(pairs).mean().item())
    assert ceiling(references[:1].repeat(3, 1)) == pytest.approx(1)


def test_a_subject_resembles_itself_more_than_noise_does(tmp_path):
    encoder = load_encoder(save(tmp_path, dino()))
    images = pictures(1).repeat(3, 1, 1, 1) * torch.tensor([0.9, 1, 0.8]).view(3, 1, 1, 1)
    features = extract(encoder, images)
    others = extract(encoder, 1 - pictures(4))
    assert resemblance(features[:1], features[1:]) > resemblance(others, features[1:]).max()


def without_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if "layer.1." not in k}, folder / "model.safetensors"
    )


def without_numbers(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v * float("nan") for k, v in tensors.items()}, folder / "model.safetensors")


def with_code(folder):
    change_json(folder / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})


@pytest.mark.parametrize(
    ("network", "spoil", "message"),
    [
        (dino, lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "no image enc"),
        (dino, lambda f: (f / "preprocessor_config.json").unlink(), "no image encoder"),
        (dino, lambda f: (f / "config.json").unlink(), "no image encoder"),
        (dino, lambda f: (f / "config.json").write_text("{"), "no image encoder"),
        (dino, lambda f: (f / "model.safetensors").write_bytes(b"none"), "no image encoder"),
        (dino, with_code, "no image encoder"),
        (dino, without_weights, r"\d+ of its weights are missing, as \S+layer\.1\."),
        (dino, without_numbers, "NaN or infinity"),
        (
            lambda: ResNetModel(ResNetConfig(hidden_sizes=[8], depths=[1], embedding_size=8)),
            lambda f: None,
            "ResNetModel gives no embedding of a picture; choose a DINO",
        ),
        (
            lambda: BertModel(BertConfig(**SMALL, vocab_size=9)),
            lambda f: None,
            "BertModel gives no embedding",
        ),
    ],
)
def test_what_is_no_encoder_is_named(tmp_path, network, spoil, message):
    folder = save(tmp_path, network())
    spoil(tmp_path)
    with pytest.raises((OSError, ValueError), match=message) as caught:
        load_encoder(folder)
    assert str(caught.value).startswith(folder)


@pytest.mark.parametrize("name", ["", "two words", "-1"])
def test_what_can_be_no_name_is_named(name):
    with pytest.raises(OSError, match=f"^{name}: no image encoder"):
        load_encoder(name)


def test_a_folder_that_is_not_there_is_no_id_of_the_hub(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        load_encoder(str(tmp_path / "nowhere"))
