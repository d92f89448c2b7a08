#!/usr/bin/env python3
"""Make checkpoints of real architectures whose norm statistics belong to their weights, with the truth about each norm.

    scripts/make_networks.py [--out target/networks] [--set develop|held-out|fresh|unseen|all] [--only NAME ...] [--seed 1]

Stage:  before scripts/score_values.py; nothing in the crate depends on it.
In:     timm, torchvision and pytorchcv architectures (no pretrained weights, nothing is downloaded).
Out:    OUT/LIBRARY+NAME.safetensors   random weights; norm statistics gathered by running the network in training mode
        OUT/LIBRARY+NAME.json          {"norm module": "weight that alone feeds it" or null}; norms that never ran are left out

Weights are normal with a scale that varies from output channel to output channel (log-normal, sigma 0.4), as it does in
trained networks; gammas and betas vary too, or every channel would look like its neighbour. The truth comes from
following tensors through every function call: a norm counts as fed by a weight if its input is the very output of one
convolution or linear (reshapes between are looked through) whose weight is a parameter as stored and used once, and
nothing else reads that output. What was tuned was tuned on `develop`; `held-out` showed whether it holds elsewhere, and
`fresh` was scored last (docs/formats.md says what was changed since). No number was chosen on `unseen`.

Needs: pip install torch torchvision timm pytorchcv safetensors. A minute or two a set on one core; 1 GB of disk each.
"""

import argparse
import json
import os
import sys
import warnings
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

DEVELOP = """
timm resnet18, timm resnetv2_50, timm densenet121, timm mobilenetv2_100, timm mobilenetv3_small_100, timm
efficientnet_b0, timm regnetx_002, timm regnety_002, timm repvgg_a0, timm mobileone_s0, timm ghostnet_100, timm
dla46_c, timm hrnet_w18_small, timm inception_v3, timm vovnet39a, timm levit_128s, timm convmixer_768_32, timm
mixnet_s, timm dpn68, torchvision shufflenet_v2_x1_0, torchvision squeezenet1_1, torchvision mnasnet0_5, torchvision
vgg11_bn, timm res2net50_14w_8s, timm fastvit_t8
""".replace("\n", " ")
HELD_OUT = """
timm seresnext26t_32x4d, timm resnet50, timm resnetv2_18, timm legacy_xception, timm mobilenetv3_large_100, timm
efficientnet_lite0, timm efficientnetv2_rw_t, timm regnetz_b16, timm regnetv_040, timm repvgg_b0, timm ghostnetv2_100,
timm dla60x_c, timm hardcorenas_a, timm ese_vovnet19b_dw, timm selecsls42b, timm cspdarknet53, timm darknet53, timm
repvit_m1_1, timm mobilevit_s, timm gernet_s, timm skresnet18, timm rexnet_100, timm lcnet_050, timm tinynet_e, timm
fbnetc_100, timm efficientformer_l1, timm visformer_tiny, timm starnet_s1, timm resnest14d, timm inception_resnet_v2,
timm inception_v4, timm hgnetv2_b0, timm spnasnet_100, torchvision googlenet, torchvision shufflenet_v2_x0_5,
torchvision regnet_x_400mf, torchvision densenet169, torchvision deeplabv3_mobilenet_v3_large, timm resnext50_32x4d
""".replace("\n", " ")
FRESH = """
timm resnetv2_34, timm cs3darknet_s, timm tf_efficientnetv2_b0, timm mobilenetv4_conv_small, timm fastvit_sa12, timm
efficientvit_b0, timm mobileone_s1, timm hgnet_tiny, timm dla34, timm tresnet_m, timm regnetz_c16, timm gcresnext26ts,
timm lambda_resnet26t, timm halonet26t, timm repghostnet_050, timm res2next50, timm ese_vovnet39b, timm
eca_botnext26ts_256, timm resnetblur18, timm ecaresnet26t, timm mobilevitv2_050, timm swiftformer_xs, timm
efficientformerv2_s0, timm shvit_s1, timm selecsls60, timm repvit_m0_9, timm xception41p, timm mixnet_m, timm
efficientvit_m0, timm tiny_vit_5m_224, timm dpn48b, timm densenetblur121d, timm cspresnext50, timm skresnext50_32x4d
""".replace("\n", " ")
UNSEEN = """
timm regnetx_006, timm efficientvit_m4, timm iformer_m, pytorchcv resnetbc26b_cub, timm resnet14t, timm mnasnet_100,
pytorchcv densenet100_k12_bc_svhn, timm mobileone_s2, pytorchcv diaresnet20_cifar10, pytorchcv proxylessnas_cpu_cub,
timm xcit_nano_12_p8_384, timm mobilenetv4_conv_small_035, pytorchcv fdmobilenet_wd2, torchvision shufflenet_v2_x1_5,
timm levit_conv_192, timm rexnetr_130, timm hgnetv2_b2, torchvision regnet_x_1_6gf, pytorchcv mobilenetv3_small_wd2,
timm repghostnet_200, pytorchcv preresnet110_cifar10, pytorchcv diapreresnet110_cifar10,
pytorchcv sqnxt23_w1, torchvision mnasnet1_0,
torchvision mobilenet_v3_large, pytorchcv diapreresnet10, timm starnet_s150, timm densenet169, timm cspnext_s,
pytorchcv igcv3_wd2, torchvision efficientnet_b2, pytorchcv shufflenetv2_w1, pytorchcv espnetv2_w1,
timm ese_vovnet19b_slim_dw, pytorchcv shufflenet_g3_wd2
""".replace("\n", " ")

