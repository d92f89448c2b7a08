#!/usr/bin/env python3
"""The end-to-end proof: fold two trained networks, load the result into PyTorch, compare what they compute.

    scripts/check_pytorch.py [--bin target/release/bnfold-gpu] [--models target/models] [--device cpu|gpu]
    scripts/check_pytorch.py --verify-foreign       also: `bnfold-gpu verify` on a file that PyTorch itself folded
    scripts/check_pytorch.py --self-test            no binary: plant errors in a fold, show that each is caught

Stage:  after the build; it sees the program only through its command line.
In:     MODELS/mobilenet_v2.safetensors and MODELS/efficientnet_lite0.safetensors (scripts/fetch_models.py makes them).
Out:    one line a check, `ok` or `FAILED` with its figure, then `N passed, M failed`. Exit status 0 only if none failed.

For both networks and both output styles:
  keys     strip: every norm is gone and its conv has a bias; drop-in: the same keys, shapes and dtypes as before;
           what has nothing to do with a norm is the same bytes
  weights  every weight lies within 1.5 ulp of the fold in float64, computed here from the original
  biases   every bias (drop-in: shift) lies within 2 ulp of the larger of its two addends
  outputs  loads with strict=True (strip: into the network that torch.fx fused; drop-in: into the unmodified network)
           and computes the same for a seeded batch, within 1e-4 of the largest output
  top-1    and names the same classes
Which conv feeds which norm is seen by running the network, so the program's pairing is checked too.

Needs Python 3.9 or newer with PyTorch, for instance:
    python3 -m venv venv && venv/bin/pip install torch torchvision numpy safetensors && venv/bin/python scripts/check_pytorch.py
"""
import argparse, collections, json, os, subprocess, sys, tempfile

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.fx.experimental.optimization import fuse as fx_fuse
from torch.nn.utils.fusion import fuse_conv_bn_weights

# Two roundings, of the scale and of the product, are 1.5 ulp at most. A drop-in file is judged with the norm that stands
# in it, whose variance 1 - eps is rounded to f32 as well: that moves the scale by up to 2^-26, a quarter of an ulp.
WEIGHT_ULPS = {"strip": 1.5, "drop-in": 1.75}
BIAS_ULPS = 2.0  # of the larger addend
OUTPUT_LIMIT = 1e-4
NORM_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


# ---- the networks ---------------------------------------------------------------------------------------------------


def same(x, size, kernel, stride):
    """TensorFlow's "same" padding, the odd row and column at the end. Constants, so that torch.fx can trace it."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return F.pad(x, [total // 2, total - total // 2] * 2) if total else x


class LiteBlock(nn.Module):
    """Expand (unless the ratio is 1), depthwise, project; every conv has a norm, the first two a ReLU6 after it."""

    def __init__(self, size, kernel, stride, ratio, inputs, outputs):
        super().__init__()
        middle = inputs * ratio
        self.padding = (size, kernel, stride)
        self.residual = stride == 1 and inputs == outputs
        if ratio != 1:
            self._expand_conv = nn.Conv2d(inputs, middle, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(middle, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = nn.BatchNorm2d(middle, eps=1e-3)
        self._project_conv = nn.Conv2d(middle, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.has_expand = ratio != 1

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.has_expand else x
        y = F.relu6(self._bn1(self._depthwise_conv(same(y, *self.padding))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 at 224 x 224, with the names of the PyTorch port that the checkpoint comes from.

    The weights were trained in TensorFlow: eps 1e-3 and "same" padding (0 before and 1 after for a 3 x 3 conv of
    stride 2). Unlike EfficientNet-B0 it has ReLU6 for swish and no squeeze-and-excite.
    """

    # repeats, kernel, stride, expand ratio, outputs
    STAGES = [
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ]

    def __init__(self):
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        self._blocks, size, inputs = nn.ModuleList(), 112, 32
        for repeats, kernel, stride, ratio, outputs in self.STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                self._blocks.append(LiteBlock(size, kernel, step, ratio, inputs, outputs))
                size, inputs = -(-size // step), outputs
        self._conv_head = nn.Conv2d(inputs, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x):
        x = F.relu6(self._bn0(self._conv_stem(same(x, 224, 3, 2))))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


Pair = collections.namedtuple("Pair", "norm conv eps")


class Network:
    """A trained network, its checkpoint, and what it computes for a fixed batch."""

    def __init__(self, name, build, options, folder):
        self.name, self.build, self.options = name, build, options
        self.path = os.path.join(folder, name + ".safetensors")
        self.tensors = load_file(self.path)
        self.batch = test_batch()
        model = load(build(), self.tensors)
        self.pairs = find_pairs(model, self.batch[:1])
        self.outputs = run(model, self.batch)


def networks(folder):
    """MobileNetV2 has PyTorch's default eps, which the program must find by itself."""
    yield Network("mobilenet_v2", torchvision.models.mobilenet_v2, [], folder)
    yield Network("efficientnet_lite0", EfficientNetLite0, ["--eps", "1e-3"], folder)


def test_batch():
    """Mosaics of 2 x 2 to 112 x 112 coloured tiles: plain noise would land in one and the same class."""
    generator = torch.Generator().manual_seed(20)
    tiles = [torch.randn(1, 3, n, n, generator=generator) for n in (2, 3, 5, 8, 14, 28, 56, 112)]
    return torch.cat([F.interpolate(t, size=(224, 224), mode="nearest") for t in tiles])


def load(model, tensors):
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()}, strict=True)
    return model.eval()


