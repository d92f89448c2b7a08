#!/usr/bin/env python3
"""List the architectures of the libraries that the catalogue speaks of, and what their batch norms are called.

    scripts/list_architectures.py [--only LIBRARY ...] [--out src/plan/catalogue/networks.json]

Stage:  before the build; `src/plan/catalogue/networks.rs` reads what it writes.
In:     the libraries that are installed (weights are never made, nothing is downloaded).
Out:    one group a line, architectures of one library whose norms are called alike: `norms`, the paths of the norms'
        modules with their numbers as `#`, each with its share of a network's norms in percent (the mean over the group);
        `of`, by how many norms they have, the names of the architectures, under `*` where a configuration makes any
        number. `silent` are names of architectures of which nothing is said but that there are such.
        `source` is the version of each library. A library that is not installed keeps what the file says of it.

A name that a library still takes for an older one's sake is listed beside the one that it stands for. The norms of
`smp encoders` are those below `encoder.`, under the encoder's name.

Needs: pip install torch torchvision timm pytorchcv pretrainedmodels efficientnet_pytorch facenet_pytorch torchcrepe
transformers ultralytics segmentation_models_pytorch keras open_clip_torch. Ten minutes on one core.
"""

import argparse
import importlib
import inspect
import json
import multiprocessing
import os
import re
import sys
import warnings
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
OUT = Path(__file__).resolve().parent.parent / "src/plan/catalogue/networks.json"
# How many norms a network has is not said where its configuration decides.
ANY = "*"


