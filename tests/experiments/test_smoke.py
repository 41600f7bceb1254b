"""Every experiment of the smoke profile measured once, of portraits by a tiny model, offline.

Its numbers are those of `smoke.json`: whoever changes them on purpose raises the version of what
changed, and writes them anew: LORD_GOLDEN=write python -m pytest tests/experiments
"""

import json
import os
import random
import shutil
import socket
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest
import yaml
from helpers import SIZE

from lord.attacks.objectives import OBJECTIVES
from lord.experiments.lord.protocol import AS_TRAINED, PROPOSED
from lord.experiments.lord.tables import (
    METRICS,
    ablation_table,
    gaps_closed,
    main_table,
    rival_table,
)
from lord.models.pixel import kept_signal, load_ddpm, training_schedule
from lord.names import DOMAINS
from lord.study import run
from lord.study.profile import PROFILES, load_profile, read_profile
from lord.study.run import load_records, status, store_of
from lord.study.tables import write_tables

SMOKE = load_profile("smoke")
GOLDEN = Path(__file__).with_name("smoke.json")
# Processors round differently, and a few steps of training and sampling make more of it.
TOLERANCE = 0.02
TIMED = [experiment.name for experiment in SMOKE.experiments if experiment.timed]


@pytest.fixture(autouse=True, scope="module")
def offline():
    """Whoever opens a connection fails: installed once, the study needs no network."""

    def refuse(*_):
        raise AssertionError("the study must not open network connections")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="module")
def profile(pretrained, pixel_model):
    """The smoke profile with a model that acts in milliseconds."""
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "smoke"}
    values["lord"] |= {"model": str(pretrained / "embedded"), "size": SIZE}
    values["terd"]["model"] = str(pixel_model)
    values["purification"]["models"] = {"portraits": str(pixel_model)}
    values["latent_backdoor"]["model"] = str(pretrained / "embedded")
    values["components"] |= {"model": str(pretrained / "embedded"), "pixel_model": str(pixel_model)}
    values["components"] |= {"size": SIZE, "domains": DOMAINS}
    for name in ("narrow", "encoder"):
        values["component_transfer"]["siblings"][name]["unet_channels"] = [16]
    values["component_defences"]["partner"]["unet_channels"] = [16]
    # Tests compare objectives and seconds, for which the profile does too little.
    values["lord"]["photographs"] = 4
    values["lord"]["budget"] = {"eps_levels": 8, "step_levels": 2, "steps": 4}
    values["performance"] = {"turns": 1}
    values["masking"] = values["masking_diffpure"] = {"draws": 8}
    # What steps take must show beside what attaching an adapter takes, on a busy machine as well.
    values["rank_cost"] = {"turns": 1, "steps": 20}
    return read_profile(values)


@pytest.fixture(scope="module")
def results(offline, profile, tmp_path_factory):
    """The folder with all records of portraits, and those that have no domain."""
    folder = tmp_path_factory.mktemp("results")
    for experiment in profile.experiments:
        domains = {cell.coordinates.get("domain") for cell in profile.cells(experiment.name)}
        where = {} if domains == {None} else {"domain": "portraits"}
        run(profile, experiment.name, results=folder, **where)
    return folder


@pytest.fixture(scope="module")
def records(profile, results):
    """The records by experiment."""
    found = {}
    for record in load_records(profile, results):
        found.setdefault(record.kind, []).append(record)
    return found


def test_every_experiment_was_measured(records):
    assert set(records) == {experiment.name for experiment in SMOKE.experiments}
    assert not any(record.evidence for part in records.values() for record in part)


