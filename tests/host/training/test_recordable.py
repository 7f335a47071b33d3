"""A micro batch through ComfyUI's UNet asks nothing of the device and brings nothing to it.

On the meta device, which stands for a GPU: whatever would wait for one, or copy from or to it, breaks a
recording off.
"""

from contextlib import ExitStack

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pack.bench.data import reduced_sdxl
from pack.nodes.host.model.unet import predict
from pack.nodes.host.model.weights import ComfyWeights
from pack.tests.trainer import tiny_unet
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import Batch
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.layers.recompute import Again, find_blocks
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.training.gradients import Gradients, MicroBatch
from pack.trainer.training.step import Draws, Model

pytestmark = pytest.mark.slow

DEVICE = torch.device("meta")
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2"}
"""Operations that need to know values."""


class Watch(TorchDispatchMode):
    """Collects the operations that a recording would break off at."""

    def __init__(self):
        super().__init__()
        self.found = set()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        self.count += 1
        if any(t.device != DEVICE and t.dim() and t.numel() for t in tensors):
            self.found.add(f"{name} on the CPU")
        if name in ("copy_", "_to_copy") and len({t.device for t in tensors}) > 1:
            self.found.add(f"{name} between devices")
        if name in WAITING:
            self.found.add(name)
        return result


def make_micro(masked=False):
    x, timesteps, context, y = (t.to(DEVICE) for t in reduced_sdxl.make_inputs(2))
    weights = torch.ones(2, device=DEVICE)
    items = tuple(BatchItem(number, 0, False) for number in range(2))
    mask = torch.ones((2, 32, 32), device=DEVICE) if masked else None
    batch = Batch(x.float(), context, y, weights, items, mask)
    return MicroBatch(batch, Draws(torch.empty_like(batch.latents), timesteps.long()), 0.5)


@pytest.fixture(scope="module")
def unet():
    return reduced_sdxl.make_unet(device="meta")


def make_model(predict, prediction="epsilon"):
    return Model(predict, Schedule.sdxl(prediction).to(DEVICE), DEVICE, torch.float32)


def watched(unet, config, plan=leaf_plan, again=Again.NOTHING):
    """What stands in the way of recording a micro batch, and how many operations it is."""
    weights, micro = ComfyWeights(), make_micro()
    network = Network(find_targets(unet, config.lora), device=DEVICE, weights=weights)
    model = make_model(lambda *inputs: predict(unet, *inputs))
    gradients = Gradients(model, network, config, lambda loss: loss.backward())
    steps = plan(unet, network, weights)
    with ExitStack() as stack:
        stack.enter_context(weights.hold(step.module for step in steps))
        steps += checkpoint_plan(unet, dict.fromkeys(find_blocks(unet), again), steps)
        stack.enter_context(Attachment(steps))
        watch = stack.enter_context(Watch())
        gradients(micro)
    assert all(parameter.grad is not None for parameter in network.parameters())
    return watch


@pytest.mark.parametrize(
    "plan, again",
    [
        (leaf_plan, Again.NOTHING),
        (compact_plan, Again.ALL),
        (compact_plan, Again.ALL_BUT_ATTENTION),
    ],
)
def test_the_plain_step(unet, plan, again):
    watch = watched(unet, TrainConfig(lora=LoraConfig(rank=4)), plan, again)
    assert watch.found == set() and watch.count > 1000


@pytest.mark.main_host
@pytest.mark.parametrize(
    "lora",
    [
        LoraConfig(rank=4, conv_rank=4, conv_alpha=1.0),
        LoraConfig(rank=4, dora=True),
        LoraConfig(rank=4, algorithm="loha"),
        LoraConfig(rank=4, algorithm="lokr"),
    ],
    ids=["conv", "dora", "loha", "lokr"],
)
def test_kinds_of_adapters(unet, lora):
    if lora.algorithm != "lora":
        pytest.importorskip("lycoris")
    assert watched(unet, TrainConfig(lora=lora)).found == set()


LOSSES = [
    LossConfig(),
    LossConfig(min_snr_gamma=5.0, scale_v_pred=True, v_pred_like=0.5),
    LossConfig(loss_type="huber", huber_schedule="exponential"),
    LossConfig(loss_type="smooth_l1", huber_schedule="snr"),
    LossConfig(loss_type="huber", huber_schedule="constant", debiased=True),
]


@pytest.mark.main_host
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_losses(loss, prediction):
    network, micro = Network(find_targets(tiny_unet.make_unet(), LoraConfig())), make_micro(True)
    scale = torch.ones((), device=DEVICE, requires_grad=True)
    model = make_model(lambda x, *_: x * scale, prediction)
    gradients = Gradients(model, network, TrainConfig(loss=loss), lambda loss: loss.backward())
    with Watch() as watch:
        gradients(micro)
    assert watch.found == set() and scale.grad is not None


def test_the_watch_sees_what_it_is_for():
    here, there = torch.ones(3), torch.ones(3, device=DEVICE)
    with Watch() as watch:
        there.copy_(here)
        here.sum().item()
    assert watch.found == {
        "copy_ on the CPU",
        "copy_ between devices",
        "sum on the CPU",
        "_local_scalar_dense",
    }
