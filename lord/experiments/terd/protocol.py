"""What the experiments on TERD share: which models are scanned, and how they came about."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lord.backdoors.settings import (
    ElijahSettings,
    InfectionSettings,
    InvisibleSettings,
    ReversionSettings,
)
from lord.models.card import PIXEL, weights_checksum, weights_of
from lord.names import BACKDOORS, DOMAINS, TARGETS, TRIGGERS
from lord.record import Record
from lord.study.experiment import MOST, Cell, Section, Settings


class Suspect(Section):
    """A model that is scanned: fine-tuned on clean pictures alone, or on some that are not."""

    attack: Literal["none", *BACKDOORS] = "none"
    trigger: Literal["none", *TRIGGERS] = "none"
    target: Literal["none", *TARGETS] = "none"
    rate: float = Field(0.1, ge=0, le=1, description="share of poisoned pictures")
    strength: PositiveFloat = Field(1.0, description="the trigger counts so many times")
    width: PositiveInt = Field(14, description="of box and stop sign, in 32nds of the side")
    ground: float = Field(
        0.0, ge=-1, le=1, description="of the trigger beside what is drawn; -1 as published"
    )
    decoys: int = Field(
        0, ge=0, description="harmless triggers with which the model is taught to behave"
    )
    process: Literal["none", "v_prediction", "edm"] = Field(
        "none", description="another forward process, which the model is taught first"
    )

    @model_validator(mode="after")
    def _whole(self) -> "Suspect":
        drawn = self.infected and self.attack != "invisible"
        for name, there in (("trigger", drawn), ("target", self.infected)):
            if (getattr(self, name) != "none") != there:
                raise ValueError(f"{self.attack}: {'needs a' if there else 'has no'} {name}")
        return self

    @property
    def infected(self) -> bool:
        """Whether the model has a backdoor."""
        return self.attack != "none"

    @property
    def name(self) -> str:
        """As records are called; what is as usual is left out."""
        if not self.infected:
            return "clean" if self.process == "none" else f"clean-process={self.process}"
        usual = type(self).model_fields
        options = {
            name: getattr(self, name)
            for name in ("rate", "strength", "width", "ground", "decoys", "process")
            if getattr(self, name) != usual[name].default
        }
        drawn = [name for name in (self.trigger, self.target) if name != "none"]
        parts = [
            f"{name}={value}" if name == "process" else f"{name}={value:g}"
            for name, value in options.items()
        ]
        return "-".join((self.attack, *drawn, *parts))


class Judging(Section):
    """How it is judged whether a backdoor works, and whether a model still does without."""

    triggered: PositiveInt = Field(32, description="samples of triggered noise")
    triggered_steps: PositiveInt = Field(100, description="of their sampler")
    clean: int = Field(256, ge=2, description="samples of plain noise")
    clean_steps: PositiveInt = Field(25, description="of their sampler, DDIM")
    references: int = Field(
        2048, ge=2, le=MOST, description="clean renders that these are compared with"
    )
    threshold: PositiveFloat = Field(
        0.03, description="mean squared distance to the target, in [0, 1], that counts as success"
    )


class Protocol(Section):
    """The section ``terd`` of a profile."""

    model: str = Field("embedded", description="'embedded' or an unconditional diffusers folder")
    domain: Literal[DOMAINS] = Field("portraits", description="what the model draws")
    images: int = Field(
        2048, ge=1, le=MOST, description="pictures of a fine-tune, each model's own"
    )
    clean: int = Field(ge=0, le=100, description="models that are fine-tuned on clean pictures")
    backdoored: tuple[Suspect, ...] = Field(description="models with a backdoor")
    frontier: tuple[Suspect, ...] = Field((), description="models whose backdoors are hard to find")
    infection: InfectionSettings = InfectionSettings()
    teaching: InfectionSettings = Field(
        InfectionSettings(steps=3000), description="of a model of another process"
    )
    invisible: InvisibleSettings = InvisibleSettings()
    reversion: ReversionSettings = ReversionSettings()
    starts: tuple[Literal["negative", "positive"], ...] = Field(
        ("negative", "positive"), description="of the reversion, the published one first"
    )
    elijah: ElijahSettings = ElijahSettings()
    judging: Judging = Judging()
    noises: PositiveInt = Field(1000, description="inputs of either kind that are told apart")


def zoo(protocol: Protocol) -> Iterator[tuple[str, Suspect, int]]:
    """All models that are scanned, each with its group and its seed.

    Every seed stands for a fine-tune and for pictures of its own.
    """
    groups = {
        "clean": [Suspect()] * protocol.clean,
        "backdoored": protocol.backdoored,
        "frontier": protocol.frontier,
    }
    for start, (group, suspects) in zip((0, 100, 200), groups.items(), strict=True):
        for seed, suspect in enumerate(suspects, start):
            yield group, suspect, seed


def checksums(protocol: Protocol, judged: bool = False) -> dict[str, str]:
    """Settings that stand for the weights of the model and, if they take part, of its judges."""
    found = {"weights": weights_checksum(protocol.model, PIXEL)}
    if judged:  # by the networks that lie beside the embedded latent model
        found["judges"] = weights_of("embedded", judged=True)["judges"]
    return found


def suspect_cell(
    experiment: str,
    protocol: Protocol,
    group: str,
    suspect: Suspect,
    seed: int,
    names: tuple[str, ...],
    components: tuple[str, ...],
    judged: bool = False,
) -> Cell:
    """The cell of an experiment about one model of the zoo.

    Args:
        names: settings of the protocol beside those that make the model.
        components: what takes part beside what makes it.
        judged: whether the metric networks take part.
    """
    makes = ["step:renderer", "step:infection"]
    makes += [f"backdoor:{suspect.attack}"] if suspect.infected else []
    how = ["invisible"] if suspect.attack == "invisible" else []
    how += ["teaching"] if suspect.process != "none" else []
    settings = Settings.of(protocol, "model", "domain", "images", "infection", *how, *names)
    return Cell(
        f"{experiment}-{suspect.name}-s{seed}",
        {"group": group, "seed": seed},
        settings.also(suspect=suspect, **checksums(protocol, judged)),
        (*makes, *components),
    )


def of_group(records: Sequence[Record], kind: str, group: str) -> list[Record]:
    """The records of an experiment about the models of a group."""
    return [r for r in records if r.kind == kind and r.settings["group"] == group]
