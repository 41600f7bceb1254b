"""What the chapter on new subjects shows, from made-up records."""

import pytest
import yaml
from helpers import NEEDED, fill

from lord.experiments.lord import tables
from lord.show import confirmation
from lord.study.profile import PROFILES, read_profile
from lord.study.run import load_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    values = {name: values[name] for name in (*NEEDED, "confirmation")} | {"name": "judged"}
    conditions = {"none": ["none", "lord"], "ace": ["none", "diffpure", "adversarial", "lord"]}
    values["confirmation"] |= {"subjects": [1, 2, 3, 4], "conditions": conditions}
    folder = tmp_path_factory.mktemp("judged")
    fill(read_profile(values), folder)
    found = load_records(read_profile(values), folder)
    new = [record for record in found if record.kind.startswith("confirmation")]
    return new, [record for record in found if record.kind == "main"]


def test_every_judge_and_defence_has_its_place(records):
    figure = confirmation.repaired(*records)
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {"DiffPure", "adversarial training", "LoRD"}
    assert len(figure.axes) == 2 and len(figure.axes[0].get_yticks()) == 7


def test_the_table_has_a_column_for_each_judge_and_the_ends_of_its_scale(records):
    page = confirmation.judge_table(records[0]).to_html()
    for words in ("ImageNet FID", "distance by MS-SSIM", "identity match", "same subjects"):
        assert words in page


def test_a_judge_that_was_not_asked_everywhere_is_left_out(records):
    new, screened = records
    first = next(record for record in new if record.kind == "confirmation")
    left = {name: value for name, value in first.metrics.items() if name != "imagenet_identity"}
    old = first.model_copy(update={"metrics": left})
    shown = [old if record is first else record for record in new]
    assert set(tables.judges_of(new)) - set(tables.judges_of(shown)) == {"imagenet_identity"}
    assert "identity by ImageNet" not in confirmation.judge_table(shown).to_html()
    assert len(confirmation.repaired(shown, screened).axes[0].get_yticks()) == 6


def test_findings_say_what_is_repaired_and_where_it_stands(records):
    text = confirmation.findings(*records).data
    assert "On 4 new subjects of portraits, LoRD repairs 90%" in text
    assert "By embedded FID it repairs 85% [85%, 86%]; the main table has 86%" in text
    assert "ρ of 1.00 and 1.00" in text


def test_judges_are_counted_by_what_they_say_of_each_rival(records):
    counts = confirmation.standing_counts(records[0]).data
    told = tables.judged_standings(records[0])
    told = told[(told["domain"] == "portraits") & (told["attack"] == "ace")]
    told = told[told["defence"] == "adversarial"]["verdict"].value_counts()
    row = counts.loc["portraits", "ACE", "adversarial training (dropped)"].astype(int)
    assert row[row > 0].to_dict() == told.to_dict() and row.sum() == 7 and row["ahead"] > 0


def test_the_answer_goes_by_a_judge_that_saw_no_damage(records):
    answer = confirmation.confirmed(records[0])
    assert answer.verdict == "Yes" and answer.number == "at least 90% repaired by ImageNet FID"
    assert "4 new subjects of each domain" in answer.text
    assert confirmation.confirmed([]).verdict == "Not measured"


def test_a_judge_that_sees_no_damage_repairs_none(records):
    """By the third judge subjects differ, and an attack changes nothing in the mean."""

    def blinded(record):
        sign = (-1) ** record.settings["subject"] * (record.settings["attack_name"] == "ace")
        metrics = record.metrics | {"ms_ssim_distance": 0.2 + 0.01 * sign}
        return record.model_copy(update={"metrics": metrics})

    new = [blinded(r) if r.kind == "confirmation" else r for r in records[0]]
    figure = confirmation.repaired(new, records[1])
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["no damage told"]
    assert (
        "cannot be told from none by distance by MS-SSIM."
        in confirmation.findings(new, records[1]).data
    )
    assert not confirmation.repaired(*records).axes[0].texts


def test_a_profile_that_leaves_it_out_says_so():
    assert "leaves these experiments out" in confirmation.findings([], []).data
