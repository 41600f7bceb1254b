import torch
from hypothesis import given
from hypothesis import strategies as st

from lord.tiles import join, split


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 16))
def test_squares_cover_an_image_and_make_it_whole_again(height, width, side):
    image = torch.rand(3, height, width)
    squares = split(image, side)
    assert squares.shape == (-(-height // side) * -(-width // side), 3, side, side)
    assert torch.equal(join(squares, height, width), image)


def test_squares_are_not_scaled_and_continue_the_edges():
    image = torch.arange(6.0).view(1, 2, 3).expand(3, 2, 3)
    left, right = split(image, 2)
    assert left[0].tolist() == [[0, 1], [3, 4]]
    assert right[0].tolist() == [[2, 2], [5, 5]]
