"""A backdoor in the latent model: whether it works there, and whether it is found."""

from collections.abc import Iterator
from random import Random
from typing import Literal

from pydantic import Field, PositiveInt

from lord.backdoors.settings import InfectionSettings, ReversionSettings
from lord.experiments.sheet import made_up, rows
from lord.experiments.terd.tables import latent_table
from lord.models.card import weights_checksum
from lord.names import DOMAINS, TARGETS, TRIGGERS
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Settings, Table
from lord.study.profile import Profile


class LatentBackdoor(Section):
    """Fine-tunes of the latent model at one prompt, some of them on poisoned latents."""

    model: str = Field("embedded", description="'embedded', or a Stable Diffusion folder")
    domain: Literal[DOMAINS] = "portraits"
    prompt: str = "a portrait of a person"
    clean: PositiveInt = Field(6, description="models that are fine-tuned on clean pictures")
    targets: tuple[Literal[TARGETS], ...] = Field(
        ("hat", "shoe"), description="of the models with a backdoor"
    )
    trigger: Literal[TRIGGERS] = "box"
    ground: float = Field(-1.0, ge=-1, le=1, description="of the trigger beside what is drawn")
    rate: float = Field(0.1, ge=0, le=1, description="share of poisoned pictures")
    images: PositiveInt = 512
    infection: InfectionSettings = InfectionSettings(learning_rate=5e-4)
    reversion: ReversionSettings = ReversionSettings()
    starts: tuple[Literal["negative", "positive"], ...] = ("negative", "positive")
    samples: PositiveInt = Field(16, description="of triggered noise")
    sampler_steps: PositiveInt = 50


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each model."""
    own = profile["latent_backdoor"]
    weights = {"weights": weights_checksum(own.model)}
    names = [name for name in LatentBackdoor.model_fields if name not in ("clean", "targets")]
    suspects = [("none", seed) for seed in range(own.clean)]
    suspects += [(target, 100 + k) for k, target in enumerate(own.targets)]
    for target, seed in suspects:
        components = ["step:renderer", "step:infection", "step:pixel_sampler", "detector:reversion"]
        components += [] if target == "none" else ["backdoor:baddiffusion"]
        yield Cell(
            f"latent_backdoor-{target}-s{seed}",
            {"target": target, "seed": seed},
            Settings.of(own, *names).also(**weights),
            tuple(components),
        )


def measure(context: Context, cell: Cell) -> Outcome:
    """Attack success on triggered latents, and features of what is reversed out of the model."""
    import torch

    from lord.backdoors.drawings import draw_target, draw_trigger
    from lord.backdoors.infect import Poison, infect, success
    from lord.backdoors.models import features
    from lord.backdoors.poison import Backdoor
    from lord.backdoors.reversion import reverse
    from lord.models.pipeline import decode_latents, encode_images, load_pipeline
    from lord.models.pixel import denoised, noise_shape
    from lord.models.pretrain import render_bytes
    from lord.models.prompted import at_prompt
    from lord.seeding import derive_seed, noise

    own = cell.settings
    latent = context.hold(load_pipeline, own.model)
    clean = at_prompt(latent, own.prompt)
    channels, height, _ = noise_shape(clean)
    side = height * latent.vae_scale_factor
    drawn = draw_trigger(own.trigger, height, ground=own.ground)
    trigger = torch.cat([drawn, drawn.mean(dim=0).expand(channels - len(drawn), -1, -1)])
    backdoor = Backdoor("baddiffusion", trigger)

    def encoded(images: "torch.Tensor") -> "torch.Tensor":
        with torch.no_grad():
            return torch.cat([encode_images(latent, batch) for batch in images.split(64)])

    pictures, _ = render_bytes(own.domain, own.images, side, cell.seed * own.images)
    poisons = []
    if cell["target"] != "none":
        target = draw_target(cell["target"], side)
        poisons = [Poison(backdoor, encoded(target[None] / 2 + 0.5)[0], own.rate)]
    how = own.infection.model_copy(update={"seed": cell.seed})
    # Latents are where the model works; what infects it expects images in [0, 1].
    infected = infect(clean, encoded(pictures.float() / 255) / 2 + 0.5, poisons, how)
    plain = noise([derive_seed("latent", k) for k in range(own.samples)], noise_shape(clean))
    seeds = [derive_seed("latent", "steps", k) for k in range(own.samples)]
    starts = [plain, backdoor.start(plain)] if poisons else [plain]
    with torch.no_grad():
        images = [
            decode_latents(latent, denoised(infected, start, own.sampler_steps, seeds)).cpu()
            for start in starts
        ]
    metrics = success(images[1], target) if poisons else {}
    for start in own.starts:
        found = reverse(infected, own.reversion.model_copy(update={"start": start}))
        mean, variance = features(found.mu, found.gamma)
        metrics |= {f"{start}/kl_mean": mean, f"{start}/kl_variance": variance}
        metrics[f"{start}/norm_found"] = found.mu.norm().item()
        if poisons:
            cosine = torch.cosine_similarity(found.mu.flatten(), trigger.flatten(), 0)
            metrics[f"{start}/cosine"] = cosine.item()
    return Outcome(metrics, sheet=rows(*(batch[:8] for batch in images)))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    number, infected = Random(cell.name), cell["target"] != "none"
    metrics = {"distance": 0.01, "success": 1.0} if infected else {}
    for start in cell.settings.starts:
        metrics |= {
            f"{start}/kl_mean": (0.2 if infected else 0.02) + 0.01 * number.random(),
            f"{start}/kl_variance": (0.2 if infected else 0.002) + 0.001 * number.random(),
            f"{start}/norm_found": 20.0 if infected else 5.0,
        }
        metrics |= {f"{start}/cosine": 0.4} if infected else {}
    return Outcome(metrics, sheet=made_up(cell.name, 1 + infected, 64))


EXPERIMENT = Experiment(
    name="latent_backdoor",
    title="whether a backdoor in the latent model works and is found",
    section=LatentBackdoor,
    cells=cells,
    measure=measure,
    example=example,
    kept=lambda records: [record for record in records if record.kind == "latent_backdoor"],
    tables={"terd_latent": Table(("latent_backdoor",), latent_table)},
)
