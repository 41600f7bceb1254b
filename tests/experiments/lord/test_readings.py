"""Which readings of the paper are planned."""

import yaml
from helpers import NEEDED, fill

from lord.experiments.lord.tables import reading_table
from lord.study.profile import PROFILES, load_profile, read_profile
from lord.study.run import load_records

SMOKE = load_profile("smoke")


def test_each_reading_is_planned_with_the_treatments_that_it_can_have():
    found = {}
    for cell in SMOKE.cells("readings"):
        if cell["domain"] == "portraits":
            found.setdefault(cell["variant"], []).append(cell["treatment"])
    assert set(found) == {
        f"clean_latent.{trains}.learned" for trains in ("lora", "shared", "branch")
    }
    for name, treatments in found.items():
        assert ("dropped" in treatments) == ("lora" in name), "what learned would be dropped"
        assert {"learned", "lambda=0", "merged"} <= set(treatments)


def test_the_usual_reading_is_measured_as_well():
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "read"}
    values["readings"] |= {"targets": ["distilled"], "trains": ["lora"], "gates": ["learned"]}
    cells = read_profile(values).cells("readings")
    assert {cell["treatment"] for cell in cells} == {"learned", "lambda=0", "merged", "dropped"}


def test_the_table_has_the_choices_as_columns(tmp_path):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    values = {name: values[name] for name in (*NEEDED, "readings")}
    values |= {"name": "read", "readings": values["readings"] | {"gates": ["learned", 0.5]}}
    profile = read_profile(values)
    fill(profile, tmp_path)
    table = reading_table(load_records(profile, tmp_path))
    own = table[table["target"] == "clean_latent"]
    assert set(own["trains"]) == {"lora", "shared", "branch"}
    assert set(own["gate"]) == {"learned", "0.5"}
