"""How good the classifiers are that purifiers are to protect, alone."""

from collections.abc import Iterator
from itertools import product
from random import Random

from lord.attacks.evasion.settings import Evasion, Threat
from lord.experiments.purification.protocol import components_of
from lord.models.card import pixel_weights
from lord.names import CLASSIFIED
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Settings
from lord.study.profile import Profile

LOOK = Evasion(method="pgd", steps=20, draws=1, step_size=0.15)
"""A first look at robustness; what counts is measured by the attacks of the protocol."""


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each task and each classifier."""
    protocol = profile["purification"]
    for task, (name, how) in product(protocol.models, protocol.classifiers.items()):
        settings = Settings.of(protocol, "held_out", "images").also(
            model=protocol.models[task],
            domain=task,
            weights=pixel_weights(protocol.models[task], CLASSIFIED[task]),
            classifier=how,
            auxiliary=None,
            purifier=None,
        )
        yield Cell(
            f"classifiers-{task}-{name}",
            {"domain": task, "name": name},
            settings,
            components_of(settings, (LOOK,)),
        )


def measure(context: Context, cell: Cell) -> Outcome:
    """Accuracy on clean pictures and under a quick attack; loss and size of the classifier."""
    import torch

    from lord.attacks.evasion.evade import evade
    from lord.attacks.evasion.losses import cross_entropy
    from lord.attacks.evasion.victim import Victim
    from lord.experiments.purification.chain import victims

    settings = cell.settings
    classifier = victims.classifier_of(context, settings, settings.classifier)
    images, labels, seeds = victims.tested(context, settings)
    held_out = victims.pictures(context, settings, "validation", settings.held_out)
    attacked = evade(Victim(classifier), images, labels, Threat(), LOOK, seeds, batch_size=64)
    with torch.no_grad():
        clean, fooled = classifier(images), classifier(attacked)
    metrics = {
        "loss": cross_entropy(clean, labels).mean().item(),
        "loss_attacked": cross_entropy(fooled, labels).mean().item(),
        "held_out": victims.accuracy(classifier, held_out),
        "attacked": (fooled.argmax(1) == labels).float().mean().item(),
        "parameters_thousands": sum(p.numel() for p in classifier.parameters()) / 1e3,
    }
    return Outcome(metrics)


def example(cell: Cell) -> Outcome:
    """Made-up numbers: what was trained adversarially is robust, and a little less good."""
    number, plain = Random(cell.name), cell.settings.classifier.method == "standard"
    return Outcome(
        {
            "loss": 0.05,
            "loss_attacked": 9.0 if plain else 1.0,
            "held_out": (0.99 if plain else 0.9) - 0.02 * number.random(),
            "attacked": 0.0 if plain else 0.5,
            "parameters_thousands": 180.0,
        }
    )


EXPERIMENT = Experiment(
    name="classifiers",
    title="how good the classifiers are that purifiers are to protect",
    cells=cells,
    measure=measure,
    example=example,
)
