"""Small ONNX networks, written without the onnx package."""

import numpy as np


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    result = b""
    while value >= 0x80:
        result, value = result + bytes([value & 0x7F | 0x80]), value >> 7
    return result + bytes([value])


def _field(number: int, content: bytes | int | str) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    content = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _tensor(name: str, values: np.ndarray) -> bytes:
    kind = {"float32": 1, "int64": 7}[values.dtype.name]
    dims = b"".join(_field(1, side) for side in values.shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, values.tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1, side)) for side in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def _node(kind: str, inputs: list[str], output: str, **attributes: list[int]) -> bytes:
    node = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, kind)
    for name, numbers in attributes.items():
        many = isinstance(numbers, list)
        values = b"".join(_field(8, n) for n in numbers) if many else _field(3, numbers)
        node += _field(5, _field(1, name) + values + _field(20, 7 if many else 2))
    return node


def _model(nodes: list[bytes], constants: dict[str, np.ndarray], image: tuple[int, int], outputs: dict) -> bytes:
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "graph")
    graph += b"".join(_field(5, _tensor(name, values)) for name, values in constants.items())
    graph += _field(11, _value("image", (1, 3, *image)))
    graph += b"".join(_field(12, _value(name, shape)) for name, shape in outputs.items())
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))


def detector(boxes: list[tuple[float, float, float, float]], side: int) -> bytes:
    """Finds the same people (x1, y1, x2, y2) in every image, in pixels of its input."""
    found = np.array([[[*box, 0.9] for box in boxes]], np.float32).reshape(1, len(boxes), 5)
    nodes = [_node("Identity", ["boxes"], "dets")]
    return _model(nodes, {"boxes": found}, (side, side), {"dets": (1, len(boxes), 5)})


def brightest_point(height: int, width: int, keypoints: int = 17) -> bytes:
    """Takes every keypoint to be where the image is brightest; scores are the (normalised) brightness."""
    constants, nodes, outputs = {}, [], {}
    for name, side, axes in (("simcc_x", width, [1, 2]), ("simcc_y", height, [1, 3])):
        constants |= {
            f"{name}_twice": np.array([1, side, 2]), f"{name}_flat": np.array([1, 1, 2 * side]),
            f"{name}_all": np.array([1, keypoints, 2 * side]), f"{name}_column": np.array([1, side, 1]),
        }  # fmt: skip
        nodes += [
            _node("ReduceMax", ["image"], f"{name}_0", axes=axes, keepdims=0),
            _node("Reshape", [f"{name}_0", f"{name}_column"], f"{name}_1"),
            _node("Expand", [f"{name}_1", f"{name}_twice"], f"{name}_2"),  # two bins a pixel
            _node("Reshape", [f"{name}_2", f"{name}_flat"], f"{name}_3"),
            _node("Expand", [f"{name}_3", f"{name}_all"], name),
        ]
        outputs[name] = (1, keypoints, 2 * side)
    return _model(nodes, constants, (height, width), outputs)


def fixed_points(points: np.ndarray, scores: np.ndarray, height: int, width: int) -> bytes:
    """Takes the keypoints to be at the same points (N, 2) of (x, y) in every image, in half pixels of its input."""
    places = {}
    for name, side, positions in (("simcc_x", width, points[:, 0]), ("simcc_y", height, points[:, 1])):
        places[f"{name}_fixed"] = np.where(np.arange(2 * side) == positions[:, None], scores[:, None], 0)[None]
    constants = {name: values.astype(np.float32) for name, values in places.items()}
    nodes = [_node("Identity", [name], name.removesuffix("_fixed")) for name in constants]
    outputs = {name.removesuffix("_fixed"): values.shape for name, values in constants.items()}
    return _model(nodes, constants, (height, width), outputs)
