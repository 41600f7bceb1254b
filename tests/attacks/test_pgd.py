"""Attacks on a tiny pipeline: the budget, the seeds, the options, and what is refused."""

import math

import numpy as np
import pytest
import torch
from helpers import (
    PROMPTS,
    SEEDS,
    build_tiny,
    levels,
    noise_images,
    quick_attack,
    random_signs,
)
from peft import LoraConfig
from PIL import Image

from lord import seeding
from lord.attacks import pgd, simac
from lord.attacks.objectives import OBJECTIVES
from lord.attacks.pgd import attack, load_target, objective_values
from lord.attacks.settings import NOISE, AttackSettings
from lord.attacks.transformations import TRANSFORMATIONS
from lord.data.folder import save_images
from lord.data.picture import read_image
from lord.models.pipeline import encode_prompts
from lord.names import TARGETED

QUICK = quick_attack(rounds=1)


@pytest.fixture(autouse=True)
def few_tries(monkeypatch):
    """SimAC compares few times, where nobody looks at which it finds."""
    monkeypatch.setattr(simac, "TRIES", 2)


@pytest.fixture(scope="module")
def images():
    return noise_images()


def snapshot(module):
    return {name: weight.clone() for name, weight in module.state_dict().items()}


@pytest.mark.parametrize(
    ("method", "eps"),
    [(method, 8 / 255) for method in OBJECTIVES]
    + [("ace", eps) for eps in (1 / 255, 3.7 / 255, 1)],
)
def test_budget_and_range_hold_exactly_after_saving(pipeline, images, tmp_path, method, eps):
    settings = quick_attack(method=method, eps=eps, step_size=eps / 2)
    attacked = attack(pipeline, images, PROMPTS, settings, SEEDS)
    paths = save_images(attacked, tmp_path, [f"{seed}" for seed in SEEDS])
    for path, image, original in zip(paths, attacked, images, strict=True):
        saved = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).long()
        difference = (saved - levels(original)).abs().max()
        assert 0 < difference <= math.floor(eps * 255 + 1e-9)
        assert torch.equal(saved.float() / 255, image)
        assert torch.equal(read_image(path, (16, 16)), image)


def test_whole_budget_is_used(pipeline, images):
    attacked = attack(
        pipeline, images, PROMPTS, quick_attack(step_size=8 / 255, steps=1, rounds=1), SEEDS
    )
    assert (levels(attacked) - levels(images)).abs().max() == 8


def test_budget_holds_for_originals_between_grey_levels(pipeline):
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for eps in (1 / 255, 2.5 / 255):
        attacked = attack(pipeline, images, PROMPTS, quick_attack(eps=eps, steps=2), SEEDS)
        assert torch.equal(attacked, levels(attacked).float() / 255)
        assert (attacked - images).abs().max() <= eps + 1e-6


EVERYTHING = {
    "norm": "l2",
    "eps": 1.5,
    "step_size": 0.5,
    "random_start": True,
    "draws": 2,
    "transformations": ("jpeg", "resize", "blur"),
}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ace", {"rounds": 2}),
        ("fsmg", {}),
        ("aspl", {"rounds": 2}),
        ("diffusion", {"steps": 2}),
        ("ace", {"rounds": 1} | EVERYTHING),
    ],
)
def test_independent_of_batch_size_and_order(double_pipeline, images, method, options):
    # Double precision, where the rounding of a batched sum cannot turn the sign of a gradient.
    pipeline = double_pipeline
    sizes = {"steps": 2, "surrogate_steps": 2, "surrogate_learning_rate": 1e-2}
    settings = quick_attack(method, **sizes | options)
    reference = attack(pipeline, images, PROMPTS, settings, SEEDS, batch_size=3)
    assert torch.equal(attack(pipeline, images, PROMPTS, settings, SEEDS, batch_size=2), reference)
    order = [2, 0, 1]
    shuffled = attack(
        pipeline,
        images[order],
        [PROMPTS[index] for index in order],
        settings,
        [SEEDS[index] for index in order],
        batch_size=2,
    )
    assert torch.equal(shuffled, reference[order])


def test_an_image_alone_gives_what_it_gives_among_others(double_pipeline, images):
    pipeline = double_pipeline
    reference = attack(pipeline, images, PROMPTS, QUICK, SEEDS)
    alone = attack(pipeline, images[2:3], PROMPTS[2:3], QUICK, SEEDS[2:3])
    assert torch.equal(alone, reference[2:3])


