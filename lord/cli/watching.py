"""What is to be seen of a training while it runs and afterwards: losses, curves, samples."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lord.cli.manifest import Manifest, identity_of, request_of
from lord.cli.opening import is_ours, usual_batch
from lord.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from lord.models.diffusion import Pipeline

History = dict[str, list[float]]

Watch = Callable[[int, History], None]

SAMPLES = 4
"""Pictures that show what a training has learned so far."""


class Watching(BaseModel):
    """What is to be seen of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    losses: Path | None = Field(
        None, description="write the loss of every step to this CSV file, and draw it beside that"
    )
    tensorboard: Path | None = Field(
        None, description="write the loss of every step to this folder of TensorBoard as it is made"
    )
    samples_every: int = Field(
        0,
        ge=0,
        description="after so many steps, again and again, sample four pictures, into a folder "
        "beside the LoRA, of the same seeds and with the defence in place; 0: never",
    )
    sample_prompt: str | None = Field(None, description="what they should show")

    @model_validator(mode="after")
    def _of_samples(self) -> "Watching":
        if self.sample_prompt is not None and not self.samples_every:
            raise ValueError("--sample-prompt: without --samples-every there are no samples")
        return self

    def steps_of(self, settings: FinetuneSettings) -> range:
        """The steps after which there are samples.

        Raises:
            ValueError: there would be none.
        """
        if self.samples_every > settings.steps:
            raise ValueError(f"--samples-every: the training has {settings.steps} steps")
        every = self.samples_every or settings.steps + 1
        return range(every, settings.steps + 1, every)


def samples_beside(lora: Path) -> Path:
    """The folder for samples of a training."""
    return lora.with_name(f"{lora.stem}.samples")


def sample_of(step: int) -> str:
    """The name of the picture of samples after so many steps."""
    return f"step-{step:06d}"


def sampler(
    pipeline: "Pipeline", folder: Path, steps: range, asked: dict[str, Any], model: str
) -> Watch:
    """What samples pictures side by side after each of these steps, always of the same seeds.

    Args:
        asked: what they depend on beside the model, among it ``prompt`` and ``size``.

    Raises:
        ValueError: the folder holds samples of another training.
    """
    from lord.data.picture import png_bytes
    from lord.models.sample import generate

    manifest = Manifest(folder, identity_of(pipeline) | asked)
    manifest.require_alone(map(sample_of, steps))
    prompt, side = asked["prompt"], asked["size"]
    scale = 3.0 if is_ours(model) else 7.5
    batch_size = min(SAMPLES, usual_batch(None, model, pipeline))

    def sample(step: int, history: History) -> None:
        if step in steps:
            images = generate(
                pipeline, prompt, range(SAMPLES), 25, scale, batch_size=batch_size, size=side
            )
            name, row = sample_of(step), images.permute(1, 2, 0, 3).flatten(2)
            files = {f"{name}.png": png_bytes(row, name=f"{name}.png")}
            manifest.put([name], [request_of({"step": step})], [files])

    return sample


def board(folder: Path) -> Watch:
    """What writes the parts of the loss to a folder of TensorBoard, once each step is done.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--tensorboard needs the extra of that name: pip install -e '.[tensorboard]' in the "
            "folder of this package"
        ) from error
    writer = SummaryWriter(folder)

    def write(step: int, history: History) -> None:
        for name, values in history.items():
            writer.add_scalar(name, values[-1], step)
        writer.flush()

    return write


def csv_of(history: History) -> str:
    """The parts of the loss as CSV, a line for each step from 1 on."""
    lines = [["step", *history], *zip(count(1), *history.values(), strict=False)]
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def curve_of(history: History) -> bytes:
    """The parts of the loss as a PNG: every step, and the mean of twenty around it."""
    from io import BytesIO

    from matplotlib.figure import Figure
    from pandas import Series

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, values in history.items():
        line = axes.plot(range(1, len(values) + 1), values, alpha=0.25)[0]
        means = Series(values).rolling(20, center=True, min_periods=1).mean()
        axes.plot(range(1, len(values) + 1), means, color=line.get_color(), label=name)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    file = BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