def without_values(torch):
    """Replaces what fills tensors: nothing looks at values, and most of the time would go into them."""
    for name in [name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")]:
        setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
    real = torch.linspace
    torch.linspace = lambda *args, **kwargs: real(*args, **{"device": "cpu", **kwargs})


def meta(build):
    """The state dict of what `build` makes, without memory for its tensors."""
    import torch

    try:
        with torch.device("meta"):
            return build().state_dict()
    except (NotImplementedError, RuntimeError):
        # Some compute their widths with tensors.
        return build().state_dict()


def norms_of(names):
    """Module paths of the norms among the tensors `names`."""
    names = set(names)
    ends = (".running_var", ".running_mean")
    return sorted({n[: -len(ends[0])] for n in names if n.endswith(ends[0]) and n[: -len(ends[0])] + ends[1] in names})


def templates(norms):
    """The paths with their numbers as `#`, counted."""
    return Counter(re.sub(r"\d+", "#", norm.replace("/", ".")) for norm in norms)


def one(name):
    """The counted templates of one network; `None` if it cannot be built."""
    try:
        return templates(norms_of(meta(lambda: Build.now(name))))
    except Exception as error:  # noqa: BLE001: whatever a library raises
        print(f"{name}: {type(error).__name__}: {str(error)[:120]}", file=sys.stderr)
        return None


class Build:
    """What builds a network of a name: processes that are forked know it."""

    now = None
    jobs = 1


def every(names, build, aliases=()):
    """Counted templates of all `names`; one that cannot be built is only named."""
    names, Build.now = list(names), build
    if len(names) > Build.jobs > 1:
        with multiprocessing.get_context("fork").Pool(Build.jobs) as pool:
            found = dict(zip(names, pool.map(one, names, chunksize=8), strict=True))
    else:
        found = {name: one(name) for name in names}
    for alias, name in aliases:
        if name in found:
            found.setdefault(alias, found[name])
    return found


def timm():
    import timm
    from timm.models._registry import _deprecated_models

    aliases = [(old, new.split(".")[0]) for old, new in _deprecated_models.items() if new]
    return every(timm.list_models(), timm.create_model, aliases)


def torchvision():
    import torchvision

    def build(name):
        options = {"weights": None}
        builder = torchvision.models.get_model_builder(name)
        known = inspect.signature(builder).parameters
        for option, value in [("weights_backbone", None), ("aux_loss", True), ("init_weights", False)]:
            if option in known or (option == "init_weights" and ("inception" in name or "googlenet" in name)):
                options[option] = value
        return builder(**options)

    return every(torchvision.models.list_models(), build)


def pytorchcv():
    from pytorchcv.model_provider import _models

    return every(sorted(_models), lambda name: _models[name]())


def pretrainedmodels():
    import pretrainedmodels

    def build(name):
        return pretrainedmodels.__dict__[name](num_classes=1000, pretrained=None)

    return every(pretrainedmodels.model_names, build)


def efficientnet_pytorch():
    from efficientnet_pytorch import VALID_MODELS, EfficientNet

    return every(VALID_MODELS, EfficientNet.from_name)


def facenet_pytorch():
    from facenet_pytorch import InceptionResnetV1

    return every(["InceptionResnetV1"], lambda _: InceptionResnetV1(classify=True, num_classes=2))


def open_clip():
    from open_clip import create_model, list_models

    return every([name for name in list_models() if name.startswith("RN")], create_model)


def ultralytics():
    import ultralytics
    from ultralytics.nn.tasks import parse_model, yaml_model_load

    root = Path(ultralytics.__file__).parent / "cfg/models"
    found = {}
    for path in sorted(root.rglob("*.yaml")):
        config = yaml_model_load(path)
        scales = list(config.get("scales") or [""])
        for scale in scales:
            # yolov8-seg is published as yolov8n-seg, yolov8s-seg, ...
            spelled = re.sub(r"^(yoloe?(?:-v|-|v)?\d+)", rf"\g<1>{scale}", path.stem)
            name = spelled if scale and spelled != path.stem else path.stem
            config = {**yaml_model_load(path), "scale": scale}
            model = every([name], lambda _: parse_model(config, ch=3, verbose=False)[0])[name]
            model = model and Counter({f"model.{norm}": count for norm, count in model.items()})
            for alias in {name, path.stem}:
                previous = found.get(alias) or Counter()
                found[alias] = model and previous | model
    return found


def smp_encoders():
    import segmentation_models_pytorch as smp

    return every(sorted(smp.encoders.encoders), lambda name: smp.encoders.get_encoder(name, weights=None))


def smp_models():
    import segmentation_models_pytorch as smp

    return {model.__name__: None for model in smp.MODEL_ARCHITECTURES_MAPPING.values()}


def keras():
    import keras

    found = {}
    for name, build in sorted(inspect.getmembers(keras.applications, inspect.isfunction)):
        keras.utils.clear_session()
        try:
            model = build(weights=None)
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            found[name] = None
            continue
        layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        found[name] = templates(layer.name for layer in layers)
    return found


def noting_parts(model, parts):
    """The model; what the norms of its parts that are saved by themselves are called goes to `parts`."""
    from transformers import PreTrainedModel

    for part in model.modules():
        if isinstance(part, PreTrainedModel) and part is not model:
            parts.append(templates(norms_of(part.state_dict())))
    return model


def transformers():
    """Model types; what can be built around another model, or has batch norms only by its configuration, is only named."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    found = {}
    heads = [value for name, value in sorted(vars(modeling_auto).items()) if re.fullmatch(r"MODEL_(FOR_\w+)?MAPPING", name)]
    for model_type in CONFIG_MAPPING.keys():
        found[model_type] = None
        try:
            config = CONFIG_MAPPING[model_type]()
            source = Path(inspect.getfile(type(config))).parent.glob("modeling_*.py")
            if hasattr(config, "backbone_config") or not any("BatchNorm" in path.read_text() for path in source):
                continue
        except Exception as error:  # noqa: BLE001
            print(f"{model_type}: {type(error).__name__}: {str(error)[:120]}", file=sys.stderr)
            continue
        counted = Counter()
        for head in heads:
            models = head.get(type(config), ()) if type(config) in head else ()
            for model in models if isinstance(models, tuple) else (models,):
                parts = []
                built = every([model.__name__], lambda _: noting_parts(model(CONFIG_MAPPING[model_type]()), parts))
                counted |= built[model.__name__] or Counter()
                for part in parts:
                    counted |= part
        found[model_type] = {ANY: counted} if counted else None
    return found


LIBRARIES = {
    "timm": (timm, "timm"),
    "torchvision": (torchvision, "torchvision"),
    "pytorchcv": (pytorchcv, "pytorchcv"),
    "pretrainedmodels": (pretrainedmodels, "pretrainedmodels"),
    "efficientnet_pytorch": (efficientnet_pytorch, "efficientnet_pytorch"),
    "facenet_pytorch": (facenet_pytorch, "facenet_pytorch"),
    "open_clip": (open_clip, "open_clip_torch"),
    "ultralytics": (ultralytics, "ultralytics"),
    "smp encoders": (smp_encoders, "segmentation_models_pytorch"),
    "smp models": (smp_models, "segmentation_models_pytorch"),
    "keras": (keras, "keras"),
    "transformers": (transformers, "transformers"),
}


class Network:
    """What is written of one architecture: the share of each path in its norms, in percent, and how many there are."""

    def __init__(self, shares, size):
        self.shares, self.size = shares, size

    @staticmethod
    def of(count):
        norms, is_open = (count[ANY], True) if ANY in count else (count, False)
        whole = sum(norms.values())
        shares = {path: max(1, round(100 * many / whole)) for path, many in norms.items()}
        return Network(shares, ANY if is_open else str(whole))


def group_of(library, names, networks):
    """A group as one line: the mean share of each path, names by their number of norms."""
    shares = {}
    for path in sorted(networks[names[0]].shares):
        every_share = [networks[name].shares[path] for name in names]
        shares[path] = max(1, round(sum(every_share) / len(every_share)))
    by_size = defaultdict(list)
    for name in names:
        by_size[networks[name].size].append(name)
    of = {size: " ".join(by_size[size]) for size in sorted(by_size, key=lambda size: size.zfill(6))}
    return json.dumps({"library": library, "norms": shares, "of": of}, separators=(",", ":"))


def written(libraries, source):
    lines, silent = [], {}
    for library, networks in sorted(libraries.items()):
        silent[library] = " ".join(sorted(name for name, network in networks.items() if network is None))
        groups = defaultdict(list)
        for name in sorted(name for name, network in networks.items() if network is not None):
            groups[tuple(sorted(networks[name].shares))].append(name)
        lines += [group_of(library, names, networks) for _, names in sorted(groups.items())]
    parts = {"source": source, "silent": {library: names for library, names in silent.items() if names}}
    head = "".join(f'"{part}":{json.dumps(value, separators=(",", ":"))},\n' for part, value in parts.items())
    return "{" + head + '"groups":[\n' + ",\n".join(lines) + "\n]}\n"


def read(path):
    """What the file says now, in the form in which `written` takes it."""
    if not path.exists():
        return {}, {}
    facts = json.loads(path.read_text())
    libraries = defaultdict(dict)
    for library, names in facts["silent"].items():
        libraries[library].update({name: None for name in names.split()})
    for group in facts["groups"]:
        for size, names in group["of"].items():
            libraries[group["library"]].update({name: Network(group["norms"], size) for name in names.split()})
    return dict(libraries), facts["source"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=sorted(LIBRARIES), help="leave the others as the file has them")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--jobs", type=int, default=1, help="networks built at a time")
    arguments = parser.parse_args()
    Build.jobs = arguments.jobs
    warnings.simplefilter("ignore")
    without_values(importlib.import_module("torch"))
    libraries, source = read(arguments.out)
    for library in arguments.only or sorted(LIBRARIES):
        build, package = LIBRARIES[library]
        try:
            source[package] = version(package)
        except importlib.metadata.PackageNotFoundError:
            print(f"{library}: not installed, left as it is", file=sys.stderr)
            continue
        found = build()
        libraries[library] = {name: count if count is None else Network.of(count) for name, count in found.items()}
        print(f"{library}: {len(libraries[library])} names", file=sys.stderr)
        arguments.out.write_text(written(libraries, dict(sorted(source.items()))))


if __name__ == "__main__":
    main()
