"""Twenty things in pixel art, at most 11x11, and one that the base model never sees."""

from __future__ import annotations

import numpy as np

COLOURS = {  # main colour and its shade, RGB
    "red": ((222, 48, 52), (158, 24, 48)),
    "blue": ((62, 120, 240), (36, 70, 170)),
    "green": ((70, 200, 80), (30, 130, 70)),
    "yellow": ((250, 214, 60), (206, 150, 30)),
    "purple": ((168, 84, 222), (108, 44, 160)),
    "orange": ((246, 142, 40), (190, 88, 20)),
}
LETTERS = {  # `c` and `s` are the main colour and its shade
    "k": (28, 22, 40),
    "w": (250, 250, 250),
    "b": (130, 80, 44),
    "y": (255, 224, 90),
    "g": (50, 150, 60),
    "p": (250, 150, 180),
    "a": (160, 170, 190),
}
SPRITES = {
    "mushroom": """
...kkkkk...
.kkcccwckk.
kcwwcccccsk
kcwwccwwcsk
kccccwwwcsk
kccccccccsk
.kkkkkkkkk.
..kwkwkwk..
..kwkwkwk..
..kwwwwwk..
...kkkkk...""",
    "house": """
.....k.....
....kck....
...kccck...
..kccccck..
.kccccccck.
kccccccccck
.kwwwwwwwk.
.kwyywbbwk.
.kwyywbbwk.
.kwwwwbbwk.
.kkkkkkkkk.""",
    "tree": """
....kkk....
..kkccckk..
.kcccccsck.
kccsccccsck
kcccccccssk
.kccsccssk.
..kkskskk..
....kbk....
....kbk....
...kbbbk...""",
    "fish": """
...kkkkk.kk
..kcccsskck
.kcccccskck
kcwkcccccsk
kcwkcccccsk
kccccccskck
.kcccsskkck
..kkkkk..kk""",
    "star": """
.....k.....
....kck....
....kck....
kkkkccckkkk
kcccccccccs
.kckccckck.
..kckcksk..
..kcccccs..
.kccsksccsk
.kssk.kssk.
.kk.....kk.""",
    "heart": """
.kkk...kkk.
kccck.kccck
kcwwckccsck
kcwccccccsk
kccccccccsk
.kcccccccs.
..kcccccs..
...kcccs...
....kcs....
.....k.....""",
    "cat": """
kk.......kk
kck.....kck
kcckkkkkcck
kcccccccccs
kcwkcccwkcs
kcwkcccwkcs
kccccpcccss
.kcckckccs.
..kcccccs..
...kkkkk...""",
    "flower": """
...kk.kk...
..kcckcck..
..kccccck..
.kccyyyccs.
.kccyyyccs.
.kccyyyccs.
..kccccss..
..kcckcsk..
...kkgkk...
..gg.g.gg..
...ggggg...""",
    "boat": """
.....kk....
.....kwk...
.....kwwk..
...k.kwwwk.
..kwkkwwwwk
.kwwkkkkkkk
.....kb....
kkkkkkkkkkk
kccccccccsk
.kcccccssk.
..kkkkkkk..""",
    "ghost": """
...kkkkk...
..kcccccsk.
.kcccccccsk
.kckkckkcsk
.kckkckkcsk
.kccccccccs
.kcccpppccs
.kccccccccs
.kccccccccs
.kcskcskcsk
..kk.kk.kk.""",
    "apple": """
......kk...
.....kgk...
.kkkkkkkkk.
kccccccccsk
kcwccccccsk
kcwccccccsk
kcccccccssk
kccccccccsk
.kccccccsk.
..kcckcsk..
...kk.kk...""",
    "car": """
...kkkkk...
..kwwkwwk..
.kwwwkwwwk.
kccccccccck
kyccccccssk
kckkkckkksk
kkaakkkaakk
.kaak.kaak.
..kk...kk..""",
    "bird": """
...kkkk....
..kcccckk..
.kckcccccck
yykccccccsk
.kcccccsssk
.kwwccssssk
..kwwwccsk.
...kkkkkk..
....y..y...
...yy.yy...""",
    "crab": """
kkk.....kkk
kck.....kck
kcck...kcck
.kkk...kkk.
..kkkkkkk..
.kcwkcwkcsk
.kccccccssk
.kckkkkcssk
..kcccccsk.
.k.kkkkk.k.
kk.k...k.kk""",
    "rocket": """
.....k.....
....kck....
...kccsk...
...kwwwk...
..kwkakwk..
..kwaaawk..
.kkwkakwkk.
kcckwwwkcsk
kckkkkkkksk
kk..kyk..kk
.....y.....""",
    "gem": """
..kkkkkkk..
.kwcccccsk.
kwcccccccsk
kkkkkkkkkkk
kwcckckccsk
.kcckckcsk.
..kckckck..
...kckck...
....kck....
.....k.....""",
    "cactus": """
....kkk....
...kcwck...
...kcwsk...
kk.kccskkkk
kckkcwskkck
kckkcwskkck
kcccccsccsk
.kkkccskkk.
...kcwsk...
...kcwsk...
..bbbbbbb..""",
    "cup": """
...w.w.....
..w.w......
...w.w.....
kkkkkkkkk..
kbbbbbbbkkk
kcwcccccs.k
kcwcccccs.k
kcwccccckkk
kcccccccs..
.kccccss...
..kkkkkk...""",
    "crown": """
k....k....k
kk..kck..kk
kck.kck.kck
kcckccckcck
kcccccccccs
kcpccwccpcs
kcccccccccs
kssssssssss
kkkkkkkkkkk""",
    "umbrella": """
.....k.....
...kkkkk...
.kkccwcckk.
kccccwcccsk
kccccccccsk
kskckskcksk
.k.k.k.k.k.
.....k.....
.....k.....
..k..k.....
...kk......""",
}
ROBOT = """
.....p.....
.....k.....
.kkkkkkkkk.
.kaaaaaaak.
kkayyayyakk
kkayyayyakk
.kaaaaaaak.
.kakwkwkak.
.kkkkkkkkk.
..kaakaak..
..kkk.kkk.."""
"""Held out of the base model: what the demo's LoRA teaches."""


def pixels(art: str, colour: str = "red") -> tuple[np.ndarray, np.ndarray]:
    """The art's colours, uint8 `[height, width, 3]`, and where it covers the scene, bool."""
    main, shade = COLOURS[colour]
    palette = {".": (0, 0, 0), "c": main, "s": shade, **LETTERS}
    rows = art.strip("\n").split("\n")
    colours = np.array([[palette[letter] for letter in row] for row in rows], np.uint8)
    return colours, np.array([[letter != "." for letter in row] for row in rows])
