"""Make Class Images: what the model shows of a class, for prior preservation."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .host.dataset.class_images import ClassImagesConfig, make_class_images
from .host.made import CLASS_IMAGES
from .host.model.host_types import Clip, ModelPatcher, Vae
from .host.previews.sampling import Models, samplers, schedulers
from .schema import Node, field, node, output, setting
from .sockets import DatasetSocket


class MakeClassImages(Node):
    """Regularisation images that the MODEL itself draws."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "MakeClassImages",
            display_name="Make Class Images",
            description="Images of a class, such as woman or dog, drawn by the MODEL itself: as "
            "regularisation images beside yours (prior preservation, as in DreamBooth) they keep it what it "
            "is. Each is made once and kept.",
            search_aliases=[
                "dreambooth",
                "prior preservation",
                "regularisation images",
                "regularization images",
            ],
            inputs=[
                field(io.Model, "model", "The MODEL that will be trained; it is not changed."),
                field(io.Clip, "clip", "Encodes the prompts."),
                field(io.Vae, "vae", "Decodes the images."),
                setting(
                    ClassImagesConfig,
                    "prompt",
                    "What your images show one of, without the trigger word, such as woman, dog or 1girl. It "
                    "is the caption of the images, too.",
                ),
                setting(
                    ClassImagesConfig,
                    "negative",
                    "Negative prompt of the images.",
                    multiline=True,
                ),
                setting(
                    ClassImagesConfig,
                    "count",
                    "How many: 100 to 200 are usual. A larger number later makes only those that are missing.",
                    min=1,
                    max=10_000,
                ),
                setting(ClassImagesConfig, "width", "Pixels.", min=16, max=4096, step=8),
                setting(ClassImagesConfig, "height", "Pixels.", min=16, max=4096, step=8),
                setting(
                    ClassImagesConfig, "steps", "Sampling steps.", min=1, max=200, advanced=True
                ),
                setting(
                    ClassImagesConfig,
                    "cfg",
                    "Classifier-free guidance.",
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "sampler",
                    "ComfyUI's samplers.",
                    options=samplers(),
                    default=ClassImagesConfig.sampler,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "scheduler",
                    "ComfyUI's schedulers.",
                    options=schedulers(),
                    default=ClassImagesConfig.scheduler,
                    advanced=True,
                ),
                setting(
                    ClassImagesConfig,
                    "seed",
                    "Of the first image; each further one has the next.",
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The images, for Merge Datasets beside yours."),
                output(io.String, "path", "The folder of the images and their captions."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return CLASS_IMAGES.losses()

    @classmethod
    def execute(cls, model: ModelPatcher, clip: Clip, vae: Vae, **values: Any) -> io.NodeOutput:
        config, models = ClassImagesConfig(**values), Models(model, clip, vae)
        dataset, path, report = make_class_images(models, config, cls.hidden.unique_id)
        return io.NodeOutput(dataset, str(path), ui={"text": [report]})
