"""What the experiments on LoRD plan, before anything is computed."""

import pytest
import yaml

from lord.attacks.settings import NOISE
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.conditions import Ablation, ablation
from lord.experiments.lord.protocol import PROPOSED, SELECTION_START, TRAINED, changed
from lord.names import DOMAINS, PURIFIERS
from lord.study.profile import PROFILES, load_profile, read_profile

SMOKE, FULL = load_profile("smoke"), load_profile("full")
PROTOCOL = SMOKE["lord"]
ABLATIONS = [e.name for e in SMOKE.experiments if e.section is Ablation]


def smoke(**sections):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "changed"}
    for name, section in sections.items():
        values[name] = values[name] | section
    return read_profile(values)


def test_full_has_the_subjects_and_seeds_that_evidence_needs():
    assert len(FULL["lord"].subjects) >= 3 and len(FULL["lord"].seeds) >= 2
    assert FULL.evidence and set(FULL["lord"].domains) == {"portraits", "landscapes"}
    compared = [FULL[name] for name in ABLATIONS]
    assert all(len(a.subjects) >= 3 for a in compared if a.split == "evaluation")


def test_a_setting_touches_exactly_the_cells_that_depend_on_it():
    def asked(profile):
        cells = [cell for e in profile.experiments for cell in profile.cells(e.name)]
        return {cell.name: cell.settings.asked for cell in cells}

    before = asked(SMOKE)
    after = asked(smoke(lord={"budget": {"eps_levels": 8, "step_levels": 2, "steps": 6}}))
    touched = {name for name in before if before[name] != after.get(name)}
    assert touched
    assert not any("none-none" in name or name in ("data", "model") for name in touched)
    assert all(name in touched for name in before if "-ace-lord" in name or "-ace-none" in name)


def test_attacks_are_compared_at_equal_budgets():
    protocol, compared = FULL["lord"], FULL["damage"]
    for method in compared.attacks:
        for levels in compared.eps_levels:
            settings = attack_at(protocol, method, levels)
            steps = 0 if method == NOISE else protocol.budget.steps
            assert settings.method == method and settings.steps * settings.rounds == steps
            assert settings.eps == levels / 255
            share = protocol.budget.step_levels / protocol.budget.eps_levels
            assert settings.step_size == pytest.approx(settings.eps * share)
            assert settings.random_start == (method == NOISE)
            assert not settings.step_decay and settings.draws == 1
    with_rounds = attack_at(protocol, "ace", steps=30, rounds=5)
    assert (with_rounds.steps, with_rounds.rounds) == (6, 5)
    assert with_rounds.surrogate_learning_rate == protocol.finetune.learning_rate


def test_steps_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="7 cannot be shared equally by 2 rounds"):
        attack_at(PROTOCOL, "ace", steps=7, rounds=2)


def test_further_treatments_are_of_the_papers_lord_behind_ace_alone():
    further = set(SMOKE["main"].further_treatments)
    cells = {
        (cell["attack_name"], cell["defence"])
        for cell in SMOKE.cells("main")
        if cell["treatment"] in further
    }
    assert further and cells == {("ace", PROPOSED)}
    assert "lord_mixed" in SMOKE["main"].conditions["ace"]


def test_a_choice_sees_nobody_who_is_evaluated():
    cells = [*SMOKE.cells("lambda_choice"), *SMOKE.cells("selection")]
    assert cells and {cell["split"] for cell in cells} == {"stage1"}
    trained_on = PROTOCOL.stage1_data.identities
    assert all(cell["subject"] >= SELECTION_START > trained_on for cell in cells)


def test_what_has_no_defence_does_not_depend_on_one():
    for name in ("main", "damage", "steps"):
        for cell in SMOKE.cells(name):
            parts = {component.split(":")[0] for component in cell.components}
            defended = cell["defence"] in TRAINED
            assert ("defence" in parts) == defended
            assert ("attack" in parts) == (cell["attack_name"] != "none" or defended)
            assert ("purifier" in parts) == (cell["defence"] in PURIFIERS)


