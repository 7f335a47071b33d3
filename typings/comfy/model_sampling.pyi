from torch import Tensor, nn

class EPS: ...
class V_PREDICTION(EPS): ...

class ModelSamplingDiscrete(nn.Module):
    sigmas: Tensor
