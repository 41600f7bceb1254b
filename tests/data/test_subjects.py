"""The renderers and the subjects made of them."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lord.data.canvas import uniform
from lord.data.subjects import DOMAINS, SPLITS, Subject, sample_domain
from lord.models.embedded import build_tokenizer, vocabulary

domains = pytest.mark.parametrize("domain", DOMAINS)


@domains
def test_images_are_8_bit_rgb_of_the_asked_size(domain):
    for size in (32, 64):
        images = sample_domain(domain, "train", range(3), size).images
        assert images.shape == (3, 3, size, size)
        assert images.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1
        assert torch.equal((images * 255).round() / 255, images)


@domains
@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(5)))
def test_an_image_depends_on_its_index_alone(domain, order):
    together = sample_domain(domain, "train", range(5), 32)
    shuffled = sample_domain(domain, "train", order, 32)
    alone = sample_domain(domain, "train", [order[0]], 32)
    assert torch.equal(together.images[order], shuffled.images)
    assert torch.equal(alone.images[0], shuffled.images[0])
    assert [together.captions[k] for k in order] == shuffled.captions


@domains
def test_pictures_differ(domain):
    images = sample_domain(domain, "train", range(32), 32).images.flatten(1)
    assert torch.cdist(images, images).fill_diagonal_(1).min() > 0


@domains
def test_identities_of_the_splits_never_overlap(domain):
    module = DOMAINS[domain]

    def identities(split):
        batch = sample_domain(domain, split, range(300), 8)
        names = [*module.IDENTITY, *module.IDENTITY_TRAITS]
        return set(zip(*[batch.attributes[name].tolist() for name in names], strict=True))

    drawn = {split: identities(split) for split in SPLITS}
    assert all(len(found) == 300 for found in drawn.values())
    for one, other in combinations(SPLITS, 2):
        assert not drawn[one] & drawn[other]


@domains
def test_a_subject_keeps_its_identity_and_changes_its_circumstances(domain):
    subject, module = Subject(domain, "evaluation", 3), DOMAINS[domain]
    photographs, references = subject.photographs(12, 32), subject.references(12, 32)
    for name in module.IDENTITY:
        shown = torch.cat([photographs.attributes[name], references.attributes[name]])
        assert shown.unique().numel() == 1
    seen = {image.numpy().tobytes() for image in photographs.images}
    assert len(seen) == 12
    assert not seen & {image.numpy().tobytes() for image in references.images}
    more = subject.photographs(20, 32)
    assert torch.equal(more.images[:12], photographs.images)


@domains
def test_every_attribute_value_occurs_and_is_in_the_caption(domain):
    module = DOMAINS[domain]
    batch = sample_domain(domain, "train", range(200), 8)
    for name, values in module.ATTRIBUTES.items():
        assert set(batch.attributes[name].tolist()) == set(range(len(values)))
        for index, caption in zip(batch.attributes[name].tolist(), batch.captions, strict=True):
            if not values[index].startswith("no "):
                assert values[index] in caption


@domains
def test_captions_are_known_words_and_fit_the_text_encoder(domain):
    tokenizer = build_tokenizer()
    captions = sample_domain(domain, "train", range(200), 8).captions
    captions += [DOMAINS[domain].CLASS_PROMPT, DOMAINS[domain].SUBJECT_PROMPT]
    for caption in captions:
        words = caption.replace(",", " ,").split()
        assert tokenizer.tokenize(caption) == [f"{word}</w>" for word in words]
        assert len(words) + 2 <= tokenizer.model_max_length


def test_unknown_words_still_encode():
    tokenizer = build_tokenizer()
    assert "zebra" not in vocabulary()
    assert tokenizer.decode(tokenizer("zebra").input_ids, skip_special_tokens=True) == "zebra"


def test_unknown_domains_and_splits_are_errors():
    with pytest.raises(ValueError, match=r"domain 'cats'.*portraits"):
        Subject("cats", "train", 0)
    with pytest.raises(ValueError, match=r"split 'test'.*evaluation"):
        Subject("portraits", "test", 0)


def test_hashed_numbers_are_uniform_and_distinct_by_name():
    numbers = uniform(range(20_000), "a")
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(numbers.std() - 12**-0.5) < 0.01
    assert abs(torch.corrcoef(torch.stack([numbers, uniform(range(20_000), "b")]))[0, 1]) < 0.02
