"""The study end to end at the smoke profile: complete, offline, repeatable and resumable."""

import json
import random
import shutil
import socket
from functools import partial
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest
import torch
import yaml
from pydantic import ValidationError

from lord import names
from lord.attacks.objectives import OBJECTIVES
from lord.attacks.settings import NOISE
from lord.data.subjects import Subject
from lord.names import PURIFIERS
from lord.study import run
from lord.study.bench import Bench, Outcome
from lord.study.defences import SELECTION_START, stage1_images, with_gate
from lord.study.experiments import condition, cost, performance
from lord.study.experiments.scenario import scenario_photographs
from lord.study.photographs import photographs_of
from lord.study.plan import jobs
from lord.study.profile import (
    ABLATIONS,
    OURS,
    PROFILES,
    TRAINED,
    Profile,
    load_profile,
    profile_names,
)
from lord.study.run import compute_sheet, load_records, missing, status, store_of
from lord.study.tables import (
    AS_TRAINED,
    METRICS,
    ablation_table,
    gaps_closed,
    main_table,
    rival_table,
    write_tables,
)

SMOKE = load_profile("smoke")
REPOSITORY = Path(names.__file__).parents[1]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Whoever opens a connection fails: installed once, the study needs no network."""

    def refuse(*_):
        raise AssertionError("the study must not open network connections")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """All records of one domain's main stage, and the folder that holds them."""
    results = tmp_path_factory.mktemp("results")
    run("smoke", "stage2", domain="portraits", results=results)
    return run("smoke", "main", domain="portraits", results=results), results


# An ablation on more identities that decide than there are.
DECIDING = {"variants": {}, "conditions": {}, "treatments": [], "seeds": [0]}
DECIDING |= {"split": "stage1", "subjects": [1]}


def test_every_profile_is_valid():
    for name in profile_names():
        assert load_profile(name).name == name
    assert {"smoke", "quick", "full", "sd15"} <= set(profile_names())
    assert not SMOKE.evidence


def test_full_has_the_subjects_and_seeds_that_evidence_needs():
    full = load_profile("full")
    assert len(full.subjects) >= 3 and len(full.seeds) >= 2
    assert full.evidence and set(full.domains) == {"portraits", "landscapes"}
    assert all(
        len(ablation.subjects) >= 3
        for ablation in full.ablations.values()
        if ablation.split == "evaluation"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": [0]}, r"subject: Extra inputs"),
        ({"sampling": {"step": 3}}, r"sampling\.step: Extra inputs"),
        ({"finetune": {"steps": 0}}, r"finetune\.steps"),
        ({"seeds": "none"}, r"seeds"),
        ({"subjects": [1]}, r"comparison: subjects and seeds"),
        ({"subjects": [0, 1], "ablations": {"rank": DECIDING}}, r"ablation: subjects and seeds"),
        ({"budget": {"eps_levels": 6, "step_levels": 1, "steps": 4}}, r"comparison: .*eps_levels"),
    ],
)
def test_a_wrong_key_or_value_in_a_profile_is_named(tmp_path, change, message):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values | change))
    with pytest.raises(ValueError, match=message):
        load_profile(str(path))


def test_an_unknown_profile_or_stage_is_an_error():
    with pytest.raises(ValueError, match=r"unknown profile 'quik'.*quick"):
        load_profile("quik")
    with pytest.raises(ValueError, match="unknown stage 'stage3'"):
        run("smoke", "stage3")
    with pytest.raises(ValueError, match="nothing for"):
        run("smoke", "main", subject=99)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"treatments": ["learnd", "dropped"]}, "treatments.0"),
        ({"further_treatments": ["lambda=much"]}, "further_treatments.0"),
        ({"conditions": {"none": ["none"], "advdm": ["none"]}}, "without the attack 'ace'"),
    ],
)
def test_what_could_not_be_run_or_shown_is_found_in_the_profile(changes, message):
    with pytest.raises(ValidationError, match=message):
        Profile.model_validate(SMOKE.model_dump() | changes)


