"""SDXL's text encoders by plain autograd, written from the paper: independent of ComfyUI's forward."""

import torch
import torch.nn.functional as F

HEADS = 2
ACTIVATIONS = {"l": lambda x: x * torch.sigmoid(1.702 * x), "g": F.gelu}


def weights_of(encoder):
    """Normal float32 copies of an encoder's weights."""
    return {name: p.detach().clone().float() for name, p in encoder.state_dict().items()}


def hidden_states(weights, change, ids, activation, heads=HEADS):
    """[chunks, 77] ids -> penultimate hidden states, final normed ones.

    ``change`` gives what a LoRA adds to the weight of a layer, by the layer's path, or None.
    """

    def linear(x, path):
        weight, delta = weights[f"{path}.weight"], change(path)
        return F.linear(x, weight if delta is None else weight + delta, weights[f"{path}.bias"])

    def norm(x, path):
        return F.layer_norm(x, x.shape[-1:], weights[f"{path}.weight"], weights[f"{path}.bias"])

    def split(x):
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    embeddings = "text_model.embeddings"
    x = weights[f"{embeddings}.token_embedding.weight"][ids]
    x = x + weights[f"{embeddings}.position_embedding.weight"]
    causal = torch.full((77, 77), -torch.inf).triu(1)
    count = 1 + max(int(k.split(".")[3]) for k in weights if k.startswith("text_model.encoder"))
    states = []
    for number in range(count):
        layer = f"text_model.encoder.layers.{number}"
        normed = norm(x, f"{layer}.layer_norm1")
        q, k, v = (split(linear(normed, f"{layer}.self_attn.{n}_proj")) for n in "qkv")
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 + causal
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + linear(mixed, f"{layer}.self_attn.out_proj")
        inner = activation(linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1"))
        x = x + linear(inner, f"{layer}.mlp.fc2")
        states.append(x)
    return states[-2], norm(x, "text_model.final_layer_norm")


def encode(encoders, changes, tokens):
    """(context [77 n, C], pooled [P]) of ComfyUI's tokens without weights.

    ``encoders``: the weights of CLIP-L and CLIP-G; ``changes``: one for each, see `hidden_states`.
    """
    parts = []
    for name, weights, change in zip("lg", encoders, changes, strict=True):
        ids = torch.tensor([[token for token, *_ in chunk] for chunk in tokens[name]])
        inner, last = hidden_states(weights, change, ids, ACTIVATIONS[name])
        parts.append(inner.flatten(0, 1))
    end = int((ids[0] == 49407).int().argmax())
    return torch.cat(parts, dim=1), last[0, end] @ weights["text_projection.weight"].T