def run(model, batch):
    with torch.inference_mode():
        return model(batch)


def find_pairs(model, batch):
    """Which conv or linear layer feeds each norm, seen while the network runs; names play no part."""
    produced, pairs, hooks = [], [], []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            # The outputs are kept, so that no two of them can have the same identity.
            hooks.append(module.register_forward_hook(lambda _m, _i, output, name=name: produced.append((output, name))))
        elif isinstance(module, nn.BatchNorm2d):

            def note(module, inputs, name=name):
                (conv,) = [conv for output, conv in produced if output is inputs[0]]
                pairs.append(Pair(name, conv, module.eps))

            hooks.append(module.register_forward_pre_hook(note))
    run(model, batch)
    for hook in hooks:
        hook.remove()
    return pairs


# ---- the oracle -----------------------------------------------------------------------------------------------------

Affine = collections.namedtuple("Affine", "weight shift addend")


def norm_scale(tensors, pair):
    gamma, var = (tensors[f"{pair.norm}.{key}"].astype(np.float64) for key in ("weight", "running_var"))
    return gamma / np.sqrt(var + pair.eps)


def compose(tensors, pair):
    """Conv and norm as one conv, in float64: its weight, its bias, and the larger addend of the bias."""
    weight = tensors[pair.conv + ".weight"].astype(np.float64)
    scale = norm_scale(tensors, pair)
    beta, mean = (tensors[f"{pair.norm}.{key}"].astype(np.float64) for key in ("bias", "running_mean"))
    bias = tensors.get(pair.conv + ".bias", np.zeros(1)).astype(np.float64)
    moved = (bias - mean) * scale
    return Affine(weight * per_channel(scale, weight), moved + beta, np.maximum(np.abs(moved), np.abs(beta)))


def per_channel(values, weight):
    return values.reshape(-1, *[1] * (weight.ndim - 1))


def ulp(values):
    """The spacing of f32 at each value rounded to f32; below the normal range that of the subnormals."""
    rounded = values.astype(np.float32).astype(np.float64)
    exponent = np.where(rounded == 0, -1000, np.frexp(rounded)[1] - 1)
    return np.ldexp(1.0, np.maximum(exponent, -126) - 23)


class Worst:
    """The largest error seen, and where. NaN counts as the largest of all."""

    def __init__(self):
        self.value, self.where = 0.0, "nowhere"

    def see(self, errors, where):
        value = float(np.max(errors))
        if not value <= self.value:
            self.value, self.where = value, where

    def against(self, limit, what):
        return self.value <= limit, f"{what} {self.value:.3f} ulp at worst ({self.where}), limit {limit}"


# ---- the checks -----------------------------------------------------------------------------------------------------


