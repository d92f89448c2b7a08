"""Train twins: networks with the same tensor names and shapes whose norms stand in different places.

In:   scikit-learn's `load_digits` (1,797 grey images of 8x8, values 0..16; part of the package).
Out:  OUT/conv-norm-relu.safetensors   conv, norm, ReLU: every norm can be folded into the conv of its number
      OUT/conv-relu-norm.safetensors   conv, ReLU, norm: no norm can be folded
      OUT/conv-pool-norm.safetensors   conv, max pool, norm: no norm can be folded
      OUT/post-activation.safetensors  residual blocks conv1, bn1, ReLU, conv2, bn2, add, ReLU: every norm folds
      OUT/pre-activation.safetensors   residual blocks bn1, ReLU, conv1, bn2, ReLU, conv2, add: `bn2` is `conv1`'s, and
                                       nothing that can be folded feeds a `bn1`
      stdout                           a line a network: accuracy on held-out images

Run:  pip install torch scikit-learn safetensors numpy
      python scripts/train_twins.py [OUT]          (OUT: tests/data/twins; CPU, about a minute)

Names and shapes are equal within {conv-norm-relu, conv-relu-norm, conv-pool-norm} and within the two residual networks,
so that only values can tell. Widths are small (each file under 60 KB), which makes it hard.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 21
EPOCHS = 25
BATCH = 64


class Chain(nn.Module):
    """Three layers, each of a convolution, a norm and an activation (or pool) in the order asked for."""

    def __init__(self, order: str):
        super().__init__()
        self.order = order
        widths = [1, 16, 24, 32]
        for i in (1, 2, 3):
            setattr(self, f"conv{i}", nn.Conv2d(widths[i - 1], widths[i], 3, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(widths[i]))
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        for i in (1, 2, 3):
            conv, norm = getattr(self, f"conv{i}"), getattr(self, f"bn{i}")
            x = conv(x)
            if self.order == "norm-relu":
                x = torch.relu(norm(x))
            elif self.order == "relu-norm":
                x = norm(torch.relu(x))
            else:
                x = torch.relu(norm(nn.functional.max_pool2d(x, 2)))
        return self.fc(x.mean((2, 3)))


class Block(nn.Module):
    """A residual block, norms after or before their layers; names and shapes do not tell which."""

    def __init__(self, width: int, pre: bool):
        super().__init__()
        self.pre = pre
        for i in (1, 2):
            setattr(self, f"conv{i}", nn.Conv2d(width, width, 3, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(width))

    def forward(self, x):
        if self.pre:
            y = self.conv1(torch.relu(self.bn1(x)))
            return x + self.conv2(torch.relu(self.bn2(y)))
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class Residual(nn.Module):
    def __init__(self, pre: bool):
        super().__init__()
        width = 15
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(*[Block(width, pre) for _ in range(3)])
        self.fc = nn.Linear(width, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.blocks(self.stem(x))).mean((2, 3)))


def digits():
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    labels = torch.tensor(labels)
    parts = train_test_split(images, labels, test_size=360, random_state=SEED, stratify=labels)
    return [part.contiguous() for part in parts]


def train(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    net.train()
    for _ in range(EPOCHS):
        # Whole batches only: a last batch of one image has no variance.
        order = torch.randperm(len(images))[: len(images) // BATCH * BATCH]
        for batch in order.split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "tests" / "data" / "twins"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # The order of a sum must not depend on the machine's core count.
    torch.use_deterministic_algorithms(True)
    networks = {
        "conv-norm-relu": lambda: Chain("norm-relu"),
        "conv-relu-norm": lambda: Chain("relu-norm"),
        "conv-pool-norm": lambda: Chain("pool-norm"),
        "post-activation": lambda: Residual(pre=False),
        "pre-activation": lambda: Residual(pre=True),
    }
    images, held_out, labels, expected = digits()
    for name, build in networks.items():
        torch.manual_seed(SEED)
        net = build()
        train(net, images, labels)
        net.eval()
        with torch.no_grad():
            right = int((net(held_out).argmax(1) == expected).sum())
        path = out / f"{name}.safetensors"
        save_file(net.state_dict(), path, metadata={"format": "pt"})
        os.chmod(path, 0o644)  # The library creates files that only their owner can read.
        print(f"{name:16} {right} of {len(expected)} right, {path.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
