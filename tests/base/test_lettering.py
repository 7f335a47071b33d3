"""Words on pictures: in the height asked for, cut to the width, and legible."""

import numpy as np
import pytest

from pack.base.lettering import fitted, letters, sentence


def test_letters_are_as_high_as_asked():
    small, large = (letters(size).getbbox("Hg")[3] for size in (12, 36))
    assert large > 2 * small


@pytest.mark.parametrize("text", ["short", "a name that is much longer than the room for it.png"])
def test_a_text_is_cut_in_the_middle_where_it_is_too_wide(text):
    font = letters(13)
    shown = fitted(text, 100, font)
    assert font.getlength(shown) <= 100
    assert shown == text if font.getlength(text) <= 100 else shown.startswith("a n")
    assert shown[-2:] == text[-2:]


def test_letters_that_the_font_has_not_are_question_marks():
    assert fitted("猫.png", 100, letters(13)) == "?.png"


def test_a_sentence_is_a_picture_that_grows_with_it():
    one, two = sentence("Nothing."), sentence("Nothing at all,\nand two lines of it.")
    assert one.dtype == np.uint8 and one.shape[2] == 3
    assert two.shape[0] > one.shape[0] and two.shape[1] > one.shape[1]
    assert int(one.max()) - int(one.min()) > 100
