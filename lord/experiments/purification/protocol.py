"""What the experiments on purification share: classifiers, purifiers, threats and attacks."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from lord.attacks.evasion.settings import Evasion, Threat
from lord.models.card import pixel_weights
from lord.names import CLASSIFIED
from lord.purifiers.settings import PixelPurifier
from lord.study.experiment import MOST, Cell, Name, Section, Settings
from lord.training.settings import ClassifierSettings


class Defence(Section):
    """A classifier of the protocol, alone or behind one of its purifiers."""

    classifier: str
    purifier: str = "none"
    known: bool = Field(False, description="the purifier's noise is fixed, and the attacker knows")

    @property
    def name(self) -> str:
        """As records are called, such as ``residual+diffpure``."""
        parts = [self.classifier, *([self.purifier] if self.purifier != "none" else [])]
        return "+".join(parts) + (",known" if self.known else "")


class Protocol(Section):
    """The section ``purification`` of a profile."""

    models: dict[Literal[(*CLASSIFIED,)], str] = Field(
        {"portraits": "embedded"},
        description="for each task, an unconditional model of what is classified: 'embedded' or a "
        "diffusers folder",
    )
    images: int = Field(ge=1, le=MOST, description="test pictures, as many of each class")
    held_out: int = Field(
        1000, ge=1, le=MOST, description="validation pictures, for clean accuracy"
    )
    trials: PositiveInt = Field(10, description="purifications of a picture, to be right in all")
    classifiers: dict[Name, ClassifierSettings] = Field(description="by name")
    auxiliary: str = Field("trades", description="the classifier that guides, by name")
    purifiers: dict[Name, PixelPurifier] = Field(description="by name")
    defences: tuple[Defence, ...] = Field(min_length=1, description="what is attacked")
    threats: tuple[Threat, ...] = Field(
        (Threat(),), min_length=1, description="what attackers may change"
    )
    attacks: tuple[Evasion, ...] = Field(
        description="on randomised defences, one after the other on what is left"
    )
    attacks_on_plain: tuple[Evasion, ...] = Field(
        description="the same on classifiers without a purifier"
    )
    attacks_on_known: tuple[Evasion, ...] = Field(
        (), description="the same on purifiers whose noise is known"
    )

    @model_validator(mode="after")
    def _whole(self) -> "Protocol":
        for defence in self.defences:
            self.check(defence)
            for threat in self.threats:
                if not self.attacks_on(defence, threat):
                    raise ValueError(f"{defence.name}: no attack knows of {threat.norm}")
        return self

    def check(self, defence: Defence) -> None:
        """Raise ValueError for a defence of parts that are not there."""
        if defence.classifier not in self.classifiers:
            raise ValueError(f"{defence.name}: no classifier {defence.classifier!r} is trained")
        if defence.purifier not in {"none", *self.purifiers}:
            raise ValueError(f"{defence.name}: there is no purifier {defence.purifier!r}")
        if defence.known and defence.purifier == "none":
            raise ValueError(f"{defence.name}: has no noise to be known")
        guided = defence.purifier != "none" and self.purifiers[defence.purifier].method == "robust"
        if guided and self.auxiliary not in self.classifiers:
            raise ValueError(f"{defence.name}: no classifier {self.auxiliary!r} is there to guide")

    def attacks_on(self, defence: Defence, threat: Threat) -> tuple[Evasion, ...]:
        """Those that face a defence, in their order."""
        attacks = self.attacks_on_known if defence.known else self.attacks
        if defence.purifier == "none":
            attacks = self.attacks_on_plain
        return tuple(attack for attack in attacks if attack.fits(threat))


def defence_cell(
    experiment: str,
    protocol: Protocol,
    task: str,
    defence: Defence,
    threat: Threat,
    attacks: Sequence[Evasion],
    images: int | None = None,
    purifier: PixelPurifier | None = None,
    name: str = "",
) -> Cell:
    """The cell of an experiment about one defence of one task under one threat.

    Args:
        images: as many as the protocol has, unless given.
        purifier: in place of the one that the defence names.
        name: of the defence in its coordinates, unless its own.

    Raises:
        ValueError: an attack that cannot spend the budget, or two of one name.
    """
    for attack in attacks:
        if not attack.fits(threat):
            raise ValueError(
                f"{experiment}: {attack.method} knows no perturbations of {threat.norm}"
            )
    names = [attack.name for attack in attacks]
    if len(set(names)) < len(names):
        raise ValueError(f"{experiment}, {defence.name}: two attacks have one name in {names}")
    if purifier is None and defence.purifier != "none":
        purifier = protocol.purifiers[defence.purifier]
    settings = Settings.of(protocol, "trials").also(
        model=protocol.models[task],
        domain=task,
        images=images or protocol.images,
        weights=pixel_weights(protocol.models[task], CLASSIFIED[task]),
        classifier=protocol.classifiers[defence.classifier],
        purifier=purifier,
        auxiliary=None,
        known=defence.known,
        threat=threat,
        attacks=tuple(attacks),
    )
    if purifier is not None and purifier.method == "robust":
        settings = settings.also(auxiliary=protocol.classifiers[protocol.auxiliary])
    name = name or defence.name
    return Cell(
        f"{experiment}-{task}-{name}-{threat.name}",
        {"domain": task, "defence": name, "threat_name": threat.name},
        settings,
        components_of(settings, attacks),
    )


def components_of(settings: Settings, attacks: Sequence[Evasion]) -> tuple[str, ...]:
    """What takes part when a defence meets some attacks."""
    parts = ["step:renderer", "step:labels", f"classifier:{settings.classifier.architecture}"]
    if settings.auxiliary is not None:
        parts.append(f"classifier:{settings.auxiliary.architecture}")
    if settings.purifier is not None:
        parts.append(f"pixel_purifier:{settings.purifier.method}")
    parts += [f"evasion:{attack.method}" for attack in attacks]
    return tuple(dict.fromkeys(parts))
