"""A profile is one small validated file that settles everything about a run of the study."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from lord.attacks.settings import NOISE, PUBLISHED, AttackSettings
from lord.defences.settings import Stage1Settings
from lord.errors import described
from lord.names import ATTACKS, PURIFIERS
from lord.training.settings import FinetuneSettings

TRAINED = {
    "adversarial": ("adversarial", "adversarial_data"),
    "lord": ("stage1", "stage1_data"),
    "lord_wide": ("wide", "stage1_data"),
    "lord_mixed": ("wide", "mixed_data"),
}
"""Defences that are trained, with the settings of the profile that say how and on what."""

OURS = "lord"
"""The defence that the study puts forward."""

VARIANTS = ("lord_wide", "lord_mixed")
"""Our variants of it, which are no rivals."""

DEFENCES = ("none", *PURIFIERS, *TRAINED)

ABLATIONS = ("rank", "lambda", "lambda_choice", "parts", "stage1_data", "transfer", "adaptive")
"""The stages that change something, see `Ablation`."""

UNCHANGED = "unchanged"
"""What stands for the variant that changes nothing, in the tables of ablations."""

PROFILES = Path(__file__).with_name("profiles")


class SamplingSettings(BaseModel):
    """How pictures are generated from a fine-tuned model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(48, ge=2, description="samples per subject, seed and condition")
    steps: PositiveInt = Field(20, description="sampler steps")
    guidance_scale: PositiveFloat = Field(3.0, description="classifier-free guidance")


class Stage1Data(BaseModel):
    """What the defence learns from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identities: PositiveInt = Field(512, description="identities, one picture each")
    attack: AttackSettings


class MixedAttack(AttackSettings):
    """Several attacks with the same settings, which take turns in the pictures."""

    method: Literal["mixed"]
    methods: tuple[Literal[(*ATTACKS,)], ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _fit(self) -> "MixedAttack":
        self.attacks()
        return self

    def attacks(self) -> list[AttackSettings]:
        """The settings of each.

        Raises:
            ValidationError: a method cannot have them.
        """
        common = self.model_dump(exclude={"method", "methods"})
        return [AttackSettings(method=method, **common) for method in self.methods]


class MixedData(Stage1Data):
    """What a defence learns from that has seen several attacks."""

    attack: MixedAttack


class Budget(BaseModel):
    """What an attack may do to a photograph, in grey levels of 255."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    eps_levels: PositiveFloat = Field(description="the most a pixel may change")
    step_levels: PositiveFloat = Field(description="change of a pixel in one gradient step")
    steps: PositiveInt = Field(description="gradient steps")


class Comparison(BaseModel):
    """Which attacks are compared, at which budgets, and on whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attacks: tuple[Literal[(*ATTACKS,)], ...]
    eps_levels: tuple[PositiveFloat, ...] = Field(description="budgets, in grey levels of 255")
    steps: tuple[int, ...] = Field(
        (), description="numbers of gradient steps of ACE, with and without surrogate rounds"
    )
    subjects: tuple[int, ...]
    seeds: tuple[int, ...]


def _known(conditions: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    attacks = ("none", *(name for name in ATTACKS if name != NOISE))
    for name, defences in conditions.items():
        if name not in attacks:
            raise ValueError(f"unknown attack {name!r}: choose of {', '.join(attacks)}")
        if unknown := set(defences) - set(DEFENCES):
            raise ValueError(f"unknown defence {min(unknown)!r}: choose of {', '.join(DEFENCES)}")
    return conditions


Treatment = Annotated[
    str, Field(pattern=r"^(learned|dropped|merged|(lambda|merged|prior)=\d*\.?\d+)$")
]
"""What becomes of LoRD's gate at test time, see `lord.defences.treatments.apply_treatment`."""

Conditions = Annotated[dict[str, tuple[str, ...]], AfterValidator(_known)]
"""For each attack, or ``"none"``, the defences that face it, among them ``"none"``."""


class Scenario(BaseModel):
    """What may be otherwise than in the main table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attacked_share: float = Field(1.0, ge=0, le=1, description="of the photographs")
    attacker: Literal["base", "defended", "closing", "through_diffpure"] = Field(
        "base",
        description="what is attacked: the base model, the defended one, that and its gates, or "
        "the base model through DiffPure",
    )
    surrogate_rounds: PositiveInt = Field(
        1, description="the attack's steps are shared by so many, with a surrogate in between"
    )
    stage1_domain: Literal["own", "other"] = Field("own", description="where the defence is from")
    stage2_gate: Literal["learned"] | float = Field("learned", description="λ during stage 2")


class Ablation(BaseModel):
    """Cells of the study under changed settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variants: dict[str, dict[str, Any]] = Field(
        description="for each name, the settings of the profile that are otherwise"
    )
    conditions: Conditions = Field(
        description="without those under a variant's attacker who cannot know the defence"
    )
    treatments: tuple[Treatment, ...] = Field(description="of LoRD's gate at test time")
    split: Literal["evaluation", "stage1"] = Field(
        "evaluation", description="'stage1': the subjects are those that decide, by number"
    )
    subjects: tuple[int, ...]
    seeds: tuple[int, ...]


