"""The shipped metric networks against damage of known strength."""

from itertools import product

import pytest

from lord.api import instruments_for
from lord.data.subjects import DOMAINS, Subject
from lord.metrics.clip import ASSETS as CLIP_ASSETS
from lord.metrics.features import ASSETS as FEATURE_ASSETS
from lord.metrics.validation import (
    VALIDATED,
    clean_floor,
    monotonicity,
    severity_curves,
)
from lord.models.card import EMBEDDED
from lord.names import HIGHER_IS_BETTER

SHIPPED = (
    FEATURE_ASSETS / "config.json",
    CLIP_ASSETS / "model.safetensors",
    EMBEDDED / "model_index.json",
)
missing = [str(path) for path in SHIPPED if not path.exists()]
shipped = pytest.mark.skipif(bool(missing), reason=f"not trained yet: {', '.join(missing)}")


def test_monotonicity_turns_the_sign_of_scores():
    curves = {
        ("fid_embedded", "blur"): [1, 2, 3, 5, 8, 9],
        ("clip_iqa_embedded", "blur"): [0.9, 0.8, 0.6, 0.5, 0.2, 0.1],
    }
    assert monotonicity(curves) == pytest.approx(
        {("fid_embedded", "blur"): 1, ("clip_iqa_embedded", "blur"): 1}
    )


@pytest.fixture(scope="module")
def curves(trained):
    pipeline = trained.pipeline
    return {
        domain: severity_curves(
            instruments_for(pipeline), pipeline, Subject(domain, "stage1", 0), 24, 48
        )
        for domain in DOMAINS
    }


@shipped
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_metric_follows_every_degradation(curves, domain):
    correlations = monotonicity(curves[domain])
    assert {kind for _, kind in correlations} == set(VALIDATED)
    assert {metric for metric, _ in correlations} == {
        "fid_embedded",
        "fid_embedded_round_trip",
        "clip_iqa_embedded",
        "identity",
    }
    too_low = {key: value for key, value in correlations.items() if value < 0.9}
    assert not too_low


@shipped
@pytest.mark.parametrize("domain", DOMAINS)
def test_clean_sets_score_near_the_optimum(embedded, curves, domain):
    floor = clean_floor(instruments_for(embedded), embedded, Subject(domain, "stage1", 1), 24, 64)
    worst = {name: max if not name.startswith(HIGHER_IS_BETTER) else min for name in floor}
    for name, value in floor.items():
        damaged = [values[-1] for (metric, _), values in curves[domain].items() if metric == name]
        extreme = worst[name](damaged)
        if name.startswith("fid"):
            assert value < 0.1 * extreme
        else:
            assert value > 0.85


# What the shipped small CLIP cannot do yet. The mark is strict: a better one has to remove it.
WEAK = pytest.mark.xfail(
    strict=True, reason="the shipped small CLIP still rates blurred landscapes too well"
)


@shipped
@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        pytest.param(*pair, marks=WEAK if pair == ("landscapes", "blur") else ())
        for pair in product(DOMAINS, VALIDATED)
    ],
)
def test_good_beats_obviously_bad(curves, domain, kind):
    fids, scores = (curves[domain][name, kind] for name in ("fid_embedded", "clip_iqa_embedded"))
    assert fids[-1] > 3 * fids[0]
    assert scores[0] > 0.8 and scores[-1] < 0.4


@shipped
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_damage_is_ranked_below_the_clean_pictures(curves, domain):
    for kind in VALIDATED:
        scores = curves[domain]["clip_iqa_embedded", kind]
        assert scores[-1] < scores[0] - 0.1