def test_a_setting_touches_exactly_the_records_that_depend_on_it():
    def settings(profile):
        return {name: s for job in jobs(profile) for name, s in job.outputs.items()}

    before = settings(SMOKE)
    longer = SMOKE.budget.model_copy(update={"steps": 6})
    after = settings(SMOKE.model_copy(update={"budget": longer}))
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert not any("none-none" in name or name in ("data", "model") for name in changed)
    assert all(name in changed for name in before if "-ace-lord" in name or "-ace-none" in name)


def test_shared_intermediates_are_named_after_what_they_depend_on(tmp_path):
    def path(components=("step:renderer",), steps=5, **change):
        bench = Bench(SMOKE.model_copy(update=change), tmp_path)
        return bench.shared("name", {"steps": steps}, components)

    assert path() == path(subjects=(3,))
    assert path() != path(steps=6)
    assert path() != path(size=32)
    assert path() != path(components=("attack:ace",))


def test_attacks_are_compared_at_equal_budgets():
    full = load_profile("full")
    for method in full.comparison.attacks:
        for levels in full.comparison.eps_levels:
            settings = full.attack_of(method, levels)
            steps = 0 if method == NOISE else full.budget.steps
            assert settings.method == method and settings.steps * settings.rounds == steps
            assert settings.eps == levels / 255
            share = full.budget.step_levels / full.budget.eps_levels
            assert settings.step_size == pytest.approx(settings.eps * share)
            assert settings.random_start == (method == NOISE)
            assert not settings.step_decay and settings.draws == 1
    with_rounds = full.attack_of("ace", steps=30, rounds=5)
    assert (with_rounds.steps, with_rounds.rounds) == (6, 5)
    assert with_rounds.surrogate_learning_rate == full.finetune.learning_rate


def test_the_control_has_the_energy_of_uniform_noise(tmp_path):
    for record in run("smoke", "ace", results=tmp_path):
        assert record.metrics["rms_noise"] == pytest.approx(3**-0.5, abs=0.03)
        assert record.metrics["rms_noise"] < record.metrics["rms_attacked"] <= 1


def test_steps_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="7 cannot be shared equally by 2 rounds"):
        SMOKE.attack_of("ace", steps=7, rounds=2)


def test_no_cell_is_computed_twice():
    for name in profile_names():
        names = [name for job in jobs(load_profile(name)) for name in job.outputs]
        assert len(names) == len(set(names))


def test_further_treatments_are_of_the_papers_lord_behind_ace_alone():
    further = set(SMOKE.further_treatments)
    cells = {
        (job.attack, job.defence)
        for job in jobs(SMOKE)
        if job.stage == "main"
        and further & {settings["treatment"] for settings in job.outputs.values()}
    }
    assert further and cells == {("ace", OURS)}
    assert {"lord_wide", "lord_mixed"} <= set(SMOKE.conditions["ace"])


def test_a_choice_sees_nobody_who_is_evaluated():
    choices = [job for job in jobs(SMOKE) if job.stage == "lambda_choice"]
    settings = [settings for job in choices for settings in job.outputs.values()]
    assert {own["split"] for own in settings} == {"stage1"}
    trained_on = SMOKE.stage1_data.identities
    assert settings and all(own["subject"] >= SELECTION_START > trained_on for own in settings)


def test_what_has_no_defence_does_not_depend_on_one():
    for job in jobs(SMOKE):
        if job.stage in ("main", "damage", "steps"):
            parts = {component.split(":")[0] for component in job.components}
            defended = job.defence in TRAINED
            assert ("defence" in parts) == defended
            assert ("attack" in parts) == (job.attack != "none" or defended)
            assert ("purifier" in parts) == (job.defence in PURIFIERS)


def test_a_scenario_mixes_photographs(tmp_path):
    mixed = SMOKE.varied({"scenario": {"attacked_share": 0.5}})
    subject = Subject("portraits", "evaluation", 0)
    bench, attack = Bench(mixed, tmp_path), SMOKE.attack_of("ace")
    images = scenario_photographs(bench, subject, 0, attack, "none")
    clean, attacked = (photographs_of(bench, subject, 0, by) for by in (None, attack))
    half = len(clean) // 2
    assert torch.equal(images[:half], attacked[:half])
    assert torch.equal(images[half:], clean[half:])
    assert not torch.equal(attacked[half:], clean[half:])


