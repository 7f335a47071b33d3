"""Images with and without colour, made on the spot from scikit-image's photographs and drawings.

`labelled()` gives (name, pixels, kind): greyscale, monochrome (one tint), or None for colour.
"""

import functools
import importlib.util
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

SIDE = 320
COLOUR_PHOTOS = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png",
    "retina.jpg",
)  # fmt: skip
ONE_HUE = "retina.jpg"  # muted it would be a toned print
GREY_PHOTOS = (
    "camera.png", "coins.png", "page.png", "text.png", "moon.png", "brick.png", "grass.png",
    "gravel.png", "clock_motion.png", "cell.png",
)  # fmt: skip
GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])


@functools.cache
def photo(name):
    """RGB float 0..255, the longest side SIDE; to be read only."""
    spec = importlib.util.find_spec("skimage")
    with Image.open(Path(spec.submodule_search_locations[0]) / "data" / name) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.float64)


def grey_of(rgb):
    return np.repeat((rgb @ GREY_WEIGHTS)[:, :, None], 3, axis=2)


def jpeg(rgb, quality):
    """Through a JPEG file with 4:2:0 chroma, as uint8."""
    file = io.BytesIO()
    pixels = Image.fromarray(np.clip(rgb + 0.5, 0, 255).astype(np.uint8))
    pixels.save(file, "JPEG", quality=int(quality), subsampling=2)
    return np.asarray(Image.open(file).convert("RGB"))


def smooth_noise(draw, shape):
    """A slowly varying field, about -1..1."""
    coarse = draw.normal(size=(4, 4))
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC) / 2


class Drawing:
    """Ink on a white page: lines, filled shapes, screentone."""

    def __init__(self, draw, lines=30):
        self.draw = draw
        self.page = Image.new("RGB", (SIDE * 2, SIDE * 2), "white")
        self.pen = ImageDraw.Draw(self.page)
        for _ in range(lines):
            self.pen.line(
                self.points(5), fill=(0, 0, 0), width=int(draw.integers(2, 7)), joint="curve"
            )

    def points(self, count, inside=None):
        left, top, size = inside or (0, 0, SIDE * 2)
        xs, ys = self.draw.uniform(0, size, (2, count))
        return list(zip(xs + left, ys + top, strict=True))

    def shade(self, count=4):
        """Fill shapes with greys."""
        for _ in range(count):
            level = int(self.draw.integers(60, 230))
            self.pen.polygon(self.points(4), fill=(level,) * 3)
        return self

    def screentone(self):
        """A grid of dots over a part of the page."""
        step = int(self.draw.integers(5, 10))
        left, top = self.draw.integers(0, SIDE, 2)
        for x in range(left, left + SIDE, step):
            for y in range(top, top + SIDE, step):
                self.pen.ellipse((x, y, x + step / 2, y + step / 2), fill=(0, 0, 0))
        return self

    def paint(self, colours, inside=None):
        """Fill a shape of each colour with an outline."""
        for colour in colours:
            self.pen.polygon(
                self.points(4, inside), fill=tuple(map(int, colour)), outline=(0, 0, 0)
            )
        return self

    def figure(self, colours, share):
        """A small figure of several colours that takes this share of the page."""
        size = np.sqrt(share) * SIDE * 2
        left, top = self.draw.uniform(0, SIDE * 2 - size, 2)
        parts = len(colours)
        for place, colour in enumerate(colours):
            box = (left, top + size * place / parts, left + size, top + size * (place + 1) / parts)
            self.pen.rectangle(box, fill=tuple(map(int, colour)), outline=(0, 0, 0))
        return self

    def pixels(self):
        return np.asarray(self.page.reduce(2), np.float64)


def hue_colour(hue, saturation, value):
    """RGB 0..255 from hue 0..1, saturation and value 0..1."""
    rgb = cv2.cvtColor(np.float32([[[hue * 360, saturation, value]]]), cv2.COLOR_HSV2RGB)
    return rgb[0, 0].astype(np.float64) * 255


def toned(grey, ink, paper):
    """Grey levels between the colours of ink and paper."""
    level = grey / 255
    return ink + (paper - ink) * level


def sepia(grey, strength):
    matrix = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
    return np.clip(grey @ matrix.T, 0, 255) * strength + grey * (1 - strength)


def aged(draw, rgb, amount):
    """Paper that yellows unevenly: blue and a little green are taken away."""
    stain = 1 + amount * 0.3 * smooth_noise(draw, rgb.shape)
    factors = 1 - amount * np.array([0.02, 0.08, 0.25]) * stain[:, :, None]
    return rgb * factors


