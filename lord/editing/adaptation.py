"""A model that learns to inpaint or to upscale: further channels, and a low-rank update.

The U-Net of a task takes more channels than that of the model it comes from. The weights of the new
channels begin at zero, so that it begins as that model; it learns the first convolution, and beside
every other layer W the product B·A of a low rank (Hu et al., arXiv 2106.09685), which is added to W
when it is loaded. So a task is a file of some megabytes.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lord.data.subjects import DOMAINS
from lord.editing.kernels import KERNELS, shrink
from lord.editing.masks import covered, shape_mask
from lord.editing.settings import AdaptationSettings
from lord.files import replacing_together, settle
from lord.models.card import write_card
from lord.models.diffusion import noised_batch, training_schedule
from lord.models.pipeline import encode_images, encode_prompts
from lord.models.pretrain import render_bytes
from lord.names import ADAPTED
from lord.progress import track
from lord.record import describe_device
from lord.seeding import derive_seed, generators
from lord.tensors import load_tensors, save_tensors
from lord.training.loop import train
from lord.training.lora_file import read_safetensors

FILE = "adaptation.safetensors"
WHOLE = ("conv_in", "class_embedding")
"""Layers that are learned and kept whole."""

LOW_RANK = "task"


def widened(unet: UNet2DConditionModel, task: str, noise_levels: int = 350) -> UNet2DConditionModel:
    """A copy of a U-Net with the channels of a task, which computes what the U-Net computes.

    For inpainting a mask and the latents of the masked picture; for super-resolution the small
    picture, and an embedding of the time to which it is noised.

    Raises:
        ValueError: the task needs no channels of its own.
    """
    if task not in ADAPTED:
        raise ValueError(f"{task}: choose one of {', '.join(ADAPTED)}")
    own = unet.config.in_channels
    changed = {"in_channels": own + (own + 1 if task == "inpainting" else 3)}
    if task == "super-resolution":
        changed["num_class_embeds"] = noise_levels + 1
    wide = UNet2DConditionModel.from_config({**unet.config, **changed})
    wide = wide.to(unet.device, unet.dtype)
    weights = dict(unet.state_dict())
    new = changed["in_channels"] - own
    weights["conv_in.weight"] = F.pad(weights["conv_in.weight"], (0, 0, 0, 0, 0, new))
    if wide.class_embedding is not None:
        weights["class_embedding.weight"] = torch.zeros_like(wide.class_embedding.weight)
    wide.load_state_dict(weights)
    return wide.requires_grad_(False).eval()


def load_adapted(
    pipeline: StableDiffusionPipeline, folder: str | Path, task: str
) -> UNet2DConditionModel:
    """The U-Net of a task: that of a pipeline with what `adapt` has learned, in its precision.

    Raises:
        FileNotFoundError: nothing was learned there.
        ValueError: it was learned for another task, or beside another model.
    """
    settle(folder)
    path = Path(folder) / FILE
    learned, metadata = read_safetensors(path)
    if metadata.get("task") != task:
        raise ValueError(f"{path}: learned for {metadata.get('task')}, not for {task}")
    levels = len(learned.get("class_embedding.weight", [0])) - 1
    unet = widened(pipeline.unet, task, levels)
    weights = unet.state_dict()
    try:
        for name, value in learned.items():
            layer, _, kind = name.rpartition(".")
            if kind == "A":
                update = learned[f"{layer}.B"].float().flatten(1) @ value.float().flatten(1)
                weight = weights[f"{layer}.weight"]
                weight += update.view_as(weight).to(weight)
            elif kind != "B":
                weights[name].copy_(value)
    except (LookupError, RuntimeError) as error:
        raise ValueError(f"{path}: learned beside another model ({error})") from error
    return unet


def adapt(
    pipeline: StableDiffusionPipeline,
    task: str,
    folder: str | Path,
    settings: AdaptationSettings | None = None,
) -> Path:
    """Teach a model a task on renders, and save what it learned; run again, it goes on.

    Minimises mean‖ε_θ − ϵ‖² on the noised latents of the whole picture, given the picture under a
    random mask or a small version of it, and weighted as in `lord.models.pretrain.train_unet`.
    Work in progress lies in ``folder/.work``.

    Raises:
        ValueError: a task without channels of its own.
        FloatingPointError: the loss is not finite.
    """
    settings, folder = settings or AdaptationSettings(), Path(folder)
    settle(folder)
    if (folder / FILE).is_file():
        return folder
    work = folder / ".work"
    unet = widened(pipeline.unet, task, settings.max_noise_level).float()
    inject(unet, settings.rank, settings.seed)
    images, latents, captions = _pool(pipeline, settings, work)
    schedule = training_schedule(pipeline)
    weight = (1 / schedule.alphas_cumprod).clamp(max=settings.max_loss_weight)
    text = encode_prompts(pipeline, ["", *captions]).text.float().cpu()

    def loss(model: nn.Module, step: int) -> Tensor:
        device = next(model.parameters()).device
        seed = derive_seed(settings.seed, task, step)
        (generator,) = generators([seed])
        rows = torch.randint(len(images), (settings.batch_size,), generator=generator)
        kept = torch.rand(len(rows), generator=generator) >= settings.caption_dropout
        noisy, times, noise = noised_batch(schedule, latents[rows], generator)
        given, labels = _given(pipeline, task, images[rows].float() / 255, seed, settings)
        prediction = model(
            torch.cat((noisy, given.cpu()), 1).to(device),
            times.to(device),
            text[(rows + 1) * kept].to(device),
            class_labels=None if labels is None else labels.to(device),
        ).sample
        errors = (prediction - noise.to(device)).square().mean(dim=(1, 2, 3))
        return (weight[times].to(device) * errors).mean()

    run = train(
        unet,
        loss,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        ema_decay=0.995,
        checkpoint=work / "checkpoint.safetensors",
        checkpoint_every=settings.checkpoint_every,
        description=task,
    )
    found = {name: value.half() for name, value in learned_weights(unet).items()}
    seconds = {"U-Net": run.seconds}
    device = describe_device(unet.device)
    with replacing_together(folder) as new:
        save_tensors(found, new / FILE, {"task": task, "seconds": str(run.seconds)})
        write_card(new, task, settings.model_dump_json(indent=2), seconds, device)
    load_adapted(pipeline, folder, task)  # what was written must load
    return folder


def inject(unet: UNet2DConditionModel, rank: int, seed: int) -> None:
    """Add a low-rank update to every convolution and linear layer but the first convolution."""
    layers = [
        name
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and name not in WHOLE
    ]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)
    with torch.random.fork_rng():  # peft draws A from the global generator
        torch.manual_seed(derive_seed("adaptation", seed))
        inject_adapter_in_model(config, unet, LOW_RANK)
    for name, weight in unet.named_parameters():
        weight.requires_grad_(name.startswith(WHOLE) or f".{LOW_RANK}." in name)


def learned_weights(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """What is learned of a U-Net after `inject`: whole layers, and A and B by the layer's name."""
    found = {}
    for name, weight in unet.named_parameters():
        if weight.requires_grad:
            for letter in "AB":
                name = name.replace(f".lora_{letter}.{LOW_RANK}.weight", f".{letter}")
            found[name] = weight.detach()
    return found


