"""Evasion attacks against closed forms: linear classifiers, schedules, balls."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lord.attacks.evasion import gradient
from lord.attacks.evasion.evade import ATTACKS, Standing, attack_left, evade, untouched
from lord.attacks.evasion.fab import to_plane
from lord.attacks.evasion.gradient import Progress, checkpoints, expected
from lord.attacks.evasion.losses import (
    cross_entropy,
    dlr,
    likeliest_wrong,
    margin,
    targeted_dlr,
)
from lord.attacks.evasion.settings import RANDOMISED, STANDARD, Evasion, Threat
from lord.attacks.evasion.spatial import roughness, warp
from lord.attacks.evasion.square import _pattern, side_of
from lord.attacks.evasion.victim import Victim, judge, predictions

CLASSES, SIZE = 5, 8
SEEDS = [1, 2, 3, 4]
NORMS = ["linf", "l2"]


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, CLASSES)).double()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.rand((4, 3, SIZE, SIZE), generator=generator, dtype=torch.float64) * 0.6 + 0.2


@pytest.fixture(scope="module")
def labels(linear, images):
    return linear(images).argmax(1)


def length(change, norm):
    return change.flatten(1).norm(p=torch.inf if norm == "linf" else 2, dim=1)


def smallest(linear, images, labels, norm):
    """The exact distance to the nearest other class, which lies well within [0, 1]."""
    logits, weight = linear(images), linear[1].weight
    found = []
    for k, label in enumerate(labels.tolist()):
        ways = [
            (logits[k, label] - logits[k, other]) / (weight[label] - weight[other]).norm(p=dual)
            for other in range(CLASSES)
            for dual in [1 if norm == "linf" else 2]
            if other != label
        ]
        found.append(min(ways))
    return torch.stack(found)


@pytest.mark.parametrize("norm", NORMS)
def test_fab_finds_the_smallest_perturbation_of_a_linear_classifier(linear, images, labels, norm):
    attacked = evade(
        Victim(linear),
        images,
        labels,
        Threat(norm=norm, eps=2.0),
        Evasion(method="fab_t", steps=10, targets=CLASSES - 1),
        SEEDS,
    )
    assert (linear(attacked).argmax(1) != labels).all()
    exact = smallest(linear, images, labels, norm)
    found = length(attacked - images, norm)
    assert (found >= exact * (1 - 1e-9)).all() and (found <= exact * 1.02).all()


def test_fab_leaves_alone_what_it_cannot_fool_within_the_budget(linear, images, labels):
    eps = smallest(linear, images, labels, "linf").min().item() * 0.9
    settings = Evasion(method="fab_t", steps=5)
    attacked = evade(Victim(linear), images, labels, Threat(eps=eps), settings, SEEDS)
    assert torch.equal(attacked, images)


@pytest.mark.parametrize("norm", NORMS)
def test_targeted_auto_pgd_succeeds_just_where_a_linear_classifier_can_be_fooled(
    linear, images, labels, norm
):
    exact = smallest(linear, images, labels, norm)
    settings = Evasion(method="apgd_t", steps=20)
    for factor, fooled in ((0.98, 0), (1.05, 1)):
        for k in range(2):
            row = slice(k, k + 1)
            threat = Threat(norm=norm, eps=factor * exact[k].item())
            found = evade(Victim(linear), images[row], labels[row], threat, settings, [k])
            assert (linear(found).argmax(1) != labels[row]).item() == fooled


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_on_two_classes_goes_where_a_line_leads(norm):
    """A linear classifier of two classes: the best step is known."""
    torch.manual_seed(1)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2)).double()
    images = torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64)
    labels = linear(images).argmax(1)
    way = (linear[1].weight[1 - labels] - linear[1].weight[labels]).view(1, 3, 4, 4)
    best = way.sign() if norm == "linf" else way / way.norm()
    for method in ("pgd", "bpda", "transfer"):
        settings = Evasion(method=method, steps=5)
        found = evade(Victim(linear), images, labels, Threat(norm=norm, eps=0.1), settings, [0])
        torch.testing.assert_close(found, images + 0.1 * best)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_the_shortest_step_to_a_plane(data):
    """On the plane if the box reaches it; no shorter one exists, by the dual norm."""
    seed, norm = data.draw(st.integers(0, 10_000)), data.draw(st.sampled_from(NORMS))
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand((2, 1, 3, 3), generator=generator, dtype=torch.float64)
    w = torch.randn(points.shape, generator=generator, dtype=torch.float64)
    offset = torch.randn(2, generator=generator, dtype=torch.float64)
    step = to_plane(points, w, offset, Threat(norm=norm))
    there = points + step
    assert there.min() >= -1e-9 and there.max() <= 1 + 1e-9
    value = (w * points).flatten(1).sum(1) + offset
    after = (w * there).flatten(1).sum(1) + offset
    corner = torch.where((-value.sign().view(-1, 1, 1, 1) * w) > 0, 1.0, 0.0)
    reach = (w * (corner - points)).flatten(1).sum(1)
    possible = reach.abs() >= value.abs()
    assert torch.allclose(after[possible], torch.zeros(()).double(), atol=1e-6)
    dual = w.flatten(1).norm(p=1 if norm == "linf" else 2, dim=1)
    assert (length(step, norm)[possible] >= (value.abs() / dual)[possible] - 1e-6).all()
    # Without the box in its way the step is the closed form.
    free = length(step, norm) <= value.abs() / dual + 1e-9
    inside = ((there > 1e-6) & (there < 1 - 1e-6)).flatten(1).all(1)
    assert (free | ~inside).all()


def test_auto_pgd_looks_at_its_progress_ever_more_often():
    """Equation 4 of the paper, computed there for 100 steps."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert all(0 < mark < 7 for mark in checkpoints(7))


