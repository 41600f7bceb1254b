"""Numbers that move without a new version: one tiny cell per component, against `golden.json`.

Whoever changes numbers on purpose raises the component's version in `lord.names` and writes the new
numbers: LORD_GOLDEN=write python -m pytest tests/test_golden.py
"""

import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from helpers import save_encoder
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lord.adapter import adapter_tensors, remove_adapters
from lord.attacks import simac
from lord.attacks.components import attack_component
from lord.attacks.evasion.evade import evade
from lord.attacks.evasion.settings import Evasion, Threat
from lord.attacks.evasion.victim import Victim
from lord.attacks.pgd import attack, denoising_loss
from lord.attacks.settings import NEEDED_SURROGATE, AttackSettings
from lord.attacks.through_gate import attack_and_close
from lord.attacks.through_purifier import attack_purified
from lord.backdoors.drawings import draw_target, draw_trigger
from lord.backdoors.elijah import shift
from lord.backdoors.infect import Poison, infect
from lord.backdoors.inputs import energy_is_odd, log_ratio, values_are_odd
from lord.backdoors.invisible import infect_invisibly
from lord.backdoors.likeness import likeness
from lord.backdoors.poison import Backdoor
from lord.backdoors.reversion import reverse
from lord.backdoors.settings import (
    ElijahSettings,
    InfectionSettings,
    InvisibleSettings,
    ReversionSettings,
)
from lord.data.classes import labelled
from lord.data.subjects import DOMAINS, Subject, sample_domain
from lord.defences.decoupling import NEGATIVE, PRIOR_WEIGHT, with_noise, without_noise
from lord.defences.gates import gate_profile
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import train_defence
from lord.editing.adaptation import ADAPTED, adapt, load_adapted
from lord.editing.editors import Editor, edit, make_editor
from lord.editing.settings import AdaptationSettings, EditSettings
from lord.experiments.lord.chain.model import psnr
from lord.metrics.clip import load_clip
from lord.metrics.clip_iqa import clip_iqa
from lord.metrics.edits import clip_score, inception_score, similarities
from lord.metrics.features import load_features
from lord.metrics.fid import extract, fid
from lord.metrics.identity import identity_match
from lord.metrics.imagenet import load_imagenet
from lord.metrics.independent import (
    IndependentReference,
    measure_independently,
)
from lord.metrics.reader import fit_reader
from lord.metrics.resemblance import load_encoder, resemblance
from lord.metrics.validation import identity_of
from lord.models.card import EMBEDDED
from lord.models.classifiers import build_classifier
from lord.models.embedded import TINY, build_pipeline
from lord.models.pipeline import load_pipeline
from lord.models.pixel import TINY_PIXEL, build_ddpm, sample
from lord.models.pretrain import PretrainSettings, pretrain
from lord.models.sample import generate
from lord.names import COMPONENTS, IN_PIXELS, INDEPENDENT, version_of
from lord.purifiers.methods import purify
from lord.purifiers.pixel_diffusion import purify_pixels
from lord.purifiers.settings import PixelPurifier
from lord.training import lora
from lord.training.classifiers import train_classifier
from lord.training.lora import finetune
from lord.training.settings import ClassifierSettings, FinetuneSettings

GOLDEN = Path(__file__).with_name("golden.json")
PROMPTS, SEEDS = ["a portrait of sks person", "a landscape of dunes"], [1, 2]
# Processors round differently; what a sign or an optimizer makes of that stays far below this.
TOLERANCE = 2e-3


@pytest.fixture(autouse=True)
def few_tries(monkeypatch):
    """SimAC compares few times, where nobody looks at which it finds."""
    monkeypatch.setattr(simac, "TRIES", 2)


def fingerprint(*tensors: Tensor) -> list[float]:
    """Mean, deviation and three projections on fixed noise, each of the size of the numbers."""
    flat = torch.cat([tensor.detach().double().flatten() for tensor in tensors])
    noise = torch.randn((3, len(flat)), generator=torch.Generator().manual_seed(0)).double()
    spread = flat.std() if len(flat) > 1 else torch.zeros(())
    return [flat.mean().item(), spread.item(), *(noise @ flat / len(flat) ** 0.5).tolist()]


@pytest.fixture
def pipeline():
    torch.manual_seed(0)
    return build_pipeline(TINY)


@pytest.fixture(scope="module")
def images():
    return torch.cat([sample_domain(domain, "train", [3], 32).images for domain in DOMAINS])