def test_seed_decides_the_result_and_leaves_the_global_one_alone(pipeline, images):
    settings = quick_attack(rounds=2, surrogate_steps=1)
    state = torch.get_rng_state()
    first = attack(pipeline, images, PROMPTS, settings, SEEDS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(attack(pipeline, images, PROMPTS, settings, SEEDS), first)
    other = attack(pipeline, images, PROMPTS, settings, [seed + 100 for seed in SEEDS])
    assert not torch.equal(other, first)


def test_attack_raises_its_objective_at_draws_it_has_not_seen(pipeline, images):
    attacked = attack(pipeline, images, PROMPTS, quick_attack(steps=10, rounds=1), SEEDS)
    noisy = (images + 8 / 255 * random_signs(images)).clamp(0, 1)
    text = encode_prompts(pipeline, PROMPTS)
    target = load_target(pipeline, "pattern", 16, 16)

    # A network with random weights hardly looks at its input, so the mean takes many draws.
    draws = [seeding.derive_seed("test", seed, draw) for draw in range(40) for seed in SEEDS]

    def value(candidates):
        rows, texts = candidates.repeat(40, 1, 1, 1), text.repeat(40)
        with torch.no_grad():
            return objective_values(pipeline, rows, texts, QUICK, target, draws).mean()

    before, after, control = value(images), value(attacked), value(noisy)
    assert after > before
    assert after > control


def test_one_encoding_per_step_and_one_of_the_target(pipeline, images, monkeypatch):
    encodings, texts = [], []
    encode, encode_text = pipeline.vae.encode, pipeline.text_encoder.forward
    monkeypatch.setattr(pipeline.vae, "encode", lambda x: encodings.append(len(x)) or encode(x))
    monkeypatch.setattr(
        pipeline.text_encoder, "forward", lambda *a, **k: texts.append(1) or encode_text(*a, **k)
    )
    attack(pipeline, images, PROMPTS, quick_attack(steps=4, rounds=1), SEEDS, batch_size=2)
    assert encodings == [1] + [2] * 4 + [1] * 4
    assert len(texts) == 1


@pytest.mark.parametrize("adapter", [None, "active", "disabled", "merged"])
def test_pipeline_is_left_as_it_was(images, adapter):
    pipeline = build_tiny()
    unet = pipeline.unet
    if adapter:
        unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False), "mine")
        if adapter == "disabled":
            unet.disable_adapters()
        if adapter == "merged":
            unet.fuse_lora()
    pipeline.vae.requires_grad_(True)
    weights, modules = snapshot(unet), [name for name, _ in unet.named_modules()]
    flags = [weight.requires_grad for weight in unet.parameters()]
    attack(pipeline, images, PROMPTS, quick_attack(steps=1, rounds=3, surrogate_steps=1), SEEDS)
    assert pipeline.unet is unet
    assert [name for name, _ in unet.named_modules()] == modules
    assert [weight.requires_grad for weight in unet.parameters()] == flags
    assert all(weight.requires_grad for weight in pipeline.vae.parameters())
    assert all(weight.grad is None for weight in (*unet.parameters(), *pipeline.vae.parameters()))
    for name, weight in unet.state_dict().items():
        assert torch.equal(weight, weights[name])
    if adapter:
        assert unet.active_adapters() == ["mine"]


def test_active_adapters_are_attacked(own_pipeline, images):
    pipeline = own_pipeline
    base = attack(pipeline, images, PROMPTS, QUICK, SEEDS)
    config = LoraConfig(r=4, target_modules=["to_q", "to_out.0"], init_lora_weights=False)
    pipeline.unet.add_adapter(config, "mine")
    with_adapter = attack(pipeline, images, PROMPTS, QUICK, SEEDS)
    assert not torch.equal(with_adapter, base)
    pipeline.unet.disable_adapters()
    assert torch.equal(attack(pipeline, images, PROMPTS, QUICK, SEEDS), base)


def test_half_precision_model_keeps_the_perturbation_in_single(images):
    pipeline = build_tiny(torch.bfloat16)
    # A quarter of a grey level a step would vanish if the pixels were kept in bfloat16.
    settings = quick_attack(step_size=0.25 / 255, steps=4, rounds=2, surrogate_steps=1)
    attacked = attack(pipeline, images, PROMPTS, settings, SEEDS)
    assert attacked.dtype == torch.float32
    assert (levels(attacked) - levels(images)).abs().max() in (1, 2)


@pytest.mark.parametrize("size", [(20, 12), (19, 13)])
def test_other_sizes_are_neither_cut_nor_squashed(pipeline, size):
    images = torch.rand(1, 3, *size)
    attacked = attack(pipeline, images, ["a"], quick_attack(steps=1, rounds=1), [1])
    assert attacked.shape == images.shape
    assert ((attacked - images).abs().amax(dim=1) > 1 / 255).float().mean() > 0.9


