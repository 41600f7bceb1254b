"""A profile is one small validated file that settles everything about a run of the study."""

from pathlib import Path

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)

from lord.attacks import AttackSettings
from lord.defence import Stage1Settings
from lord.finetune import FinetuneSettings

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


class Profile(BaseModel):
    """The resolved settings of a run; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    evidence: bool = Field(description="False marks numbers that are no evidence of anything")
    model: str = Field("embedded", description="'embedded', a hub id or a diffusers folder")
    size: PositiveInt = Field(64, description="side of the images, in pixels")
    domains: tuple[str, ...] = ("portraits", "landscapes")
    subjects: tuple[int, ...] = Field(description="indices of evaluation subjects")
    seeds: tuple[int, ...]
    photographs: PositiveInt = Field(16, description="training pictures of a subject")
    references: int = Field(512, ge=2, description="clean reference pictures of a subject")
    held_out: int = Field(256, ge=4, description="renders that judge model and metrics")
    attack: AttackSettings
    finetune: FinetuneSettings
    stage1: Stage1Settings
    stage1_data: Stage1Data
    selection_subjects: PositiveInt = Field(
        1, description="further stage-1 identities that choose the test-time treatment"
    )
    sampling: SamplingSettings
    treatments: tuple[str, ...] = Field(
        description="of the gate at test time, on every subject; which of them the results report "
        "is decided on stage-1 identities"
    )
    further_treatments: tuple[str, ...] = Field(
        (), description="treatments measured on stage-1 identities only"
    )

    @field_validator("attack")
    @classmethod
    def _names_its_conditions(cls, attack: AttackSettings) -> AttackSettings:
        if attack.method != "ace":
            raise ValueError("the conditions of the study are those of ACE: method must be 'ace'")
        return attack


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
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(f"{path}: not a YAML mapping of settings: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise ValueError(f"{path}: {problems}") from error
