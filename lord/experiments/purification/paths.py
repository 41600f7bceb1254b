"""What becomes of an attack on the way through a purifier, from one time to the next."""

from collections.abc import Iterator
from itertools import product
from random import Random
from statistics import fmean

from pydantic import Field, PositiveInt

from lord.attacks.evasion.settings import Evasion, Threat
from lord.experiments.purification.protocol import Defence, defence_cell
from lord.experiments.sheet import made_up, rows
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile

NOISE = "noise"
"""The name of the control among the attacks: every value moves by ±ε, at random."""


class Paths(Section):
    """Which purifiers are watched, under which attacks."""

    classifier: str = "residual"
    purifiers: tuple[str, ...] = Field(("diffpure", "robust"), description="of the protocol")
    images: PositiveInt = 32
    threat: Threat = Threat()
    attacks: tuple[Evasion, ...] = Field(
        (
            Evasion(method="transfer", steps=40, step_size=0.1),
            Evasion(method="pgd", steps=20, draws=4, step_size=0.15),
        ),
        description="each on all pictures, beside noise",
    )


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each task and each purifier."""
    protocol, own = profile["purification"], profile["purification_paths"]
    for task, purifier in product(protocol.models, own.purifiers):
        defence = Defence(classifier=own.classifier, purifier=purifier)
        protocol.check(defence)
        if protocol.purifiers[purifier].rounds > 1:
            raise ValueError(f"purification_paths: {purifier} noises more than once")
        yield defence_cell(
            "purification_paths", protocol, task, defence, own.threat, own.attacks, own.images
        )


def measure(context: Context, cell: Cell) -> Outcome:
    """How far attacked pictures are from clean ones along the chain, both with the same noise.

    ``ATTACK/given`` and, for each time, ``ATTACK/TIME`` is the root mean square of the difference
    of x_t, in grey levels of 255, a series over pictures and its mean; ``ATTACK/right`` the share
    that is classified right in the end. The sheet has, of the first picture, a row for
    the clean path and one for each attack's: what is given, x_t at each time, what is purified.
    """
    import torch

    from lord.attacks.evasion.evade import evade
    from lord.experiments.purification.chain.victims import denoiser_of, tested, victim_of

    settings = cell.settings
    victim, unet = victim_of(context, settings), denoiser_of(context, settings).unet
    images, labels, seeds = tested(context, settings)
    own = victim.seeds(seeds, "path")

    @torch.no_grad()
    def path(given: torch.Tensor) -> list[torch.Tensor]:
        """The pictures that are given, x_t at each time as a picture, and the purified ones."""
        seen = []
        watch = unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            purified = victim.purify(given, own)
        finally:
            watch.remove()
        return [given, *(x / 2 + 0.5 for x in seen), purified]

    signs = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).sign()
    tried = {NOISE: (images + settings.threat.eps * signs.to(images)).clamp(0, 1)}
    for attack in settings.attacks:
        tried[attack.name] = evade(victim, images, labels, settings.threat, attack, seeds)
    clean = path(images)
    paths = {name: path(attacked) for name, attacked in tried.items()}
    places = ["given", *map(str, settings.purifier.times)]
    series = {
        f"{name}/{place}": (255 * (x - y).square().mean(dim=(1, 2, 3)).sqrt()).tolist()
        for name, found in paths.items()
        for place, x, y in zip(places, found, clean, strict=True)
    }
    for name, found in {"clean": clean, **paths}.items():
        answers = victim.classifier(found[-1]).argmax(1)
        series[f"{name}/right"] = (answers == labels).float().tolist()
    metrics = {name: fmean(values) for name, values in series.items()}
    sheet = [torch.stack([x[0] for x in found]) for found in (clean, *paths.values())]
    return Outcome(metrics | {"images": len(images)}, series, rows(*sheet))


def example(cell: Cell) -> Outcome:
    """Made-up numbers: noise fades on the way, an attack that knows the purifier grows."""
    number, settings, count = Random(cell.name), cell.settings, 32
    names = [NOISE, *(attack.name for attack in settings.attacks)]
    places = ["given", *map(str, settings.purifier.times)]
    series = {"clean/right": [1.0] * count}
    for gain, name in enumerate(names):
        for step, place in enumerate(places):
            level = 4.0 + (gain - 1) * step / len(places)
            series[f"{name}/{place}"] = [level + number.random() / 10 for _ in range(count)]
        series[f"{name}/right"] = [float(k < count - 8 * gain) for k in range(count)]
    metrics = {name: fmean(values) for name, values in series.items()}
    sheet = made_up(cell.name, len(names) + 1, 32)[:, : 32 * len(places)]
    return Outcome(metrics | {"images": count}, series, sheet)


EXPERIMENT = Experiment(
    name="purification_paths",
    title="what becomes of an attack on the way through a purifier",
    section=Paths,
    cells=cells,
    measure=measure,
    example=example,
    needs=("classifiers",),
    kept=lambda records: [r for r in records if r.kind == "purification_paths"],
)