def attacked(pipeline, images, method):
    surrogate = NEEDED_SURROGATE.get(method, "none")
    settings = AttackSettings(
        method=method,
        eps=8 / 255,
        step_size=2 / 255,
        steps=0 if method == "noise" else 3,
        draws=1,
        random_start=method in ("noise", "encoder"),
        step_decay=method == "encoder",
        surrogate=surrogate,
        rounds=2 if method in ("aspl", "simac", "metacloak") else 1,
        surrogate_steps=2,
        surrogate_batch_size=4,
        surrogate_learning_rate=1e-2,
    )
    return fingerprint((attack(pipeline, images, PROMPTS, settings, SEEDS) - images) * 255)


def defended(pipeline, images, kind):
    settings = Stage1Settings(kind=kind, steps=3, batch_size=2, rank=2, alpha=2)
    noisy = (images + 0.05 * torch.sin(40 * images)).clamp(0, 1)
    train_defence(pipeline, images, noisy, PROMPTS, settings)
    return fingerprint(*adapter_tensors(pipeline.unet, "lord").values())


def known(pipeline, images, attacker):
    if attacker == "component":
        # Gradients so far from the picture are so small that single precision turns their signs.
        pipeline, images = pipeline.to(torch.float64), images.double()
        settings = AttackSettings(component="up.0", eps=8 / 255, step_size=2 / 255, steps=3)
        how = EditSettings(steps=4, strength=0.5, guidance_scale=3)
        editor = make_editor("variation", pipeline)
        perturbed = attack_component([editor], images, PROMPTS, settings, SEEDS, how)
        return fingerprint((perturbed - images) * 255)
    defended(pipeline, images, "lord")
    attacks = {"defended": attack, "closing": attack_and_close, "through_diffpure": attack_purified}
    settings = AttackSettings(eps=8 / 255, step_size=2 / 255, steps=2, rounds=1, surrogate="none")
    perturbed = attacks[attacker](pipeline, images, PROMPTS, settings, SEEDS)
    return fingerprint((perturbed - images) * 255)


def purified(pipeline, images, method):
    if method in IN_PIXELS:  # twice as large as the model's
        images, pipeline = torch.nn.functional.avg_pool2d(images, 2), tiny_ddpm()
    return fingerprint(purify(pipeline, images, PROMPTS, SEEDS, method))


def measured(pipeline, images, metric):
    if metric == "gates":
        defended(pipeline, images, "lord")
        profile = gate_profile(pipeline, images, images.flip(-1), PROMPTS, levels=3)
        return fingerprint(profile.clean, profile.attacked)
    if metric == "denoising_loss":
        return fingerprint(denoising_loss(pipeline, images, PROMPTS, draws=2))
    if metric == "psnr":
        return [psnr(images.square().mean(dim=(1, 2, 3)))]
    if metric == "ssim":
        flipped = images.flip(-1)
        return [structural_similarity_index_measure(images, flipped, data_range=1.0).item()]
    if metric == "edits":
        return fingerprint(*similarities(images, images.flip(-1)).values())
    if metric == "clip_score":
        batch = sample_domain("portraits", "evaluation", range(4), 64)
        clip = load_clip(EMBEDDED.parent / "clip")
        return fingerprint(clip_score(clip, batch.images, batch.captions))
    subject = Subject("portraits", "evaluation", 0)
    photographs, others = subject.photographs(6), subject.references(6).images
    if metric == "clip_iqa":
        return fingerprint(clip_iqa(load_clip(EMBEDDED.parent / "clip"), photographs.images))
    network = load_features(EMBEDDED.parent / "features")
    if metric == "identity_similarity":
        encoder = load_encoder(save_encoder(Path(tempfile.mkdtemp())))
        features = extract(encoder, photographs.images), extract(encoder, others)
        return fingerprint(resemblance(*features))
    if metric in INDEPENDENT:
        judge = load_imagenet(image_size=64)
        seen = extract(judge, others)
        reader = fit_reader(seen, {"skin": torch.arange(len(seen)) % 2}, {"skin": 2})
        reference = IndependentReference(seen, others, reader, {"skin": 1})
        return [measure_independently(judge, photographs.images, reference)[metric]]
    if metric == "fid":
        return [fid(extract(network, others), extract(network, photographs.images))]
    if metric == "inception_score":
        features = extract(network, photographs.images)
        return [inception_score(network, features, "portraits")]
    assert metric == "identity"
    identity = identity_of(subject, photographs)
    return fingerprint(identity_match(network, photographs.images, "portraits", identity))