SETS = {"develop": DEVELOP, "held-out": HELD_OUT, "fresh": FRESH, "unseen": UNSEEN}

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LAYERS = {F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, F.linear}
LAYERS |= {torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose2d}
RESHAPES = {torch.flatten, torch.reshape, torch.transpose, torch.permute, torch.squeeze, torch.unsqueeze}
RESHAPES |= {
    getattr(torch.Tensor, name)
    for name in "flatten reshape view transpose permute squeeze unsqueeze contiguous".split()
}

SHAPE_ONLY = {torch.Tensor.reshape_as, torch.Tensor.view_as, torch.Tensor.expand_as}


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


class Follow(TorchFunctionMode):
    """Follows tensors: who made one, and how often it is read."""

    def __init__(self, model):
        super().__init__()
        self.parameters = {id(parameter): name for name, parameter in model.named_parameters(remove_duplicate=False)}
        self.statistics = {}
        for name, module in model.named_modules():
            if isinstance(module, NORMS) and module.running_var is not None:
                self.statistics[id(module.running_var)] = name
        self.origin = {}
        self.alive = []  # Keeps ids from being used twice.
        self.reads = Counter()
        self.uses = Counter()
        self.norms = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in ("__get__", "size", "dim", "numel", "__len__"):
            return function(*args, **kwargs)
        inputs = list(tensors_in(args)) + list(tensors_in(list(kwargs.values())))
        origin = self.origin.get(id(inputs[0])) if inputs else None
        passes = function in RESHAPES and origin is not None
        if not passes:
            # `x.reshape_as(y)` reads no value of y.
            for tensor in inputs[:1] if function in SHAPE_ONLY else inputs:
                if id(tensor) in self.origin:
                    self.reads[self.origin[id(tensor)]] += 1
        if function is F.batch_norm:
            names = [self.statistics[id(tensor)] for tensor in inputs if id(tensor) in self.statistics]
            for name in names:
                self.norms.setdefault(name, []).append(origin)
        result = function(*args, **kwargs)
        for tensor in tensors_in(result):
            self.alive.append(tensor)
            self.origin.pop(id(tensor), None)
            if passes:
                self.origin[id(tensor)] = origin
            elif function in LAYERS:
                weight = args[1] if len(args) > 1 else kwargs["weight"]
                name = self.parameters.get(id(weight))
                self.uses[name] += 1
                self.origin[id(tensor)] = (name, len(self.alive))
        return result

    def truth(self, model):
        """The weight that feeds each norm that ran."""
        state, found = model.state_dict(), {}
        for norm, origins in self.norms.items():
            weight = origins[0][0] if len(origins) == 1 and origins[0] else None
            if weight is not None and (self.uses[weight] > 1 or self.reads[origins[0]] > 1):
                weight = None
            # Grouped transposed convolutions do not occur here, so the channels lie on one of the first two axes.
            if weight is not None and len(state[f"{norm}.running_var"]) not in state[weight].shape[:2]:
                weight = None
            found[norm] = weight
        return found


