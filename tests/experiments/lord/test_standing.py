"""Verdicts about rivals, from made-up records."""

import pytest
import yaml
from helpers import NEEDED, fill

from lord.experiments.lord.tables import rival_table, standing_table
from lord.experiments.lord.tables.standing import _verdict
from lord.study.profile import PROFILES, read_profile
from lord.study.run import load_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    values = {name: values[name] for name in NEEDED} | {"name": "standing"}
    values["lord"] |= {"subjects": [0, 1, 2, 3]}
    profile, folder = read_profile(values), tmp_path_factory.mktemp("standing")
    fill(profile, folder)
    return load_records(profile, folder)


def test_leads_are_those_of_the_table_of_rivals(records):
    keys = ["domain", "attack", "defence", "treatment", "metric"]
    table, leads = standing_table(records).set_index(keys), rival_table(records).set_index(keys)
    assert len(table) and set(table.index) <= set(leads.index)
    assert (table["lead"] - leads["lead"].reindex(table.index)).abs().max() < 1e-12


def test_an_attack_without_a_defence_is_behind_and_margins_are_a_tenth_of_it(records):
    table = standing_table(records)
    row = table[(table["attack"] == "ace") & (table["metric"] == "fid")]
    undefended = row[row["defence"] == "none"].iloc[0]
    assert undefended["verdict"] == "ahead" and undefended["equivalent_p"] > 0.9
    assert undefended["margin"] == pytest.approx(1.0, rel=0.05)  # from 2 to 12


@pytest.mark.parametrize(
    ("low", "high", "p_value", "verdict"),
    [
        (0.1, 0.3, 0.001, "ahead"),
        (-0.3, -0.1, 0.001, "behind"),
        (-0.3, 0.1, 0.001, "as good"),
        (-0.3, 0.1, 0.2, "undecided"),
        (float("nan"), float("nan"), float("nan"), "undecided"),
    ],
)
def test_equality_is_claimed_of_what_is_neither(low, high, p_value, verdict):
    assert _verdict({"lead_low": low, "lead_high": high}, p_value) == verdict