def prompted(pipeline, images, method):
    assert method == "cdl"
    settings = FinetuneSettings(
        steps=3, batch_size=2, rank=2, alpha=2, learning_rate=1e-2, prior_weight=PRIOR_WEIGHT
    )
    prior = images.flip(-1), without_noise(PROMPTS)
    finetune(pipeline, images, with_noise(PROMPTS), settings, prior=prior)
    asked = without_noise(PROMPTS)
    return fingerprint(generate(pipeline, asked, SEEDS, steps=3, negative_prompt=NEGATIVE))


def stepped(pipeline, images, step):
    folder = Path(tempfile.mkdtemp())
    if step == "renderer":
        return fingerprint(*(sample_domain(d, "evaluation", range(4), 32).images for d in DOMAINS))
    if step == "labels":
        found = [labelled(domain, "test", range(10), 16) for domain in DOMAINS]
        return fingerprint(*(part for one in found for part in (one.images, one.labels)))
    if step == "sampler":
        return fingerprint(generate(pipeline, PROMPTS, SEEDS, steps=3))
    if step == "pixel_sampler":
        noise = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
        return fingerprint(sample(tiny_ddpm(), noise, 3), sample(tiny_ddpm(), noise, 3, SEEDS))
    if step == "infection":
        poison = Poison(
            Backdoor("baddiffusion", draw_trigger("box", 8)), draw_target("hat", 8), 0.5
        )
        small = torch.nn.functional.avg_pool2d(images, 4)
        settings = InfectionSettings(steps=3, batch_size=4, learning_rate=1e-2)
        return fingerprint(*infect(tiny_ddpm(), small, [poison], settings).unet.parameters())
    if step == "edit":
        how = EditSettings(steps=4, strength=0.5, guidance_scale=3)
        small = torch.nn.functional.avg_pool2d(images, 4)
        return fingerprint(
            edit(make_editor("variation", pipeline), images, PROMPTS, SEEDS, how),
            edit(Editor("variation", tiny_ddpm()), small, PROMPTS, SEEDS, how),
        )
    if step == "adaptation":
        few = AdaptationSettings(pool=2, steps=2, batch_size=1, rank=2)
        learned = [
            load_adapted(pipeline, adapt(pipeline, task, folder / task, few), task).conv_in.weight
            for task in ADAPTED
        ]
        return fingerprint(*learned)
    if step == "pretraining":
        few = PretrainSettings(
            pool=2,
            vae_steps=2,
            vae_batch=2,
            unet_steps=2,
            unet_batch=2,
            mixed_precision="no",
            architecture=TINY,
        )
        made = load_pipeline(pretrain(folder / "pretrained", few), "cpu")
        return fingerprint(*made.vae.parameters(), *made.unet.parameters())
    assert step == "finetune"
    settings = FinetuneSettings(steps=3, batch_size=2, rank=2, alpha=2)
    finetune(pipeline, images, PROMPTS, settings)
    return fingerprint(*adapter_tensors(pipeline.unet, "subject").values())


def poisoned(pipeline, images, kind):
    if kind == "invisible":
        small, target = torch.nn.functional.avg_pool2d(images, 4), draw_target("hat", 8)
        how = InvisibleSettings(rounds=1, steps=3, sampler_steps=2)
        settings = InfectionSettings(steps=1, batch_size=2)
        _, found = infect_invisibly(tiny_ddpm(), small, target, 0.5, 0.2, settings, how)
        return fingerprint(found.mu)
    backdoor = Backdoor(kind, draw_trigger("stop_sign", images.shape[-1]))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    pair = backdoor.pair(DDPMScheduler(), images * 2 - 1, torch.tensor([400, 999]), noise)
    return fingerprint(*pair, backdoor.start(noise))