@pytest.mark.parametrize("name", [e.name for e in SMOKE.experiments if not e.timed])
def test_numbers_move_only_with_a_version(records, name):
    found = {
        record.name: {"components": record.components, "metrics": record.metrics}
        for record in records[name]
    }
    if name == "data":  # which is as fast as the machine
        found["data"]["metrics"] = {}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("LORD_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(golden | {name: found}, indent=1, sort_keys=True) + "\n")
        return
    for cell, now in found.items():
        then = golden[name][cell]
        message = f"{cell}: raise a version in lord.names or of the experiment, or undo the change"
        if now["components"] == then["components"]:
            expected = pytest.approx(then["metrics"], rel=TOLERANCE, abs=TOLERANCE)
            assert now["metrics"] == expected, message


def test_a_condition_has_its_metrics_and_its_picture(profile, records, results):
    main = records["main"]
    asked = {(a, d) for a, names in SMOKE["main"].conditions.items() for d in names}
    assert {(r.settings["attack_name"], r.settings["defence"]) for r in main} == asked
    for record in [*main, *records["rank"], *records["adaptive"]]:
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
        assert record.metrics["adapter_thousands"] > 0
        assert store_of(profile, results).has_sheet(record)


def test_pictures_are_followed_from_the_noise_that_they_share(profile, records):
    (record,) = records["purification_paths"]
    schedule = training_schedule(load_ddpm(profile["purification"].models["portraits"]))
    given, noised = (record.series[f"pgd-1/{place}"] for place in ("given", "70"))
    kept = kept_signal(schedule)[70].sqrt().item()
    assert noised == pytest.approx([kept * apart for apart in given], rel=1e-4)
    assert record.metrics["pgd-1/0"] > 0 and "noise/35" in record.metrics


def test_the_tables_follow_from_the_records(profile, results):
    found = load_records(profile, results)
    table = main_table(found)
    as_trained = table[~table["selected"]]
    pairs = [(a, d) for a, names in SMOKE["main"].conditions.items() for d in names]
    assert len(table) - len(as_trained) == len(pairs)
    assert set(as_trained["defence"]) <= set(AS_TRAINED)
    gaps = gaps_closed(found)
    assert set(gaps["metric"]) == set(METRICS)
    fid = table.set_index(["attack", "defence", "selected"])["fid"]
    damage = fid["ace", "none", True] - fid["none", "none", True]
    share = gaps.set_index(["attack", "defence", "selected", "metric"]).loc[
        ("ace", "jpeg", True, "fid"), "closed"
    ]
    repaired = fid["ace", "none", True] - fid["ace", "jpeg", True]
    assert share == pytest.approx(repaired / damage) if damage > 0 else share != share
    leads = rival_table(found).set_index(["attack", "defence", "treatment", "metric"])["lead"]
    ahead = fid["ace", "jpeg", True] - fid["ace", PROPOSED, True]
    assert leads["ace", "jpeg", "none", "fid"] == pytest.approx(ahead)


@pytest.mark.parametrize("name", ["rank", "adaptive"])
def test_an_ablation_is_measured_against_undefended_loras(profile, results, name):
    found = load_records(profile, results)
    rows = ablation_table(found, name).set_index(["variant", "attack", "defence", "treatment"])
    main = main_table(found).set_index(["attack", "defence"])
    if name == "rank":  # which has undefended LoRAs of its own
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


def test_a_rank_has_its_parameters_and_its_seconds(records):
    (cost,) = records["rank_cost"]
    for column in ("adapter_thousands", "step_seconds"):
        assert all(cost.metrics[f"r2/{defence}/{column}"] > 0 for defence in ("none", "lord"))
    sizes = {name: value for name, value in cost.metrics.items() if "thousands" in name}
    assert sizes["unchanged/none/adapter_thousands"] == 2 * sizes["r2/none/adapter_thousands"]
    for record in records["rank"]:
        name = f"r2/{record.settings['defence']}/adapter_thousands"
        assert record.metrics["adapter_thousands"] == pytest.approx(sizes[name])


def test_costs_are_those_of_what_the_study_uses(profile, records, results, tmp_path):
    (performance,), (cost,) = records["performance"], records["cost"]
    times = {k.split("/")[0]: v for k, v in performance.metrics.items() if "times" in k}
    assert set(times) == {"floor", "naive", *OBJECTIVES}
    assert times["encoder"] < times["floor"] == 1 < times["diffusion"]
    assert cost.metrics["diffpure/seconds"] > 0 and cost.metrics["jpeg/peak_memory_mb"] > 0
    shutil.copytree(results / "smoke", tmp_path / "smoke")
    assert tmp_path / "smoke" / "performance.csv" in write_tables(profile, tmp_path)


def test_gates_are_recorded_at_every_step_of_sampling(records):
    (record,) = records["sampled_gates"]
    steps = record.series["samples/timestep"]
    assert len(steps) == SMOKE["lord"].sampling.steps and steps == sorted(steps, reverse=True)
    for name in ("clean", "attacked"):
        mean, low, high = (record.series[f"samples/{name}_{e}"] for e in ("mean", "low", "high"))
        assert len(mean) == len(steps)
        assert all(0 < a <= b < 1 for a, b in zip(low, high, strict=True))
        assert record.metrics[name] == pytest.approx(fmean(mean))
    noised = record.series["photographs/timestep"]
    assert len(record.series["photographs/attacked_mean"]) == len(noised)


def test_who_knows_the_defence_raises_the_objective_on_it(records):
    (record,) = records["masking"]
    few, usual, many = record.series["ace"]
    assert record.series["steps"] == [1, 4, 16]
    assert record.metrics["ace/clean"] < few < usual < many
    assert record.metrics["ace/noise"] < usual


def test_who_knows_of_diffpure_raises_the_objective_after_it(records):
    (record,) = records["masking_diffpure"]
    assert record.series["steps"] == [1, 4, 16]
    assert record.metrics["ace/clean"] < record.series["ace"][-1]
    assert record.metrics["ace/noise"] < record.series["ace"][-1]


def test_of_a_fine_tune_that_lost_a_treatment_only_that_is_measured_again(
    profile, records, results, tmp_path, monkeypatch
):
    from lord.experiments.lord.chain import condition

    lost = next(r for r in records["main"] if r.name.endswith("ace-lord-lambda=0"))
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "smoke" / "lord.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if f'"{lost.name}"' not in line))
    states = [
        s.cell.name
        for s in status(profile, tmp_path, {"main"}, domain="portraits")
        if s.state == "missing"
    ]
    assert states == [lost.name]

    def refuse(*_, **__):
        raise AssertionError("this LoRA was trained")

    monkeypatch.setattr(condition, "fine_tune", refuse)
    again = run(profile, "main", domain="portraits", results=tmp_path)
    assert [r.metrics for r in again] == [r.metrics for r in records["main"]]


@pytest.mark.slow
def test_committed_results_can_be_computed_again(profile, tmp_path):
    """One subject and seed of a random domain, from stage 1 on, against the committed records."""
    full = load_profile("full")
    committed = store_of(full).records("main")
    domain = random.choice(full["lord"].domains)
    again = run(full, "main", domain=domain, subject=0, seed=0, results=tmp_path)
    for record in again:
        values = {name: record.metrics[name] for name in committed[record.name].metrics}
        assert values == pytest.approx(committed[record.name].metrics, rel=0.05)