def test_auto_pgd_halves_its_step_where_progress_stalls():
    x = torch.zeros(3, 1, 1, 1)
    progress = Progress(x, torch.zeros(3), x, 1.0)
    progress.risen = torch.tensor([8.0, 7.0, 8.0])
    progress.loss = torch.tensor([1.0, 1.0, 0.0])
    # Enough rises and a better best; too few rises; enough rises, but no better best.
    assert progress.check(10).flatten().tolist() == [False, True, True]
    assert progress.step_size.flatten().tolist() == [1.0, 0.5, 0.5]
    progress.risen = torch.full((3,), 9.0)
    # Whose step has just been halved is not judged by its best point.
    assert progress.check(10).flatten().tolist() == [True, False, False]


@pytest.mark.parametrize("method", [name for name in ATTACKS if name != "spatial"])
@pytest.mark.parametrize("norm", NORMS)
def test_attacked_images_are_in_the_ball_and_better_than_noise(
    linear, images, labels, method, norm
):
    eps = 1.5 * smallest(linear, images, labels, norm).max().item()
    steps = 60 if method == "square" else 10
    threat, how = Threat(norm=norm, eps=eps), Evasion(method=method, steps=steps, targets=2)
    found = evade(Victim(linear), images, labels, threat, how, SEEDS, batch_size=3)
    assert (length(found - images, norm) <= eps * (1 + 1e-6)).all()
    assert found.min() >= 0 and found.max() <= 1
    assert (margin(linear(found), labels) > margin(linear(images), labels)).all()
    again = evade(Victim(linear), images[2:], labels[2:], threat, how, SEEDS[2:])
    torch.testing.assert_close(again, found[2:])


def test_squares_shrink_as_in_auto_attack():
    sides = [side_of(query, 10_000, 32) for query in (1, 11, 60, 300, 600, 3000, 9000)]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == round((0.8 * 32**2) ** 0.5) and sides[-1] >= 1


@pytest.mark.parametrize("side", [1, 2, 5, 8])
def test_the_pattern_of_an_l2_square_has_length_one(side):
    pattern = _pattern(side)
    assert pattern.shape == (side, side) and pattern.norm().item() == pytest.approx(1)


