"""Commands that look at a model: sampling images from it, and measuring them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.table import Table

from lord.cli.folders import say_companions
from lord.cli.manifest import (
    Manifest,
    Shard,
    digest_files,
    identity_of,
    image_files,
    of_shard,
    request_of,
    shorten,
)
from lord.cli.opening import (
    Loading,
    native_size,
    open_album,
    open_pipeline,
    require_album,
    require_defence,
    require_device,
    say_notes,
    say_what_is_cut,
    usual_batch,
)
from lord.cli.options import (
    LARGEST_SEED,
    BatchSize,
    Share,
    Size,
    Upscale,
    parse_number,
)
from lord.cli.outputs import require_out
from lord.cli.provenance import check_note
from lord.cli.settings import loads_model, options_from
from lord.names import SCHEDULERS
from lord.progress import console, results, say

if TYPE_CHECKING:
    from lord.data.folder import ImageSet
    from lord.metrics.lpips import Lpips
    from lord.models.diffusion import Pipeline

MEANINGS = {
    "fid": "Fréchet distance to the references, lower is better",
    "round_trip": "the same, to the references after the VAE",
    "clip_iqa": "how good the images look, 0 to 1, higher is better",
    "similarity": "how much the images look like the references, −1 to 1, higher is better",
    "ceiling": "the same, of the references to each other",
    "lpips": "how differently pictures of one name look, 0 of equal ones",
}
"""What a metric is, by the beginning of its name or by its end."""

STRONGEST = 100
"""A LoRA does not act more strongly, nor so against what it has learned."""


class Sampling(BaseModel):
    """Settings of the sampler."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(25, ge=1, description="steps of the sampler")
    guidance_scale: float = Field(
        3.0, ge=0, description="how closely to follow the prompt; 1 is no guidance"
    )
    negative_prompt: str = Field(
        "", description="what the images should not show: guidance leads away from it"
    )
    scheduler: Literal[SCHEDULERS] = Field("ddim", description="the sampler")

    @model_validator(mode="after")
    def _leads_away(self) -> "Sampling":
        if self.negative_prompt and self.guidance_scale == 1:
            raise ValueError("--negative-prompt needs guidance, and --guidance-scale 1 is none")
        return self

    def asked(self) -> dict[str, Any]:
        """What images depend on, as manifests have it: later options where they are not usual."""
        usual = self.model_dump(include={"steps", "guidance_scale"})
        return self.model_dump(exclude_defaults=True) | usual


@options_from(Sampling, "sampling", others={"guidance_scale": 7.5})
@loads_model
def generate(
    prompt: Annotated[str, typer.Argument(help="What the images should show, in words.")],
    out: Annotated[Path, typer.Argument(help="Folder for the images.")],
    *,
    lora: Annotated[
        Path | None, typer.Option(help="A LoRA from `lord finetune`: a .safetensors file.")
    ] = None,
    defence: Annotated[
        Path | None,
        typer.Option(help="The defence that the LoRA was trained with; unless dropped, no other."),
    ] = None,
    treatment: Annotated[
        str,
        typer.Option(
            help="What becomes of the defence: dropped, learned, prior=NUMBER, lambda=NUMBER, "
            "merged or merged=NUMBER; kept, of one without a gate."
        ),
    ] = "dropped",
    lora_scale: Annotated[
        float,
        typer.Option(
            parser=parse_number, metavar="NUMBER", help="How strongly the LoRA acts; 0.5 is half."
        ),
    ] = "1",  # type: ignore[assignment]
    size: Size = None,
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many images.")] = 16,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=LARGEST_SEED, help="Of the first image; each further one has the next."
        ),
    ] = 0,
    sampling: Sampling,
    batch_size: BatchSize = None,
    shard: Share = None,
    loading: Loading,
) -> None:
    """Generate images from a prompt.

    Image number k has the seed --seed + k, so a larger --count keeps the first ones. Run again,
    the command makes only what is missing.

    **Examples**: the model alone, then with a LoRA that was trained with a defence.

    ```
    lord generate "a landscape" samples --count 4
    lord generate "a portrait of sks person" samples --lora defended.safetensors
    --defence defence
    ```
    """
    if defence is not None:
        require_defence(defence)
    elif treatment != "dropped":
        raise ValueError("--treatment says what becomes of a --defence, and none is given")
    if lora is None and lora_scale != 1:
        raise ValueError("--lora-scale: there is no --lora")
    if not 0 < abs(lora_scale) <= STRONGEST:  # nor is NaN
        raise ValueError(
            f"--lora-scale: expected a number within ±{STRONGEST}, but not 0, not {lora_scale:g}"
        )
    if lora is not None and not lora.exists():
        raise FileNotFoundError(f"{lora}: no such file. Give a LoRA from `lord finetune`.")
    if lora is not None and defence is not None and treatment != "dropped":
        check_note(lora, defence)
    require_out(out, shard)
    from lord.defences.saved import load_defence
    from lord.defences.treatments import apply_treatment
    from lord.training.lora_file import load_lora

    seeds = range(seed, seed + count)
    Manifest(out, shard=shard).require_own(image_files(map(name_of, seeds)))
    pipeline = open_pipeline(loading)
    if size and size % pipeline.vae_scale_factor:
        raise ValueError(f"--size: expected a multiple of {pipeline.vae_scale_factor}, not {size}")
    say_what_is_cut(pipeline, [prompt])
    if defence is not None:
        load_defence(pipeline, defence)
    if lora is not None:
        load_lora(pipeline, lora, scale=lora_scale)
    if defence is not None:
        apply_treatment(pipeline, treatment)
    asked = identity_of(pipeline) | {
        **sampling.asked(),
        "prompt": prompt,
        "lora": lora and digest_files(lora),
        "defence": defence and digest_files(defence),
        "treatment": treatment,
    }
    if size is not None:
        asked["size"] = size
    if lora_scale != 1:
        asked["lora_scale"] = lora_scale
    batch_size = usual_batch(batch_size, loading.model, pipeline)
    generate_folder(pipeline, out, seeds, asked, batch_size, shard)
    say(f"{of_shard(shard)}{count} images are in {out}")


