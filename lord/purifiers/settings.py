"""How a picture is purified in pixels; nothing here imports torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from lord.names import PIXEL_PURIFIERS

PUBLISHED: dict[str, dict[str, Any]] = {
    # Stochastic, and every step of DDPM. The published t* of 100 is that of the schedule of DDPM,
    # whose noise there, √((1 − ᾱ)/ᾱ) = 0.34, is that of Stable Diffusion's schedule to 1 %.
    "diffpure": {"timestep": 100, "steps": 100},
    # As published, with the probability flow for the stochastic equation.
    "diffpure_ode": {"timestep": 100, "steps": 100},
    # Four times over, as for CIFAR-10. The scale that its code calls 60000 is that of the mean over
    # pixels; here the square distance is a sum, halved. Its value is this project's.
    "gdmp": {"timestep": 36, "steps": 36, "rounds": 4, "scale": 5.0},
    # As published. At t 10 the schedule of DDPM has a noise of 0.044, Stable Diffusion's 0.094.
    "gridpure": {"timestep": 10, "steps": 10, "rounds": 20, "kept": 0.1},
    # t* as published; what guides, and how strongly, is not known (see the fields). Gradients of a
    # small classifier are small: on rendered portraits a scale of 20 changes nothing.
    "robust": {"timestep": 70, "steps": 70, "scale": 100.0},
}
"""Each method as it was published, as far as that is known."""

GUIDED = ("gdmp", "robust")
"""The methods that pull the picture somewhere while it is denoised."""


class PixelPurifier(BaseModel):
    """A purifier. What is not given is as published for the method (`PUBLISHED`).

    Of a guided method the noise prediction becomes ε + √(1−ᾱ_t) · s_t · g, where g is the gradient
    of what `lord.purifiers.pixel_diffusion` lowers: s_t · g is taken from the score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal[(*PIXEL_PURIFIERS,)] = "diffpure"
    timestep: PositiveInt = Field(description="t*: how many times of the schedule add noise")
    steps: PositiveInt = Field(description="evenly spaced, that take the noise away again")
    rounds: PositiveInt = Field(1, description="the whole is done so often, one after the other")
    kept: float = Field(0.0, ge=0, lt=1, description="γ: share of a round's input in its result")
    scale: PositiveFloat = Field(1.0, description="s: how strongly guidance pulls")
    schedule: Literal["constant", "noise"] = Field(
        "constant", description="s_t is s, or s · √((1 − ᾱ_t)/ᾱ_t), which fades with the noise"
    )
    guided: Literal["noisy", "predicted"] = Field(
        "noisy",
        description="the picture that guidance looks at: x_t as published, or the x̂₀ that the "
        "model predicts from it, without a derivative of the model",
    )
    class_weight: float = Field(
        1.0, ge=0, description="of the class term of the robust reverse process; 0 takes it away"
    )
    latent_weight: float = Field(
        1.0, ge=0, description="of its distance of latent representations; 0 takes it away"
    )
    limit: PositiveFloat | None = Field(
        1.0,
        description="gradient constraint on the noise predictor: guidance may be so many times as "
        "long as the predicted noise, longer is cut; null takes the constraint away",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        method = values.get("method", "diffpure")
        return (PUBLISHED.get(method, {}) if isinstance(method, str) else {}) | values

    @model_validator(mode="after")
    def _fits(self) -> "PixelPurifier":
        if self.steps > self.timestep:
            raise ValueError(f"steps: at most one for each of the {self.timestep} times of t*")
        if self.method == "robust" and not (self.class_weight or self.latent_weight):
            raise ValueError("class_weight, latent_weight: without either it is diffpure")
        return self

    @property
    def passes(self) -> int:
        """Passes through the denoiser for each picture that is no larger than the model's."""
        return self.rounds * self.steps

    @property
    def times(self) -> list[int]:
        """t* and the times after each of equal steps down to 0, to whole numbers."""
        return [round(self.timestep * (self.steps - k) / self.steps) for k in range(self.steps + 1)]