def test_a_variant_changes_what_it_says_and_nothing_else():
    varied = SMOKE.varied({"stage1": {"rank": 2}})
    assert varied.stage1.rank == 2 and varied.stage1.steps == SMOKE.stage1.steps
    assert varied.model_copy(update={"stage1": SMOKE.stage1, "ablations": SMOKE.ablations}) == SMOKE
    with pytest.raises(ValueError, match="rang"):
        SMOKE.varied({"stage1": {"rang": 2}})


def test_an_attacker_who_knows_needs_something_to_know():
    blind = {"variants": {"v": {"scenario": {"attacker": "closing"}}}, "treatments": ["dropped"]}
    blind |= {"conditions": {"ace": ["none"]}, "subjects": [0], "seeds": [0]}
    with pytest.raises(ValueError, match="v: no defence here that 'closing' could know"):
        SMOKE.model_validate(SMOKE.model_dump() | {"ablations": {"adaptive": blind}})


@pytest.mark.parametrize(("method", "rounds"), [("ace", 2), ("aspl", 1)])
def test_an_attacker_without_a_surrogate_has_none(method, rounds):
    scenario = {"attacker": "through_diffpure", "surrogate_rounds": rounds}
    asked = {"variants": {"v": {"scenario": scenario}}, "treatments": ["dropped"]}
    asked |= {"conditions": {method: ["diffpure"]}, "subjects": [0], "seeds": [0]}
    with pytest.raises(ValueError, match="v: 'through_diffpure' attacks without a surrogate"):
        SMOKE.model_validate(SMOKE.model_dump() | {"ablations": {"adaptive": asked}})


def test_photographs_through_diffpure_are_attacked_by_the_share(tmp_path):
    half = SMOKE.varied({"scenario": {"attacker": "through_diffpure", "attacked_share": 0.5}})
    subject, bench = Subject("portraits", "evaluation", 0), Bench(half, tmp_path)
    images = scenario_photographs(bench, subject, 0, SMOKE.attack_of("ace"), "diffpure")
    changed = images != photographs_of(bench, subject, 0, None)
    assert changed.flatten(1).any(1).tolist() == [True, True, False, False]


def test_each_attacker_who_knows_faces_what_can_be_known():
    cells = {
        (job.defence, record["variant"])
        for job in jobs(SMOKE)
        if job.stage == "adaptive"
        for record in job.outputs.values()
    }
    assert cells == {
        ("diffpure", "through_diffpure"),
        ("adversarial", "defended"),
        ("lord", "defended"),
        ("lord", "closing"),
    }


@pytest.mark.parametrize("stage", ["rank", "adaptive"])
def test_an_ablation_is_measured_against_undefended_loras(records, stage):
    _, results = records
    found = run("smoke", stage, domain="portraits", results=results)
    assert all(record.metrics["adapter_thousands"] > 0 for record in found)
    for record in found:
        changed = record.settings["attack_name"] != "none"
        assert (record.metrics["ssim"] < 0.999) == changed
    table = ablation_table(load_records(SMOKE, results), stage)
    rows = table.set_index(["variant", "attack", "defence", "treatment"])
    main = main_table(load_records(SMOKE, results)).set_index(["attack", "defence"])
    if stage == "rank":  # which has undefended LoRAs of its own
        clean, attacked = (rows["fid"]["r2", attack, "none", "none"] for attack in ("none", "ace"))
        defended = rows.loc["r2", "ace", "lord", "dropped"]
    else:
        clean, attacked = (main["fid"][attack, "none"] for attack in ("none", "ace"))
        defended = rows.loc["closing", "ace", "lord", "dropped"]
    if attacked > clean:
        expected = (attacked - defended["fid"]) / (attacked - clean)
        assert defended["fid_closed"] == pytest.approx(expected)
    else:
        assert pd.isna(defended["fid_closed"])