def test_a_flow_moves_pixels():
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    none = torch.zeros(2, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(warp(images, none), images)
    right = none.clone()
    right[:, 0] = 1
    torch.testing.assert_close(warp(images, right)[..., :-1], images[..., 1:])
    torch.testing.assert_close(warp(images, right)[..., -1], images[..., -1])
    assert roughness(right).max() < 1e-5
    right[:, :, 3] = 2
    assert (roughness(right) > 0.1).all()


def test_a_spatial_attack_stays_within_its_pixels(linear, images, labels):
    threat = Threat(norm="flow", eps=0.5)
    how = Evasion(method="spatial", steps=6)
    found = evade(Victim(linear), images, labels, threat, how, SEEDS)
    assert (margin(linear(found), labels) > margin(linear(images), labels)).all()
    darkest, lightest = (
        extreme(images, 3, 1, 1)
        for extreme in (
            lambda *a: -nn.functional.max_pool2d(-a[0], *a[1:]),
            nn.functional.max_pool2d,
        )
    )
    assert (found >= darkest - 1e-9).all() and (found <= lightest + 1e-9).all()


def test_losses_are_those_of_their_papers():
    logits = torch.tensor([[3.0, 1.0, 0.5, -1.0, 2.0]])
    labels, targets = torch.tensor([1]), torch.tensor([0])
    assert margin(logits, labels).item() == 2
    assert dlr(logits, labels).item() == pytest.approx(-(1 - 3) / (3 - 1))
    expected = -(1 - 3) / (3 - (1 + 0.5) / 2)
    assert targeted_dlr(logits, labels, targets).item() == pytest.approx(expected)
    assert [likeliest_wrong(logits, labels, k).item() for k in range(4)] == [0, 4, 2, 3]


class Noisy:
    """A purifier that adds noise of a seed's own."""

    def __call__(self, images, seeds):
        rows = [torch.randn(images.shape[1:], generator=_generator(s)) for s in seeds]
        return images + 0.1 * torch.stack(rows).to(images)


def _generator(seed):
    return torch.Generator().manual_seed(seed % 2**31)


def test_expectations_average_over_looks(linear, images, labels):
    victim = Victim(linear, Noisy())
    looks = gradient.looks_of(victim, SEEDS, 3, "pgd", 0)
    assert len({tuple(look) for look in looks}) == 3
    found = expected(victim.logits, cross_entropy, images, labels, looks)
    single = [expected(victim.logits, cross_entropy, images, labels, [look]) for look in looks]
    for name in ("loss", "logits", "gradient"):
        mean = torch.stack([getattr(one, name) for one in single]).mean(0)
        torch.testing.assert_close(getattr(found, name), mean)


def test_known_noise_is_always_the_same(linear, images):
    victim = Victim(linear, Noisy(), known=True)
    assert not victim.random and len(gradient.looks_of(victim, SEEDS, 20, "pgd", 0)) == 1
    assert victim.seeds(SEEDS, "a") == victim.seeds(SEEDS, "b")
    votes = predictions(victim, images, SEEDS, 3)
    assert torch.equal(votes[0], votes[1]) and votes.shape == (3, 4)
    free = Victim(linear, Noisy())
    assert free.random and free.seeds(SEEDS, "a") != free.seeds(SEEDS, "b")


def test_bpda_takes_the_purifier_for_the_identity(linear, images):
    def squared(images, seeds):
        return images**2

    x = images.clone().requires_grad_()
    victim = Victim(linear, squared)
    through = victim.straight_through(x, SEEDS)
    torch.testing.assert_close(through, victim.logits(images, SEEDS))
    (found,) = torch.autograd.grad(through[:, 0].sum(), x)
    torch.testing.assert_close(found, linear[1].weight[0].view(1, 3, SIZE, SIZE).expand_as(found))
    (exact,) = torch.autograd.grad(victim.logits(x, SEEDS)[:, 0].sum(), x)
    torch.testing.assert_close(exact, found * 2 * images)


def test_transfer_is_an_attack_on_the_classifier_alone(linear, images, labels):
    def never(images, seeds):
        raise AssertionError("the purifier was asked")

    settings, threat = Evasion(method="transfer", steps=3), Threat(eps=0.1)
    found = evade(Victim(linear, never), images, labels, threat, settings, SEEDS)
    plain = Evasion(method="pgd", steps=3)
    assert torch.equal(found, evade(Victim(linear), images, labels, threat, plain, SEEDS))


def test_a_verdict_counts_votes():
    votes = torch.tensor([[0, 1, 2], [0, 1, 0], [0, 2, 1]])
    verdict = judge(votes, torch.tensor([0, 1, 1]), 3)
    assert verdict.worst.tolist() == [True, False, False]
    assert verdict.majority.tolist() == [True, True, False]  # a tie is lost
    assert verdict.right.tolist() == pytest.approx([1, 2 / 3, 1 / 3])


def test_only_survivors_meet_the_next_attack(linear, images, labels, monkeypatch):
    victim, threat = Victim(linear), Threat(eps=0.01)
    wrong = labels.clone()
    wrong[0] = (wrong[0] + 1) % CLASSES
    standing, right = untouched(victim, images, wrong, SEEDS, 2, CLASSES)
    assert standing.majority.tolist() == [False, True, True, True] == (right > 0).tolist()
    seen = []
    monkeypatch.setitem(
        ATTACKS, "pgd", lambda v, x, y, t, s, seeds: seen.append(seeds) or torch.zeros_like(x)
    )
    attacked, after = attack_left(
        victim, images, wrong, standing, threat, Evasion(method="pgd"), SEEDS, 2, CLASSES
    )
    assert seen == [SEEDS[1:]] and torch.equal(attacked[0], images[0])
    black = linear(torch.zeros_like(images[:1])).argmax(1)
    assert after.majority.tolist() == [False, *(labels[1:] == black).tolist()]
    gone = Standing(*(torch.zeros(4, dtype=torch.bool) for _ in range(2)))
    same, _ = attack_left(
        victim, images, wrong, gone, threat, Evasion(method="pgd"), SEEDS, 2, CLASSES
    )
    assert torch.equal(same, images) and len(seen) == 1


def test_auto_attack_is_four_attacks_or_two():
    assert [attack.name for attack in STANDARD] == [
        "apgd_ce-100",
        "apgd_t-100",
        "fab_t-100",
        "square-5000",
    ]
    assert [attack.name for attack in RANDOMISED] == ["apgd_ce-100x20", "apgd_dlr-100x20"]
    names = [t.name for t in (Threat(), Threat(norm="l2", eps=0.5), Threat(norm="flow", eps=1))]
    assert names == ["linf8", "l20.5", "flow1"]


@pytest.mark.parametrize(("method", "norm"), [("pgd", "flow"), ("spatial", "l2")])
def test_a_budget_that_an_attack_cannot_spend_is_named(linear, images, labels, method, norm):
    with pytest.raises(ValueError, match=f"{method}: knows no perturbations of {norm}"):
        evade(Victim(linear), images, labels, Threat(norm=norm), Evasion(method=method), SEEDS)


def test_every_picture_needs_a_seed(linear, images, labels):
    with pytest.raises(ValueError, match="one for each of 4 images"):
        evade(Victim(linear), images, labels, Threat(), Evasion(method="pgd"), [1])


@pytest.mark.parametrize(("method", "norm"), [("pgd", "linf"), ("spatial", "flow")])
def test_a_gradient_that_is_no_number_is_an_error(images, labels, method, norm):
    class Broken(nn.Module):
        def forward(self, x):
            return (x.flatten(1)[:, :CLASSES] - 5).sqrt()

    how = Evasion(method=method, steps=1)
    with pytest.raises(FloatingPointError, match="not finite"):
        evade(Victim(Broken()), images, labels, Threat(norm=norm), how, SEEDS)


def test_attacks_and_norms_are_all_there_is():
    assert set(ATTACKS) == {attack.method for attack in (*STANDARD, *RANDOMISED)} | {
        "pgd",
        "bpda",
        "transfer",
        "spatial",
    }
    pairs = itertools.product(ATTACKS, ("linf", "l2", "flow"))
    assert sum(Evasion(method=m).fits(Threat(norm=n)) for m, n in pairs) == 2 * 8 + 1
