"""Contrastive decoupling: the prompts that are learned, and what is asked for."""

import pytest
import torch
import yaml
from helpers import NEEDED, noise_images

from lord.defences.decoupling import NEGATIVE, PRIOR_WEIGHT, with_noise, without_noise
from lord.experiments.lord.chain import condition
from lord.models.diffusion import noised, predict, row_errors, training_schedule
from lord.models.pipeline import encode_images, encode_prompts
from lord.study.context import Context
from lord.study.profile import PROFILES, read_profile
from lord.training.adapters import rows_of_step, seeds_of_step
from lord.training.lora import finetune
from lord.training.settings import FinetuneSettings

PROMPTS, CLASS = ["a portrait of sks person"] * 3, ["a portrait of a person"] * 3


def test_the_perturbation_has_a_name():
    assert with_noise(PROMPTS[:1]) == ["a portrait of sks person, bhj noisy pattern"]
    assert without_noise(CLASS[:1]) == ["a portrait of a person, without bhj noisy pattern"]


@torch.no_grad()
def test_the_loss_is_that_of_the_paper(own_pipeline):
    """mean‖ε(z_t, c + noise) − ϵ‖² + mean‖ε(z_t, class without noise) − ϵ‖², by hand, at step 0."""
    images, others = noise_images(), noise_images(seed=1)
    settings = FinetuneSettings(
        steps=1, batch_size=2, rank=2, alpha=2, target_modules=("to_q",), prior_weight=PRIOR_WEIGHT
    )
    expected, schedule = [], training_schedule(own_pipeline)
    for kind, pictures, captions in (
        ("subject", images, with_noise(PROMPTS)),
        ("prior", others, without_noise(CLASS)),
    ):
        slots = range(settings.batch_size)
        rows = rows_of_step(3, settings, 0, slots)
        latents = encode_images(own_pipeline, pictures).float()[rows]
        seeds = seeds_of_step(settings, 0, kind, slots)
        noisy, times, epsilon = noised(schedule, latents, seeds)
        text = encode_prompts(own_pipeline, captions)[rows]
        prediction = predict(own_pipeline.unet, noisy, times, text)
        expected.append(row_errors(prediction, epsilon).mean().item())
    with torch.enable_grad():
        history = finetune(
            own_pipeline,
            images,
            with_noise(PROMPTS),
            settings,
            prior=(others, without_noise(CLASS)),
        )
    assert history["loss"][0] == pytest.approx(expected[0], rel=1e-4)
    assert history["prior"][0] == pytest.approx(expected[1], rel=1e-4)


def test_a_cell_learns_with_noise_and_asks_without(pretrained, tmp_path, monkeypatch):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    values = {name: values[name] for name in NEEDED} | {"name": "decoupled"}
    values["lord"] |= {"model": str(pretrained / "embedded"), "size": 32}
    values["main"] = {"conditions": {"none": ["none"], "ace": ["none", "cdl"]}}
    profile = read_profile(values)
    (cell,) = [
        cell
        for cell in profile.cells("main")
        if cell["defence"] == "cdl" and cell["domain"] == "portraits"
    ]
    assert "prompts:cdl" in cell.components and cell["treatment"] == "none"
    learned, asked = {}, []
    tune, generate = condition.fine_tune, condition.generate

    def tuning(pipeline, images, captions, settings, **options):
        learned.update(captions=captions, weight=settings.prior_weight, prior=options["prior"][1])
        return tune(pipeline, images, captions, settings, **options)

    def sampling(pipeline, prompt, *arguments, **options):
        asked.append((prompt, options.get("negative_prompt", "")))
        return generate(pipeline, prompt, *arguments, **options)

    monkeypatch.setattr(condition, "CLASS_PICTURES", 3)
    monkeypatch.setattr(condition, "fine_tune", tuning)
    monkeypatch.setattr(condition, "generate", sampling)
    outcome = condition.measure_condition(Context(tmp_path), cell)
    assert learned == {
        "captions": with_noise(["a portrait of sks person"] * 2),
        "weight": PRIOR_WEIGHT,
        "prior": without_noise(["a portrait of a person"] * 3),
    }
    assert asked == [
        ("a portrait of a person", ""),  # the pictures of the class
        *[(without_noise(["a portrait of sks person"])[0], NEGATIVE)],
    ]
    assert outcome.metrics["fid_embedded_round_trip"] > 0