def test_a_rank_has_its_parameters_and_its_seconds(records, monkeypatch):
    _, results = records
    monkeypatch.setattr(performance, "TURNS", 1)
    (cost,) = run("smoke", "rank_cost", results=results)
    for column in ("adapter_thousands", "step_seconds"):
        assert all(cost.metrics[f"r2/{defence}/{column}"] > 0 for defence in ("none", "lord"))
    sizes = {name: value for name, value in cost.metrics.items() if "thousands" in name}
    assert sizes["unchanged/none/adapter_thousands"] == 2 * sizes["r2/none/adapter_thousands"]
    for record in run("smoke", "rank", domain="portraits", results=results):
        name = f"r2/{record.settings['defence']}/adapter_thousands"
        assert record.metrics["adapter_thousands"] == pytest.approx(sizes[name])


def test_gates_are_recorded_at_every_step_of_sampling(records):
    _, results = records
    (record,) = run("smoke", "sampled_gates", domain="portraits", results=results)
    steps = record.series["samples/timestep"]
    assert len(steps) == SMOKE.sampling.steps and steps == sorted(steps, reverse=True)
    for name in ("clean", "attacked"):
        mean, low, high = (record.series[f"samples/{name}_{e}"] for e in ("mean", "low", "high"))
        assert len(mean) == len(steps)
        assert all(0 < a <= b < 1 for a, b in zip(low, high, strict=True))
        assert record.metrics[name] == pytest.approx(fmean(mean))
    noised = record.series["photographs/timestep"]
    assert len(record.series["photographs/attacked_mean"]) == len(noised)


def test_who_knows_the_defence_raises_the_objective_on_it(records):
    _, results = records
    (record,) = run("smoke", "masking", domain="portraits", results=results)
    few, usual, many = record.series["ace"]
    assert record.series["steps"] == [1, 4, 16]
    assert record.metrics["ace/clean"] < few < usual < many
    assert record.metrics["ace/noise"] < usual


def test_who_knows_of_diffpure_raises_the_objective_after_it(records):
    _, results = records
    (record,) = run("smoke", "masking_diffpure", domain="portraits", results=results)
    assert record.settings["attacks"] == ["ace"]
    full = [job for job in jobs(load_profile("full")) if job.stage == "masking_diffpure"]
    for job in full:  # of fewer photographs than other stages
        assert job.outputs[f"{job.domain}-masking_diffpure"]["photographs"] == 4
    assert len(full) == 2 and load_profile("full").photographs > 4
    assert record.series["steps"] == [1, 4, 16]
    assert record.metrics["ace/clean"] < record.series["ace"][-1]
    assert record.metrics["ace/noise"] < record.series["ace"][-1]


def test_mixed_attacks_take_turns_in_the_pictures(tmp_path):
    bench = Bench(SMOKE, tmp_path)
    mixed = stage1_images(bench, "portraits", "lord_mixed")[1]
    for turn, method in enumerate(SMOKE.mixed_data.attack.methods):
        alone = Bench(SMOKE.varied({"stage1_data": {"attack": {"method": method}}}), tmp_path)
        alone = stage1_images(alone, "portraits", "lord")[1]
        changed = (mixed - alone).abs().mean(dim=(1, 2, 3))
        assert changed[turn::2].max() < 0.1 * changed[1 - turn :: 2].min()


def test_mixed_attacks_are_settled_before_anything_runs():
    values = SMOKE.model_dump()
    with pytest.raises(ValueError, match="mixed_data: lord_mixed needs"):
        SMOKE.model_validate(values | {"mixed_data": None})
    with pytest.raises(ValueError, match="would be AdvDM"):
        SMOKE.varied({"mixed_data": {"attack": {"methods": ["ace", "aspl"]}}})


