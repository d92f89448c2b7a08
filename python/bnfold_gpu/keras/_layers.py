"""What the layers of Keras do to channels.

Stage:  ground; while a graph is followed.
In:     a layer. Out: the layer that it is to the planner, if it has a weight; or what becomes of an axis in it.

Only Keras' own classes are known: what a class derived from them does instead cannot be seen from outside.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

from keras import activations, layers

from ._nodes import Shape


class Kind(NamedTuple):
    """A layer with a weight: what plans call it, and the attribute that is the weight."""

    op: str
    weight: str = "kernel"


_WITH_WEIGHTS: Dict[str, Kind] = {
    **{f"Conv{rank}D": Kind("conv") for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": Kind("conv_transpose") for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": Kind("depthwise") for rank in (1, 2)},
    **{f"SeparableConv{rank}D": Kind("conv", "pointwise_kernel") for rank in (1, 2)},
    "Dense": Kind("linear"),
}
# What they do in training they do not do in inference.
_IDENTITIES = (
    "ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise Identity SpatialDropout1D SpatialDropout2D SpatialDropout3D"
).split()
# They copy or leave out whole positions.
_ALONG_POSITIONS = ("Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D", "UpSampling2D", "UpSampling3D")
# What they put out are averages, as long as nothing is padded: those of normalized values are the normalized averages.
_AVERAGES = ("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
_GLOBAL_AVERAGES = ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
# Their outputs have the elements of their inputs in the same order.
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "ExpandDims")
# Their outputs have other elements beside those of an input.
_JOINS = ("Concatenate", "Stack", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Pad")


def name_of_class(layer: Any) -> str:
    """The name of a class of Keras; of another class with its module, so that it is taken for none."""
    kind = type(layer)
    return kind.__name__ if kind.__module__.startswith("keras.src.") else f"{kind.__module__}.{kind.__name__}"


def kind_of(layer: Any) -> Optional[Kind]:
    """The layer with a weight that this one is."""
    return _WITH_WEIGHTS.get(name_of_class(layer))


def is_norm(layer: Any) -> bool:
    """Whether a layer is Keras' batch norm, and not one derived from it."""
    return name_of_class(layer) == "BatchNormalization" and isinstance(layer, layers.BatchNormalization)


def is_join(layer: Any) -> bool:
    """Whether a layer puts elements beside each other."""
    return name_of_class(layer) in _JOINS


def has_activation(layer: Any) -> bool:
    """Whether a layer does something to what its weight gives."""
    return getattr(layer, "activation", None) not in (None, activations.linear)


def channel_axis(layer: Any, rank: int) -> int:
    """Where the outputs of a layer with a weight have their channels."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1


def moved_axis(layer: Any, axis: int, before: Shape, after: Shape, training: Optional[bool]) -> Optional[int]:
    """Where an axis is after a layer that a norm may change places with; None if it may not, or if the axis is taken apart.

    Such a layer moves elements, or averages those of one channel.
    """
    kind = name_of_class(layer)
    if kind in _IDENTITIES:
        return None if training else axis
    if kind == "Activation":
        return None if has_activation(layer) else axis
    if kind in _ALONG_POSITIONS:
        return axis if axis == channel_axis(layer, len(before)) and _is_copy(layer) else None
    if kind in _AVERAGES:
        return axis if axis == channel_axis(layer, len(before)) and layer.padding == "valid" else None
    if kind in _GLOBAL_AVERAGES:
        return channel_axis(layer, len(after)) if axis == channel_axis(layer, len(before)) else None
    if kind in _RESHAPES:
        return None if _turns(layer, before) else _reshaped(axis, before, after)
    if kind in ("Permute", "Transpose"):
        return _permuted(layer, axis, len(before))
    if kind == "RepeatVector":
        return axis + 1 if axis > 0 else None
    return None


def _is_copy(layer: Any) -> bool:
    """Whether upsampling repeats elements; interpolation rounds otherwise, and some does not add up to 1 at borders."""
    return getattr(layer, "interpolation", "nearest") == "nearest"


def _turns(layer: Any, before: Shape) -> bool:
    """Whether a layer transposes before it flattens."""
    return getattr(layer, "data_format", None) == "channels_first" and len(before) > 2


def _reshaped(axis: int, before: Shape, after: Shape) -> Optional[int]:
    """An axis is the same one afterwards if it is as long and as many elements lie behind each of its places."""
    behind = _product(before[axis + 1 :])
    if behind is None or before[axis] is None:
        return None
    places = [place for place in range(1, len(after)) if after[place] == before[axis] and _product(after[place + 1 :]) == behind]
    return places[-1] if places else None


def _product(shape: Shape) -> Optional[int]:
    product = 1
    for size in shape:
        if size is None:
            return None
        product *= size
    return product


def _permuted(layer: Any, axis: int, rank: int) -> Optional[int]:
    order: Tuple[int, ...]
    if hasattr(layer, "dims"):
        order = (0, *layer.dims)
    else:
        axes = getattr(layer, "axes", None)
        order = tuple(one % rank for one in axes) if axes is not None else tuple(reversed(range(rank)))
    return order.index(axis) if sorted(order) == list(range(rank)) and order[0] == 0 else None
