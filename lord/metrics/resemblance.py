"""Do samples show whom the references show? The cosine of embeddings of an image encoder.

The mean over all pairs of a sample and a reference. With a DINO it is the subject fidelity of
DreamBooth [Ruiz et al., DreamBooth, 2023]. With a network for faces it is near to the identity
score of Anti-DreamBooth [Van Le et al., Anti-DreamBooth, 2023], which finds the face first. Here
nobody does: pictures are scaled and cut to what the encoder takes, as a whole.

The ceiling is the same mean over pairs of references, which belongs beside every value.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from lord.metrics.fid import install_hub
from lord.models.source import check_finite

WEIGHTS = "model.safetensors"


class Encoder(nn.Module):
    """An image encoder of transformers or timm.

    Args:
        prepare: makes what the network takes, shape (N, 3, h, w), of N pictures.
    """

    def __init__(self, network: nn.Module, prepare: Callable[[list[Image.Image]], Tensor]):
        super().__init__()
        self.network = network
        self.prepare = prepare

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (N, D), not normalised, of images (N, 3, H, W) in [0, 1].

        Of a CLIP they are those that its texts are compared with, of a vision transformer the
        class token, of a network of timm its output.
        """
        levels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        pixels = self.prepare([Image.fromarray(picture) for picture in levels])
        pixels = pixels.to(images.device, torch.float32)
        if hasattr(self.network, "get_image_features"):
            return self.network.get_image_features(pixel_values=pixels).pooler_output
        output = self.network(pixels)
        return output if isinstance(output, Tensor) else output.last_hidden_state[:, 0]


def load_encoder(model: str, device: torch.device | str = "cpu") -> Encoder:
    """An encoder by its id on the Hugging Face hub or its folder, frozen.

    Args:
        model: a vision transformer with a class token, such as DINO; a CLIP; or a network of timm.

    Raises:
        OSError: it is neither there nor reachable, is none of these, or is broken.
        ValueError: it holds NaN or infinity.
        ModuleNotFoundError: it is a network of timm, which is not installed.
    """
    from transformers import PreTrainedConfig

    if model.startswith((".", "/", "~")):
        model = str(Path(model).expanduser())
        if not Path(model).is_dir():
            raise FileNotFoundError(f"{model}: no such folder")
    try:
        settings, _ = PreTrainedConfig.get_config_dict(model)
        encoder = (_of_timm if "pretrained_cfg" in settings else _of_transformers)(model)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        problem = str(error).strip().partition("\n")[0]
        raise OSError(f"{model}: no image encoder that can be loaded ({problem})") from error
    check_finite(encoder.network, model)
    return encoder.to(device).eval().requires_grad_(False)


def _of_transformers(model: str) -> Encoder:
    from transformers import AutoImageProcessor, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    code = {"trust_remote_code": False}  # else it is asked for, and waited for
    # With or without torchvision the same pixels.
    processor = AutoImageProcessor.from_pretrained(model, **code, backend="pil")
    network, loaded = AutoModel.from_pretrained(
        model, **code, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    token = hasattr(getattr(network, "embeddings", None), "cls_token")
    if not token and not hasattr(network, "get_image_features"):
        raise ValueError(
            f"{type(network).__name__} gives no embedding of a picture; choose a DINO or another "
            "vision transformer, a CLIP, or a network of timm"
        )
    # What follows the class token is not used, and DINO has none.
    if missing := {name for name in loaded["missing_keys"] if not name.startswith("pooler.")}:
        raise ValueError(f"{len(missing)} of its weights are missing, as {min(missing)}")
    return Encoder(network, lambda p: processor(images=p, return_tensors="pt")["pixel_values"])


def _of_timm(model: str) -> Encoder:
    """transformers wraps networks of timm, too, but leaves out the size of their pictures."""
    from huggingface_hub import snapshot_download

    try:
        import timm
    except (ImportError, RuntimeError) as error:  # of a torchvision for another torch
        raise ModuleNotFoundError(
            f"{model} needs timm; in the folder of this package: {install_hub()}"
        ) from error
    folder = Path(model)
    if not folder.is_dir():
        folder = Path(snapshot_download(model, allow_patterns=["config.json", WEIGHTS]))
    if not (folder / WEIGHTS).is_file():
        raise OSError(f"{WEIGHTS} is missing")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    return Encoder(network, lambda pictures: torch.stack([prepare(one) for one in pictures]))


def resemblance(embeddings: Tensor, references: Tensor) -> Tensor:
    """Mean cosine of each embedding (N, D) to all references (M, D), shape (N,), in [-1, 1]."""
    return F.normalize(embeddings, dim=1) @ F.normalize(references, dim=1).mean(0)


def ceiling(references: Tensor) -> float:
    """Mean cosine of all pairs of different references (M, D), of at least two."""
    unit, count = F.normalize(references, dim=1), len(references)
    return ((unit.sum(0).square().sum() - count) / (count * (count - 1))).item()