def test_cells_that_a_variant_does_not_change_are_not_computed_again():
    variants = {"variants": {"mist": {"adversarial_data": {"attack": {"method": "mist"}}}}}
    ablation = SMOKE.ablations["stage1_data"].model_dump() | variants
    ablation["conditions"] = {"ace": ["none", "adversarial", "lord_wide"]}
    profile = SMOKE.model_validate(SMOKE.model_dump() | {"ablations": {"stage1_data": ablation}})
    cells = [job for job in jobs(profile) if job.stage == "stage1_data"]
    assert {(job.domain, job.defence) for job in cells} == {
        (domain, "adversarial") for domain in SMOKE.domains
    }


def test_where_nobody_attacks_it_does_not_matter_who_would():
    ablation = SMOKE.ablations["transfer"].model_dump() | {"conditions": {"none": ["none", "lord"]}}
    ablation["variants"]["knowing"] = {"scenario": {"surrogate_rounds": 2}}
    profile = SMOKE.model_validate(SMOKE.model_dump() | {"ablations": {"transfer": ablation}})
    cells = [job for job in jobs(profile) if job.stage == "transfer"]
    variants = {settings["variant"] for job in cells for settings in job.outputs.values()}
    assert variants == {"other_domain"} and {job.defence for job in cells} == {"lord"}


def test_every_variant_is_another_experiment():
    ablated = [job for job in jobs(SMOKE) if job.stage in SMOKE.ablations]
    keys = [job.key(name, {}) for job in ablated for name in job.outputs]
    assert {job.stage for job in ablated} == set(ABLATIONS)
    assert len(set(keys)) == len(keys)


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


def test_a_run_measures_every_condition(records):
    found, results = records
    conditions = {(r.settings["attack_name"], r.settings["defence"]) for r in found}
    assert conditions == set(SMOKE.pairs)
    for record in found:
        assert not record.evidence
        assert set(record.metrics) == {
            "fid_embedded",
            "fid_embedded_round_trip",
            "clip_iqa_embedded",
            "identity",
            "ssim",
            "adapter_thousands",
        }
        changed = record.settings["attack_name"] != "none"
        assert (record.metrics["ssim"] < 0.999) == changed
        assert store_of(SMOKE, results).has_sheet(record)
    states = {s.name: s.state for s in status(SMOKE, results)}
    assert all(states[record.name] == "finished" for record in found)


def test_the_tables_follow_from_the_records(records):
    _, results = records
    table = main_table(load_records(SMOKE, results))
    as_trained = table[~table["selected"]]
    assert len(table) - len(as_trained) == len(SMOKE.pairs)
    assert set(as_trained["defence"]) <= set(AS_TRAINED)
    gaps = gaps_closed(load_records(SMOKE, results))
    assert set(gaps["metric"]) == set(METRICS)
    fid = table.set_index(["attack", "defence", "selected"])["fid"]
    damage = fid["ace", "none", True] - fid["none", "none", True]
    share = gaps.set_index(["attack", "defence", "selected", "metric"]).loc[
        ("ace", "jpeg", True, "fid"), "closed"
    ]
    repaired = fid["ace", "none", True] - fid["ace", "jpeg", True]
    assert share == pytest.approx(repaired / damage) if damage > 0 else share != share
    leads = rival_table(load_records(SMOKE, results)).set_index(
        ["attack", "defence", "treatment", "metric"]
    )["lead"]
    ahead = fid["ace", "jpeg", True] - fid["ace", OURS, True]
    assert leads["ace", "jpeg", "none", "fid"] == pytest.approx(ahead)


def test_a_table_is_written_when_all_its_records_are_there(tmp_path, monkeypatch):
    table, store = tmp_path / "smoke" / "performance.csv", store_of(SMOKE, tmp_path)
    monkeypatch.setattr(performance, "TURNS", 1)
    run("smoke", "performance", results=tmp_path)
    assert not write_tables(SMOKE, store, load_records(SMOKE, tmp_path))
    monkeypatch.setattr(cost, "measure_cost", lambda bench: Outcome({"a step/seconds": 0.5}))
    run("smoke", "cost", results=tmp_path)
    assert not table.exists()  # running does not depend on reporting
    assert write_tables(SMOKE, store, load_records(SMOKE, tmp_path)) == [table]
    rows = pd.read_csv(table).set_index("step")
    assert rows.loc["a step", "experiment"] == "cost"
    (record,) = run("smoke", "performance", results=tmp_path, compute=False)
    floor = record.metrics["floor/seconds_per_image"]
    assert rows.loc["floor", "seconds_per_image"] == pytest.approx(floor, rel=1e-4)
    assert set(rows.index) == {"floor", "naive", *OBJECTIVES, "a step"}
    assert rows.loc["encoder", "times_the_floor"] < 1 < rows.loc["diffusion", "times_the_floor"]


