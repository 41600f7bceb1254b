"""What an attack may do: method, budget, steps and surrogate, as published unless said otherwise.

ε and the step are in [0, 1] pixel units: ``8/255`` is eight grey levels of 255. (Most published
code perturbs in [-1, 1], where the same number means half as much.)
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lord.names import ATTACKS, TARGETED

NOISE = "noise"

PATTERN = "pattern"

# How often a perturbation is magnified, around grey, to be seen.
AMPLIFIED = 10

ANTI_DREAMBOOTH = {"eps": 6.4 / 255, "step_size": 0.64 / 255}

ACE = {"eps": 4 / 255, "step_size": 0.64 / 255, "steps": 30, "surrogate": "alternating"}

PUBLISHED: dict[str, dict[str, Any]] = {
    "advdm": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "encoder": {"eps": 0.03, "step_size": 1 / 255, "steps": 200}
    | {"random_start": True, "step_decay": True},
    "diffusion": {"eps": 0.03, "step_size": 1 / 255, "steps": 200, "draws": 10}
    | {"random_start": True, "step_decay": True},
    "mist": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "sds_minus": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "sds_plus": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "fsmg": ANTI_DREAMBOOTH | {"steps": 100, "surrogate": "fixed", "surrogate_steps": 100},
    "aspl": ANTI_DREAMBOOTH
    | {"steps": 6, "surrogate": "cloned", "rounds": 50, "surrogate_steps": 3},
    "ace": ACE | {"rounds": 5, "surrogate_steps": 10},
    "ace_plus": ACE | {"rounds": 5, "surrogate_steps": 10},
    "mist_v2_fused": ACE | {"rounds": 5, "surrogate_steps": 10},
    NOISE: {"eps": 8 / 255, "step_size": 1 / 255, "steps": 0, "random_start": True},
}
"""Each attack with the settings of its public implementation, on the true pixel scale.

Not as published: the steps of PhotoGuard's attacks, and how long the surrogate of FSMG learns, are
choices of ours; surrogates are LoRAs everywhere, where Anti-DreamBooth trains all weights; AdvDM
attacks the mean of the encoder's distribution instead of samples of it. ``noise`` is the control
that every attack has to beat: the same loop with a random start and no step.
"""


Surrogate = Literal["none", "fixed", "alternating", "cloned"]

NEEDED_SURROGATE: dict[str, Surrogate] = {"fsmg": "fixed", "aspl": "cloned"}
"""Attacks that are AdvDM but for their surrogate."""


class AttackSettings(BaseModel):
    """What an attack may do. What is not given is as published for the method (`PUBLISHED`).

    The surrogate is a copy of the denoiser with a LoRA that learns images by the denoising loss:

    ===============  =============================================================================
    ``none``         the model as given is attacked
    ``fixed``        the surrogate learns the clean images for ``surrogate_steps``, then is attacked
    ``alternating``  ``rounds`` of ``steps`` of PGD; between them the surrogate learns the attacked
                     images, so that later rounds attack a model that already learns from them
    ``cloned``       as before, and in each round a clone that has also learned the clean images
                     is attacked (ASPL)
    ===============  =============================================================================
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal[(*ATTACKS,)] = Field(
        "ace",
        description="what the attack pursues: ace drives the model to a target image, advdm away "
        "from the image; noise is no attack but the control of all; see lord.attacks.objectives",
    )
    norm: Literal["linf", "l2"] = Field(
        "linf", description="what eps bounds: each pixel, or the length of the whole change"
    )
    eps: float = Field(
        gt=0,
        description="the most that the attack may change a pixel, of 1 (8/255 is eight grey "
        "levels); of l2, the length of its change of a whole image",
    )
    step_size: float = Field(gt=0, description="change in one step of the attack, in units of eps")
    steps: int = Field(ge=0, description="steps of the attack in each round; 0 for noise alone")
    step_decay: bool = Field(False, description="shrink the step linearly over the steps")
    random_start: bool = Field(False, description="start at a random change within the budget")
    draws: int = Field(1, ge=1, description="timesteps and noises averaged in each gradient")
    transformations: tuple[Literal["jpeg", "resize", "blur"], ...] = Field(
        (), description="what images go through before each gradient: jpeg, resize or blur"
    )
    target: str | None = Field(
        PATTERN, description=f"'{PATTERN}' or the path of an image; unused by untargeted attacks"
    )
    surrogate: Surrogate = Field(
        "none",
        description="whether a copy of the model learns the images and is attacked in its place: "
        "before the steps, between rounds, or as in ASPL",
    )
    rounds: int = Field(1, ge=1, description="rounds of PGD, with the surrogate trained in between")
    surrogate_steps: int = Field(10, ge=1, description="training steps of the surrogate")
    surrogate_batch_size: int = Field(4, ge=1, description="images in each of these steps")
    surrogate_rank: int = Field(4, ge=1, description="rank of the surrogate's LoRA")
    surrogate_learning_rate: float = Field(1e-4, gt=0, description="its LoRA's learning rate")

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        published = PUBLISHED.get(values.get("method", "ace"), {})
        if values.get("norm") == "l2":  # all published budgets bound single pixels
            published = {k: v for k, v in published.items() if k not in ("eps", "step_size")}
        return published | values

    @model_validator(mode="after")
    def _complete(self) -> "AttackSettings":
        if self.method in TARGETED and not self.target:
            raise ValueError(
                f"target: {self.method} drives the model to a target image and none is given; set "
                f"it to '{PATTERN}' or to the path of an image."
            )
        if self.norm == "linf" and not 1 / 255 <= self.eps <= 1:
            raise ValueError("eps: expected at least 1/255, one grey level, and at most 1")
        if (self.steps == 0) != (self.method == NOISE):
            raise ValueError(f"steps: {NOISE!r} takes 0, and every attack at least 1")
        if self.method == NOISE and not (self.random_start and self.surrogate == "none"):
            raise ValueError(f"{NOISE!r} is a random start alone: no surrogate can change it")
        needed = NEEDED_SURROGATE.get(self.method, self.surrogate)
        if self.surrogate != needed:
            raise ValueError(f"surrogate: {self.method} without {needed!r} would be AdvDM")
        if self.method == "advdm" and self.surrogate in NEEDED_SURROGATE.values():
            raise ValueError(f"surrogate: advdm with {self.surrogate!r} is FSMG or ASPL: name it")
        if self.rounds > 1 and self.surrogate in ("none", "fixed"):
            raise ValueError(f"rounds: a surrogate that is {self.surrogate!r} has only one")
        return self

    @property
    def together(self) -> bool:
        """Whether images influence each other, through a surrogate that learns all of them."""
        return self.surrogate in ("fixed", "cloned") or self.rounds > 1
