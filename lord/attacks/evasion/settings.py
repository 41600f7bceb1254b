"""What an evasion attack may do; nothing here imports torch.

Budgets are in [0, 1] pixel units: ``8/255`` is eight grey levels of 255.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from lord.names import EVASIONS

PUBLISHED: dict[str, dict[str, Any]] = {
    # Lee and Kim (arXiv:2303.09051): no random start, a constant step. Theirs is 0.007, a little
    # less than a quarter of 8/255, which is the default here.
    "pgd": {"steps": 200, "draws": 20},
    "bpda": {"steps": 200, "draws": 20},
    # Of an attacker who knows the classifier and not the purifier: the easiest there is.
    "transfer": {"steps": 40},
    # AutoAttack (Croce and Hein, arXiv:2003.01690); its version for randomised defences averages
    # 20 gradients.
    "apgd_ce": {"steps": 100},
    "apgd_dlr": {"steps": 100},
    "apgd_t": {"steps": 100, "targets": 9},
    "fab_t": {"steps": 100, "targets": 9},
    "square": {"steps": 5000},
    # Xiao et al. (arXiv:1801.02612); its optimiser was L-BFGS.
    "spatial": {"steps": 100},
}
"""Each attack with its published number of steps, and of gradients that are averaged."""


class Threat(BaseModel):
    """What an attacker may change: each pixel, the length of all changes, or where pixels are."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    norm: Literal["linf", "l2", "flow"] = "linf"
    eps: PositiveFloat = Field(
        8 / 255, description="of 1 for pixels and for the length; of a flow, in pixels"
    )

    @property
    def name(self) -> str:
        """Such as ``linf8``: grey levels, or the length, or pixels."""
        return f"{self.norm}{self.eps * 255 if self.norm == 'linf' else self.eps:g}"


class Evasion(BaseModel):
    """An attack. What is not given is as published for the method (`PUBLISHED`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal[(*EVASIONS,)]
    steps: PositiveInt = Field(description="iterations, for each target and restart")
    draws: PositiveInt = Field(1, description="purifications that each gradient averages (EOT)")
    step_size: PositiveFloat = Field(
        0.25, description="of PGD, BPDA, transfer and spatial attacks, in units of the budget"
    )
    targets: int = Field(9, ge=1, description="wrong classes tried, the likeliest first")
    restarts: PositiveInt = Field(1, description="of APGD, from elsewhere in the ball")

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        method = values.get("method")
        return (PUBLISHED.get(method, {}) if isinstance(method, str) else {}) | values

    def fits(self, threat: Threat) -> bool:
        """Whether the attack knows how to spend such a budget."""
        return (self.method == "spatial") == (threat.norm == "flow")

    @property
    def name(self) -> str:
        """Such as ``pgd-20x4``: steps, and draws where there are several."""
        draws = f"x{self.draws}" if self.draws > 1 else ""
        return f"{self.method}-{self.steps}{draws}"


STANDARD = tuple(Evasion(method=name) for name in ("apgd_ce", "apgd_t", "fab_t", "square"))
"""AutoAttack against a defence without randomness."""

RANDOMISED = tuple(Evasion(method=name, draws=20) for name in ("apgd_ce", "apgd_dlr"))
"""AutoAttack against a randomised defence."""