def check_keys(network, folded, style):
    """Every key that must be there with its shape and dtype, none besides, and the rest untouched."""
    original = network.tensors
    norms = {f"{pair.norm}.{key}" for pair in network.pairs for key in NORM_KEYS}
    convs = {pair.conv + ".weight" for pair in network.pairs}
    expected = {name: (value.shape, value.dtype) for name, value in original.items()}
    if style == "strip":
        expected = {name: kind for name, kind in expected.items() if name not in norms}
        for pair in network.pairs:
            weight = original[pair.conv + ".weight"]
            expected[pair.conv + ".bias"] = (weight.shape[:1], weight.dtype)
    got = {name: (value.shape, value.dtype) for name, value in folded.items()}
    wrong = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    if wrong:
        return False, f"{len(wrong)} keys missing, left over or of another shape, such as {wrong[0]}"
    rest = (original.keys() & expected.keys()) - norms - convs
    changed = sorted(name for name in rest if original[name].tobytes() != folded[name].tobytes())
    if changed:
        return False, f"{len(changed)} tensors changed that belong to no norm, such as {changed[0]}"
    left = [pair.norm for pair in network.pairs if style == "drop-in" and not is_shift(folded, pair)]
    if left:
        return False, f"{len(left)} norms still scale or centre, such as {left[0]}"
    return True, f"{len(network.pairs)} norms folded, {len(expected)} tensors, {len(rest)} of them untouched"


def is_shift(folded, pair):
    """Whether a norm adds its bias and does nothing else; left unfolded it would compute the same network."""
    return np.all(np.abs(norm_scale(folded, pair) - 1) <= 2**-24) and not np.any(folded[pair.norm + ".running_mean"])


def composed(folded, pair, style):
    """Weight and bias of a folded conv, with the norm that a drop-in file still holds."""
    if style == "drop-in":
        return compose(folded, pair)[:2]
    return [folded[f"{pair.conv}.{key}"].astype(np.float64) for key in ("weight", "bias")]


def check_values(network, folded, style):
    """Weights and biases against the float64 oracle; two results."""
    weights, biases = Worst(), Worst()
    for pair in network.pairs:
        oracle = compose(network.tensors, pair)
        weight, bias = composed(folded, pair, style)
        weights.see(np.abs(weight - oracle.weight) / ulp(oracle.weight), pair.conv)
        biases.see(np.abs(bias - oracle.shift) / ulp(oracle.addend), pair.conv)
    return weights.against(WEIGHT_ULPS[style], "weights"), biases.against(BIAS_ULPS, "biases")


def check_outputs(network, folded, style):
    """What PyTorch computes from the folded file; two results."""
    model = network.build().eval()
    try:
        # fx makes the norm-free network by its own judgement of which norm follows which conv.
        outputs = run(load(fx_fuse(model) if style == "strip" else model, folded), network.batch)
    except RuntimeError as error:
        cause = (False, "load_state_dict: " + " ".join(str(error).split())[:150])
        return cause, (False, "top-1 not computed")
    difference = float((outputs - network.outputs).abs().max() / network.outputs.abs().max())
    before, after = (o.argmax(1).tolist() for o in (network.outputs, outputs))
    agree = sum(a == b for a, b in zip(before, after))
    return (
        (difference <= OUTPUT_LIMIT, f"loads strictly, outputs differ by {difference:.2e}, limit {OUTPUT_LIMIT:.0e}"),
        (agree == len(before), f"top-1 {agree} of {len(before)} the same, {len(set(before))} classes"),
    )


def examine(network, folded, style):
    """All checks of one folded file, by name."""
    results = {"keys": check_keys(network, folded, style)}
    if results["keys"][0]:
        results["weights"], results["biases"] = check_values(network, folded, style)
    results["outputs"], results["top-1"] = check_outputs(network, folded, style)
    return results


class Report:
    """A line a check, counted."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, ok, subject, text):
        self.passed, self.failed = self.passed + ok, self.failed + (not ok)
        print(f"{'ok' if ok else 'FAILED'}  {subject}  {text}", flush=True)
        return ok

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


# ---- the program ----------------------------------------------------------------------------------------------------


def call(command):
    """Exit status, stdout, and the last line of stderr as the cause of a failure."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = done.stderr.strip().splitlines()
    return done.returncode, done.stdout, next((line for line in lines if line.startswith("error:")), "".join(lines[-1:]))


def metadata(path):
    with safe_open(path, "np") as file:
        return file.metadata()


def check_program(network, style, arguments, folder, report):
    subject = f"{network.name} {style}"
    output = os.path.join(folder, f"{network.name}.{style}.safetensors")
    command = [arguments.bin, "--input", network.path, "--output", output, "--style", style, "--format", "json"]
    command += network.options + (["--device", arguments.device] if arguments.device else [])
    status, stdout, cause = call(command)
    if not report.check(status == 0, subject, f"exit status {status} {cause}".rstrip()):
        return
    try:
        (record,) = [json.loads(line) for line in stdout.splitlines()]
        report.check(True, subject, f"device {record['device']}")
    except (ValueError, KeyError, TypeError):
        report.check(False, subject, "stdout is not one JSON object on one line that names its device")
    try:
        kept, folded = metadata(output) == metadata(network.path), load_file(output)
    except (OSError, SafetensorError) as error:
        report.check(False, subject, f"the output cannot be read: {error}")
        return
    report.check(kept, subject, f"metadata {'as before' if kept else 'changed'}")
    for ok, text in examine(network, folded, style).values():
        report.check(ok, subject, text)


