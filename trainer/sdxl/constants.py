"""Numbers of SDXL's architecture that several packages need; each name says what it counts."""

TIMESTEPS = 1000
"""Of the noise schedule, from 0 on."""

LATENT_CHANNELS = 4

LATENT_PIXELS = 8
"""Pixels of an image along one side of a latent's pixel."""

VAE_SCALE = 0.13025
"""What latents are multiplied by for the UNet; the cache holds unscaled ones."""

CONTEXT_WIDTH = 2048
"""Of a token for cross-attention: 768 of the first text encoder and 1280 of the second."""

POOLED_WIDTH = 1280
"""Of the pooled text."""

SIZE_NUMBERS = 6
"""Original, crop and target sizes, two numbers each."""

NUMBER_WIDTH = 256
"""Of each of them in the size conditioning."""

Y_WIDTH = POOLED_WIDTH + SIZE_NUMBERS * NUMBER_WIDTH
"""2816: of the vector beside the text."""