def build(library, name):
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False)
    if library == "pytorchcv":
        import pytorchcv.model_provider

        return pytorchcv.model_provider.get_model(name, pretrained=False)
    import torchvision

    options = {
        "googlenet": dict(aux_logits=False, init_weights=False),
        "deeplabv3_mobilenet_v3_large": dict(weights_backbone=None),
    }
    model = torchvision.models.get_model(name, weights=None, **options.get(name, {}))
    if name.startswith("vgg"):
        # Its linears hold nothing of interest in half a gigabyte.
        model = nn.Sequential()
        model.features = torchvision.models.get_model(name, weights=None).features
    return model


def randomise(model, generator):
    normal = lambda shape: torch.randn(shape, generator=generator)
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, NORMS):
            module.momentum = None  # The statistics become the plain average over all batches.
            module.reset_running_stats()
            if module.affine:
                module.weight.data = torch.exp(0.3 * normal(module.weight.shape))
                module.bias.data = 0.4 * normal(module.bias.shape)
        elif isinstance(weight, nn.Parameter) and weight.dim() >= 2:
            axis = 1 if "Transpose" in type(module).__name__ else 0
            fan = weight[0].numel() if axis == 0 else weight.shape[0] * weight[0, 0].numel()
            scale = torch.exp(0.4 * normal((weight.shape[axis],)))
            scale = scale.reshape([-1 if i == axis else 1 for i in range(weight.dim())])
            weight.data = normal(weight.shape) * scale * (2 / fan) ** 0.5


def images(count, size, generator):
    """Smooth patterns of several scales, with a brightness and a contrast each."""
    batch = torch.zeros(count, 3, size, size)
    for cells in (2, 5, 12, size // 4):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        batch += F.interpolate(noise, (size, size), mode="bilinear")
    contrast = torch.exp(0.3 * torch.randn(count, 1, 1, 1, generator=generator))
    return 0.5 * contrast * batch + 0.3 * torch.randn(count, 3, 1, 1, generator=generator)


# Input sizes of networks that do not take 128 x 128.
SIZES = {
    "levit": 224, "swiftformer": 224, "tiny_vit": 224, "efficientvit_m": 224, "shvit": 224, "visformer": 224,
    "efficientformer": 224, "halonet": 256, "botnext": 256, "lambda": 256, "mobilevit": 256, "inception": 160, "convmixer": 112,
    "cifar": 32, "svhn": 32,
}


def make(library, name, out, seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = build(library, name)
    randomise(model, generator)
    model.train()
    size = next((size for part, size in SIZES.items() if part in name), 224 if library == "pytorchcv" else 128)
    with torch.no_grad():
        with Follow(model) as follow:
            model(images(6, size, generator))
        model(images(6, size, generator))
    truth = follow.truth(model)
    path = out / f"{library}+{name}.safetensors"
    state = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
    fed = sum(weight is not None for weight in truth.values())
    size = path.stat().st_size / 1e6
    print(f"{library:12}{name:32}{fed:5} norms fed by one weight, {len(truth) - fed:4} not; {size:6.1f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("target/networks"))
    parser.add_argument("--set", choices=[*SETS, "all"], default="all")
    parser.add_argument("--only", nargs="*", help="these names only")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    failed = False
    for kind, names in SETS.items():
        if arguments.set not in (kind, "all"):
            continue
        (arguments.out / kind).mkdir(parents=True, exist_ok=True)
        for library, name in (entry.split() for entry in names.split(",")):
            if arguments.only and name not in arguments.only:
                continue
            try:
                make(library, name, arguments.out / kind, arguments.seed)
            except Exception as error:  # One architecture that a version of a library lacks must not stop the others.
                print(f"error: {library} {name}: {type(error).__name__}: {error}", file=sys.stderr)
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
