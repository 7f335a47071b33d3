"""Small LoRAs with layers of every shape, and their changes in float64."""

import torch

Q = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_output_blocks_1_0_in_layers_2"
MIDDLE = "lora_unet_middle_block_1_proj_in"
TEXT = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
SHAPES = {Q: (12, 20), CONV: (10, 6, 3, 3), MIDDLE: (16, 16, 1, 1), TEXT: (14, 9)}


def lora(seed=0, rank=4, alpha=2.0, stems=tuple(SHAPES), fade=1.0):
    """Kohya's tensors; `fade`: by how much each direction is weaker than the one before."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for stem in stems:
        rows, *row = SHAPES[stem]
        up = torch.randn(rows, rank, generator=draw) * fade ** torch.arange(rank)
        found[f"{stem}.lora_up.weight"] = up.reshape(rows, rank, *[1] * (len(row) - 1))
        found[f"{stem}.lora_down.weight"] = torch.randn(rank, *row, generator=draw)
        found[f"{stem}.alpha"] = torch.tensor(alpha)
    return found


def change(tensors, stem):
    """What a plain LoRA adds to a layer, written out: alpha / rank * up @ down."""
    up, down = (tensors[f"{stem}.lora_{part}.weight"].double() for part in ("up", "down"))
    scale = float(tensors[f"{stem}.alpha"]) / down.shape[0]
    return scale * torch.einsum("or,r...->o...", up.flatten(1), down)


def stems(tensors):
    return sorted({name.partition(".")[0] for name in tensors})
