"""Train the small digits network that the integration tests fold.

In:   scikit-learn's `load_digits` (1,797 grey images of 8x8, values 0..16; part of the
      package, nothing is downloaded).
Out:  OUT/digits-resnet.safetensors  the trained network: F32, `num_batches_tracked` I64
      OUT/digits-test.safetensors    360 held-out images, their labels, PyTorch's logits
      stdout                         a line every tenth epoch, then the held-out accuracy

Run:  pip install torch scikit-learn safetensors numpy
      python scripts/train_digits.py [OUT]         (OUT: tests/data; CPU, under a minute)

The network holds every kind of producer that a fold has to know: convolutions with and
without a bias, grouped and depthwise ones, a 1x1 downsample, a transposed convolution whose
channel counts differ in and out, and a linear layer. Every norm directly follows its
producer, and nothing else reads that producer's output, so every norm can be folded.
The forward pass is written a second time, in Rust, in tests/it/digits.rs: change both.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 20
EPOCHS = 40
BATCH = 64
HELD_OUT = 360


class BasicBlock(nn.Module):
    """torchvision's basic block, with the second convolution grouped where asked."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)) + shortcut)


class Upsample(nn.Module):
    """Twice the size. 48 channels in, 24 out: the orientation shows in the shape."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return torch.relu(self.bn(self.deconv(x)))


class DigitsNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(BasicBlock(16, 16))
        self.layer2 = nn.Sequential(
            BasicBlock(16, 32, stride=2, groups=4),
            BasicBlock(32, 32, groups=4),
        )
        # Depthwise, then pointwise, both with a bias of their own.
        self.features = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1, groups=32),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 48, 1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
        )
        self.up = Upsample(48, 24)
        self.head = nn.Sequential(
            nn.Linear(24 * 4 * 4, 64, bias=False),
            nn.BatchNorm1d(64),
            nn.ReLU(),
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        x = self.up(self.features(x))
        x = nn.functional.avg_pool2d(x, 2)
        return self.fc(self.head(x.flatten(1)))


def digits():
    """Images in 0..1 as [N, 1, 8, 8], split with every digit in proportion."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    parts = train_test_split(
        images, labels.astype(np.int64), test_size=HELD_OUT, random_state=SEED, stratify=labels
    )
    return [torch.from_numpy(part).contiguous() for part in parts]


def train(net: DigitsNet, images: torch.Tensor, labels: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True
    )
    # Down to zero: the running statistics then belong to the weights that are saved.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    net.train()
    for epoch in range(EPOCHS):
        total = 0.0
        # Whole batches only: a last batch of one image has no variance.
        order = torch.randperm(len(images))[: len(images) // BATCH * BATCH]
        for batch in order.split(BATCH):
            loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3}  loss {total / len(order):.4f}")


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    # The library creates files that only their owner can read.
    os.chmod(path, 0o644)


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "tests" / "data"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else default

    # One thread: the order of a sum must not depend on the machine's core count.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)

    train_images, test_images, train_labels, test_labels = digits()
    net = DigitsNet()
    train(net, train_images, train_labels)
    save(net.state_dict(), out / "digits-resnet.safetensors")

    # The logits are those of the file, not of the network in memory.
    net = DigitsNet()
    net.load_state_dict(load_file(out / "digits-resnet.safetensors"), strict=True)
    net.eval()
    with torch.no_grad():
        logits = net(test_images)
    save(
        {"images": test_images, "labels": test_labels, "logits": logits},
        out / "digits-test.safetensors",
    )

    correct = int((logits.argmax(1) == test_labels).sum())
    print(f"held out: {correct} of {len(test_labels)} right, {100 * correct / len(test_labels):.2f} %")


if __name__ == "__main__":
    main()
