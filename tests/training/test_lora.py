"""LoRA fine-tuning on a tiny pipeline: what trains, what is saved, what is refused."""

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from lord.adapter import LordConfig, activate, active_adapters, adapter_tensors, add_adapter
from lord.models.pipeline import encode_prompts
from lord.training import loop as training
from lord.training.adapters import rows_of_step, seeds_of_step
from lord.training.lora import finetune, remove_adapters
from lord.training.lora_file import load_lora, save_lora
from lord.training.settings import FinetuneSettings

SETTINGS = FinetuneSettings(
    rank=2, alpha=3, target_modules=("to_q", "to_v"), steps=6, batch_size=2, checkpoint_every=2
)


@pytest.fixture
def pipeline(own_pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    return own_pipeline


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


CAPTIONS = ["a portrait of sks person", "a portrait of a person", "a portrait of sks person"]


def probe(pipeline: StableDiffusionPipeline) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    unet = pipeline.unet
    latents = torch.randn(2, 4, 16, 16, generator=generator).to(unet.dtype)
    text = encode_prompts(pipeline, CAPTIONS[:2]).text.to(unet.dtype)
    with torch.no_grad():
        return unet(latents, torch.tensor([100, 600]), text, return_dict=False)[0]


def test_only_the_lora_learns_and_removing_it_is_exact(pipeline, tiny, images):
    before = probe(pipeline)
    history = finetune(pipeline, images, CAPTIONS, SETTINGS)
    assert len(history["loss"]) == 6 and all(value > 0 for value in history["loss"])
    assert active_adapters(pipeline.unet) == ["subject"]
    assert not any(p.requires_grad for p in pipeline.unet.parameters())
    assert not torch.equal(probe(pipeline), before)
    remove_adapters(pipeline)
    assert torch.equal(probe(pipeline), before)
    weights, original = pipeline.unet.state_dict(), tiny.pipeline.unet.state_dict()
    assert weights.keys() == original.keys()
    assert all(torch.equal(weights[key], original[key]) for key in original)


def test_learns_one_image(pipeline, images):
    settings = SETTINGS.model_copy(
        update={"steps": 30, "batch_size": 4, "learning_rate": 5e-2, "rank": 4}
    )
    losses = finetune(pipeline, images[:1], CAPTIONS[:1], settings)["loss"]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_same_seed_same_weights(pipeline, images):
    def weights(seed: int) -> dict[str, Tensor]:
        torch.rand(1)  # the global random state differs from run to run
        remove_adapters(pipeline)
        finetune(pipeline, images, CAPTIONS, SETTINGS.model_copy(update={"seed": seed}))
        return adapter_tensors(pipeline.unet, "subject")

    first, same, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_killed_and_started_again(pipeline, images, tmp_path, monkeypatch):
    history = finetune(pipeline, images, CAPTIONS, SETTINGS)
    expected = adapter_tensors(pipeline.unet, "subject")
    remove_adapters(pipeline)

    save, saved = training.save_tensors, []

    def save_then_die(*args, **kwargs):
        save(*args, **kwargs)
        saved.append(args)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_tensors", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        finetune(pipeline, images, CAPTIONS, SETTINGS, checkpoint=tmp_path / "work.safetensors")
    assert active_adapters(pipeline.unet) == []  # nothing half-trained stays
    monkeypatch.undo()

    for _ in range(2):  # once from the checkpoint, once from the finished run
        resumed = finetune(
            pipeline, images, CAPTIONS, SETTINGS, checkpoint=tmp_path / "work.safetensors"
        )
        weights = adapter_tensors(pipeline.unet, "subject")
        assert all(torch.equal(weights[key], expected[key]) for key in expected)
        assert resumed == history
        remove_adapters(pipeline)

    other = SETTINGS.model_copy(update={"steps": 2})
    resumed = finetune(pipeline, images, CAPTIONS, other, checkpoint=tmp_path / "work.safetensors")
    assert len(resumed["loss"]) == 2  # another run's checkpoint is not taken


def test_stage_2_keeps_the_defence_frozen_and_active(pipeline, images):
    config = LordConfig(r=2, target_modules=["to_q", "to_v"])
    add_adapter(pipeline.unet, config, "lord")
    for name, parameter in pipeline.unet.named_parameters():
        if "lora_B.lord" in name or "defence_B.lord" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    before = {k: v.clone() for k, v in adapter_tensors(pipeline.unet, "lord").items()}
    with_defence = probe(pipeline)
    finetune(pipeline, images, CAPTIONS, SETTINGS)
    assert active_adapters(pipeline.unet) == ["lord", "subject"]
    after = adapter_tensors(pipeline.unet, "lord")
    assert all(torch.equal(before[key], after[key]) for key in before)
    stage_2 = adapter_tensors(pipeline.unet, "subject")
    activate(pipeline.unet, ["lord"])
    assert torch.equal(probe(pipeline), with_defence)

    remove_adapters(pipeline)
    finetune(pipeline, images, CAPTIONS, SETTINGS)
    alone = adapter_tensors(pipeline.unet, "subject")
    assert any(not torch.equal(stage_2[key], alone[key]) for key in alone)  # the defence took part


def test_prior_preservation(pipeline, images):
    settings = SETTINGS.model_copy(update={"prior_weight": 0.5})
    prior = (images.flip(0), ["a portrait of a person"] * 3)
    history = finetune(pipeline, images, CAPTIONS, settings, prior=prior)
    assert set(history) == {"loss", "prior"} and len(history["prior"]) == 6
    with pytest.raises(ValueError, match="prior"):
        finetune(pipeline, images, CAPTIONS, settings, adapter="second")
    with pytest.raises(ValueError, match="prior"):
        finetune(pipeline, images, CAPTIONS, SETTINGS, adapter="second", prior=prior)


def test_file_is_read_here_and_by_stock_diffusers(pipeline, images, tmp_path):
    finetune(pipeline, images, CAPTIONS, SETTINGS)
    expected, weights = probe(pipeline), adapter_tensors(pipeline.unet, "subject")
    path = save_lora(pipeline, tmp_path)
    assert path == tmp_path / "pytorch_lora_weights.safetensors"

    remove_adapters(pipeline)
    load_lora(pipeline, path, adapter="renamed")
    assert torch.equal(probe(pipeline), expected)
    loaded = adapter_tensors(pipeline.unet, "renamed")
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    assert pipeline.unet.peft_config["renamed"].lora_alpha == 3

    remove_adapters(pipeline)
    pipeline.load_lora_weights(str(tmp_path), adapter_name="stock")
    assert pipeline.unet.peft_config["stock"].lora_alpha == 3
    torch.testing.assert_close(probe(pipeline), expected)


def test_half_precision_pipeline_trains_and_reloads_in_float32(pipeline, images, tmp_path):
    pipeline.unet.to(torch.bfloat16)
    history = finetune(pipeline, images, CAPTIONS, SETTINGS)
    assert all(value > 0 for value in history["loss"])
    weights, expected = adapter_tensors(pipeline.unet, "subject"), probe(pipeline)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    path = save_lora(pipeline, tmp_path / "half.safetensors")
    remove_adapters(pipeline)
    load_lora(pipeline, path)
    loaded = adapter_tensors(pipeline.unet, "subject")
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    assert torch.equal(probe(pipeline), expected)


def test_broken_and_foreign_files_are_refused(pipeline, images, tmp_path):
    before = probe(pipeline)
    finetune(pipeline, images, CAPTIONS, SETTINGS)
    good = save_lora(pipeline, tmp_path / "good.safetensors")
    remove_adapters(pipeline)
    tensors, metadata = load_file(good), _metadata(good)
    no_effect = {k: v * 0 if "lora_B" in k else v for k, v in tensors.items()}
    missing = dict(list(tensors.items())[1:])
    wider = {k: v.repeat(1, 2) if "lora_A" in k else v for k, v in tensors.items()}
    cases = {
        "no effect": (no_effect, metadata, "changes nothing"),
        "missing": (missing, metadata, "does not belong"),
        "wider": (wider, metadata, "does not belong"),
        "other part": (tensors | {"text_encoder.x": torch.zeros(1)}, metadata, "text_encoder.x"),
    }
    for name, (content, settings, message) in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(content, path, settings)
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            load_lora(pipeline, path)
        assert torch.equal(probe(pipeline), before)
    (tmp_path / "broken.safetensors").write_bytes(b"not a file")
    with pytest.raises(ValueError, match="broken"):
        load_lora(pipeline, tmp_path / "broken.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_lora(pipeline, tmp_path / "nowhere.safetensors")
    with pytest.raises(ValueError, match="subject"):
        save_lora(pipeline, tmp_path)


def _metadata(path) -> dict[str, str]:
    header = path.read_bytes()
    size = int.from_bytes(header[:8], "little")
    return json.loads(header[8 : 8 + size])["__metadata__"]


def test_bad_input_is_refused_before_any_work(pipeline, images):
    for bad, captions, message in (
        (images * 255, CAPTIONS, "images"),
        (images[0], CAPTIONS, "images"),
        (images[:0], [], "images"),
        (images, CAPTIONS[:2], "captions"),
        (images, "a portrait", "captions"),
    ):
        with pytest.raises(ValueError, match=message):
            finetune(pipeline, bad, captions, SETTINGS)
    with pytest.raises(ValueError, match="learning"):
        FinetuneSettings(learning_rte=1e-3)
    with pytest.raises(ValueError, match="no_such_layer"):
        settings = SETTINGS.model_copy(update={"target_modules": ("no_such_layer",)})
        finetune(pipeline, images, CAPTIONS, settings)
    assert active_adapters(pipeline.unet) == []
    finetune(pipeline, images, CAPTIONS, SETTINGS.model_copy(update={"steps": 1}))
    with pytest.raises(ValueError, match="no_such_layer"):
        finetune(pipeline, images, CAPTIONS, settings, adapter="second")
    assert list(pipeline.unet.peft_config) == active_adapters(pipeline.unet) == ["subject"]


def test_a_loss_that_is_not_finite_stops_and_leaves_the_base_model(pipeline, images):
    before = probe(pipeline)
    weight = pipeline.unet.conv_out.weight
    kept = weight.data.clone()
    weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        finetune(pipeline, images, CAPTIONS, SETTINGS)
    weight.data = kept
    assert active_adapters(pipeline.unet) == []
    assert torch.equal(probe(pipeline), before)


def test_every_image_is_seen_before_any_is_seen_again():
    settings = SETTINGS.model_copy(update={"batch_size": 4})
    rows = [row for step in range(5) for row in rows_of_step(10, settings, step, range(4))]
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10] != rows[10:]
    seeds = [s for step in range(5) for s in seeds_of_step(settings, step, "subject", range(4))]
    assert len(set(seeds)) == 20
