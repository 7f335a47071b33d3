"""Captions labelled by hand: lists of tags, and text that is written in sentences at least in part."""

import pytest

from pack.tagger.captions.prose import is_prose

TAGS = r"""

sks
1girl
1girl, solo
sks man
score_9, score_8_up, score_7_up, source_anime, 1girl
masterpiece, best quality, very aesthetic, absurdres
(masterpiece:1.2), (best quality:1.1), 1boy, male focus
1girl, solo, long hair, looking at viewer, blush, smile, open mouth, blue eyes, white background
1girl, short hair with long locks, hair over one eye, eyes visible through hair, solo
1girl, hand on another's head, looking to the side, own hands together, arm around another's waist
no humans, scenery, cloudy sky, year of the tiger, lily of the valley
1girl, :d, ;d, ^_^, >_<, \m/, o_o, x_x, @_@, :3, ..., !, ?, !?, xd
1girl, solo, |_|, ||_||, (o)_(o), ._., 0_0, closed eyes, spoken ellipsis
1girl, solo, u.a. school uniform, my hero academia, midoriya izuku, freckles
artoria pendragon \(alter swimsuit rider\) \(second ascension\) \(fate\), fate/grand order, 1girl
hatsune miku (cosplay), kagamine rin, vocaloid, 2girls, aqua hair, twintails, holding hands
st. louis \(luxurious wheels\) \(azur lane\), white dress, evening gown, car, 1girl
dr. mundo, league of legends, 1boy, purple skin, tongue out
1girl, solo, smile, white shirt, pleated skirt, zettai ryouiki, the legend of zelda, princess zelda
1girl, re:zero kara hajimeru isekai seikatsu, rem \(re:zero\), maid, blue hair, x hair ornament
1girl_solo_long_hair
1girl long_hair blue_eyes looking_at_viewer smile
1girl,solo,long hair,blue eyes,school uniform
1girl, solo, long hair.
Solo, Long hair, Blue eyes, Smile.
Anime style, Blue hair, Night city, Neon lights, Full body
photo, portrait, old man, beard, wrinkles, bokeh, natural light
dog, grass, outdoors, sitting, golden retriever
red sports car, side view, racetrack, motion blur, sunset
playing with own hair, hair tucking, futa with female, brother and sister, bedroom, pillow, indoors
1girl, greyscale with colored background, spot color, red eyes, close-up
2girls, mother and daughter, kitchen, apron, cooking, smile, looking at another, brown hair
1girl, tank top, denim shorts, standing on one leg, outstretched arms, beach, ocean, day, cloud
1girl, crying with eyes open, streaming tears, wavy mouth, v-shaped eyebrows, clenched hands
multiple girls, 6+girls, everyone, group image, hikarizaka private high school uniform, clannad
ai-generated, watermark, web address, english text, signature, artist name, dated, 2024
sks, armor, sword, shield, castle, knight, full moon, night sky, cape, gauntlets, helmet
1girl, drawn by wlop, highres, commentary request
oil painting, impasto, vincent van gogh, wheat field, cypress, swirling sky
猫耳, 女の子, 青い髪, 笑顔
1girl, 白髪, 赤目, セーラー服
1girl, solo, "hello", speech bubble, english text, tagme
1girl, sitting, chair, looking out window, holding cup, coffee mug, steam, morning, sunlight
Solo, Hand on own hip, Eyes visible through hair.
1girl, looking to the side.
a pose, t-pose, reference sheet
1girl, solo, brown hair, short hair, blue eyes, red skirt, white shirt, black socks, when you see it
no.2, b/w, comic, 4koma, greyscale, 3girls
"""

PROSE = r"""
A girl stands in the rain, looking up.
1girl, solo. A girl stands in the rain, looking up.
a girl stands in the rain
a photo of sks dog
a woman in a red dress sitting on a bench
arafed woman in a red dress sitting on a bench with a book
there is a cat that is sitting on a window sill
a close up of a person wearing a hat
This is a digital illustration of a young woman with long silver hair.
The image shows an anime-style character. She has blue eyes and wears a school uniform.
a girl with long silver hair, wearing a blue school uniform, is standing in the rain, looking up at the sky
a woman, smiling, in a red dress, with long hair, holding a book, on a bench
Photograph of an old man sitting in a wooden chair. He has a white beard and wears glasses.
A close-up of a cat.
sks is standing in the rain.
An oil painting of a mountain lake at sunset, with pine trees in the foreground.
She smiles.  Her long hair, tied in a ponytail, is moving in the wind.
a man and a woman are dancing, the man is wearing a suit, the woman is wearing a gown
A highly detailed digital drawing featuring a muscular male character with dark skin; he holds a sword.
Ein Mädchen steht im Regen und schaut nach oben.
Une jeune fille aux longs cheveux blonds regarde la mer.
少女が雨の中に立っている。
一个女孩站在雨中，抬头看着天空。
two dogs are playing in the snow
the cat has green eyes
Young woman posing outdoors near a brick wall wearing a leather jacket.
1girl, solo, long hair, blue eyes. The background is a forest at night.
score_9, score_8_up, source_anime. A blonde girl with a sword is fighting a dragon.
A girl.\nShe has long hair and a blue dress.
"What are you doing?" asks the girl with the red scarf.
The photo, taken from above, shows the whole city. It is night.
masterpiece, best quality, 1girl, solo, white shirt, smile, indoors, window, curtains, bed. She is reading a book, and the sun shines through the window.
a black and white photo of a street
An anime girl, her hair is pink, and she wears headphones around her neck.
a drawing of a dragon that is flying over a castle
this is a cartoon image of a boy who is holding a balloon
A young man with short brown hair stands in front of a blue background!
the scene is set in a bright classroom, there are desks and chairs, a teacher is writing on the blackboard
it looks like a watercolour painting of flowers in a vase
two people standing next to each other
closeup of hands playing the piano
portrait of a woman with green eyes
masterpiece, best quality, highly detailed, sharp focus, soft light, a girl is standing in the rain
Sie lacht laut im Regen.
1girl, solo, brown hair, short hair, blue eyes, red skirt, white shirt, black socks, hat\nThe girl stands outside.
girl with red hair walking through a forest
A serene landscape: a lake, mountains and a small boat.
"""


def captions(block):
    return [line.replace("\\n", "\n") for line in block.split("\n")[1:-1]]


@pytest.mark.parametrize("caption", captions(TAGS))
def test_a_list_of_tags_is_no_prose(caption):
    assert not is_prose(caption)


@pytest.mark.parametrize("caption", captions(PROSE))
def test_sentences_are_prose(caption):
    assert is_prose(caption)
