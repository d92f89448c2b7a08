#!/usr/bin/env python3
"""One snippet of docs/loading.md, on a network made at random.

Stage:  started by `check_loading.py` for each snippet, in the environment that has its library.
In:     on stdin, as JSON: the snippet's name, its steps (Python, or commands), files that it imports, and what writes the
        original where the library does not.
Out:    on stdout, as JSON: the library's version, and the largest difference between what the snippet left in `y` and what
        the network computed before, in parts of the largest output; or the error that it raised.
"""
import importlib.metadata, json, os, pathlib, re, subprocess, sys, tempfile

import numpy as np


class Refused(Exception):
    """A command did not end with exit status 0."""


# ---- networks of PyTorch --------------------------------------------------------------------------------------------


def timm_network(architecture, **options):
    import timm

    return timm.create_model(architecture, **options)


def torchvision_network():
    import torchvision

    return torchvision.models.resnet18()


def transformers_network():
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = [64, 128, 256, 512]
    return ResNetForImageClassification(ResNetConfig(layer_type="basic", hidden_sizes=sizes, depths=[2] * 4, num_labels=10))


def smp_network():
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet18", encoder_weights=None)


def ultralytics_network(architecture):
    from ultralytics import YOLO

    return YOLO(architecture + ".yaml").model


# By the beginning of a snippet's name; the longest that fits decides.
TORCH = {
    "timm": lambda: timm_network("resnet18", num_classes=10),
    "timm reparameterize": lambda: timm_network("repvgg_a0"),
    "timm stripped": lambda: timm_network("mobilenetv3_small_100"),
    "torchvision": torchvision_network,
    "transformers": transformers_network,
    "segmentation_models_pytorch": smp_network,
    "ultralytics": lambda: ultralytics_network("yolov8n"),
    "ultralytics yolov9t": lambda: ultralytics_network("yolov9t"),
    "ultralytics yolov10n": lambda: ultralytics_network("yolov10n"),
}


def torch_case(library, name):
    """Writes the original; returns the names that a snippet finds, and what the network computes."""
    import torch
    from make_networks import images, randomise
    from safetensors.torch import save_file

    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    network = TORCH[max(filter(name.startswith, TORCH), key=len)]()
    randomise(network, generator)
    # Statistics of enough pixels that no channel is blown up where layers are small.
    with torch.no_grad():
        network.train()(images(16, 128, generator))
    network.eval()
    batch = images(4, 128, generator)
    if hasattr(network, "save_pretrained"):
        network.save_pretrained("model")
    else:
        save_file({key: value.contiguous().clone() for key, value in network.state_dict().items()}, "model.safetensors")
    torch.set_grad_enabled(False)
    output = network(batch)
    output = output.logits if library == "transformers" else output[0] if library == "ultralytics" else output
    return {"images": batch}, output


# ---- others ---------------------------------------------------------------------------------------------------------


def keras_network():
    """Names are left to Keras, which counts."""
    import keras
    from keras import layers

    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, use_bias=False)(inputs)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(32, 3, use_bias=False)(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(24, 3)(x)))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def keras_case(save):
    import keras

    random = np.random.default_rng(1)
    keras.utils.set_random_seed(1)
    network = keras_network()
    images = random.standard_normal((8, 32, 32, 3)).astype("float32")
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(np.exp(0.3 * random.standard_normal(layer.gamma.shape)))
            layer.beta.assign(0.4 * random.standard_normal(layer.beta.shape))
    network(images, training=True)
    exec(save, {"model": network})
    return {"build": keras_network, "images": images}, network(images)


def mlx_network():
    import mlx.nn as nn

    class Unit(nn.Module):
        def __init__(self, layer, width):
            super().__init__()
            self.conv, self.bn = layer, nn.BatchNorm(width)

        def __call__(self, x):
            return nn.relu(self.bn(self.conv(x)))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = Unit(nn.Conv2d(3, 16, 3, bias=False), 16)
            self.blocks = [Unit(nn.Conv2d(16, 32, 3, bias=False), 32), Unit(nn.Conv2d(32, 24, 3), 24)]
            self.up = Unit(nn.ConvTranspose2d(24, 8, 2, stride=2, bias=False), 8)
            self.head = nn.Linear(8, 10)

        def __call__(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return self.head(self.up(x).mean(axis=(1, 2)))

    return Network()


def mlx_case(save):
    import mlx.core as mx
    import mlx.nn as nn

    mx.random.seed(1)
    network = mlx_network()
    images = mx.random.normal((8, 20, 20, 3))
    for _, module in network.named_modules():
        if isinstance(module, nn.BatchNorm):
            module.weight = mx.exp(0.3 * mx.random.normal(module.weight.shape))
            module.bias = 0.4 * mx.random.normal(module.bias.shape)
    network.train()
    for _ in range(40):
        mx.eval(network(images), network.state)
    network.eval()
    exec(save, {"model": network})
    return {"build": mlx_network, "images": images}, network(images)


# ---- the snippet ----------------------------------------------------------------------------------------------------


def array(value):
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value, dtype=np.float64)


def difference(before, after):
    before, after = array(before), array(after)
    assert before.shape == after.shape, f"outputs of shape {after.shape}, before {before.shape}"
    found = float(np.abs(after - before).max() / np.abs(before).max())
    return found if found == found else float("inf")


def run(steps, names):
    for language, text in steps:
        if language == "python":
            exec(text, names)
            continue
        command = subprocess.run(text, shell=True, capture_output=True, text=True)
        print(command.stdout, command.stderr, file=sys.stderr)
        if command.returncode:
            raise Refused(command.returncode)


def check(case, library):
    for name, text in case["files"].items():
        pathlib.Path(name).write_text(text)
    sys.path.insert(0, os.getcwd())
    others = {"keras": keras_case, "mlx": mlx_case}
    names, before = others[library](case["save"]) if library in others else torch_case(library, case["name"])
    run(case["steps"], names)
    return difference(before, names["y"]) if "y" in names else None


def main():
    case = json.load(sys.stdin)
    library = re.split(r"[ ,]", case["name"])[0]
    result = {"version": importlib.metadata.version(library)}
    # What libraries print goes past the result.
    stdout, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            result["difference"] = check(case, library)
        except Exception as error:  # Whatever the snippet raises is the result.
            result["error"] = f"{type(error).__name__}: {error}"
        os.chdir("/")
    print(json.dumps(result), file=stdout)


if __name__ == "__main__":
    main()
