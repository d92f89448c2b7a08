#!/usr/bin/env python3
"""Folds networks by the hundred and lets them compute: no pair may be wrong in any of them.

    scripts/check_networks.py [--libraries timm pytorchcv ...] [--only GLOB ...] [--parameters 60e6] [--part 0/1]
    scripts/check_networks.py --self-test           plant wrong pairs, show that each is seen

Stage:  after the build; it sees the program only through its command line.
In:     every architecture of the libraries that has batch norms and at most that many parameters (no pretrained weights,
        nothing is downloaded), with random weights and the statistics of a run in training mode.
Out:    a line for each network: how many of its norms were folded, and the largest difference; WRONG and where, if one is
        too large; or why it was not checked. Then the counts. Exit status 0 if networks were checked, none computes
        anything else than before, and the program failed on none.

Each network is folded in drop-in style, once with pairs from names and shapes alone (`--evidence none`; eps, which no file
tells, is stated) and once with its architecture named, for eps, and its values read. It loads strictly into the unmodified network and is run on one image in float64. The output of
every norm and of the network must be what it was, within 1e-3 of its largest element: rounding moves it by some 1e-7, a wrong
pair by 1. What a norm gives is replaced by what it gave before, so that each is judged by its own input and no difference
grows. Nobody has to know which convolution feeds which norm; a convolution that feeds something else, too, is
seen behind it. Names of architectures that the program does not know are not given.

Needs: pip install torch torchvision timm safetensors, and for more libraries pytorchcv segmentation_models_pytorch
efficientnet_pytorch transformers. About an hour for timm on two cores.
"""

import argparse
import copy
import fnmatch
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn
from make_networks import images, randomise
from safetensors.torch import load_file, save_file

LIMIT = 1e-3


class Failure(Exception):
    """The program under test failed."""


def is_norm(module):
    """Batch norms of every make: libraries have frozen ones of their own."""
    return isinstance(getattr(module, "running_var", None), torch.Tensor)


# ---- the networks ---------------------------------------------------------------------------------------------------


def timm_networks():
    import timm

    for name in timm.list_models():
        yield name, lambda name=name: timm.create_model(name, pretrained=False)


def torchvision_networks():
    import torchvision

    for name in torchvision.models.list_models():
        if "rcnn" in name or "retinanet" in name or "ssd" in name or "fcos" in name or "raft" in name:
            continue  # Their outputs are lists of boxes, or they want pairs of frames.
        options = {"weights": None}
        if "fcn" in name or "deeplab" in name or "lraspp" in name:
            options["weights_backbone"] = None
        yield name, lambda name=name, options=options: torchvision.models.get_model(name, **options)


def pytorchcv_networks():
    from pytorchcv.model_provider import _models, get_model

    for name in sorted(_models):
        yield name, lambda name=name: get_model(name, pretrained=False)


def smp_networks():
    import segmentation_models_pytorch as smp

    decoders = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet".split()
    encoders = "resnet18 mobilenet_v2 timm-regnetx_002 efficientnet-b0 densenet121 vgg11_bn dpn68 se_resnext50_32x4d"
    for decoder in decoders:
        for encoder in encoders.split():
            make = getattr(smp, decoder)
            yield f"{decoder}__{encoder}", lambda make=make, encoder=encoder: make(encoder, encoder_weights=None)


def efficientnet_networks():
    from efficientnet_pytorch import EfficientNet

    for size in range(5):
        yield f"efficientnet-b{size}", lambda size=size: EfficientNet.from_name(f"efficientnet-b{size}")


def transformers_networks():
    """One of each model type whose code speaks of batch norm, as its configuration has it by default."""
    import transformers
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    for folder in sorted((Path(transformers.__file__).parent / "models").iterdir()):
        name = folder.name if folder.name in MODEL_MAPPING_NAMES else folder.name.replace("_", "-")
        if name in MODEL_MAPPING_NAMES and any("BatchNorm" in code.read_text() for code in folder.glob("modeling_*.py")):
            yield name, lambda name=name: AutoModel.from_config(AutoConfig.for_model(name))


LIBRARIES = {
    "timm": timm_networks,
    "torchvision": torchvision_networks,
    "pytorchcv": pytorchcv_networks,
    "segmentation_models_pytorch": smp_networks,
    "efficientnet_pytorch": efficientnet_networks,
    "transformers": transformers_networks,
}

