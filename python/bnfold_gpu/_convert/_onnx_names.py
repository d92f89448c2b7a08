"""Names of an ONNX graph's weights, held against the graph.

Stage:  reading, after the initializers.
In:     nodes of a graph, and its initializers by name. Out: tensors by names from which the planner concludes nothing wrong.

- A norm or layer reads another one's scale or bias, since both are equal and the exporter merged them: it gets a copy under
  its own name. Without it, it would be taken for one that has none.
- Names say that there is a norm, and the graph has none that reads just these tensors: it is marked, and so left alone.
- A weight is read by several nodes, or the bias beside it is computed: it is marked, too.
- A matrix is stored as `[in, out]` under a name that PyTorch gives to `[out, in]`: it gets another name.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from ._weights import mark

Tensors = Dict[str, Any]
_ROLES = ("weight", "bias", "running_mean", "running_var")
_IN_OUT = ".in_out"
_WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
# Readers of weights that a fold leaves as they were: norms go, and shapes stay.
_NOT_WITH_VALUES = ("BatchNormalization", "Shape", "Size")
# An expansion to another shape shows in the shapes of the norm's tensors, which have to be equal.
_PASSED_ON = ("Identity", "Expand", "Cast", "CastLike")


def corrected(nodes: List[Any], tensors: Tensors, constants: Tensors) -> Tuple[Tensors, Dict[str, str]]:
    """The tensors with their names as described above, and the marks; `constants` are those of the graph."""
    whole = {**_renamed(nodes, {**constants, **tensors}), **constants, **tensors}
    norms = [node for node in nodes if node.op_type == "BatchNormalization"]
    result, clear = dict(tensors), set()
    for module, node in _modules(norms, whole).items():
        own = {f"{module}.{role}": whole.get(read) for role, read in zip(_ROLES, node.input[1:5])}
        # A tensor of that name which the norm does not read makes its names doubtful.
        if all(read is not None and read is tensors.get(name, read) for name, read in own.items()):
            if len({getattr(read, "shape", None) for read in own.values()}) == 1:
                result.update(own)
                clear.add(module)
    biases, computed = _biases(nodes, tensors, whole)
    result.update(biases)
    marks = {**_doubtful(result, clear), **_shared(nodes, tensors), **computed}
    for name in _in_out(nodes):
        if name in result and result[name].ndim == 2 and name.rsplit(".", 1)[-1] == "weight":
            result[name + _IN_OUT] = result.pop(name)
    return result, {said: name for said, name in marks.items() if name in result and said not in result}


def _renamed(nodes: List[Any], tensors: Tensors) -> Tensors:
    """Tensors by the names that they have behind operations that exporters put around them and that change no element."""
    found: Tensors = {}
    for node in nodes:
        if node.op_type in _PASSED_ON and (node.input[0] in tensors or node.input[0] in found):
            found[node.output[0]] = found.get(node.input[0], tensors.get(node.input[0]))
    return found


def _modules(norms: List[Any], tensors: Tensors) -> Dict[str, Any]:
    """Norms by the module that most of their tensors are named after; no module and no norm is taken twice."""
    votes: List[Tuple[int, str, Any]] = []
    for node in norms:
        modules = [_module(read, role) for role, read in zip(_ROLES, node.input[1:5]) if read in tensors]
        votes.extend((modules.count(module), module, node) for module in {*modules} if module is not None)
    found: Dict[str, Any] = {}
    for _, module, node in sorted(votes, key=lambda vote: (-vote[0], vote[1])):
        if module not in found and not any(node is other for other in found.values()):
            found[module] = node
    return found


def _module(name: str, role: str) -> Optional[str]:
    return name[: -len(role) - 1] if name.endswith("." + role) else None


def _doubtful(tensors: Tensors, clear: Any) -> Dict[str, str]:
    """Running statistics whose norm the graph does not have as their names say: without its scale, it would be another norm."""
    modules = {module for name in tensors for role in _ROLES[2:] if (module := _module(name, role)) is not None}
    variances = [f"{module}.running_var" for module in sorted(modules - clear)]
    return dict(mark(name, "no norm of the graph reads just these tensors") for name in variances)


def _biases(nodes: List[Any], tensors: Tensors, whole: Tensors) -> Tuple[Tensors, Dict[str, str]]:
    """Biases by the names that belong to their weights, and marks for weights whose bias is no tensor of its own."""
    biases: Tensors = {}
    marked: List[str] = []
    for node in nodes:
        module = _module(node.input[1], "weight") if node.op_type in _WITH_BIAS and len(node.input) > 1 else None
        if module is None or node.input[1] not in tensors or len(node.input) < 3 or not node.input[2]:
            continue
        name = f"{module}.bias"
        read: Any = whole.get(node.input[2])
        if read is None or read is not tensors.get(name, read):
            marked.append(f"{module}.weight")
        elif read.ndim == 1:
            biases[name] = read
        elif read.any():
            marked.append(f"{module}.weight")
    return biases, dict(mark(name, "its bias is computed, or another one's") for name in marked)


def _shared(nodes: List[Any], tensors: Tensors) -> Dict[str, str]:
    """Marks for the weights and biases of layers that several nodes read."""
    readers: Dict[str, List[str]] = {}
    origins: Dict[str, str] = {}
    for place, node in enumerate(nodes):
        if node.op_type in _PASSED_ON:
            origins[node.output[0]] = origins.get(node.input[0], node.input[0])
            continue
        read = {origins.get(name, name) for name in node.input} if node.op_type not in _NOT_WITH_VALUES else set()
        for name in sorted(read - {_copied_bias(node, tensors, origins)}):
            if name in tensors and tensors[name].ndim > 0:
                readers.setdefault(name, []).append(node.name or f"{node.op_type} {place}")
    several = {name: found for name, found in readers.items() if len(found) > 1}
    return dict(mark(name, f"read by {', '.join(found)}") for name, found in several.items())


def _copied_bias(node: Any, tensors: Tensors, origins: Dict[str, str]) -> Optional[str]:
    """The tensor that a layer reads as its bias, if it is named after another layer: this one has a copy (`_biases`)."""
    if node.op_type not in _WITH_BIAS or len(node.input) < 3 or node.input[1] not in tensors:
        return None
    module, bias = _module(node.input[1], "weight"), origins.get(node.input[2], str(node.input[2]))
    return bias if module is not None and bias != f"{module}.bias" else None


def _in_out(nodes: List[Any]) -> List[str]:
    """Matrices that stand right of a product, untransposed."""
    found: List[str] = []
    for node in nodes:
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        if node.op_type in ("MatMul", "Gemm") and len(node.input) > 1 and not transposed:
            found.append(node.input[1])
    return found
