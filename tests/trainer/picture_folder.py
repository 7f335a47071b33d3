"""A dataset folder of small images of several formats, with a caption and files of other kinds."""

from PIL import Image


def picture(path, size=(32, 24), colour=(1, 2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def make_folder(root):
    for name in ["img10.PNG", "img2.jpg", "b.webp", "c.JPEG", "d.bmp"]:
        picture(root / name, colour=(len(name), 0, 0))
    (root / "img2.txt").write_text("two, tags\nand more", encoding="utf-8")
    (root / "notes.md").write_text("no image")
    (root / "clip.mp4").write_bytes(b"no picture")
    return root
