import torch
from hypothesis import given
from hypothesis import strategies as st

from lord.data.tiles import join, split


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 16))
def test_parts_cover_an_image_and_make_it_whole_again(height, width, side):
    image = torch.rand(3, height, width)
    parts = split(image, side)
    count = -(-height // side) * -(-width // side)
    assert parts.shape == (count, 3, min(side, height), min(side, width))
    assert torch.equal(join(parts, height, width, side), image)


def test_parts_are_not_scaled_and_end_where_the_image_ends():
    image = torch.arange(6.0).view(1, 2, 3).expand(3, 2, 3)
    left, right = split(image, 2)
    assert left[0].tolist() == [[0, 1], [3, 4]]
    assert right[0].tolist() == [[1, 2], [4, 5]]
    assert join(torch.stack((left, right + 10)), 2, 3, 2)[0].tolist() == [[0, 11, 12], [3, 14, 15]]
