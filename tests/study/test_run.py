"""The engine, on an experiment that costs nothing: plan, measure, resume, refuse."""

import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import PositiveInt

from lord import names
from lord.record import Record
from lord.study import profile as profiles
from lord.study import registry
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Settings, Table
from lord.study.profile import load_profile, profile_names, read_profile
from lord.study.registry import experiments, papers, sections
from lord.study.run import compute_sheet, load_records, run, status, store_of
from lord.study.tables import write_tables

SMOKE = load_profile("smoke")


class Toy(Section):
    side: PositiveInt = 3
    more: int = 7


def cells(profile):
    for place in range(2):
        for seed in range(2):
            settings = Settings.of(profile["toy"], "side")
            components = ("attack:ace",)
            yield Cell(f"toy-{place}-{seed}", {"place": place, "seed": seed}, settings, components)


def measure(context, cell):
    sheet = np.full((2, 2, 3), cell["seed"], np.uint8)
    return Outcome({"area": cell.settings.side**2 + cell["place"]}, {}, sheet)


def table(records):
    return pd.DataFrame([{"name": r.name, "area": r.metrics["area"]} for r in records])


TOY = Experiment(
    name="toy",
    title="how large",
    cells=cells,
    measure=measure,
    example=lambda cell: Outcome({"area": 1.0}),
    section=Toy,
    tables={"toy": Table(("toy",), table)},
    kept=lambda records: [r for r in records if r.kind == "toy" and r.seed == 1],
    paper="toys",
)


@pytest.fixture
def toy(monkeypatch):
    """A profile whose only experiment is the toy; its `Experiment` can be exchanged."""
    found = {"toy": TOY}
    for module in (registry, profiles, __import__("sys").modules["lord.study.run"]):
        monkeypatch.setattr(module, "experiments", lambda: found)
    monkeypatch.setattr(profiles, "sections", lambda: {"toy": found["toy"].section})

    def make(experiment=TOY, **section):
        found["toy"] = experiment
        return read_profile({"name": "play", "evidence": True, "toy": section})

    return make


def changed(**changes):
    return Experiment(**vars(TOY) | changes)


def refuse(*_):
    raise AssertionError("this was finished")


# Profiles.


