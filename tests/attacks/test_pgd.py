import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from peft import LoraConfig
from PIL import Image

from lord import seeding
from lord.adapter import LordConfig, add_adapter
from lord.attacks import pgd, surrogates
from lord.attacks.objectives import OBJECTIVES, advdm, make_draw
from lord.attacks.pgd import attack, load_target, objective_values
from lord.attacks.settings import NOISE, PUBLISHED, AttackSettings
from lord.attacks.transformations import TRANSFORMATIONS, transform
from lord.data.folder import read_image, save_images
from lord.data.pattern import target_pattern
from lord.models.embedded import TINY, build_pipeline
from lord.models.pipeline import encode_prompts
from lord.names import TARGETED

N, SIZE = 3, 16
SEEDS = [11, 12, 13]
PROMPTS = ["a portrait", "a landscape", "a portrait"]
QUICK = AttackSettings(eps=8 / 255, step_size=2 / 255, steps=3, rounds=1)


def make_pipeline(dtype=torch.float32):
    torch.manual_seed(0)
    pipeline = build_pipeline(TINY).to("cpu", dtype)
    for module in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        module.requires_grad_(False).eval()
    return pipeline


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline()


@pytest.fixture(scope="module")
def images():
    values = torch.randint(0, 256, (N, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    return values / 255


def quick(method="ace", **changes):
    """Settings that are as those published but quick."""
    published = AttackSettings(method=method)
    few = {"rounds": min(published.rounds, 2), "surrogate_steps": 1, "draws": 1}
    return AttackSettings(
        method=method, **{"eps": 8 / 255, "step_size": 2 / 255, "steps": 3} | few | changes
    )


def snapshot(module):
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def levels(images):
    return (images * 255).round().long()


@pytest.mark.parametrize(
    ("method", "eps"),
    [(method, 8 / 255) for method in OBJECTIVES]
    + [("ace", eps) for eps in (1 / 255, 3.7 / 255, 1)],
)
def test_budget_and_range_hold_exactly_after_saving(pipeline, images, tmp_path, method, eps):
    settings = quick(method=method, eps=eps, step_size=eps / 2)
    attacked = attack(pipeline, images, PROMPTS, settings, SEEDS)
    paths = save_images(attacked, tmp_path, [f"{seed}" for seed in SEEDS])
    for path, image, original in zip(paths, attacked, images, strict=True):
        saved = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).long()
        difference = (saved - levels(original)).abs().max()
        assert 0 < difference <= math.floor(eps * 255 + 1e-9)
        assert torch.equal(saved.float() / 255, image)
        assert torch.equal(read_image(path, (SIZE, SIZE)), image)


def test_whole_budget_is_used(pipeline, images):
    attacked = attack(pipeline, images, PROMPTS, quick(step_size=8 / 255, steps=1, rounds=1), SEEDS)
    assert (levels(attacked) - levels(images)).abs().max() == 8


def test_budget_holds_for_originals_between_grey_levels(pipeline):
    images = torch.rand(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for eps in (1 / 255, 2.5 / 255):
        attacked = attack(pipeline, images, PROMPTS, quick(eps=eps, steps=2), SEEDS)
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
def test_independent_of_batch_size_and_order(images, method, options):
    # Double precision, where the rounding of a batched sum cannot turn the sign of a gradient.
    pipeline = make_pipeline(torch.float64)
    settings = quick(method, surrogate_steps=2, surrogate_learning_rate=1e-2, **options)
    reference = attack(pipeline, images, PROMPTS, settings, SEEDS, batch_size=N)
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


def test_an_image_alone_gives_what_it_gives_among_others(images):
    pipeline = make_pipeline(torch.float64)
    reference = attack(pipeline, images, PROMPTS, QUICK, SEEDS)
    alone = attack(pipeline, images[2:3], PROMPTS[2:3], QUICK, SEEDS[2:3])
    assert torch.equal(alone, reference[2:3])


def test_seed_decides_the_result_and_leaves_the_global_one_alone(pipeline, images):
    settings = quick(rounds=2, surrogate_steps=1)
    state = torch.get_rng_state()
    first = attack(pipeline, images, PROMPTS, settings, SEEDS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(attack(pipeline, images, PROMPTS, settings, SEEDS), first)
    other = attack(pipeline, images, PROMPTS, settings, [seed + 100 for seed in SEEDS])
    assert not torch.equal(other, first)


def random_signs(images):
    return torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("method", [name for name in OBJECTIVES if not name.startswith("sds")])
def test_steps_raise_the_objective_beyond_noise(pipeline, images, method):
    text = encode_prompts(pipeline, PROMPTS).clone()
    target = load_target(pipeline, "pattern", SIZE, SIZE)

    def values(candidates):
        return objective_values(pipeline, candidates, text, quick(method), target, SEEDS)

    attacked = images
    for _ in range(5):
        attacked = pgd.pgd_step([values], attacked, images, 8 / 255, 2 / 255)
    noisy = (images + 8 / 255 * random_signs(images)).clamp(0, 1)
    before, after, control = values(images), values(attacked), values(noisy)
    assert (after > before).all()
    assert (after > control).all()


def test_attack_raises_its_objective_at_draws_it_has_not_seen(pipeline, images):
    attacked = attack(pipeline, images, PROMPTS, quick(steps=10, rounds=1), SEEDS)
    noisy = (images + 8 / 255 * random_signs(images)).clamp(0, 1)
    text = encode_prompts(pipeline, PROMPTS)
    target = load_target(pipeline, "pattern", SIZE, SIZE)

    def value(candidates):
        # A network with random weights hardly looks at its input, so the mean takes many draws.
        draws = [[seeding.derive_seed("test", seed, draw) for seed in SEEDS] for draw in range(40)]
        with torch.no_grad():
            values = [
                objective_values(pipeline, candidates, text, QUICK, target, seeds).mean()
                for seeds in draws
            ]
        return torch.stack(values).mean()

    before, after, control = value(images), value(attacked), value(noisy)
    assert after > before
    assert after > control


@pytest.mark.parametrize("method", OBJECTIVES)
def test_objective_agrees_with_a_reference(pipeline, images, method):
    text = encode_prompts(pipeline, PROMPTS)
    target = load_target(pipeline, "pattern", SIZE, SIZE)
    values = objective_values(pipeline, images, text, quick(method), target, SEEDS)

    scale = pipeline.vae.config.scaling_factor
    alphas = DDPMScheduler.from_config(pipeline.scheduler.config).alphas_cumprod
    z_target = pipeline.vae.encode(target_pattern(SIZE)[None] * 2 - 1).latent_dist.mode() * scale
    for index, seed in enumerate(SEEDS):
        z = pipeline.vae.encode(images[index : index + 1] * 2 - 1).latent_dist.mode() * scale
        t = seeding.timesteps([seeding.derive_seed(seed, "timestep")], 0, len(alphas))
        eps = seeding.noise([seeding.derive_seed(seed, "noise")], z.shape[1:])
        z_t = alphas[t] ** 0.5 * z + (1 - alphas[t]) ** 0.5 * eps
        prediction = pipeline.unet(z_t, t, text[index : index + 1]).sample
        fit, reach = ((prediction - eps) ** 2).mean(), -((prediction - z_target) ** 2).mean()
        expected = {
            "advdm": fit,
            "fsmg": fit,
            "aspl": fit,
            "encoder": -((z - z_target) ** 2).mean(),
            "diffusion": -(_edited(pipeline, z, eps, text[index]) - target_pattern(SIZE)).norm(),
            "mist": 1e4 * fit - ((z - z_target) ** 2).sum(),
            "sds_minus": -((prediction - eps) * z).mean(),
            "sds_plus": ((prediction - eps) * z).mean(),
            "ace": reach,
            "ace_plus": reach - 100 * ((z - z_target) ** 2).mean(),
            "mist_v2_fused": 100 * ((z - z_target) ** 2).mean()
            - (prediction - z_target).abs().mean(),
        }[method]
        assert values[index].item() == pytest.approx(expected.item(), rel=1e-4)


def _edited(pipeline, z, eps, text):
    """SDEdit with four DDIM steps and guidance 7.5, the formula written out."""
    alphas = pipeline.scheduler.alphas_cumprod
    stride, empty = 1000 // 6, encode_prompts(pipeline, [""])
    times = [(3 - step) * stride + 1 for step in range(4)]
    x = alphas[times[0]] ** 0.5 * z + (1 - alphas[times[0]]) ** 0.5 * eps
    for t in times:
        without = pipeline.unet(x, t, empty).sample
        e = without + 7.5 * (pipeline.unet(x, t, text[None]).sample - without)
        clean = (x - (1 - alphas[t]) ** 0.5 * e) / alphas[t] ** 0.5
        before = alphas[t - stride] if t >= stride else alphas[0]
        x = before**0.5 * clean + (1 - before) ** 0.5 * e
    return (pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample / 2 + 0.5).clamp(
        0, 1
    )


def test_score_distillation_moves_along_the_encoder_alone(images):
    """The gradient of SDS is the residual, propagated through the encoder and nothing else."""
    pipeline = make_pipeline(torch.float64)
    text = encode_prompts(pipeline, PROMPTS).clone()
    candidates = images.double().requires_grad_()
    (found,) = torch.autograd.grad(
        objective_values(pipeline, candidates, text, quick("sds_minus"), None, SEEDS).sum(),
        candidates,
    )
    seen = make_draw(pipeline, candidates, text, SEEDS)
    residual = (seen.prediction - seen.noise).detach()
    (expected,) = torch.autograd.grad(seen.latents, candidates, -residual / residual[0].numel())
    torch.testing.assert_close(found, expected)


def test_denoising_loss_is_the_mean_objective_of_advdm(pipeline, images):
    losses = pgd.denoising_loss(pipeline, images, PROMPTS, draws=2, batch_size=2)
    text = encode_prompts(pipeline, PROMPTS)
    expected = [
        advdm(make_draw(pipeline, images, text, [seed] * N))
        for seed in (seeding.derive_seed("denoising loss", draw) for draw in range(2))
    ]
    torch.testing.assert_close(losses, torch.stack(expected).mean(dim=0))


@pytest.mark.parametrize("method", [name for name in OBJECTIVES if not name.startswith("sds")])
def test_gradient_agrees_with_finite_differences(images, method):
    pipeline = make_pipeline(torch.float64)
    text = encode_prompts(pipeline, PROMPTS[:2]).clone()
    target = load_target(pipeline, "pattern", SIZE, SIZE)
    images = images[:2].double()

    def value(candidates):
        return objective_values(pipeline, candidates, text, quick(method), target, SEEDS[:2]).sum()

    candidates = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(candidates), candidates)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            slope = (value(images + 1e-5 * direction) - value(images - 1e-5 * direction)) / 2e-5
        assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


def test_one_encoding_per_step_and_one_of_the_target(pipeline, images, monkeypatch):
    encodings, texts = [], []
    encode, encode_text = pipeline.vae.encode, pipeline.text_encoder.forward
    monkeypatch.setattr(pipeline.vae, "encode", lambda x: encodings.append(len(x)) or encode(x))
    monkeypatch.setattr(
        pipeline.text_encoder, "forward", lambda *a, **k: texts.append(1) or encode_text(*a, **k)
    )
    attack(pipeline, images, PROMPTS, quick(steps=4, rounds=1), SEEDS, batch_size=2)
    assert encodings == [1] + [2] * 4 + [1] * 4
    assert len(texts) == 1


@pytest.mark.parametrize("adapter", [None, "active", "disabled", "merged"])
def test_pipeline_is_left_as_it_was(images, adapter):
    pipeline = make_pipeline()
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
    attack(pipeline, images, PROMPTS, quick(steps=1, rounds=3, surrogate_steps=1), SEEDS)
    assert pipeline.unet is unet
    assert [name for name, _ in unet.named_modules()] == modules
    assert [weight.requires_grad for weight in unet.parameters()] == flags
    assert all(weight.requires_grad for weight in pipeline.vae.parameters())
    assert all(weight.grad is None for weight in (*unet.parameters(), *pipeline.vae.parameters()))
    for name, weight in unet.state_dict().items():
        assert torch.equal(weight, weights[name])
    if adapter:
        assert unet.active_adapters() == ["mine"]


def test_active_adapters_are_attacked(images):
    pipeline = make_pipeline()
    base = attack(pipeline, images, PROMPTS, QUICK, SEEDS)
    config = LoraConfig(r=4, target_modules=["to_q", "to_out.0"], init_lora_weights=False)
    pipeline.unet.add_adapter(config, "mine")
    with_adapter = attack(pipeline, images, PROMPTS, QUICK, SEEDS)
    assert not torch.equal(with_adapter, base)
    pipeline.unet.disable_adapters()
    assert torch.equal(attack(pipeline, images, PROMPTS, QUICK, SEEDS), base)


@pytest.mark.parametrize("state", ["none", "active", "scaled", "disabled", "merged", "lord"])
def test_fresh_surrogate_predicts_what_the_unet_predicts(state):
    unet = make_pipeline().unet
    if state == "lord":
        add_adapter(unet, LordConfig(r=2, target_modules=["to_q"]), "lord")
        with torch.no_grad():
            for name, weight in unet.named_parameters():
                if "lora_" in name:
                    weight.normal_(std=0.5)
    elif state != "none":
        config = LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False)
        unet.add_adapter(config, "mine")
    if state == "scaled":
        unet.set_adapters("mine", 0.3)
    if state == "disabled":
        unet.disable_adapters()
    if state == "merged":
        unet.fuse_lora()
    surrogate = surrogates.make_surrogate(unet, rank=4)
    latents = torch.randn(2, 4, 16, 16)
    text = torch.randn(2, 7, unet.config.cross_attention_dim)
    t = torch.tensor([10, 700])
    with torch.no_grad():
        expected = unet(latents, t, text).sample
        torch.testing.assert_close(surrogate(latents, t, text).sample, expected)
        for name, weight in surrogate.named_parameters():
            if ".lora_B.surrogate." in name:
                weight.fill_(0.1)
        assert not torch.allclose(surrogate(latents, t, text).sample, expected, atol=1e-4)


def test_surrogate_learns_the_images_and_changes_the_attack(pipeline, images):
    settings = quick(rounds=2, surrogate_steps=15, surrogate_learning_rate=1e-2)
    text = encode_prompts(pipeline, PROMPTS).clone()
    surrogate = surrogates.make_surrogate(pipeline.unet, rank=4)

    def loss():
        with torch.no_grad():
            return advdm(make_draw(pipeline, images, text, SEEDS, surrogate)).mean()

    before = loss()
    surrogates.train_surrogate(pipeline, surrogate, images, text, settings, SEEDS, "test")
    assert loss() < before
    assert not any(weight.requires_grad for weight in surrogate.parameters())
    changed = {
        name
        for name, weight in surrogate.named_parameters()
        if name in dict(pipeline.unet.named_parameters())
        and not torch.equal(weight, dict(pipeline.unet.named_parameters())[name])
    }
    assert not changed
    two_rounds = attack(pipeline, images, PROMPTS, settings, SEEDS)
    one_round = attack(pipeline, images, PROMPTS, quick(steps=6, rounds=1), SEEDS)
    assert not torch.equal(two_rounds, one_round)


def test_half_precision_model_keeps_the_perturbation_in_single(images):
    pipeline = make_pipeline(torch.bfloat16)
    # A quarter of a grey level a step would vanish if the pixels were kept in bfloat16.
    settings = quick(step_size=0.25 / 255, steps=4, rounds=2, surrogate_steps=1)
    attacked = attack(pipeline, images, PROMPTS, settings, SEEDS)
    assert attacked.dtype == torch.float32
    assert (levels(attacked) - levels(images)).abs().max() in (1, 2)


@pytest.mark.parametrize("size", [(20, 12), (19, 13)])
def test_other_sizes_are_neither_cut_nor_squashed(pipeline, size):
    images = torch.rand(1, 3, *size)
    attacked = attack(pipeline, images, ["a"], quick(steps=1, rounds=1), [1])
    assert attacked.shape == images.shape
    assert ((attacked - images).abs().amax(dim=1) > 1 / 255).float().mean() > 0.9


@pytest.mark.parametrize("eps", [1.0, 3.5])
@pytest.mark.parametrize("random_start", [False, True])
def test_the_euclidean_budget_holds_exactly_and_is_used_after_saving(pipeline, random_start, eps):
    images = torch.rand(N, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    images = (images * 255).round() / 255
    settings = quick(norm="l2", eps=eps, step_size=eps, random_start=random_start, rounds=1)
    attacked = attack(pipeline, images, PROMPTS, settings, SEEDS)
    change = (levels(attacked) - levels(images)).double().flatten(1).norm(dim=1) / 255
    assert (change <= eps).all() and (change > 0.95 * eps).all()
    assert torch.equal(attacked, levels(attacked).float() / 255)
    assert attacked.min() >= 0 and attacked.max() <= 1


def test_a_euclidean_budget_below_8_bits_is_an_error(pipeline, images):
    settings = quick(norm="l2", eps=1e-4, step_size=1e-4)
    with pytest.raises(ValueError, match="8 bits"):
        attack(pipeline, images, PROMPTS, settings, SEEDS)


def test_overflow_is_met_with_a_smaller_scale(images):
    def steep(x):  # 10³⁵ · 2¹⁴ is more than single precision holds
        return (x * 1e35).sum(dim=(1, 2, 3))

    moved = pgd.pgd_step([steep], images, images, 8 / 255, 2 / 255)
    torch.testing.assert_close(moved, (images + 2 / 255).clamp(0, 1))


def test_options_change_what_they_say(pipeline, images):
    plain = attack(pipeline, images, PROMPTS, quick(rounds=1), SEEDS)
    for option in (
        {"random_start": True},
        {"step_decay": True},
        {"draws": 2},
        *({"transformations": (name,)} for name in TRANSFORMATIONS),
    ):
        changed = attack(pipeline, images, PROMPTS, quick(rounds=1, **option), SEEDS)
        assert not torch.equal(changed, plain), option
        assert (levels(changed) - levels(images)).abs().max() <= 8


def test_several_draws_average_their_gradients(images):
    def first(x):
        return (x * images).sum(dim=(1, 2, 3))

    def second(x):
        return -(x * images).sum(dim=(1, 2, 3)) + x.sum(dim=(1, 2, 3)) * 1e-3

    moved = pgd.pgd_step([first, second], images, images, 8 / 255, 2 / 255)
    torch.testing.assert_close(moved, (images + 2 / 255).clamp(0, 1))


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_keep_shape_and_pass_gradients(images, name):
    candidates = images.clone().requires_grad_()
    seen = transform(candidates, (name,), SEEDS)
    assert seen.shape == images.shape and not torch.equal(seen, images)
    (gradient,) = torch.autograd.grad(seen.sum(), candidates)
    assert (gradient != 0).any(dim=1).float().mean() > 0.9
    assert torch.equal(
        transform(images, (name,), SEEDS)[1], transform(images[1:], (name,), SEEDS[1:])[0]
    )


def test_what_is_not_given_is_as_published():
    assert set(PUBLISHED) == {*OBJECTIVES, NOISE}
    assert AttackSettings(method="aspl").rounds == 50
    assert AttackSettings(method="ace").eps == 4 / 255
    assert AttackSettings(method="ace", rounds=1).surrogate_steps == 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "fsmg", "surrogate": "none"}, "would be AdvDM"),
        ({"method": "aspl", "surrogate": "alternating"}, "would be AdvDM"),
        ({"method": "advdm", "rounds": 2}, "rounds"),
        ({"method": "advdm", "surrogate": "fixed"}, "FSMG"),
        ({"method": "ace", "norm": "l2"}, "eps"),
    ],
)
def test_no_attack_silently_becomes_another(wrong, message):
    with pytest.raises(ValueError, match=message):
        AttackSettings(**wrong)


