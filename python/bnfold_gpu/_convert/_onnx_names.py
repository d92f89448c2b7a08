"""Names of an ONNX graph's weights, held against the graph.

Stage:  reading, after the initializers.
In:     a graph, and its initializers by name. Out: tensors by names from which the planner concludes nothing wrong, and aliases.

- A norm or layer reads another one's scale or bias, since both are equal and the exporter merged them: it gets a copy under
  its own name. Without it, it would be taken for one that has none.
- Names say that there is a norm, and the graph has none that reads just these tensors: an alias says so, and it is left alone.
- A weight is read by several nodes, or the bias beside it is computed: an alias says so, too.
- A matrix is stored as `[in, out]` under a name that PyTorch gives to `[out, in]`: it gets another name.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

_ROLES = ("weight", "bias", "running_mean", "running_var")
_IN_OUT = ".in_out"
_WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
# Readers of weights that a fold leaves as they were: norms go, and shapes stay.
_NOT_WITH_VALUES = ("BatchNormalization", "Shape", "Size")
# An expansion to another shape shows in the shapes of the norm's tensors, which have to be equal.
_PASSED_ON = ("Identity", "Expand", "Cast", "CastLike")


def corrected(graph: Any, tensors: Dict[str, Any], constants: Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """The tensors with their names as described above, and the aliases; `constants` are those of the graph."""
    whole = {**_renamed(graph, {**constants, **tensors}), **constants, **tensors}
    norms = [node for node in graph.node if node.op_type == "BatchNormalization"]
    result, clear = dict(tensors), set()
    for module, node in _modules(norms, whole).items():
        own = {f"{module}.{role}": whole.get(read) for role, read in zip(_ROLES, node.input[1:5])}
        # A tensor of that name which the norm does not read makes its names doubtful.
        if all(read is not None and read is tensors.get(name, read) for name, read in own.items()):
            if len({getattr(read, "shape", None) for read in own.values()}) == 1:
                result.update(own)
                clear.add(module)
    biases, computed = _biases(graph, tensors, whole)
    result.update(biases)
    aliases = {**_doubtful(result, clear), **_shared(graph, tensors), **computed}
    for name in _in_out(graph):
        if name in result and result[name].ndim == 2 and name.rsplit(".", 1)[-1] == "weight":
            result[name + _IN_OUT] = result.pop(name)
    return result, {alias: name for alias, name in aliases.items() if name in result and alias not in result}


def _renamed(graph: Any, tensors: Dict[str, Any]) -> Dict[str, Any]:
    """Tensors by the names that they have behind operations that exporters put around them and that change no element."""
    found: Dict[str, Any] = {}
    for node in graph.node:
        if node.op_type in _PASSED_ON and (node.input[0] in tensors or node.input[0] in found):
            found[node.output[0]] = found.get(node.input[0], tensors.get(node.input[0]))
    return found


def _modules(norms: List[Any], tensors: Dict[str, Any]) -> Dict[str, Any]:
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


def _doubtful(tensors: Dict[str, Any], clear: Any) -> Dict[str, str]:
    """Running statistics whose norm the graph does not have as their names say: without its scale, it would be another norm."""
    modules = {module for name in tensors for role in _ROLES[2:] if (module := _module(name, role)) is not None}
    variances = [f"{module}.running_var" for module in sorted(modules - clear)]
    return {f"{name} (no norm of the graph reads just these tensors)": name for name in variances}


def _biases(graph: Any, tensors: Dict[str, Any], whole: Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """Biases by the names that belong to their weights, and aliases for weights whose bias has none."""
    biases: Dict[str, Any] = {}
    aliases: Dict[str, str] = {}
    for node in graph.node:
        module = _module(node.input[1], "weight") if node.op_type in _WITH_BIAS and len(node.input) > 1 else None
        if module is None or node.input[1] not in tensors or len(node.input) < 3 or not node.input[2]:
            continue
        name, read = f"{module}.bias", whole.get(node.input[2])
        if read is None or read is not tensors.get(name, read):
            aliases[f"{module}.weight (the graph computes {name}, or reads another)"] = f"{module}.weight"
        elif read.ndim == 1:
            biases[name] = read
        elif read.any():
            aliases[f"{module}.weight (the graph computes {name})"] = f"{module}.weight"
    return biases, aliases


def _shared(graph: Any, tensors: Dict[str, Any]) -> Dict[str, str]:
    """Weights of layers that several nodes read, each alias naming one of the nodes but the first."""
    readers: Dict[str, List[str]] = {}
    for place, node in enumerate(graph.node):
        for name in sorted({*node.input}) if node.op_type not in _NOT_WITH_VALUES else ():
            if name in tensors and tensors[name].ndim > 0:
                readers.setdefault(name, []).append(node.name or f"{node.op_type} {place}")
    return {f"{name} (read by {node})": name for name, nodes in readers.items() for node in nodes[1:]}


def _in_out(graph: Any) -> List[str]:
    """Matrices that stand right of a product, untransposed."""
    found: List[str] = []
    for node in graph.node:
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        if node.op_type in ("MatMul", "Gemm") and len(node.input) > 1 and not transposed:
            found.append(node.input[1])
    return found