def test_purifiers_in_pixels_take_part_where_there_is_a_model_for_them(pixel_model):
    faced = {"none": ["none"], "ace": ["none", "pixel_diffpure", "jpeg"]}
    shipped = smoke(main={"conditions": faced})
    more = {"portraits": str(pixel_model), "landscapes": str(pixel_model)}
    own = smoke(main={"conditions": faced}, lord={"pixel_models": more})
    for profile, domains in ((shipped, {"portraits"}), (own, {*DOMAINS})):
        cells = [c for c in profile.cells("main") if c["defence"] == "pixel_diffpure"]
        assert {cell["domain"] for cell in cells} == domains & {*PROTOCOL.domains}
        for cell in cells:
            assert cell.settings.pixel_weights and "purifier:pixel_diffpure" in cell.components
    (cost,) = shipped.cells("cost")
    assert {*cost.settings.purifiers} == {"jpeg", "pixel_diffpure"}
    assert cost.settings.pixel_model == "embedded"
    with pytest.raises(ValueError, match="draws portraits; make one of landscapes"):
        smoke(main={"conditions": faced}, lord={"pixel_models": {"landscapes": "embedded"}})
    others = {c.name: c.settings.asked for c in own.cells("main") if "pixel" not in c.name}
    assert others == {
        c.name: c.settings.asked for c in shipped.cells("main") if "pixel" not in c.name
    }


def test_a_variant_changes_what_it_says_and_nothing_else():
    varied = PROTOCOL.varied({"stage1": {"rank": 2}})
    assert varied.stage1.rank == 2 and varied.stage1.steps == PROTOCOL.stage1.steps
    assert varied.model_copy(update={"stage1": PROTOCOL.stage1}) == PROTOCOL
    with pytest.raises(ValueError, match="rang"):
        PROTOCOL.varied({"stage1": {"rang": 2}})
    assert changed(PROTOCOL.finetune, {"rank": 2}).rank == 2


@pytest.mark.parametrize(
    ("attack", "defence", "scenario", "message"),
    [
        ("ace", "none", {"attacker": "closing"}, "v: no defence here that 'closing' could know"),
        ("ace", "diffpure", {"attacker": "through_diffpure", "surrogate_rounds": 2}, "a surrogate"),
        ("aspl", "diffpure", {"attacker": "through_diffpure"}, "attacks without a surrogate"),
    ],
)
def test_an_attacker_needs_something_to_know(attack, defence, scenario, message):
    asked = {"variants": {"v": {"scenario": scenario}}, "conditions": {attack: [defence]}}
    with pytest.raises(ValueError, match=message):
        smoke(adaptive=asked)


def test_each_attacker_who_knows_faces_what_can_be_known():
    profile = smoke(adaptive={"conditions": {"ace": ["diffpure", "adversarial", "lord"]}})
    assert {(cell["defence"], cell["variant"]) for cell in profile.cells("adaptive")} == {
        ("diffpure", "through_diffpure"),
        ("adversarial", "defended"),
        ("lord", "defended"),
        ("lord", "closing"),
    }


def test_masking_through_diffpure_is_of_few_photographs():
    cells = FULL.cells("masking_diffpure")
    assert len(cells) == 2 and FULL["lord"].photographs > 4
    assert {cell.settings.photographs for cell in cells} == {4}
    assert SMOKE.cells("masking_diffpure")[0].settings.attacks == ["ace"]


def test_mixed_attacks_are_settled_before_anything_runs():
    with pytest.raises(ValueError, match="would be AdvDM"):
        PROTOCOL.varied({"mixed_data": {"attack": {"methods": ["ace", "aspl"]}}})


def test_cells_that_a_variant_does_not_change_are_not_computed_again():
    variants = {"mist": {"adversarial_data": {"attack": {"method": "mist"}}}}
    conditions = {"ace": ["none", "adversarial", "lord_wide"]}
    profile = smoke(stage1_data={"variants": variants, "conditions": conditions})
    cells = profile.cells("stage1_data")
    assert {(cell["domain"], cell["defence"]) for cell in cells} == {
        (domain, "adversarial") for domain in PROTOCOL.domains
    }


def test_where_nobody_attacks_it_does_not_matter_who_would():
    variants = dict(SMOKE["transfer"].variants) | {"knowing": {"scenario": {"surrogate_rounds": 2}}}
    profile = smoke(transfer={"variants": variants, "conditions": {"none": ["none", "lord"]}})
    cells = profile.cells("transfer")
    assert {cell["variant"] for cell in cells} == {"other_domain"}
    assert {cell["defence"] for cell in cells} == {"lord"}


def test_an_ablation_declares_its_section_and_its_table():
    made = ablation("rank", "what rank does", costs=("rank_cost",))
    assert made.section is Ablation and list(made.tables) == ["ablation_rank"]
    assert set(made.tables["ablation_rank"].of) == {"selection", "main", "rank", "rank_cost"}