@pytest.mark.parametrize("eps", [1.0, 3.5])
@pytest.mark.parametrize("random_start", [False, True])
def test_the_euclidean_budget_holds_exactly_and_is_used_after_saving(pipeline, random_start, eps):
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    images = (images * 255).round() / 255
    settings = quick_attack(norm="l2", eps=eps, step_size=eps, random_start=random_start, rounds=1)
    attacked = attack(pipeline, images, PROMPTS, settings, SEEDS)
    change = (levels(attacked) - levels(images)).double().flatten(1).norm(dim=1) / 255
    assert (change <= eps).all() and (change > 0.95 * eps).all()
    assert torch.equal(attacked, levels(attacked).float() / 255)
    assert attacked.min() >= 0 and attacked.max() <= 1


def test_a_euclidean_budget_below_8_bits_is_an_error(pipeline, images):
    settings = quick_attack(norm="l2", eps=1e-4, step_size=1e-4)
    with pytest.raises(ValueError, match="8 bits"):
        attack(pipeline, images, PROMPTS, settings, SEEDS)


def test_overflow_is_met_with_a_smaller_scale(images):
    def steep(x):  # 10³⁵ · 2¹⁴ is more than single precision holds
        return (x * 1e35).sum(dim=(1, 2, 3))

    moved = pgd.pgd_step([steep], images, images, 8 / 255, 2 / 255)
    torch.testing.assert_close(moved, (images + 2 / 255).clamp(0, 1))


def test_options_change_what_they_say(pipeline, images):
    plain = attack(pipeline, images, PROMPTS, quick_attack(rounds=1), SEEDS)
    for option in (
        {"random_start": True},
        {"step_decay": True},
        {"draws": 2},
        *({"transformations": (name,)} for name in TRANSFORMATIONS),
    ):
        changed = attack(pipeline, images, PROMPTS, quick_attack(rounds=1, **option), SEEDS)
        assert not torch.equal(changed, plain), option
        assert (levels(changed) - levels(images)).abs().max() <= 8


def test_several_draws_average_their_gradients(images):
    def first(x):
        return (x * images).sum(dim=(1, 2, 3))

    def second(x):
        return -(x * images).sum(dim=(1, 2, 3)) + x.sum(dim=(1, 2, 3)) * 1e-3

    moved = pgd.pgd_step([first, second], images, images, 8 / 255, 2 / 255)
    torch.testing.assert_close(moved, (images + 2 / 255).clamp(0, 1))


def test_missing_target_is_an_error(pipeline, images, tmp_path):
    for method in TARGETED:
        for missing in (None, ""):
            with pytest.raises(ValueError, match="target"):
                AttackSettings(method=method, target=missing)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        settings = quick_attack(target=str(tmp_path / "gone.png"))
        attack(pipeline, images, PROMPTS, settings, SEEDS)


def test_own_target(pipeline, images, tmp_path):
    Image.fromarray(np.full((48, 64, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    settings = quick_attack(rounds=1, target=str(tmp_path / "red.png"))
    own = attack(pipeline, images, PROMPTS, settings, SEEDS)
    assert not torch.equal(own, attack(pipeline, images, PROMPTS, QUICK, SEEDS))


def test_not_a_number_is_an_error(own_pipeline, images):
    pipeline = own_pipeline
    with torch.no_grad():
        pipeline.unet.conv_in.bias[0] = math.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        attack(pipeline, images, PROMPTS, QUICK, SEEDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(3, 1, 16, 16)}, "shape"),
        ({"images": torch.zeros(3, 3, 16, 16, dtype=torch.uint8)}, "floats"),
        ({"images": torch.full((3, 3, 16, 16), 255.0)}, r"\[0, 1\]"),
        ({"images": torch.full((3, 3, 16, 16), math.nan)}, r"\[0, 1\]"),
        ({"prompts": ["one"]}, "one per image"),
        ({"prompts": "five"}, "one per image"),
        ({"seeds": [1]}, "one per image"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_input_is_named(pipeline, images, change, message):
    call = {"images": images, "prompts": PROMPTS, "settings": QUICK, "seeds": SEEDS, **change}
    with pytest.raises(ValueError, match=message):
        attack(pipeline, **call)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 1}, "steps"),
        ({"random_start": False}, "random start"),
        ({"surrogate": "fixed"}, "surrogate"),
    ],
)
def test_noise_is_nothing_but_a_random_start(pipeline, images, wrong, message):
    settings = AttackSettings(method=NOISE, eps=8 / 255)
    noisy = attack(pipeline, images, PROMPTS, settings, SEEDS)
    change = (noisy - images) * 255
    inside = (images > 8 / 255) & (images < 247 / 255)
    # Uniform on [-8, 8]: the standard deviation is 8 / sqrt(3), and a few reach the budget.
    assert change.abs().max() == pytest.approx(8, abs=1e-3)
    assert change[inside].std().item() == pytest.approx(8 / math.sqrt(3), rel=0.05)
    with pytest.raises(ValueError, match=message):
        AttackSettings(method=NOISE, **wrong)
