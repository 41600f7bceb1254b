"""What cells of experiments on LoRD compute on the way to their numbers."""

import json

import pytest
import torch

from lord.data.subjects import Subject
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.chain.defences import stage1_images, with_gate
from lord.experiments.lord.chain.photographs import photographs_of
from lord.experiments.lord.chain.scenario import scenario_photographs
from lord.experiments.lord.protocol import COMMON, TRAINED
from lord.models.card import weights_of
from lord.study.context import Context
from lord.study.experiment import Settings
from lord.study.profile import load_profile

PROTOCOL = load_profile("smoke")["lord"].varied(
    {"photographs": 4, "budget": {"eps_levels": 8, "step_levels": 2, "steps": 4}}
)
SUBJECT = Subject("portraits", "evaluation", 0)


def settings(**changes):
    names = (*COMMON, "photographs", "scenario", "mixed_data", *TRAINED["lord_wide"])
    weights = weights_of("embedded", judged=True)
    return Settings.of(PROTOCOL.varied(changes), *names).also(weights=weights)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(tmp_path_factory.mktemp("work"))


def test_a_scenario_mixes_photographs(context):
    own, attack = settings(scenario={"attacked_share": 0.5}), attack_at(PROTOCOL, "ace")
    images = scenario_photographs(context, own, SUBJECT, 0, attack, "none")
    clean, attacked = (photographs_of(context, own, SUBJECT, 0, by) for by in (None, attack))
    half = len(clean) // 2
    assert torch.equal(images[:half], attacked[:half])
    assert torch.equal(images[half:], clean[half:])
    assert not torch.equal(attacked[half:], clean[half:])


def test_the_control_has_less_energy_than_the_attack(context):
    """Uniform noise has 1/√3 of ε; an attack drives most pixels to the bound."""
    own = settings()
    clean, noisy, attacked = (
        photographs_of(context, own, SUBJECT, 0, attack)
        for attack in (None, attack_at(PROTOCOL, "noise"), attack_at(PROTOCOL, "ace"))
    )
    noise, attack = (
        (images - clean).square().mean().sqrt().item() * 255 / PROTOCOL.budget.eps_levels
        for images in (noisy, attacked)
    )
    assert noise == pytest.approx(3**-0.5, abs=0.03) and noise < attack <= 1


def test_photographs_through_diffpure_are_attacked_by_the_share(context):
    scenario = {"attacker": "through_diffpure", "attacked_share": 0.5}
    own, attack = settings(scenario=scenario, photographs=2), attack_at(PROTOCOL, "ace", steps=1)
    images = scenario_photographs(context, own, SUBJECT, 0, attack, "diffpure")
    changed = images != photographs_of(context, own, SUBJECT, 0, None)
    assert changed.flatten(1).any(1).tolist() == [True, False]


def test_mixed_attacks_take_turns_in_the_pictures(context):
    mixed = stage1_images(context, settings(), "portraits", "lord_mixed")[1]
    for turn, method in enumerate(PROTOCOL.mixed_data.attack.methods):
        own = settings(stage1_data={"attack": {"method": method}})
        alone = stage1_images(context, own, "portraits", "lord_wide")[1]
        changed = (mixed - alone).abs().mean(dim=(1, 2, 3))
        assert changed[turn::2].max() < 0.1 * changed[1 - turn :: 2].min()


def test_a_copy_of_a_defence_has_a_fixed_gate(tmp_path):
    folder = tmp_path / "defence"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 4}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    assert with_gate(folder, "learned") == folder
    copy = with_gate(folder, 0.5)
    assert json.loads((copy / "adapter_config.json").read_text()) == {"r": 4, "fixed_gate": 0.5}
    assert (copy / "adapter_model.safetensors").read_bytes() == b"weights"
    assert json.loads((folder / "adapter_config.json").read_text()) == {"r": 4}