def scanned(draw, rgb):
    """Sensor noise, independent in the three channels, then JPEG at quality 60 to 95."""
    noise = draw.normal(0, draw.uniform(0, 5), rgb.shape)
    return jpeg(rgb + noise, draw.integers(60, 96))


def a_grey(draw):
    """An image in greys: photograph, desaturated photograph, drawing with tones, gradient."""
    choice = draw.integers(0, 5)
    if choice == 0:
        return photo(draw.choice(GREY_PHOTOS))
    if choice == 1:
        return grey_of(photo(draw.choice(COLOUR_PHOTOS)))
    if choice == 2:
        return Drawing(draw).shade().pixels()
    if choice == 3:
        return Drawing(draw).screentone().pixels()
    ramp = np.linspace(draw.uniform(0, 100), draw.uniform(150, 255), SIDE)
    return np.repeat(np.tile(ramp, (SIDE, 1))[:, :, None], 3, axis=2)


def greyscale(draw):
    grey = a_grey(draw)
    cast = draw.uniform(0.985, 1.0, 3)  # a scanner's white balance
    return scanned(draw, grey * cast)


def monochrome(draw):
    grey = a_grey(draw)
    choice = draw.integers(0, 5)
    if choice == 0:
        rgb = sepia(grey, draw.uniform(0.5, 1.0))
    elif choice == 1:
        rgb = aged(draw, grey, draw.uniform(0.5, 1.2))
    elif choice == 2:  # cyanotype and other toned prints
        ink = hue_colour(draw.uniform(0, 1), draw.uniform(0.3, 0.6), draw.uniform(0.15, 0.35))
        rgb = toned(grey, ink, np.full(3, draw.uniform(235, 255)))
    elif choice == 3:  # black ink on coloured paper
        rgb = toned(
            grey, np.full(3, 20.0), hue_colour(draw.uniform(0, 1), draw.uniform(0.12, 0.25), 0.95)
        )
    else:  # a tinted gradient in light
        tint = hue_colour(draw.uniform(0, 1), draw.uniform(0.12, 0.25), 1.0) / 255
        rgb = grey * tint
    return scanned(draw, rgb)


def coloured(draw):
    choice = draw.integers(0, 8)
    rgb = photo(draw.choice(COLOUR_PHOTOS))
    if choice == 1:  # muted
        rgb = photo(draw.choice([name for name in COLOUR_PHOTOS if name != ONE_HUE]))
        rgb = grey_of(rgb) + (rgb - grey_of(rgb)) * draw.uniform(0.3, 0.6)
    elif choice == 2:  # on yellowed paper
        rgb = aged(draw, rgb, draw.uniform(0.5, 1.2))
    elif choice == 3:  # at night
        rgb = rgb * draw.uniform(0.2, 0.4)
    elif choice == 4:  # a page with one small coloured figure
        colours = [hue_colour(draw.uniform(0, 1), draw.uniform(0.3, 0.9), draw.uniform(0.6, 1.0))
                   for _ in range(draw.integers(1, 4))]  # fmt: skip
        page = Drawing(draw, 15).figure(colours, draw.uniform(0.02, 0.06)).pixels()
        rgb = aged(draw, page, draw.uniform(0.0, 1.0))
    elif choice == 5:  # flat colours, also pastel
        colours = [hue_colour(draw.uniform(0, 1), draw.uniform(0.2, 0.9), draw.uniform(0.5, 1.0))
                   for _ in range(6)]  # fmt: skip
        rgb = Drawing(draw, 10).paint(colours).pixels()
    elif choice == 6:  # one hue, clearly coloured
        ink = hue_colour(draw.uniform(0, 1), draw.uniform(0.85, 1.0), draw.uniform(0.6, 0.9))
        rgb = toned(a_grey(draw), ink, np.full(3, 250.0))
    elif choice == 7:  # a grey photograph with one object in colour
        grey, (height, width) = grey_of(rgb), rgb.shape[:2]
        side = int(np.sqrt(draw.uniform(0.03, 0.1) * height * width))
        top, left = draw.integers(0, height - side), draw.integers(0, width - side)
        colour = hue_colour(draw.uniform(0, 1), draw.uniform(0.4, 0.9), 1.0) / 255
        part = grey[top : top + side, left : left + side]
        grey[top : top + side, left : left + side] = (40 + part * 0.8) * colour
        rgb = grey
    return scanned(draw, rgb)


def labelled(seed=0, count=180):
    """`count` images of each kind."""
    makers = {"greyscale": greyscale, "monochrome": monochrome, None: coloured}
    for number in range(count):
        for place, (kind, make) in enumerate(makers.items()):
            draw = np.random.default_rng([seed, number, place])
            yield f"{make.__name__} {number}", make(draw), kind
