from torch import Tensor, nn

class EPS: ...
class V_PREDICTION(EPS): ...
class CONST: ...

class ModelSamplingDiscreteFlow(nn.Module):
    sigmas: Tensor
    multiplier: float

class ModelSamplingDiscrete(nn.Module):
    sigmas: Tensor
