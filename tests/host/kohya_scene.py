"""The user's config of kohya's trainer, made small for the tiny SDXL, and nodes that run without a server."""

from types import SimpleNamespace

from pack.tests.host import scene

CONFIG = """
pretrained_model_name_or_path = "{checkpoint}"
train_data_dir = "data/images"
output_dir = "data/output"
logging_dir = "data/logs"
output_name = "name"
LoRA_type = "Standard"
{optimiser}
{length}
network_alpha = 4
network_dim = 4
max_token_length = 225
mixed_precision = "fp16"
save_precision = "fp16"
resolution = "64,64"
max_resolution = "64,64"
caption_extension = ".txt"
save_every_n_epochs = 1
train_batch_size = 2
gradient_accumulation_steps = 1
cache_latents = true
cache_latents_to_disk = true
cache_text_encoder_outputs = true
cache_text_encoder_outputs_to_disk = true
lowvram = true
gradient_checkpointing = true
network_train_unet_only = true
xformers = true
flip_aug = true
enable_bucket = true
min_bucket_reso = 32
max_bucket_reso = 128
bucket_reso_steps = 32
network_module = "networks.lora"
"""

ADAMW = """
optimizer_type = "AdamW"
lr_scheduler = "constant"
learning_rate = 3e-3
"""

PRODIGY = """
optimizer_type = "Prodigy"
learning_rate = 1
lr_scheduler = "cosine_with_restarts"
optimizer_args = ["decouple=True", "weight_decay=0.01", "d_coef=1", "use_bias_correction=True", "safeguard_warmup=True"]
"""


def write_config(folder, checkpoint, optimiser=ADAMW, length="max_train_steps = 4", more=""):
    """A folder with config.toml and images as kohya wants them; the config's path."""
    scene.write_pictures(folder / "data" / "images" / "2_thing")
    config = folder / "config.toml"
    text = CONFIG.format(checkpoint=checkpoint, optimiser=optimiser, length=length)
    config.write_text(text + more, "utf-8")
    return config


def run_node(node, monkeypatch, **inputs):
    """The outputs of a node with the defaults of its widgets, as ComfyUI would call it."""
    monkeypatch.setattr(node, "hidden", SimpleNamespace(unique_id=None), raising=False)
    schema = node.define_schema()
    defaults = {
        item.id: item.default
        for item in schema.inputs
        if getattr(item, "default", None) is not None
    }
    return node.execute(**{**defaults, **inputs}).args
