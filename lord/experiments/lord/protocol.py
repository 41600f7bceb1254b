"""What the experiments on LoRD share: whom they attack, and how they train."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from lord.attacks.settings import NOISE, AttackSettings
from lord.data.albums import Albums
from lord.defences.settings import Stage1Settings
from lord.experiments.lord.budget import Budget, MixedAttack
from lord.models.card import imagenet_weights
from lord.names import ATTACKS, DOMAINS, IN_PIXELS, MEMORIES, PROMPTED, PURIFIERS
from lord.study.experiment import MOST, Indices, Name, Section
from lord.training.settings import FinetuneSettings

TRAINED = {
    "adversarial": ("adversarial", "adversarial_data"),
    "lord": ("stage1", "stage1_data"),
    "lord_wide": ("wide", "stage1_data"),
    "lord_mixed": ("wide", "mixed_data"),
}
"""Defences that are trained, with the settings of the protocol that say how and on what."""

PROPOSED = "lord"
"""The defence that the study puts forward."""

VARIANTS = ("lord_wide", "lord_mixed")
"""Our variants of it, which are no rivals."""

DEFENCES = ("none", *PURIFIERS, *PROMPTED, *TRAINED)

AS_TRAINED = {"adversarial": "kept"} | dict.fromkeys((PROPOSED, *VARIANTS), "learned")
"""A defence that leaves a choice at test time, left as it was trained."""

UNCHANGED = "unchanged"
"""What stands for the variant that changes nothing, in the tables of ablations."""

SELECTION_START = 1_000_000
"""Identities of the stage-1 split beyond any that stage 1 trains on, which choose treatments."""

COMMON = ("model", "size", "memory", "batch_size")
"""Settings of the protocol that everything depends on which a model computes."""

Model = TypeVar("Model", bound=BaseModel)


class SamplingSettings(Section):
    """How pictures are generated from a fine-tuned model."""

    images: int = Field(48, ge=2, le=MOST, description="samples per subject, seed and condition")
    steps: PositiveInt = Field(20, description="sampler steps")
    guidance_scale: PositiveFloat = Field(3.0, description="classifier-free guidance")


class Stage1Data(Section):
    """What the defence learns from."""

    identities: int = Field(512, ge=1, le=MOST, description="identities, one picture each")
    attack: AttackSettings


class MixedData(Stage1Data):
    """What a defence learns from that has seen several attacks."""

    attack: MixedAttack


class Scenario(Section):
    """What may be otherwise than in the main table."""

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
    stage2_gate: Literal["learned"] | Annotated[float, Field(ge=-10, le=10)] = Field(
        "learned", description="λ during stage 2"
    )
    stage2_trains: Literal["lora", "shared", "branch"] = Field(
        "lora",
        description="what learns in stage 2: a new LoRA over the frozen defence, A and B of the "
        "defence itself, or its B alone",
    )


class Timing(Section):
    """How often what is timed is repeated."""

    turns: PositiveInt = Field(5, description="of each step; the fastest counts")


class GradientTiming(Timing):
    """How a gradient step is timed."""

    images: PositiveInt = Field(16, description="of one step")


class StepTiming(Timing):
    """How one of many steps is timed."""

    steps: int = Field(9, ge=2, description="of a turn that is compared with a turn of one step")


def _known(conditions: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    attacks = ("none", *(name for name in ATTACKS if name != NOISE))
    for name, defences in conditions.items():
        if name not in attacks:
            raise ValueError(f"unknown attack {name!r}: choose of {', '.join(attacks)}")
        if unknown := set(defences) - set(DEFENCES):
            raise ValueError(f"unknown defence {min(unknown)!r}: choose of {', '.join(DEFENCES)}")
    return conditions


def _possible(treatment: str) -> str:
    kind, _, number = treatment.partition("=")
    if kind == "prior" and not 0 < float(number) < 1:
        raise ValueError("expected a probability between 0 and 1")
    return treatment


Treatment = Annotated[
    str,
    Field(pattern=r"^(learned|dropped|merged|(lambda|merged|prior)=\d{0,3}\.?\d{1,6})$"),
    AfterValidator(_possible),
]
"""What becomes of LoRD's gate at test time, see `lord.defences.treatments.apply_treatment`."""

Conditions = Annotated[dict[str, tuple[str, ...]], AfterValidator(_known)]
"""For each attack, or ``"none"``, the defences that face it, among them ``"none"``."""