def test_a_picture_that_is_not_kept_comes_back(tmp_path):
    (record,) = run("smoke", "data", results=tmp_path)
    store = store_of(SMOKE, tmp_path)
    before, (path,) = store.sheet(record), (store.work / "sheets").iterdir()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="lord study sheet data --profile smoke"):
        store.sheet(record)
    assert compute_sheet(SMOKE, "data", tmp_path) == path
    assert (store.sheet(record) == before).all()
    assert store.records("data")["data"] == record
    with pytest.raises(ValueError, match="no record 'nothing'"):
        compute_sheet(SMOKE, "nothing", tmp_path)


def test_only_a_defence_needs_stage_1(tmp_path):
    run("smoke", "main", domain="portraits", attack="none", defence="none", results=tmp_path)
    assert not list((tmp_path / "smoke").rglob("*stage1*"))
    assert not list((tmp_path / "smoke").rglob("*lord*"))


def test_finished_experiments_are_not_run_again(records, monkeypatch):
    found, results = records

    def refuse(*_, **__):
        raise AssertionError("this was finished")

    monkeypatch.setattr(condition, "measure_condition", refuse)
    assert run("smoke", "main", domain="portraits", results=results) == found


def test_missing_records_are_an_error_where_nothing_may_be_computed(tmp_path):
    assert missing(SMOKE, tmp_path)
    with pytest.raises(FileNotFoundError, match="lord study run --profile smoke"):
        run("smoke", "main", compute=False, results=tmp_path)


def test_of_a_cell_that_lost_a_treatment_only_that_is_run_again(records, tmp_path):
    found, results = records
    names = [r.name for r in found if "-ace-lord-" in r.name]
    lost = next(name for name in names if name.endswith("-lambda=0"))
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "smoke" / "main.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if f'"{lost}"' not in line))
    again = run("smoke", "main", domain="portraits", results=tmp_path)
    assert [r.metrics for r in again] == [r.metrics for r in found]
    assert len(names) > 1 and [r.name for r in again if r not in found] == [lost]


class Killed(BaseException):
    """Stands in for a kill."""


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(records, tmp_path, monkeypatch):
    found = [record for record in records[0] if record.settings["attack_name"] == "none"]
    cells = partial(run, "smoke", "main", domain="portraits", attack="none", results=tmp_path)
    monkeypatch.setattr(condition, "generate", _fails_at_call(3, condition.generate))
    with pytest.raises(Killed):
        cells()
    assert not list((tmp_path / "smoke").glob(".*-*"))  # nothing half-written
    assert 0 < len(store_of(SMOKE, tmp_path).records("main")) < len(found)
    monkeypatch.undo()
    assert [r.metrics for r in cells()] == [r.metrics for r in found]


def _fails_at_call(number, function):
    calls = iter(range(1, number + 1))

    def called(*arguments, **options):
        if next(calls) == number:
            raise Killed
        return function(*arguments, **options)

    return called


@pytest.mark.slow
def test_committed_results_can_be_computed_again(tmp_path):
    """One subject and seed of a random domain, from stage 1 on, against the committed records."""
    full = load_profile("full")
    committed = store_of(full).records("main")
    domain = random.choice(full.domains)
    again = run(full, "main", domain=domain, subject=0, seed=0, results=tmp_path)
    for record in again:
        values = {name: record.metrics[name] for name in committed[record.name].metrics}
        assert values == pytest.approx(committed[record.name].metrics, rel=0.05)
