"""What the PyTorch contenders share: the data and the step."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn

from benchmarks import contenders as c
from benchmarks.networks.in_torch import make_network


def build(
    work: c.Work,
    *,
    channels_last: bool = False,
    compile_forward: Callable[[nn.Module], Callable] = lambda network: network,
    capture_graph: bool = False,
) -> c.Runner:
    """Builds a training loop on the GPU where there is one, else on the CPU.

    Args:
        work: what to do.
        channels_last: whether weights and images are laid out with the channels innermost.
        compile_forward: makes a faster callable of the network.
        capture_graph: whether the whole step is one captured CUDA graph.
    """
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # float32 means float32 here as for everyone else; cuDNN would take TF32 by default.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = work.dtype != "float32"
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = make_network(work.network, work.image_shape).to(device, memory_format=layout)
    forward = compile_forward(network)
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=c.LEARNING_RATE,
        eps=c.ADAM_EPSILON,
        fused=True,
        capturable=capture_graph,
    )
    images = torch.from_numpy(work.images()).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.from_numpy(work.labels()).long().to(device)
    bfloat16 = work.dtype == "bfloat16"

    def train_step(pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext():
            logits = forward(pixels.to(torch.float32, memory_format=layout).div_(255.0))
        loss = nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step = _captured(train_step, images, labels, work) if capture_graph else train_step
    position, loss = 0, torch.zeros(())

    def run(num_steps: int) -> None:
        nonlocal position, loss
        for _ in range(num_steps):
            start = position * work.batch_size
            batch = slice(start, start + work.batch_size)
            loss = step(images[batch], labels[batch])
            position = (position + 1) % work.steps_per_epoch
        if device.type == "cuda":
            torch.cuda.synchronize()

    return c.Runner(
        run=run,
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        distributions=("torch", "numpy"),
        facts=lambda: {
            "num_params": sum(parameter.numel() for parameter in network.parameters()),
            "last_loss": float(loss),
            "threads": torch.get_num_threads(),
        },
    )


def _captured(train_step: Callable, images: torch.Tensor, labels: torch.Tensor, work: c.Work) -> Callable:
    """Records one step on fixed buffers (after PyTorch's CUDA graph guide) and replays it for each batch."""
    pixels, targets = images[: work.batch_size].clone(), labels[: work.batch_size].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            train_step(pixels, targets)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = train_step(pixels, targets)

    def replay(new_pixels: torch.Tensor, new_targets: torch.Tensor) -> torch.Tensor:
        pixels.copy_(new_pixels)
        targets.copy_(new_targets)
        graph.replay()
        return loss

    return replay