# ---- a file that PyTorch folded -------------------------------------------------------------------------------------


def foreign_fold(network):
    """The strip file as PyTorch's own fusion makes it: float32 throughout, with rsqrt."""
    tensors = {name: torch.from_numpy(value) for name, value in network.tensors.items()}
    folded = dict(tensors)
    for pair in network.pairs:
        gamma, beta, mean, var = (tensors[f"{pair.norm}.{key}"] for key in NORM_KEYS[:4])
        weight, bias = tensors[pair.conv + ".weight"], tensors.get(pair.conv + ".bias")
        weight, bias = fuse_conv_bn_weights(weight, bias, mean, var, pair.eps, gamma, beta)
        folded[pair.conv + ".weight"], folded[pair.conv + ".bias"] = weight.detach(), bias.detach()
        for key in NORM_KEYS:
            folded.pop(f"{pair.norm}.{key}")
    return {name: value.contiguous().numpy() for name, value in folded.items()}


def foreign_errors(network, folded):
    weights, biases, addends = Worst(), Worst(), Worst()
    for pair in network.pairs:
        oracle = compose(network.tensors, pair)
        weight, bias = composed(folded, pair, "strip")
        weights.see(np.abs(weight - oracle.weight) / ulp(oracle.weight), pair.conv)
        biases.see(np.abs(bias - oracle.shift) / ulp(oracle.shift), pair.conv)
        addends.see(np.abs(bias - oracle.shift) / ulp(oracle.addend), pair.conv)
    return (
        f"weights off by up to {weights.value:.3f} ulp ({weights.where}), biases by {biases.value:.3f} ulp"
        f" ({biases.where}), or {addends.value:.3f} ulp of the larger addend ({addends.where})"
    )


def check_foreign(network, arguments, folder, report):
    """`verify` accepts what PyTorch folds, and refuses it with one weight changed."""
    subject = f"{network.name} foreign"
    folded = foreign_fold(network)
    for ok, text in (check_keys(network, folded, "strip"), *check_outputs(network, folded, "strip")):
        report.check(ok, subject, text)
    print(f"note  {subject}  {foreign_errors(network, folded)}", flush=True)
    for expected, what in ((0, "as PyTorch folds it"), (1, "with one weight's sign flipped")):
        path = os.path.join(folder, f"{network.name}.foreign.safetensors")
        if expected:
            flip_weight(folded, network, "strip")
        save_file(folded, path, metadata={"format": "pt"})
        command = [arguments.bin, "verify", "--original", network.path, "--folded", path, *network.options]
        status, _, cause = call(command)
        text = f"verify {what}: exit status {status}, expected {expected} {cause if status not in (0, expected) else ''}"
        report.check(status == expected, subject, text.rstrip())


# ---- planted errors -------------------------------------------------------------------------------------------------


def own_fold(network, style, eps=None, scale=norm_scale, swap=None):
    """A fold in numpy, right unless another eps, another formula for the scale or other pairs are asked for."""
    folded = dict(network.tensors)
    for pair in network.pairs:
        used = pair._replace(eps=eps or pair.eps, norm=(swap or {}).get(pair.norm, pair.norm))
        beta, mean = (network.tensors[f"{used.norm}.{key}"].astype(np.float64) for key in ("bias", "running_mean"))
        weight, factor = network.tensors[pair.conv + ".weight"], scale(network.tensors, used)
        shift = (beta - mean * factor).astype(np.float32)
        folded[pair.conv + ".weight"] = weight * per_channel(factor.astype(np.float32), weight)
        if style == "strip":
            folded[pair.conv + ".bias"] = shift
            for key in NORM_KEYS:
                folded.pop(f"{pair.norm}.{key}")
        else:
            ones = np.ones_like(shift)
            # The norm is an identity for the eps of the network, whatever eps the scale was made with.
            identity = (ones, shift, 0 * ones, (ones - pair.eps).astype(np.float32))
            folded.update({f"{pair.norm}.{key}": value for key, value in zip(NORM_KEYS, identity)})
    return folded


