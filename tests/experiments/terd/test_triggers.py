"""What the chapter on triggers shows, of a few noises."""

import re

import pytest

from lord.experiments.terd import triggers
from lord.study import run
from lord.study.profile import read_profile


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    section = {"size": 8, "noises": 64, "strengths": [0.1, 1.0]}
    values = {"name": "few", "evidence": True, "triggers": section}
    return run(read_profile(values), "triggers", results=tmp_path_factory.mktemp("results"))


def test_rates_come_with_what_is_expected(records):
    table = triggers.table(records)
    assert len(table) == 2 * len(triggers.PAIRS)
    bad = table[table["attack"] == "baddiffusion"]
    assert (abs(bad["benign"] - bad["expected_benign"]) < 0.2).all()
    assert table.loc[table["attack"] != "baddiffusion", "expected_benign"].isna().all()


def test_figure_and_findings_are_those_of_the_records(records):
    (panel,) = triggers.figure(records).axes
    drawn = [line for line in panel.lines if line.get_linestyle() == "None"]
    assert len(drawn) == 2 * 4  # a trigger by the ratio and by energy
    text = triggers.findings(records).data
    assert text.count("\n- ") == 2 and re.match(r"- At full strength .* norms of \d+ to \d+", text)