@torch.no_grad()
def _given(
    pipeline: StableDiffusionPipeline,
    task: str,
    images: Tensor,
    seed: int,
    settings: AdaptationSettings,
) -> tuple[Tensor, Tensor | None]:
    """The channels that a task is given beside the noisy latents, and its class labels."""
    seeds = [derive_seed(seed, k) for k in range(len(images))]
    if task == "inpainting":
        masks = torch.stack([shape_mask(one, *images.shape[2:]) for one in seeds])
        masked = encode_images(pipeline, covered(images, masks)).float().cpu()
        return torch.cat((F.interpolate(masks, masked.shape[2:]), masked), 1), None
    (generator,) = generators([derive_seed(seed, "small")])
    names = list(KERNELS)
    kernel = names[torch.randint(len(names), (), generator=generator).item()]
    small = shrink(images, pipeline.vae_scale_factor, kernel) * 2 - 1
    levels = torch.randint(settings.max_noise_level, (len(images),), generator=generator)
    noise = torch.randn(small.shape, generator=generator)
    return training_schedule(pipeline).add_noise(small, noise, levels), levels


def _pool(
    pipeline: StableDiffusionPipeline, settings: AdaptationSettings, work: Path
) -> tuple[Tensor, Tensor, list[str]]:
    """Renders of the train split as bytes, their latents and captions, computed once."""
    path = work / "pool.safetensors"
    size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    found = load_tensors(path)
    if found is None or "captions" not in found[1]:
        images, captions = [], []
        for domain in sorted(DOMAINS):
            found, described = render_bytes(domain, settings.pool, size)
            images.append(found)
            captions += described
        with torch.inference_mode():
            encoded = [
                encode_images(pipeline, batch.float() / 255).float().cpu()
                for batch in track(torch.cat(images).split(128), "encoding")
            ]
        tensors = {"images": torch.cat(images), "latents": torch.cat(encoded)}
        found = tensors, {"captions": json.dumps(captions)}
        save_tensors(tensors, path, found[1])
    pool, metadata = found
    return pool["images"], pool["latents"], json.loads(metadata["captions"])