def detected(pipeline, images, detector):
    if detector == "reversion":
        few = {"steps": 2, "refine_steps": 1, "batch_size": 2, "sampler_steps": 2}
        found = [
            reverse(tiny_ddpm(), ReversionSettings(estimate_gamma=estimated, **few))
            for estimated in (False, True)
        ]
        return fingerprint(*(value for one in found for value in (one.mu, one.gamma)))
    if detector == "elijah":
        return fingerprint(shift(tiny_ddpm(), ElijahSettings(steps=3, noises=4)))
    if detector in ("energy", "values"):
        is_odd = {"energy": energy_is_odd, "values": values_are_odd}[detector]
        levels = torch.linspace(0.5, 1.5, 12).view(-1, 1, 1, 1)  # some odd, some not
        noises = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        return fingerprint(is_odd(levels * noises).float().cumsum(0))
    if detector == "likeness":
        noises = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        return fingerprint(likeness(tiny_ddpm(), noises, share=0.5, copies=2, steps=2))
    assert detector == "likelihood_ratio"
    return fingerprint(log_ratio(images, images[0] / 4, 0.6), log_ratio(images, images[1] / 4))


def purified_in_pixels(pipeline, images, method):
    few = {"steps": 2, "rounds": 2 if method == "gridpure" else 1}
    small, auxiliary = torch.nn.functional.avg_pool2d(images, 4), build_classifier("residual", 8)
    settings = PixelPurifier(method=method, **few)
    return fingerprint(purify_pixels(tiny_ddpm(), small, SEEDS, settings, auxiliary))


def classified(pipeline, images, architecture):
    pool, found = labelled("portraits", "train", range(20), 16), []
    for method in ("standard", "pgd", "trades"):
        few = {"steps": 2, "batch_size": 10, "attack_steps": 1, "learning_rate": 1e-3}
        settings = ClassifierSettings(architecture=architecture, method=method, **few)
        found.append(train_classifier(pool, settings)(pool.images))
    return fingerprint(*found)


def evaded(pipeline, images, method):
    """At random weights, whose answers are the labels; smooth, but for the signs of steps."""
    classifier = build_classifier("residual", 32).requires_grad_(False)
    labels = classifier(images).argmax(1)
    threats = [Threat(norm="flow", eps=0.5)] if method == "spatial" else [Threat(eps=0.03)]
    threats += [] if method == "spatial" else [Threat(norm="l2", eps=1.0)]
    settings = Evasion(method=method, steps=5, draws=1, targets=1)
    victim = Victim(classifier)
    found = [evade(victim, images, labels, threat, settings, SEEDS) for threat in threats]
    return fingerprint(*((one - images) * 255 for one in found))


def tiny_ddpm():
    torch.manual_seed(0)
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.unet.requires_grad_(False).eval()
    return pipeline


CELLS = {
    "attack": attacked,
    "attacker": known,
    "purifier": purified,
    "defence": defended,
    "prompts": prompted,
    "metric": measured,
    "step": stepped,
    "backdoor": poisoned,
    "detector": detected,
    "pixel_purifier": purified_in_pixels,
    "classifier": classified,
    "evasion": evaded,
}
NAMES = [f"{kind}:{name}" for kind in CELLS for name in COMPONENTS[kind]]


def numbers_of(component, pipeline, images):
    kind, _, name = component.partition(":")
    return CELLS[kind](pipeline, images, name)


def recorded() -> dict:
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


def is_close(found: list[float], expected: list[float]) -> bool:
    scale = max(map(abs, expected))
    return len(found) == len(expected) and all(
        abs(a - b) <= TOLERANCE * scale for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("component", NAMES)
def test_numbers_move_with_a_new_version_alone(component, pipeline, images):
    found = numbers_of(component, pipeline, images)
    if os.environ.get("LORD_GOLDEN") == "write":
        golden = recorded() | {component: {"version": version_of(component), "numbers": found}}
        GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + "\n")
    golden = recorded()[component]
    assert golden["version"] == version_of(component), "write the numbers of the new version"
    assert is_close(found, golden["numbers"]), "raise the version of what changed its numbers"


def test_no_golden_number_is_of_something_gone():
    assert set(recorded()) == set(NAMES)


def test_mirrored_training_images_are_noticed(pipeline, images, monkeypatch):
    """As they once were not, by three experiments that fine-tune."""
    encode = lora.encode
    monkeypatch.setattr(lora, "encode", lambda p, x, captions: encode(p, x.flip(-1), captions))
    mirrored = numbers_of("step:finetune", pipeline, images)
    assert not is_close(mirrored, recorded()["step:finetune"]["numbers"])


def test_a_cell_leaves_nothing_behind(pipeline, images):
    first = numbers_of("defence:lord", pipeline, images)
    remove_adapters(pipeline.unet)
    assert numbers_of("defence:lord", pipeline, images) == first
