"""The task for classifiers: labels first, everything else as in any photograph."""

import pytest
import torch

from lord.data import classes
from lord.data.classes import CLASSES, SPLITS, class_name, labelled
from lord.data.subjects import DOMAINS, photograph
from lord.names import CLASSIFIED


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_label_settles_its_attributes_and_nothing_else(domain, monkeypatch):
    drawn = {}

    def watch(domain, identities, visits, size, settled=None):
        drawn["free"] = photograph(domain, identities, visits, size).attributes
        drawn["settled"] = photograph(domain, identities, visits, size, settled)
        return drawn["settled"]

    monkeypatch.setattr(classes, "photograph", watch)
    found = labelled(domain, "test", range(20), 16)
    assert found.labels.tolist() == [*range(10), *range(10)]
    words, module = drawn["settled"].attributes, DOMAINS[domain]
    for name, values in words.items():
        if name in CLASSES[domain][0]:
            told = [module.ATTRIBUTES[name][k] for k in values.tolist()]
            assert told == [CLASSES[domain][label][name] for label in found.labels.tolist()]
        else:
            assert torch.equal(values, drawn["free"][name])


@pytest.mark.parametrize("task", CLASSIFIED)
def test_classes_are_different_things(task):
    kinds, count = {tuple(kind.items()) for kind in CLASSES[task]}, len(CLASSES[task])
    names = {class_name(task, label) for label in range(count)}
    assert len(kinds) == len(names) == count == (36 if task == "faces" else 10)


def test_classes_take_turns():
    found = labelled("faces", "test", range(37), 16)
    assert found.classes == 36 and found.labels.tolist() == [*range(36), 0]


def test_pictures_are_the_same_every_time_and_of_no_other_split():
    one = {split: labelled("portraits", split, range(3), 16).images for split in SPLITS}
    again = labelled("portraits", "test", [2], 16).images
    assert torch.equal(one["test"][2:], again)
    assert not any(
        torch.equal(a, b) for s in SPLITS for t in SPLITS if s != t for a in one[s] for b in one[t]
    )


def test_an_unknown_split_or_domain_is_named():
    with pytest.raises(ValueError, match="unknown split 'evaluation': choose one of train"):
        labelled("portraits", "evaluation", [0])
    with pytest.raises(ValueError, match="unknown task 'cats': choose one of portraits"):
        labelled("cats", "test", [0])
