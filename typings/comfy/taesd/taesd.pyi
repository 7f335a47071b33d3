from torch import nn

class TAESD(nn.Module):
    taesd_encoder: nn.Sequential
    taesd_decoder: nn.Sequential
    vae_scale: nn.Parameter
