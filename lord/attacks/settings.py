"""What an attack may do: method, budget, steps and surrogate, as published unless said otherwise.

ε and the step are in [0, 1] pixel units: ``8/255`` is eight grey levels of 255. (Most published
code perturbs in [-1, 1], where the same number means half as much.)
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lord.names import ATTACKS, TARGETED

NOISE = "noise"
"""The control that every attack has to beat: a random start and no step.

Uniform within ε, it has a root mean square of ε/√3 = 0.58 ε, where ACE, which drives most pixels to
the bound, reaches about 0.9 ε at the budget of the study: more than twice the energy. So part of an
attack's lead over the control may be its size.
"""

COMPONENT = "component"
"""The attack on the features of one component of the model, see `lord.attacks.components`."""

SIMAC = "simac"
"""The attack that raises more than its entry of `OBJECTIVES`, see `lord.attacks.simac`."""

PATTERN = "pattern"

ADVDM = {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100}

ANTI_DREAMBOOTH = {"eps": 6.4 / 255, "step_size": 0.64 / 255, "surrogate_batch_size": 1}

ALTERNATING = {"surrogate": "alternating", "rounds": 5, "surrogate_steps": 10}

ACE = ALTERNATING | {"eps": 4 / 255, "step_size": 0.64 / 255, "steps": 30}

PUBLISHED: dict[str, dict[str, Any]] = {
    # Not as published: the code attacks a sample of the encoder's distribution, this one its mean.
    "advdm": ADVDM | {"random_start": True},
    # As published, with the 200 steps of the paper, where the demo takes 1000. Its step shrinks to
    # 1/100 at last, this one to 1/200.
    "encoder": {"eps": 0.03, "step_size": 0.01, "steps": 200}
    | {"random_start": True, "step_decay": True},
    # The ℓ∞ variant of the demo, which itself runs an ℓ2 ball of 8, in steps of 0.5, on 512 × 512
    # pixels. Not as published: the code repaints a part of the image, from pure noise; this one
    # edits all of it, from 0.7 of the schedule.
    "diffusion": {"eps": 0.05, "step_size": 0.003, "steps": 200, "draws": 10},
    # As AdvDM, with the mean of the encoder's distribution for its samples.
    "mist": ADVDM | {"random_start": True},
    # As AdvDM, but from the image itself.
    "sds_minus": ADVDM,
    "sds_plus": ADVDM,
    # Not as published: the code attacks samples of the encoder's distribution; its surrogate trains
    # all weights, beside images of the class, and for FSMG longer than these 100 steps.
    "fsmg": ANTI_DREAMBOOTH | {"steps": 100, "surrogate": "fixed", "surrogate_steps": 100},
    "aspl": ANTI_DREAMBOOTH
    | {"steps": 6, "surrogate": "cloned", "rounds": 50, "surrogate_steps": 3},
    # Not as published: each of the code's 10 steps of the surrogate goes through all images, one by
    # one and beside images of the class, and trains a LoRA of the text encoder, too.
    # ASPL at chosen times, with a further term.
    "simac": ANTI_DREAMBOOTH
    | {"eps": 8 / 255, "steps": 6, "surrogate": "cloned", "rounds": 50, "surrogate_steps": 3},
    # Not as published: 24 rounds, of four trials with six snapshots each, are of one trial here, in
    # which the snapshots are as far apart as a clone learns; crops and rotations are left out. The
    # public script does not tell its PGD steps: 10 are a choice.
    "metacloak": {"eps": 11 / 255, "step_size": 1.1 / 255, "steps": 10, "surrogate": "staggered"}
    | {"rounds": 24, "transformations": ("resize", "flip", "blur")},
    "ace": ACE,
    "ace_plus": ACE,
    "mist_v2_fused": ACE,
    # Of the code for arXiv:2306.08257; it starts at normal numbers, this one at uniform ones.
    COMPONENT: {"eps": 0.1, "step_size": 0.01, "steps": 15, "random_start": True},
    # No published attack.
    NOISE: {"eps": 8 / 255, "step_size": 1 / 255, "steps": 0, "random_start": True},
}
"""Each attack with the settings of its public implementation, on the true pixel scale.

What is not given starts at the image, at a constant step, with one draw for each gradient. A
comment says of each attack in what it still differs from its code; surrogates are LoRAs everywhere.
"""


Surrogate = Literal["none", "fixed", "alternating", "cloned", "staggered"]

NEEDED_SURROGATE: dict[str, Surrogate] = {
    "fsmg": "fixed",
    "aspl": "cloned",
    "simac": "cloned",
    "metacloak": "staggered",
}
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
    ``staggered``    the surrogate learns the clean images, further in each round, and a clone that
                     has also learned the attacked images is attacked (MetaCloak)
    ===============  =============================================================================
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal[(*ATTACKS, COMPONENT)] = Field(
        "ace",
        description="what the attack pursues: ace drives the model to a target image, advdm away "
        "from the image; noise is no attack but the control of all; see lord.attacks.objectives",
    )
    component: str | None = Field(
        None,
        min_length=1,
        description="the component of the model whose features the attack drives away from those "
        "of the image, such as up.2.attention, with the method of that name; see `lord components`",
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
    transformations: tuple[Literal["jpeg", "resize", "flip", "blur"], ...] = Field(
        (), description="what images go through before each gradient: jpeg, resize, flip or blur"
    )
    target: str | None = Field(
        PATTERN, description=f"'{PATTERN}' or the path of an image; unused by untargeted attacks"
    )
    surrogate: Surrogate = Field(
        "none",
        description="whether a copy of the model learns the images and is attacked in its place: "
        "before the steps, between rounds, or as in ASPL or MetaCloak",
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
        if values.get("component"):
            values = {"method": COMPONENT} | values
        method = values.get("method", "ace")
        published = PUBLISHED.get(method, {}) if isinstance(method, str) else {}
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
        if (self.method == COMPONENT) != bool(self.component):
            raise ValueError(
                f"component: {self.method} with component {self.component!r}; it goes with the "
                f"method {COMPONENT!r}, and with no other"
            )
        if self.method == COMPONENT and not self.random_start:
            raise ValueError("random_start: the image itself is where features have no gradient")
        if self.method == COMPONENT and (
            self.surrogate != "none" or self.transformations or self.draws > 1
        ):
            raise ValueError(f"surrogate, transformations, draws: {COMPONENT!r} has none of these")
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
        return self.surrogate in NEEDED_SURROGATE.values() or self.rounds > 1
