import pytest

from pack.base.sheet import Sheet


def test_cells_lie_row_by_row():
    sheet = Sheet(3, 20, 10, gap=2, left=100, top=50)
    corners = [sheet.corner(place) for place in range(4)]
    assert corners == [(100, 50), (122, 50), (144, 50), (100, 62)]
    assert sheet.size(3) == (166, 62) and sheet.size(4) == (166, 74)


def test_a_thumbnail_lies_in_the_middle_of_its_cell():
    sheet = Sheet(2, 16, 16)
    assert sheet.centred(3, (16, 16)) == (16, 16)
    assert sheet.centred(3, (9, 4)) == (19, 22)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (64, 8), (65, 8), (1000, 8)]
)
def test_a_square_sheet_has_about_as_many_rows_as_columns(count, columns):
    assert Sheet.square(count, 16) == Sheet(columns, 16, 16)
