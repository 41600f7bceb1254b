"""A checkpoint in one file, in the layout of the original Stable Diffusion 1.x."""

import re
import shutil
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from topologies import build

from lord.models.pipeline import load_pipeline, networks
from lord.models.sample import generate

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
"""Parts of a residual block of the U-Net, as diffusers and as the original calls them."""

ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}

AUTOENCODER = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def of_unet(name, layers, attends):
    """The original name of a weight of the U-Net."""
    if found := re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.", name):
        way, block, kind, number = found[1], int(found[2]), found[3], int(found[4])
        rest = name[found.end() :]
        if way == "down":
            place, last = f"input_blocks.{1 + block * (layers + 1) + number}", layers
            end = f"input_blocks.{(block + 1) * (layers + 1)}.0.op"
        else:
            place, last = f"output_blocks.{block * (layers + 1) + number}", layers
            end = f"output_blocks.{block * (layers + 1) + last}.{2 if attends[block] else 1}.conv"
        if kind.endswith("samplers"):
            return f"{end}.{rest.removeprefix('conv.')}"
        part = f"{place}.{0 if kind == 'resnets' else 1}.{rest}"
    else:
        start = next(start for start in ENDS if name.startswith(f"{start}."))
        part = ENDS[start] + name.removeprefix(start)
    for ours, theirs in RESNET.items():
        if "resnets" in name:
            part = part.replace(f".{ours}.", f".{theirs}.")
    return part


def of_vae(name, blocks):
    """The original name of a weight of the autoencoder."""
    for ours, theirs in AUTOENCODER.items():
        name = re.sub(rf"(?<=\.){re.escape(ours)}(?=\.)", theirs, name)
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    up = re.search(r"up_blocks\.(\d+)", name)
    if up:
        name = name.replace(up[0], f"up.{blocks - 1 - int(up[1])}")
        name = name.replace("resnets", "block").replace("upsamplers.0", "upsample")
    return name


def original(pipeline):
    """All weights of a pipeline in one mapping, under their original names."""
    unet, tensors = pipeline.unet, {}
    attends = ["CrossAttn" in kind for kind in unet.config.up_block_types]
    for name, weight in unet.state_dict().items():
        own = of_unet(name, unet.config.layers_per_block, attends)
        tensors[f"model.diffusion_model.{own}"] = weight
    for name, weight in pipeline.vae.state_dict().items():
        if re.search(r"attentions\.0\.to_.*weight", name):
            weight = weight[:, :, None, None]  # these were convolutions
        own = of_vae(name, len(pipeline.vae.config.block_out_channels))
        tensors[f"first_stage_model.{own}"] = weight
    for name, weight in pipeline.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{name}"] = weight
    return {name: weight.clone() for name, weight in tensors.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The file, with a folder of its settings beside it, and the pipeline that was written."""
    folder = tmp_path_factory.mktemp("single")
    pipeline = build("sd1")
    save_file(original(pipeline), folder / "model.safetensors")
    pipeline.save_pretrained(folder / "model")
    for path in (folder / "model").rglob("*.safetensors"):
        path.unlink()
    return folder / "model.safetensors", pipeline


def test_a_file_is_read_with_the_settings_beside_it(checkpoint):
    path, written = checkpoint
    read = load_pipeline(path, "cpu")
    assert read.name_or_path == str(path)
    for own, other in zip(networks(read), networks(written), strict=True):
        ours, theirs = own.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    assert generate(read, "a portrait", [0], steps=1).isfinite().all()


def test_a_file_without_a_part_is_refused_in_one_line(checkpoint, tmp_path):
    path, _ = checkpoint
    shutil.copytree(path.with_suffix(""), tmp_path / "model")
    tensors = {n: w for n, w in load_file(path).items() if not n.startswith("cond_stage_model")}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"cannot load it .*CLIPTextModel") as caught:
        load_pipeline(tmp_path / "model.safetensors", "cpu")
    assert "\n" not in str(caught.value)


def test_what_is_no_checkpoint_or_lacks_its_settings_is_named(checkpoint, tmp_path, monkeypatch):
    path, first = tmp_path / "x.safetensors", "model.diffusion_model.input_blocks.0.0.weight"
    for shape in ((4,), (4, 4, 3)):
        save_file({first: torch.zeros(shape)}, path)
        with pytest.raises(ValueError, match=r"x\.safetensors: no checkpoint"):
            load_pipeline(path, "cpu")
    shutil.copy(checkpoint[0], path)
    unreachable = mock.Mock(side_effect=OSError("Got: ConnectError"))
    monkeypatch.setattr("diffusers.StableDiffusionPipeline.from_single_file", unreachable)
    with pytest.raises(OSError, match=r"x\.safetensors: settings that go with it"):
        load_pipeline(path, "cpu")
