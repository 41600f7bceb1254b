"""Settings of attacks: what is published, what is refused."""

import pytest
from pydantic import ValidationError

from lord.attacks.evasion.settings import Evasion
from lord.attacks.objectives import OBJECTIVES
from lord.attacks.settings import COMPONENT, NOISE, PUBLISHED, AttackSettings
from lord.purifiers.settings import PixelPurifier


def test_what_is_not_given_is_as_published():
    assert set(PUBLISHED) == {*OBJECTIVES, COMPONENT, NOISE}
    assert AttackSettings(method="aspl").rounds == 50
    assert AttackSettings(method="ace").eps == 4 / 255
    assert AttackSettings(method="ace", rounds=1).surrogate_steps == 10
    settings = {method: AttackSettings(method=method) for method in (*OBJECTIVES, NOISE)}
    settings[COMPONENT] = AttackSettings(component="up.2.attention")
    starting = {method for method, one in settings.items() if one.random_start}
    assert starting == {"advdm", "mist", "encoder", COMPONENT, NOISE}
    assert settings[COMPONENT].eps == 0.1 and settings[COMPONENT].steps == 15
    decaying = {method for method, one in settings.items() if one.step_decay}
    assert decaying == {"encoder"}
    assert AttackSettings(method="diffusion").draws == 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "fsmg", "surrogate": "none"}, "would be AdvDM"),
        ({"method": "aspl", "surrogate": "alternating"}, "would be AdvDM"),
        ({"method": "advdm", "rounds": 2}, "rounds"),
        ({"method": "advdm", "surrogate": "fixed"}, "FSMG"),
        ({"method": "ace", "norm": "l2"}, "eps"),
    ],
)
def test_no_attack_silently_becomes_another(wrong, message):
    with pytest.raises(ValueError, match=message):
        AttackSettings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"eps": 8}, {"eps": 0.5 / 255}, {"steps": 0}, {"method": "acee"}, {"epsilon": 0.1}],
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AttackSettings(**wrong)


@pytest.mark.parametrize("kind", [AttackSettings, Evasion, PixelPurifier])
@pytest.mark.parametrize("method", [[[]], {"a": 1}, 3])
def test_a_method_that_is_no_name_is_refused(kind, method):
    with pytest.raises(ValidationError, match="method"):
        kind(method=method)
