from torch import nn

class BaseModel(nn.Module):
    diffusion_model: nn.Module

class SDXLRefiner(BaseModel): ...
class SDXL(BaseModel): ...
