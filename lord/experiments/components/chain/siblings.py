"""The siblings of the model under study, each trained once."""

from pathlib import Path

from diffusers import StableDiffusionPipeline

from lord.editing.editors import Editor, make_editor
from lord.experiments.components.chain.models import editor_of, pipeline_of, pixel_editor
from lord.experiments.components.siblings import BASE, PIXEL
from lord.models.pipeline import load_pipeline
from lord.models.pretrain import PretrainSettings, pretrain
from lord.study.context import Context
from lord.study.experiment import Settings
from lord.tensors import save_tensors


def model_editor(context: Context, settings: Settings, name: str) -> Editor:
    """The editor of a model by name: that under study, a sibling, or the one in pixels."""
    if name == BASE:
        return editor_of(context, settings)
    if name == PIXEL:
        return pixel_editor(context, settings)
    return context.hold(make_editor, "variation", sibling(context, settings, name))


def sibling(context: Context, settings: Settings, name: str) -> StableDiffusionPipeline:
    """A sibling, trained first if nobody has; a killed training goes on where it was."""
    asked = {
        "sibling": settings.siblings[name].model_dump(mode="json"),
        "training": settings.training.model_dump(mode="json"),
        "weights": settings.weights["model"],  # whose sizes it has, and maybe its encoder
    }
    folder = context.path("sibling", asked, ["step:renderer", "step:pretraining"])
    with context.alone(folder):
        if not (folder / "README.md").is_file():  # which is written last
            _train(context, settings, name, folder)
    return context.hold(load_pipeline, folder)


def _train(context: Context, settings: Settings, name: str, folder: Path) -> None:
    """Train a sibling in the sizes of the model under study, but for what makes it another."""
    own, base = settings.siblings[name], pipeline_of(context, settings)
    vae, unet = base.vae.config, base.unet.config
    architecture = {
        "image_size": unet.sample_size * base.vae_scale_factor,
        "latent_channels": vae.latent_channels,
        "vae_channels": tuple(vae.block_out_channels),
        "unet_channels": own.unet_channels,
        "layers_per_block": unet.layers_per_block,
        "norm_groups": unet.norm_num_groups,
        "attention_head_dim": unet.block_out_channels[0] // unet.attention_head_dim[0],
        "text_width": base.text_encoder.config.hidden_size,
        "text_layers": base.text_encoder.config.num_hidden_layers,
        "text_length": base.tokenizer.model_max_length,
    }
    how = PretrainSettings(
        seed=own.seed,
        first=own.first,
        **settings.training.model_dump(),
        architecture=architecture,
    )
    if own.shares_encoder:  # as one that has been trained already
        save_tensors(base.vae.state_dict(), folder / ".work" / "vae.safetensors", {"seconds": "0"})
    pretrain(folder, how)