class Protocol(Section):
    """The section ``lord`` of a profile."""

    model: str = Field(
        "embedded", min_length=1, description="'embedded', a hub id or a diffusers folder"
    )
    memory: Literal[MEMORIES] = Field(
        "normal", description="'low' takes less of it and more time, see lord.models.memory"
    )
    batch_size: PositiveInt = Field(
        16, description="pictures that are attacked, purified or sampled at a time"
    )
    pixel_models: dict[Literal[DOMAINS], str] = Field(
        {"portraits": "embedded"},
        description="by domain, the unconditional model of purifiers in pixels; where there is "
        "none, they take no part",
    )
    size: int = Field(
        64, ge=16, le=2048, multiple_of=8, description="side of the images, in pixels"
    )
    albums: dict[Name, Albums] = Field(
        {}, description="domains of photographs, by names that are not those of rendered ones"
    )
    domains: tuple[str, ...] = Field(DOMAINS, min_length=1)
    subjects: Indices = Field(description="indices of evaluation subjects")
    seeds: Indices
    photographs: int = Field(16, ge=1, le=MOST, description="training pictures of a subject")
    references: int = Field(512, ge=2, le=MOST, description="clean reference pictures of a subject")
    held_out: int = Field(256, ge=4, le=MOST, description="renders that judge model and metrics")
    budget: Budget
    scenario: Scenario = Scenario()
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
    independent: bool = Field(
        False,
        description="whether judges that have seen none of the damage measure as well, see "
        "lord.metrics.independent",
    )
    identity_model: str | None = Field(
        None,
        min_length=1,
        description="an image encoder that tells whether samples show whom photographs show, a "
        "hub id or a folder, see lord.metrics.resemblance",
    )
    treatments: tuple[Treatment, ...] = Field(
        min_length=1,
        description="of the gate at test time, on every subject; which of them the results report "
        "is decided on stage-1 identities",
    )

    @field_validator("independent")
    @classmethod
    def _has_its_weights(cls, independent: bool) -> bool:
        if independent:
            imagenet_weights()
        return independent

    @field_validator("identity_model")
    @classmethod
    def _shows_photographs(cls, model: str | None, info: ValidationInfo) -> str | None:
        if model and (rendered := set(info.data.get("domains", ())) & set(DOMAINS)):
            raise ValueError(f"of {min(rendered)}, which are rendered, identity is known without")
        return model

    @field_validator("finetune")
    @classmethod
    def _has_room(cls, finetune: FinetuneSettings, info: ValidationInfo) -> FinetuneSettings:
        if finetune.train_text_encoder and info.data.get("memory") == "low":
            raise ValueError("train_text_encoder takes memory: normal")
        return finetune

    @field_validator("albums")
    @classmethod
    def _new_names(cls, albums: dict[str, Albums]) -> dict[str, Albums]:
        if taken := set(albums) & set(DOMAINS):
            raise ValueError(f"{min(taken)} is the name of rendered pictures; choose another")
        return albums

    @field_validator("domains")
    @classmethod
    def _known_domains(cls, domains: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = (*DOMAINS, *info.data.get("albums", {}))
        if unknown := set(domains) - set(known):
            raise ValueError(f"unknown domain {min(unknown)!r}: choose of {', '.join(known)}")
        return domains

    @property
    def rendered(self) -> tuple[str, ...]:
        """The domains whose pictures are rendered, as many as anyone asks for."""
        return tuple(domain for domain in self.domains if domain in DOMAINS)

    def varied(self, changes: Mapping[str, Any]) -> "Protocol":
        """The protocol with some of its settings, at any depth, changed.

        Raises:
            ValidationError: a setting does not exist, or cannot be that.
        """
        return changed(self, changes)


def changed(model: Model, changes: Mapping[str, Any]) -> Model:
    """Settings with some of them, at any depth, changed, and checked again."""
    return type(model).model_validate(_merge(model.model_dump(), changes))


def _merge(settings: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merge(settings[key], value)
        for key, value in changes.items()
        if isinstance(value, Mapping) and isinstance(settings.get(key), dict)
    }
    return settings | changes | nested


def is_lord(own: Any, defence: str) -> bool:
    """Whether a defence has a gate to be treated, by a protocol or the settings of a cell."""
    return defence in TRAINED and getattr(own, TRAINED[defence][0]).kind == "lord"


def can_know(protocol: Protocol, attacker: str, defence: str) -> bool:
    """Whether an attacker of `Scenario` can face a defence: they know it, or know nothing."""
    return {
        "base": True,
        "defended": defence in TRAINED,
        "closing": is_lord(protocol, defence),
        "through_diffpure": defence == "diffpure",
    }[attacker]


def takes_part(protocol: Protocol, domain: str, defence: str) -> bool:
    """Whether a domain has what a defence needs."""
    return defence not in IN_PIXELS or domain in protocol.pixel_models


def of_renders(protocol: Protocol) -> Protocol | None:
    """The protocol with its rendered domains alone, if there are any."""
    found = protocol.rendered
    return protocol.model_copy(update={"domains": found}) if found else None


def treatments_of(protocol: Protocol, defence: str) -> tuple[str, ...]:
    """What is done with a defence at test time; ``"none"`` where nothing can be."""
    if defence not in TRAINED:
        return ("none",)
    return protocol.treatments if is_lord(protocol, defence) else ("kept", "dropped")