class Profile(BaseModel):
    """The resolved settings of a run; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    timing: bool = Field(True, description="whether what measures time takes part")
    evidence: bool = Field(description="False marks numbers that are no evidence of anything")
    model: str = Field("embedded", description="'embedded', a hub id or a diffusers folder")
    size: PositiveInt = Field(64, description="side of the images, in pixels")
    domains: tuple[str, ...] = ("portraits", "landscapes")
    subjects: tuple[int, ...] = Field(description="indices of evaluation subjects")
    seeds: tuple[int, ...]
    photographs: PositiveInt = Field(16, description="training pictures of a subject")
    references: int = Field(512, ge=2, description="clean reference pictures of a subject")
    held_out: int = Field(256, ge=4, description="renders that judge model and metrics")
    budget: Budget
    conditions: Conditions
    comparison: Comparison
    scenario: Scenario = Scenario()
    ablations: dict[Literal[ABLATIONS], Ablation] = Field({}, description="by stage")
    finetune: FinetuneSettings
    stage1: Stage1Settings
    stage1_data: Stage1Data
    wide: Stage1Settings = Field(description="LoRD of a higher rank on more layers, our variant")
    mixed_data: MixedData | None = Field(
        None, description="what lord_mixed learns from, our variant that is otherwise lord_wide"
    )
    adversarial: Stage1Settings = Field(description="adversarial training, a rival of LoRD")
    adversarial_data: Stage1Data
    selection_subjects: PositiveInt = Field(
        1, description="further stage-1 identities that choose the test-time treatment"
    )
    sampling: SamplingSettings
    treatments: tuple[Treatment, ...] = Field(
        description="of the gate at test time, on every subject; which of them the results report "
        "is decided on stage-1 identities"
    )
    further_treatments: tuple[Treatment, ...] = Field(
        (), description="treatments of the paper's LoRD, behind ACE only, to see what λ does"
    )

    @property
    def faced(self) -> list[str]:
        """The defences that face an attack in the main table."""
        return [name for name in DEFENCES if any(name in c for c in self.conditions.values())]

    def is_lord(self, defence: str) -> bool:
        """Whether a defence has a gate to be treated."""
        return defence in TRAINED and getattr(self, TRAINED[defence][0]).kind == "lord"

    def is_mixed(self, defence: str | None) -> bool:
        """Whether a defence learns from several attacks."""
        return defence in TRAINED and isinstance(getattr(self, TRAINED[defence][1]), MixedData)

    def can_know(self, attacker: str, defence: str) -> bool:
        """Whether an attacker of `Scenario` can face a defence: they know it, or know nothing."""
        return {
            "base": True,
            "defended": defence in TRAINED,
            "closing": self.is_lord(defence),
            "through_diffpure": defence == "diffpure",
        }[attacker]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every (attack, defence) of the main table."""
        return [(attack, defence) for attack, names in self.conditions.items() for defence in names]

    def varied(self, changes: dict[str, Any]) -> "Profile":
        """The profile with some of its settings, at any depth, changed.

        Raises:
            ValidationError: a setting does not exist, or cannot be that.
        """
        return Profile.model_validate(_merge(self.model_dump(exclude={"ablations"}), changes))

    def treatments_of(self, defence: str) -> tuple[str, ...]:
        """What is done with a defence at test time; ``"none"`` where nothing can be."""
        if defence not in TRAINED:
            return ("none",)
        return self.treatments if self.is_lord(defence) else ("kept", "dropped")

    @model_validator(mode="after")
    def _comparable(self) -> "Profile":
        if not all("none" in defences for defences in self.conditions.values()):
            raise ValueError("conditions: without the defence 'none' there is nothing to compare")
        for attack in ("none", "ace"):
            if attack not in self.conditions:
                raise ValueError(
                    f"conditions: without the attack {attack!r} there is nothing to compare"
                )
        asked = [self.conditions, *(a.conditions for a in self.ablations.values())]
        if not self.mixed_data and any("lord_mixed" in d for c in asked for d in c.values()):
            raise ValueError("mixed_data: lord_mixed needs to know what it learns from")
        compared = self.comparison
        for part in (compared, *self.ablations.values()):
            subjects, seeds = self.subjects, self.seeds
            if isinstance(part, Ablation) and part.split == "stage1":
                subjects, seeds = range(self.selection_subjects), seeds[:1]
            if not (set(part.subjects) <= set(subjects) and set(part.seeds) <= set(seeds)):
                raise ValueError(
                    f"{type(part).__name__.lower()}: subjects and seeds must be among those of the "
                    "profile"
                )
        for ablation in self.ablations.values():
            for name, changes in ablation.variants.items():
                self.varied(changes)._attacker_fits(name, ablation.conditions)
        if self.budget.eps_levels not in compared.eps_levels or NOISE not in compared.attacks:
            raise ValueError(
                f"comparison: the attacks must include {NOISE!r}, the control, and eps_levels that "
                "of the budget"
            )
        return self

    def _attacker_fits(self, variant: str, conditions: dict[str, tuple[str, ...]]) -> None:
        attacker, rounds = self.scenario.attacker, self.scenario.surrogate_rounds
        if attacker == "base":
            return
        methods = [
            method
            for method, defences in conditions.items()
            if method != "none" and any(self.can_know(attacker, name) for name in defences)
        ]
        if not methods:
            raise ValueError(f"{variant}: no defence here that {attacker!r} could know")
        surrogates = {self.attack_of(method, rounds=rounds).surrogate for method in methods}
        if attacker in ("closing", "through_diffpure") and surrogates != {"none"}:
            raise ValueError(f"{variant}: {attacker!r} attacks without a surrogate, in one round")

    def attack_of(
        self,
        method: str,
        eps_levels: float | None = None,
        steps: int | None = None,
        rounds: int = 1,
    ) -> AttackSettings:
        """An attack at the budget of the study, so that attacks are compared on equal terms.

        All have the same ε, step and number of gradient steps in all; a surrogate, where an attack
        has one, has the rank and the learning rate of the victim. Other options of the published
        settings are off: each would suit any attack.

        Args:
            eps_levels: another ε, in grey levels; the step grows with it.
            steps: another number of gradient steps.
            rounds: the steps are shared by so many, with a surrogate that learns in between.

        Raises:
            ValueError: the steps cannot be shared equally by the rounds.
        """
        budget = self.budget
        levels, steps = eps_levels or budget.eps_levels, steps or budget.steps
        values = {
            "method": method,
            "eps": levels / 255,
            "step_size": budget.step_levels * levels / budget.eps_levels / 255,
            "steps": steps,
            "step_decay": False,
            "random_start": False,
            "draws": 1,
            "surrogate": "none",
            "rounds": 1,
            "surrogate_batch_size": 4,
        }
        if method == NOISE:
            return AttackSettings(**values | {"steps": 0, "random_start": True})
        learning = {
            "surrogate_rank": self.finetune.rank,
            "surrogate_learning_rate": self.finetune.learning_rate,
        }
        if method == "fsmg":
            values |= learning | {"surrogate": "fixed", "surrogate_steps": steps}
        elif method == "aspl":
            rounds = max(1, steps // PUBLISHED["aspl"]["steps"])
            values |= learning | {"surrogate": "cloned", "rounds": rounds}
        elif rounds > 1:
            values |= learning | {"surrogate": "alternating", "rounds": rounds}
        if steps % rounds:
            raise ValueError(f"steps: {steps} cannot be shared equally by {rounds} rounds")
        values["steps"] = steps // rounds
        return AttackSettings(**values)


def attack_components(attack: AttackSettings) -> list[str]:
    """The attacks that take part in one, as `lord.names` calls them."""
    methods = attack.methods if isinstance(attack, MixedAttack) else (attack.method,)
    return [f"attack:{method}" for method in methods]


def defence_components(profile: Profile, defence: str) -> list[str]:
    """What takes part in a trained defence: its kind, and the attacks that it learns from."""
    training, data = (getattr(profile, name) for name in TRAINED[defence])
    return [f"defence:{training.kind}", *attack_components(data.attack)]


def _merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merge(settings[key], value)
        for key, value in changes.items()
        if isinstance(value, dict) and isinstance(settings.get(key), dict)
    }
    return settings | changes | nested


def profile_names() -> list[str]:
    """The profiles that come with the package."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """A profile by name, or from the path of a YAML file of one's own.

    Raises:
        ValueError: no such profile, or a key or value in it is wrong; the message names it.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(
            f"unknown profile {name!r}: choose one of {', '.join(profile_names())}, "
            "or give the path of a YAML file"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Profile.model_validate({"name": path.stem, **values})
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path}: not a YAML mapping of settings: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {described(error)}") from error