def middle(network):
    return network.pairs[len(network.pairs) // 2]


def alike(network):
    """A norm from the middle on and the next of as many channels, each in the place of the other."""
    later = network.pairs[len(network.pairs) // 2 :]
    seen = {}
    for pair in later:
        other = seen.setdefault(network.tensors[pair.norm + ".weight"].size, pair.norm)
        if other != pair.norm:
            return {other: pair.norm, pair.norm: other}
    raise ValueError(f"{network.name} has no two norms alike")


def edit(folded, key):
    """A copy of one tensor, put in its place, to be changed."""
    folded[key] = folded[key].copy()
    return folded[key]


def flip_weight(folded, network, _style):
    weight = edit(folded, middle(network).conv + ".weight").reshape(-1)
    weight[np.argmax(np.abs(weight))] *= -1


def nudge_weight(folded, network, _style):
    weight = edit(folded, middle(network).conv + ".weight").reshape(-1)
    weight[:1].view(np.int32)[0] += 3


def swap_channels(folded, network, _style):
    weight = edit(folded, middle(network).conv + ".weight")
    weight[[0, 1]] = weight[[1, 0]]


def bias_key(network, style):
    pair = middle(network)
    return f"{pair.conv if style == 'strip' else pair.norm}.bias"


def zero_bias(folded, network, style):
    edit(folded, bias_key(network, style))[:] = 0


def drop_bias(folded, network, style):
    del folded[bias_key(network, style)]


def leave_norm(folded, network, _style):
    pair = middle(network)
    for key in [pair.conv + ".weight"] + [f"{pair.norm}.{key}" for key in NORM_KEYS]:
        folded[key] = network.tensors[key]


def unit_variance(folded, network, style):
    """Only the drop-in style has a variance to get wrong."""
    for pair in network.pairs if style == "drop-in" else []:
        edit(folded, pair.norm + ".running_var")[:] = 1


def no_square_root(tensors, pair):
    return norm_scale(tensors, pair) / np.sqrt(tensors[pair.norm + ".running_var"].astype(np.float64) + pair.eps)


EDITS = {
    "swapped channels": swap_channels,
    "one weight's sign flipped": flip_weight,
    "one weight 3 ulp off": nudge_weight,
    "a bias zeroed": zero_bias,
    "a bias dropped": drop_bias,
    "a norm left as it was": leave_norm,
    "variance 1 where 1 - eps is the identity": unit_variance,
}


def planted(network, style):
    """`(what, folded)` for every planted error that this style can hold."""
    other_eps = 1e-3 if network.pairs[0].eps < 1e-3 else 1e-5
    yield f"eps {other_eps} for {network.pairs[0].eps}", own_fold(network, style, eps=other_eps)
    yield "two norms exchanged", own_fold(network, style, swap=alike(network))
    yield "no square root", own_fold(network, style, scale=no_square_root)
    right = own_fold(network, style)
    for what, change in EDITS.items():
        folded = dict(right)
        change(folded, network, style)
        if any(folded.get(key) is not value for key, value in right.items()):
            yield what, folded


def self_test(network, style, report):
    subject = f"{network.name} {style}"
    for ok, text in examine(network, own_fold(network, style), style).values():
        report.check(ok, subject, text)
    for what, folded in planted(network, style):
        caught = [name for name, (ok, _) in examine(network, folded, style).items() if not ok]
        report.check(bool(caught), subject, f"planted: {what}: caught by {', '.join(caught) or 'nothing'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release/bnfold-gpu")
    parser.add_argument("--models", default="target/models", help="folder that scripts/fetch_models.py filled")
    parser.add_argument("--device", help="passed on: cpu, gpu, gpu:N (default: the program's choice)")
    parser.add_argument("--verify-foreign", action="store_true", help="also verify files that PyTorch folded")
    parser.add_argument("--self-test", action="store_true", help="plant errors instead of running the program")
    arguments = parser.parse_args()
    report = Report()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for network in networks(arguments.models):
                for style in ("strip", "drop-in"):
                    if arguments.self_test:
                        self_test(network, style, report)
                    else:
                        check_program(network, style, arguments, folder, report)
                if arguments.verify_foreign:
                    check_foreign(network, arguments, folder, report)
    except (OSError, SafetensorError) as error:
        print(f"error: {error} (build the program, and run scripts/fetch_models.py)", file=sys.stderr)
        return 1
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
