"""At which budget the study attacks, the same for every attack, so that they are comparable."""

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lord.attacks.settings import NOISE, PUBLISHED, AttackSettings
from lord.names import ATTACKS
from lord.study.experiment import Section


class Budget(Section):
    """What an attack may do to a photograph, in grey levels of 255."""

    eps_levels: PositiveFloat = Field(description="the most a pixel may change")
    step_levels: PositiveFloat = Field(description="change of a pixel in one gradient step")
    steps: PositiveInt = Field(description="gradient steps")
    published: tuple[Literal[(*ATTACKS,)], ...] = Field(
        (), description="attacks with their published settings in the place of these"
    )


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


def attack_at(
    own: Any,
    method: str,
    eps_levels: float | None = None,
    steps: int | None = None,
    rounds: int = 1,
) -> AttackSettings:
    """An attack at the budget of the study, so that attacks are compared on equal terms.

    All have the same ε, step and number of gradient steps in all; a surrogate, where an attack has
    one, has the rank and the learning rate of the victim. Other options of the published settings
    are off: each would suit any attack. But for the attacks that the budget names as ``published``,
    where nobody asks for another ε, number of steps or rounds.

    Args:
        own: a protocol or the settings of a cell, with ``budget`` and, for attacks with a
            surrogate, ``finetune``.
        eps_levels: another ε, in grey levels; the step grows with it.
        steps: another number of gradient steps.
        rounds: the steps are shared by so many, with a surrogate that learns in between.

    Raises:
        ValueError: the steps cannot be shared equally by the rounds.
    """
    budget = own.budget
    if method in budget.published and eps_levels is None and steps is None and rounds == 1:
        return AttackSettings(method=method)
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
    if method == "fsmg":
        values |= {"surrogate": "fixed", "surrogate_steps": steps}
    elif method in ("aspl", "simac"):
        rounds = max(1, steps // PUBLISHED[method]["steps"])
        values |= {"surrogate": "cloned", "rounds": rounds}
    elif method == "metacloak":
        rounds = max(1, steps // PUBLISHED["metacloak"]["steps"])
        values |= {"surrogate": "staggered", "rounds": rounds}
    elif rounds > 1:
        values |= {"surrogate": "alternating", "rounds": rounds}
    if values["surrogate"] != "none":
        values["surrogate_rank"] = own.finetune.rank
        values["surrogate_learning_rate"] = own.finetune.learning_rate
    if steps % rounds:
        raise ValueError(f"steps: {steps} cannot be shared equally by {rounds} rounds")
    values["steps"] = steps // rounds
    return AttackSettings(**values)


def attack_components(attack: AttackSettings) -> list[str]:
    """The attacks that take part in one, as `lord.names` calls them."""
    methods = attack.methods if isinstance(attack, MixedAttack) else (attack.method,)
    return [f"attack:{method}" for method in methods]