def test_missing_target_is_an_error(pipeline, images, tmp_path):
    for method in TARGETED:
        for missing in (None, ""):
            with pytest.raises(ValueError, match="target"):
                AttackSettings(method=method, target=missing)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        settings = quick(target=str(tmp_path / "gone.png"))
        attack(pipeline, images, PROMPTS, settings, SEEDS)


def test_own_target(pipeline, images, tmp_path):
    Image.fromarray(np.full((48, 64, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    own = attack(pipeline, images, PROMPTS, quick(target=str(tmp_path / "red.png")), SEEDS)
    assert not torch.equal(own, attack(pipeline, images, PROMPTS, QUICK, SEEDS))


def test_not_a_number_is_an_error(images):
    pipeline = make_pipeline()
    with torch.no_grad():
        pipeline.unet.conv_in.bias[0] = math.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        attack(pipeline, images, PROMPTS, QUICK, SEEDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(N, 1, SIZE, SIZE)}, "shape"),
        ({"images": torch.zeros(N, 3, SIZE, SIZE, dtype=torch.uint8)}, "floats"),
        ({"images": torch.full((N, 3, SIZE, SIZE), 255.0)}, r"\[0, 1\]"),
        ({"images": torch.full((N, 3, SIZE, SIZE), math.nan)}, r"\[0, 1\]"),
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
    "wrong",
    [{"eps": 8}, {"eps": 0.5 / 255}, {"steps": 0}, {"method": "acee"}, {"epsilon": 0.1}],
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AttackSettings(**wrong)


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


def test_target_pattern():
    pattern = target_pattern(64)
    assert pattern.shape == (3, 64, 64)
    assert pattern.unique().tolist() == [0, 1]
    assert 0.4 < pattern.mean() < 0.6
    # Two tiles are one period.
    assert torch.equal(pattern[:, :32, :32], pattern[:, 32:, 32:])
    assert target_pattern(24, 40).shape == (3, 24, 40)