def generate_folder(
    pipeline: "Pipeline",
    out: Path,
    seeds: range,
    asked: dict[str, Any],
    batch_size: int,
    shard: Shard | None = None,
) -> None:
    """Sample one image per seed and save it, leaving out those that are there already.

    Args:
        asked: what the images depend on beside their seeds.
        shard: the share of the images to sample.
    """
    from lord.data.folder import files_of
    from lord.editing.editors import SAMPLERS
    from lord.models.sample import generate as sample
    from lord.models.sample import sampling_schedule

    schedule = sampling_schedule(pipeline, SAMPLERS[asked.get("scheduler", "ddim")])
    names = [name_of(seed) for seed in seeds]
    requests = [request_of(asked | {"seed": seed}) for seed in seeds]
    manifest = Manifest(out, asked, shard)
    manifest.require_alone(names)
    for rows in manifest.missing(names, requests, batch_size):
        images = sample(
            pipeline,
            asked["prompt"],
            seeds[rows],
            asked["steps"],
            asked["guidance_scale"],
            batch_size,
            schedule,
            asked.get("negative_prompt", ""),
            asked.get("size"),
        )
        files = [
            files_of(name, image, asked["prompt"])
            for name, image in zip(names[rows], images, strict=True)
        ]
        manifest.put(names[rows], requests[rows], files)
    say_companions(manifest, names)


def name_of(seed: int) -> str:
    """The name of the image of a seed."""
    return f"{seed:05d}"


@loads_model
def evaluate(
    samples: Annotated[Path, typer.Argument(help="Folder of generated images.")],
    *,
    reference: Annotated[
        Path,
        typer.Option(help="Folder of clean images of the same subject; the more, the better."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of the table.")
    ] = False,
    identity_model: Annotated[
        str | None,
        typer.Option(
            help="An image encoder that tells how much the images look like the references: a DINO "
            "or another vision transformer, a CLIP, or a network of timm, on the Hugging Face hub "
            "or in a folder.",
            show_default=False,
        ),
    ] = None,
    lpips: Annotated[
        bool,
        typer.Option(
            "--lpips",
            help="Measure how differently each image looks from the reference of its name, as for "
            "an attacked album and the album.",
        ),
    ] = False,
    size: Size = None,
    upscale: Upscale = False,
    loading: Loading,
) -> None:
    """Measure how good generated images are, and how close to clean ones.

    The embedded model is judged by networks of its own, any other by Inception FID and OpenAI's
    CLIP, which are downloaded once. The names say which; numbers of different networks cannot be
    compared.

    **Examples**: samples of a fine-tuned model against other pictures of the subject; how far an
    attack has changed an album.

    ```
    lord evaluate samples --reference reference
    lord evaluate attacked --reference album --lpips
    ```
    """
    require_album(samples)
    require_album(reference)
    if lpips:
        require_pairs(samples, reference)
    from lord.api import evaluate as measure
    from lord.metrics.lpips import load_lpips
    from lord.metrics.resemblance import load_encoder

    require_device(loading.device)
    encoder = None if identity_model is None else load_encoder(identity_model)
    network = load_lpips() if lpips else None
    pipeline = open_pipeline(loading)
    side = size or native_size(pipeline)
    judged, clean = (open_album(each, side, upscale=upscale) for each in (samples, reference))
    say_notes(samples, judged, captions=False)
    say_notes(reference, clean, captions=False)
    with console.status("Measuring …"):
        device = pipeline.unet.device
        pairs = {}
        if network:
            pairs["lpips_vgg"] = distance_by_name(network.to(device), judged, clean)
        metrics = measure(pipeline, judged.images, clean.images, encoder and encoder.to(device))
        metrics |= pairs
    if as_json:
        result = {"samples": len(judged), "references": len(clean), "metrics": metrics}
        typer.echo(json.dumps(result, indent=2))
        return
    table = Table("metric", "value", "meaning")
    table.title = f"{len(judged)} samples, {len(clean)} references"
    for name, value in metrics.items():
        end = next((end for end in MEANINGS if name.endswith(end)), name.rpartition("_")[0])
        table.add_row(name, f"{value:.4f}", MEANINGS[end])
    results.print(table)


def require_pairs(samples: Path, reference: Path) -> None:
    """Find before a model is loaded that a picture has none of its name to be compared with.

    Raises:
        ValueError: that is so; the message names it.
    """
    from lord.data.folder import list_images

    names, others = ({path.stem for path in list_images(f)} for f in (samples, reference))
    if alone := sorted(names - others):
        raise ValueError(
            f"--lpips compares pictures of one name, and {reference} has none called "
            f"{shorten(alone)}"
        )


def distance_by_name(network: "Lpips", judged: "ImageSet", clean: "ImageSet") -> float:
    """Mean LPIPS of images to those of the same name in another set."""
    from lord.metrics.lpips import lpips

    rows = {path.stem: row for row, path in enumerate(clean.paths)}
    others = clean.images[[rows[path.stem] for path in judged.paths]]
    return lpips(network, judged.images, others).mean().item()