def test_every_profile_is_valid():
    for name in profile_names():
        assert load_profile(name).name == name
    assert {"smoke", "quick", "full", "sd15"} <= set(profile_names())
    assert not SMOKE.evidence


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        (None, {"subject": [0]}, r"subject: Extra inputs"),
        ("lord", {"subject": [0]}, r"lord\.subject: Extra inputs"),
        ("lord", {"sampling": {"step": 3}}, r"lord\.sampling\.step: Extra inputs"),
        ("lord", {"finetune": {"steps": 0}}, r"lord\.finetune\.steps"),
        ("lord", {"seeds": "none"}, r"lord\.seeds"),
        ("lord", {"domains": ["towns"]}, r"lord\.domains"),
        ("lord", {"subjects": [1]}, r"damage: subjects and seeds"),
        ("lambda_choice", {"subjects": [1]}, r"lambda_choice: subjects and seeds"),
        ("lord", {"budget": {"eps_levels": 6, "step_levels": 1, "steps": 4}}, "damage.eps_levels"),
        ("lord", {"treatments": ["learnd", "dropped"]}, r"lord\.treatments\.0"),
        ("main", {"further_treatments": ["lambda=much"]}, r"main\.further_treatments\.0"),
        ("main", {"conditions": {"none": ["none"], "advdm": ["none"]}}, "without the attack 'ace'"),
        ("damage", {"attacks": ["ace"]}, "must include 'noise'"),
        ("lord", {"mixed_data": None}, "mixed_data: lord_mixed needs"),
        (None, {"name": "../../escaped"}, "name: a profile is called as its file is"),
        ("lord", {"seeds": [0, 0]}, r"lord\.seeds: 0 is there twice"),
        ("lord", {"subjects": [-1]}, r"lord\.subjects\.0"),
        ("damage", {"seeds": []}, r"damage\.seeds"),
        ("lord", {"domains": []}, r"lord\.domains"),
        ("lord", {"domains": ["portraits", "portraits"]}, "would be called"),
        ("lord", {"treatments": []}, r"lord\.treatments"),
        ("lord", {"treatments": ["prior=2"]}, "a probability"),
        ("lord", {"treatments": ["dropped", "dropped"]}, "would be called"),
        ("lord", {"size": 3}, r"lord\.size"),
        ("lord", {"photographs": 100_001}, r"lord\.photographs"),
        ("lord", {"photographs": 10**400}, r"lord\.photographs: expected a number below 1e\+09"),
        ("lord", {"scenario": {"stage2_gate": math.nan}}, r"lord\.scenario\.stage2_gate"),
        ("lambda", {"variants": {"x": {"scenario": {"stage2_gate": math.inf}}}}, r"lambda\.var"),
        ("lambda", {"variants": {"../x": {}}}, r"lambda\.variants"),
        ("lambda", {"variants": {"<b>": {}}}, r"lambda\.variants"),
        ("component_damage", {"components": {"variation": ["../x"]}}, "cannot be called"),
        ("rank", {"variants": {"x": {"nothing": 1}}}, r"rank\.variants\.x\.nothing: Extra inputs"),
        ("rank", {"variants": {"x": {"finetune": 5}}}, r"rank\.variants\.x\.finetune: "),
        (None, {"sections": {}}, "sections: "),
        (None, {"split": ["domian"]}, "split: no cell has a coordinate 'domian'"),
        ("lord", {"finetune": {"target_modules": []}}, r"lord\.finetune\.target_modules"),
        ("lord", {"finetune": {"target_modules": "("}}, r"target_modules: no regular expression"),
        ("lord", {"finetune": {"rank": 5000}}, r"lord\.finetune\.rank"),
        ("lord", {"wide": {"gate_hidden": 5000}}, r"lord\.wide\.gate_hidden"),
        ("lord", {"photographs": True}, r"lord\.photographs: expected a number, not true"),
        ("lord", {"subjects": [False]}, r"lord\.subjects\.0: expected a number, not false"),
        ("lord", {"sampling": {"steps": True}}, r"lord\.sampling\.steps: expected a number"),
        ("rank", {"variants": {"x": {"finetune": {"rank": True}}}}, r"rank\.variants\.x\.finetune"),
        ("lord", {"stage1_data": {"attack": {"eps": True}}}, r"lord\.stage1_data\.attack\.eps: "),
    ],
)
def test_a_wrong_key_or_value_in_a_profile_is_named(tmp_path, section, change, message):
    values = yaml.safe_load((profiles.PROFILES / "smoke.yaml").read_text())
    values |= change if section is None else {section: values[section] | change}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=message) as caught:
        load_profile(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join([f'*{chr(97 + k)}'] * 8)}]\n"
            for k in range(9)
        ), "more than 20000 values"),
        ("a: &a [*a]\n", "more than 20000 values"),
        ("[" * 5000, "nested too deeply"),
        ("seeds: [0]\nseeds: [1]\n", "'seeds' is there twice, line 1"),
        ("a: [", "not a YAML file"),
        ("- a\n", "expected a mapping"),
        ("1: 2\n", "expected a mapping"),
        ("a: !!python/object/apply:os.system ['true']\n", "not a YAML file"),
        ("a: 2020-99-99\n", "month"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_profile_is_one_short_message(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_profile(str(path))
    assert str(caught.value).startswith(str(path)) and len(str(caught.value)) < 300


def test_names_of_profiles_are_names_and_those_of_the_package_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (profiles.PROFILES / "smoke.yaml").read_text()
    for name, message in (("full", "full is a profile of the package"), ("a b", "name: ")):
        (tmp_path / f"{name}.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            load_profile(f"{name}.yaml")
    with pytest.raises(ValueError, match="unknown profile"):
        load_profile("../profiles/full")
    assert load_profile(str(profiles.PROFILES / "full.yaml")).name == "full"


def test_a_section_that_is_not_there_has_its_defaults_or_takes_no_part():
    assert "data" in SMOKE and "rank" in SMOKE  # of these the file has the second alone
    quick = load_profile("quick")
    assert "data" in quick and "rank" not in quick and not quick.cells("rank_cost")
    assert not {"performance", "cost"} & {e.name for e in quick.experiments}
    with pytest.raises(ValueError, match="section main is missing"):
        values = yaml.safe_load((profiles.PROFILES / "quick.yaml").read_text())
        read_profile({"name": "x"} | values | {"main": None})


def test_a_paper_that_is_not_there_needs_no_section():
    there = read_profile({"name": "empty", "evidence": True}).experiments
    assert not any(experiment.paper == "lord" for experiment in there)


def test_a_place_that_only_some_of_the_experiments_have_is_one():
    asked = {"domain": "portraits", "subject": 0, "seed": 0}
    full = load_profile("full")
    found = run(full, ("main", "stage1"), compute=False, **asked)
    assert {record.kind for record in found} == {"main"}
    with pytest.raises(ValueError, match="unknown experiment 'nothing'"):
        run(full, ("main", "nothing"), compute=False)


def test_a_profile_or_experiment_that_is_unknown_is_an_error():
    with pytest.raises(ValueError, match=r"unknown profile 'quik'.*quick"):
        load_profile("quik")
    with pytest.raises(ValueError, match=r"unknown experiment 'mian'.*main"):
        run("smoke", "mian")
    with pytest.raises(ValueError, match="nothing for subject=99"):
        run("smoke", "main", subject=99)
    assert run("quick", "rank") == []


# The registry.


def test_each_experiment_comes_after_those_it_needs():
    order = list(experiments())
    for experiment in experiments().values():
        assert all(order.index(need) < order.index(experiment.name) for need in experiment.needs)
        assert experiment.title and experiment.paper in papers()
    assert set(order) <= set(sections()) <= {*papers(), *order}


@pytest.mark.parametrize("name", profile_names())
def test_no_two_cells_share_a_name_or_a_key(name):
    profile = load_profile(name)
    found = [(e, cell) for e in profile.experiments for cell in profile.cells(e.name)]
    assert len({cell.name for _, cell in found}) == len(found)
    assert len({e.key(cell, {}) for e, cell in found}) == len(found)


def test_every_component_is_known():
    for experiment in SMOKE.experiments:
        for cell in SMOKE.cells(experiment.name):
            for component in (*experiment.components(cell), *cell.measured):
                assert names.version_of(component), component


# What a cell depends on.


def test_settings_refuse_what_is_not_declared():
    settings = Settings.of(Toy(), "side")
    assert settings.side == 3
    with pytest.raises(AttributeError, match="'more' is not among the settings"):
        settings.more  # noqa: B018
    with pytest.raises(AttributeError, match="'side' is not among"):
        measure(None, Cell("x", {"seed": 0}, Settings.of(Toy(), "more"), ()))  # reads the side


def test_settings_that_equal_their_defaults_are_resolved_and_not_asked():
    settings = Settings.of(Toy(), "side", "more").also(side=Toy(side=4))
    assert settings.resolved() == {"side": {"side": 4, "more": 7}, "more": 7}
    assert settings.asked == {"side": {"side": 4}}


def test_a_changed_setting_makes_exactly_what_depends_on_it_missing(toy, tmp_path):
    run(toy(), results=tmp_path)
    assert {s.state for s in status(toy(more=8), tmp_path)} == {"finished"}
    assert {s.state for s in status(toy(side=4), tmp_path)} == {"missing"}


def test_a_raised_version_makes_stale(toy, tmp_path, monkeypatch):
    profile = toy()
    run(profile, results=tmp_path)
    monkeypatch.setitem(names.ATTACKS, "ace", 99)
    assert {s.state for s in status(profile, tmp_path)} == {"stale"}
    assert len(run(profile, "toy", compute=False, results=tmp_path)) == 4
    run(profile, "toy", place=0, results=tmp_path)
    assert [s.state for s in status(profile, tmp_path)] == ["finished"] * 2 + ["stale"] * 2
    profile = toy(changed(version=2))
    assert {s.state for s in status(profile, tmp_path)} == {"stale"}


# Running.


def test_records_hold_what_was_measured_and_asked(toy, tmp_path):
    found = run(toy(side=4), "toy", place=1, results=tmp_path)
    assert [(r.name, r.metrics) for r in found] == [
        (f"toy-1-{seed}", {"area": 17}) for seed in range(2)
    ]
    assert found[1].settings == {"side": 4, "place": 1, "seed": 1} and found[1].seed == 1
    assert set(found[0].components) == {"experiment:toy", "attack:ace"}
    assert found[0].seconds >= 0 and "cpu (" in found[0].device


def test_what_is_finished_is_not_measured_again(toy, tmp_path):
    found = run(toy(), results=tmp_path)
    assert run(toy(changed(measure=refuse)), results=tmp_path) == found


class Killed(BaseException):
    """Stands in for a kill."""


def test_a_killed_run_goes_on_where_it_stopped(toy, tmp_path):
    calls = []

    def killed(context, cell):
        calls.append(cell.name)
        if len(calls) == 3:
            raise Killed
        return measure(context, cell)

    with pytest.raises(Killed):
        run(toy(changed(measure=killed)), results=tmp_path)
    assert [r.name for r in load_records(toy(), tmp_path)] == calls[:2]
    assert not list((tmp_path / "play").glob(".*-*"))  # nothing half-written
    assert len(run(toy(changed(measure=killed)), results=tmp_path)) == 4
    assert calls[3:] == ["toy-1-0", "toy-1-1"]


def test_an_experiment_finds_nothing_that_another_has_left(tmp_path, monkeypatch):
    def leaves(context, cell):
        left = dict(context.held)
        context.held[cell.name] = "an adapter on the model, say"
        return Outcome({"found": len(left)})

    def cells_of(name):
        return lambda profile: (
            Cell(f"{name}-{place}", {"place": place}, Settings.of(profile[name], "side"), ())
            for place in range(2)
        )

    found = {
        name: changed(name=name, cells=cells_of(name), measure=leaves, tables={})
        for name in ("first", "second")
    }
    for module in (registry, profiles, sys.modules["lord.study.run"]):
        monkeypatch.setattr(module, "experiments", lambda: found)
    monkeypatch.setattr(profiles, "sections", lambda: dict.fromkeys(found, Toy))
    profile = read_profile({"name": "play", "evidence": True, "first": {}, "second": {}})
    assert [r.metrics["found"] for r in run(profile, results=tmp_path)] == [0, 1, 0, 1]


def test_what_is_finished_is_measured_again_where_that_is_asked(toy, tmp_path):
    run(toy(), results=tmp_path)
    with pytest.raises(AssertionError, match="this was finished"):
        run(toy(changed(measure=refuse)), again=True, results=tmp_path)


@pytest.mark.parametrize("value", ["false", "no", 0, None])
@pytest.mark.parametrize("name", ["compute", "again"])
def test_whether_to_compute_is_yes_or_no(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected True or False"):
        run("smoke", "main", **{name: value})


def test_a_parameter_that_no_notebook_has_is_refused_whoever_hands_it_over(monkeypatch):
    cells = ["", "profile = 1", '# Parameters\nprofile = "smoke"\ncompute = False\n']
    shell = SimpleNamespace(user_ns={"In": cells})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert run("quick", "rank", compute=False) == []
    cells[-1] += "comptue = True\n"
    with pytest.raises(ValueError, match="no parameter comptue; a notebook has: profile, compute"):
        run("quick", "rank", compute=False)


def test_a_place_that_cannot_be_written_to_is_found_before_the_work(toy, tmp_path):
    (tmp_path / "file").touch()
    profile, records = toy(changed(measure=refuse)), tmp_path / "records"
    store_of(profile, tmp_path / "taken").path("toy").mkdir(parents=True)
    for place in ("file", "taken"):
        with pytest.raises(OSError, match=place):
            run(profile, results=tmp_path / place)
    name = profile.cells("toy")[0].name
    (records / "play").mkdir(parents=True)
    (records / "play" / ".work").touch()
    with pytest.raises(OSError, match=r"\.work"):
        compute_sheet(profile, name, records)


def test_missing_records_are_an_error_where_nothing_may_be_computed(toy, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"4 records are missing.*run --profile play"):
        run(toy(), "toy", compute=False, results=tmp_path)


def test_what_is_to_be_run_is_told_with_the_profile_as_it_was_given(tmp_path):
    own = tmp_path / "my own" / "mine.yaml"
    own.parent.mkdir()
    own.write_text((profiles.PROFILES / "smoke.yaml").read_text())
    with pytest.raises(FileNotFoundError, match=re.escape(f"--profile '{own}'")):
        run(str(own), "triggers", compute=False, results=tmp_path)


# What is made of the records.


def test_a_table_is_written_when_all_its_records_are_there(toy, tmp_path):
    profile = toy()
    run(profile, place=0, results=tmp_path)
    assert write_tables(profile, tmp_path) == []
    run(profile, results=tmp_path)
    path = tmp_path / "play" / "toy.csv"
    assert not path.exists()  # running does not depend on reporting
    assert write_tables(profile, tmp_path) == [path]
    assert pd.read_csv(path)["area"].tolist() == [9, 9, 10, 10]


def test_pictures_are_kept_where_they_are_shown_and_come_back_otherwise(toy, tmp_path):
    profile = toy()
    found = run(profile, results=tmp_path)
    write_tables(profile, tmp_path)
    store = store_of(profile, tmp_path)
    for path in (store.work / "sheets").iterdir():
        path.unlink()
    kept: dict[bool, list[Record]] = {has: [] for has in (True, False)}
    for record in found:
        kept[store.has_sheet(record)].append(record)
    assert [r.seed for r in kept[True]] == [1, 1] and (store.sheet(kept[True][0]) == 1).all()
    lost = kept[False][0]
    with pytest.raises(FileNotFoundError, match=f"lord study sheet {lost.name} --profile play"):
        store.sheet(lost)
    assert compute_sheet(profile, lost.name, tmp_path).is_file()
    assert (store.sheet(lost) == 0).all()
    assert store.records("toy")[lost.name] == lost
    with pytest.raises(ValueError, match="no record 'nothing'"):
        compute_sheet(profile, "nothing", tmp_path)


# What cells share.


def test_intermediate_results_are_made_once_and_named_after_what_they_depend_on(tmp_path):
    import torch

    made, context = [], Context(tmp_path)

    def make():
        made.append(1)
        return {"x": torch.ones(1)}

    def once(components=("step:renderer",), **asked):
        return context.once("name", {"steps": 5} | asked, components, make)["x"].item()

    assert once() == once() == 1 and len(made) == 1
    once(steps=6)
    once(components=("attack:ace",))
    assert len(made) == 3
    (broken,) = [path for path in tmp_path.glob("*.safetensors") if "name" in path.name][:1]
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"half")
    assert once() == 1 and len(made) == 4 and broken.is_file()


def test_models_are_held_for_a_process(tmp_path):
    context = Context(tmp_path)
    assert context.hold(list, "ab") is context.hold(list, "ab")
    assert context.hold(list, "ab") is not context.hold(list, "cd")