# What networks may ask for: (channels, height, width), or (channels, frames, height, width), or (channels, length).
SHAPES = [(3, 128, 128), (3, 224, 224), (3, 256, 256), (3, 299, 299), (3, 384, 384), (3, 480, 480), (1, 128, 128)]
SHAPES += [(3, 8, 112, 112), (3, 16, 224, 224), (64, 200), (80, 200), (120, 200), (1, 16000)]


def shapes_for(model):
    """The likeliest first."""
    size = (getattr(model, "default_cfg", None) or {}).get("input_size") or getattr(model, "in_size", None)
    if isinstance(size, (tuple, list)):
        size = tuple(size) if len(size) == 3 else (getattr(model, "in_channels", 3), *size)
        fixed = (getattr(model, "default_cfg", None) or {}).get("fixed_input_size")
        return [size, *SHAPES] if fixed or max(size) <= 128 else [*SHAPES[:1], size, *SHAPES[1:]]
    return SHAPES


def batch(count, shape, generator):
    if len(shape) == 3 and shape[1] == shape[2]:
        return images(count, shape[1], generator)[:, :1].repeat(1, shape[0], 1, 1) + 0.1 * torch.randn(
            count, *shape, generator=generator
        )
    return torch.randn(count, *shape, generator=generator)


def trained(model, generator):
    """Random weights, and statistics of a batch; returns an input."""
    randomise(model, generator)
    # Frozen ones gather nothing.
    for norm in filter(is_norm, model.modules()):
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
    for shape in shapes_for(model):
        try:
            torch.manual_seed(1)
            model.train()
            with torch.no_grad():
                model(batch(2, shape, generator))
                model.eval()
                model(example := batch(1, shape, generator))
            return example
        except (RuntimeError, AssertionError, ValueError, IndexError, TypeError, AttributeError) as error:
            reason = error
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.reset_running_stats()
    raise ValueError(f"no input fits: {str(reason).splitlines()[0][:100]}")


# ---- the comparison -------------------------------------------------------------------------------------------------


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [tensor for item in values for tensor in tensors_in(item)]


def outputs(model, state, example, before=None):
    """What every norm and the network give, in float64, by name and in order; behind a norm goes what it gave `before`."""
    model = copy.deepcopy(model)
    whole = model.state_dict()  # It has versions, too, which some networks ask for.
    assert whole.keys() == state.keys(), "other keys than before"
    whole.update(state)
    model.load_state_dict(whole, strict=True)
    model.double().eval()
    seen = []

    def see(name, output):
        place = len(seen)
        seen.append((name, output.clone()))
        if before is not None and place < len(before) and before[place][0] == name:
            return before[place][1].clone()
        return None

    for name, module in model.named_modules():
        if is_norm(module):
            module.register_forward_hook(lambda _, __, output, name=name: see(name, output))
    with torch.no_grad():
        result = model(example.double())
    return seen + [("the network", tensor) for tensor in tensors_in(result)]


def distances(expected, got):
    """How far the results at every place are from what was expected, in parts of the largest."""
    if [name for name, _ in expected] != [name for name, _ in got]:
        return [float("inf")]
    parts = ((a, b) for (_, a), (_, b) in zip(expected, got))
    return [float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) if a.numel() else 0.0 for a, b in parts]


def difference(expected, got):
    """The first place where results differ, with its distance, and the largest distance anywhere."""
    found = distances(expected, got)
    wrong = (place for place, distance in enumerate(found) if not distance <= LIMIT)
    first = next((f"{expected[place][0]} by {found[place]:.2g}" for place in wrong), None)
    return max(found), first


def fold(binary, path, folder, options):
    output = folder / "folded.safetensors"
    command = [binary, "--device", "cpu", "--no-sync", "--style", "drop-in", "--force", "--quiet", "--format", "json"]
    run = subprocess.run([*command, "--input", path, "--output", output, *options], capture_output=True, text=True)
    if run.returncode:
        raise Failure(run.stderr.strip())
    report = json.loads(run.stdout)
    return load_file(output), report


def stated_eps(model):
    norms = ((name, module) for name, module in model.named_modules() if is_norm(module))
    return [word for name, norm in norms if getattr(norm, "eps", 1e-5) != 1e-5 for word in ("--eps-for", f"{name}={norm.eps}")]


def knows(binary, path, name):
    command = [binary, "plan", "--input", path, "--arch", name, "--format", "json"]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.returncode == 0 and "it is not used" not in run.stderr


def checkpoint(model):
    state = model.state_dict()
    seen = {}
    for key, value in state.items():
        if value.numel():
            seen.setdefault((value.data_ptr(), value.shape), []).append(key)
    # Shared weights are recorded as save_model of safetensors does.
    aliases = {key: keys[0] for keys in seen.values() for key in keys[1:]}
    tensors = {key: value.contiguous().clone() for key, value in state.items() if key not in aliases}
    return tensors, {"format": "pt", **aliases}, aliases


