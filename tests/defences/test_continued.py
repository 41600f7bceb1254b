"""Stage 2 in which the defence itself learns, and stage 1 towards clean latents."""

import pytest
import torch
from helpers import noise_images, randomise

from lord.adapter import adapter_tensors
from lord.defences.continued import TRAINED_PARTS, continue_defence
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import clean_latent_target, train_defence
from lord.models.diffusion import noised, training_schedule
from lord.training.settings import FinetuneSettings

CAPTIONS = ["a portrait", "a landscape", "a portrait"]
SETTINGS = Stage1Settings(rank=2, alpha=2, target_modules=("to_q",), steps=2, batch_size=2)
FEW = FinetuneSettings(steps=3, batch_size=2, learning_rate=1e-2)


@pytest.fixture
def defended(own_pipeline):
    train_defence(own_pipeline, noise_images(), noise_images(seed=1), CAPTIONS, SETTINGS)
    randomise(own_pipeline.unet)
    return own_pipeline


@pytest.mark.parametrize("trains", TRAINED_PARTS)
def test_exactly_what_a_reading_names_learns(defended, trains):
    before = {k: v.clone() for k, v in adapter_tensors(defended.unet, "lord").items()}
    base = defended.unet.conv_in.weight.clone()
    history = continue_defence(defended, noise_images(), CAPTIONS, trains, FEW)
    after = adapter_tensors(defended.unet, "lord")
    moved = {k.split(".")[-2] for k in before if not torch.equal(before[k], after[k])}
    assert moved == set(TRAINED_PARTS[trains])
    assert len(history["loss"]) == 3
    assert torch.equal(base, defended.unet.conv_in.weight)
    assert not any(weight.requires_grad for weight in defended.unet.parameters())


def test_a_reading_is_named_and_has_something_to_train(defended, pipeline):
    with pytest.raises(ValueError, match="unknown part 'gate': choose one of shared, branch"):
        continue_defence(defended, noise_images(), CAPTIONS, "gate", FEW)
    with pytest.raises(ValueError, match="no defence"):
        continue_defence(pipeline, noise_images(), CAPTIONS, "shared", FEW)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_target_makes_the_clean_latent_of_the_attacked_one(pipeline, prediction_type):
    """What DDPM makes of z_t and the target is z; of clean latents the target is the usual one."""
    schedule = training_schedule(pipeline)
    schedule.register_to_config(prediction_type=prediction_type)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(4, 4, 8, 8, generator=generator).double()
    attacked = clean + 0.3 * torch.randn(4, 4, 8, 8, generator=generator).double()
    noisy, times, epsilon = noised(schedule, attacked, [1, 2, 3, 4])
    target, weight = clean_latent_target(schedule, clean, noisy, times)
    for row, time in enumerate(times.tolist()):
        step = schedule.step(target[row], time, noisy[row])
        torch.testing.assert_close(step.pred_original_sample, clean[row], rtol=1e-4, atol=1e-4)
    same, times, epsilon = noised(schedule, clean, [1, 2, 3, 4])
    usual = clean_latent_target(schedule, clean, same, times)[0]
    expected = epsilon
    if prediction_type == "v_prediction":
        expected = schedule.get_velocity(clean, epsilon, times)
    torch.testing.assert_close(usual, expected, rtol=1e-4, atol=1e-4)
    signal = schedule.alphas_cumprod[times].double()
    torch.testing.assert_close(weight, ((1 - signal) / signal).clamp(max=1).to(weight))


def test_stage_1_may_aim_at_clean_latents(own_pipeline):
    settings = SETTINGS.model_copy(update={"attacked_target": "clean_latent"})
    clean, attacked = noise_images(), noise_images(seed=1)
    history = train_defence(own_pipeline, clean, attacked, CAPTIONS, settings)
    assert history["attacked"][0] > 0 and len(history["gate"]) == 2
