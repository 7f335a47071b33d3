from typing import Any

# ComfyUI's own training, which is measured beside ours.
class TrainSampler:
    def sample(self, model_wrap: Any, *args: Any, **kwargs: Any) -> Any: ...

class ProgressBar: ...

class TrainLoraNode:
    @classmethod
    def execute(cls, **inputs: Any) -> Any: ...