def check(binary, library, name, make, folder, totals):
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    model = make()
    example = trained(model, generator)
    tensors, metadata, aliases = checkpoint(model)
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata=metadata)
    full = lambda state: {**state, **{key: state[first] for key, first in aliases.items()}}
    expected = outputs(model, full(tensors), example)
    norms = sum(is_norm(module) for module in model.modules())
    text = []
    full_name = f"{library}/{name}"
    runs = {
        "names": ["--evidence", "none", *stated_eps(model)],
        "arch": ["--arch", full_name] if knows(binary, path, full_name) else stated_eps(model),
    }
    for family, options in runs.items():
        state, report = fold(binary, path, folder, options)
        worst, first = difference(expected, outputs(model, full(state), example, expected))
        folded = len(report["folded"])
        totals[family] = [a + b for a, b in zip(totals.get(family, [0] * 4), [1, norms, folded, first is not None])]
        text.append(f"{family} {folded}/{norms} {worst:.1e}" + (f" WRONG: {first}" if first else ""))
    print(f"{library} {name}: {'; '.join(text)}", flush=True)


def self_test():
    """Two convolutions of one width: their norms exchanged, and the second's norm folded into the first's."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
            self.bn_a, self.bn_b = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

        def forward(self, x):
            return self.bn_b(self.b(self.bn_a(self.a(x)).relu()))

    generator = torch.Generator().manual_seed(1)
    model = Net()
    example = trained(model, generator)
    tensors, _, _ = checkpoint(model)
    expected = outputs(model, tensors, example)

    def folded(pairs):
        state = {key: value.clone() for key, value in tensors.items()}
        for norm, layer in pairs:
            scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + 1e-5).sqrt()
            state[f"{layer}.weight"] *= scale[:, None, None, None]
            state[f"{layer}.bias"] *= scale
            state[f"{norm}.bias"] -= tensors[f"{norm}.running_mean"] * scale
            state[f"{norm}.weight"] = torch.ones(8)
            state[f"{norm}.running_mean"] = torch.zeros(8)
            state[f"{norm}.running_var"] = torch.full((8,), 1 - 1e-5)
        return difference(expected, outputs(model, state, example, expected))

    assert folded([("bn_a", "a"), ("bn_b", "b")])[1] is None
    for wrong in [[("bn_a", "b"), ("bn_b", "a")], [("bn_b", "a")], [("bn_a", "b")]]:
        worst, first = folded(wrong)
        assert first, wrong
        print(f"seen: {wrong}: {first}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--libraries", nargs="*", choices=LIBRARIES, default=["timm", "torchvision"])
    parser.add_argument("--only", nargs="*", default=["*"], help="names by glob")
    parser.add_argument("--parameters", type=float, default=60e6, help="skip networks of more")
    parser.add_argument("--part", default="0/1", help="every Nth network from I on: I/N")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    if arguments.self_test:
        return self_test()
    first, step = map(int, arguments.part.split("/"))
    totals, failed, without, failures = {}, [], 0, 0
    for library in arguments.libraries:
        networks = [n for n in LIBRARIES[library]() if any(fnmatch.fnmatch(n[0], glob) for glob in arguments.only)]
        for name, make in networks[first::step]:
            try:
                with torch.device("meta"):
                    sketch = make()
                large = sum(parameter.numel() for parameter in sketch.parameters()) > arguments.parameters
                if large or not any(is_norm(module) for module in sketch.modules()):
                    without += 1
                    continue
            except Exception:
                pass  # Some cannot be built without memory.
            with tempfile.TemporaryDirectory() as folder:
                try:
                    check(arguments.bin, library, name, make, Path(folder), totals)
                except (Failure, OSError) as error:
                    failures += 1
                    print(f"{library} {name}: FAILED: {error}", flush=True)
                except Exception as error:  # Whatever a library's network raises: the others go on.
                    failed.append(name)
                    print(f"{library} {name}: not checked: {str(error)[:200]}", flush=True)
    for family, (networks, norms, folded, wrong) in totals.items():
        print(f"{family}: {networks} networks, {norms} norms, {folded} folded, {wrong} networks compute something else")
    print(f"{failures} FAILED; {len(failed)} not checked; {without} too large or without batch norm")
    return failures > 0 or not totals or sum(wrong for *_, wrong in totals.values()) > 0


if __name__ == "__main__":
    sys.exit(main())
