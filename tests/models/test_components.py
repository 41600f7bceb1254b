"""Components by name, of latent models and others, and hooks that are gone after use."""

import pytest
import torch
from diffusers import DDPMPipeline, UNet2DConditionModel

from lord.models.components import catch, components, matching, modules_of, parameters_of, select


def hooks(pipeline):
    return sum(
        len(module._forward_hooks)
        for part in (pipeline.vae, pipeline.unet)
        for module in part.modules()
    )


def test_names_follow_the_data(pipeline):
    names = list(components(pipeline))
    assert names[:3] == ["encoder", "quant_conv", "conv_in"]
    assert names[-3:] == ["conv_out", "post_quant_conv", "decoder"]
    order = [name.partition(".")[0] for name in names[3:-3]]
    assert list(dict.fromkeys(order)) == ["down", "mid", "up"]
    kinds = ["residual", "attention.self", "attention.cross", "feed_forward"]
    assert [name for name in names if name.startswith("mid")] == [f"mid.{kind}" for kind in kinds]
    assert sum(len(modules) for modules in components(pipeline).values()) == len(
        {id(module) for modules in components(pipeline).values() for module in modules}
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("up.1.attention", {"up.1.attention.self", "up.1.attention.cross"}),
        ("encoder", {"encoder"}),
        (
            "*.feed_forward",
            {f"{s}.feed_forward" for s in ["down.0", "down.1", "mid", "up.0", "up.1"]},
        ),
    ],
)
def test_a_beginning_or_a_pattern_stands_for_all_of_them(pipeline, asked, expected):
    assert set(select(pipeline, asked)) == expected
    assert parameters_of(modules_of(pipeline, asked)) > 0


def test_a_name_is_not_the_beginning_of_another_word():
    assert matching(["up.1.residual", "up.10.residual"], "up.1") == ["up.1.residual"]


def test_a_name_that_matches_nothing_lists_what_there_is(pipeline):
    with pytest.raises(ValueError) as error:
        select(pipeline, "up.2.atention")
    assert "'up.2.atention'" in str(error.value)
    assert all(name in str(error.value) for name in components(pipeline))


def test_models_in_pixel_space_have_no_autoencoder(pixel_model):
    names = list(components(DDPMPipeline.from_pretrained(pixel_model)))
    assert names[0] == "conv_in" and names[-1] == "conv_out"
    assert "down.0.attention.self" in names and "down.0.attention.cross" not in names


def test_blocks_without_attention_have_none():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=8,
        norm_num_groups=4,
    )
    pipeline = type("Pipeline", (), {"unet": unet})()
    names = list(components(pipeline))
    assert "down.0.attention.self" not in names and "down.1.attention.cross" in names


def test_what_denoises_nothing_is_refused():
    with pytest.raises(ValueError, match="none of its parts is a denoiser"):
        components(type("Pipeline", (), {})())


def test_hooks_are_gone_after_use_even_on_errors(pipeline):
    modules = modules_of(pipeline, "encoder")
    images = torch.rand(2, 3, 16, 16)
    found = catch(modules, lambda: [pipeline.vae.encode(images) for _ in range(3)])
    assert [len(f) for f in found] == [2, 2, 2] and hooks(pipeline) == 0
    first = catch(modules, lambda: [pipeline.vae.encode(images) for _ in range(3)], calls=1)
    assert len(first) == 1 and torch.equal(first[0], found[0]) and hooks(pipeline) == 0

    def fail():
        pipeline.vae.encode(images)
        assert hooks(pipeline) == 1
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        catch(modules, fail)
    assert hooks(pipeline) == 0
