"""Write musicnn's two networks as ONNX files: ``python tools/convert_musicnn.py WHEEL_DIR OUT_DIR``.

``WHEEL_DIR`` is the unpacked wheel of musicnn 0.1.0 (ISC licence, Pons and Serra, ISMIR-LBD 2019). Reads the
TensorFlow checkpoints without TensorFlow. Large weights are stored as float16 behind a Cast; the arithmetic stays
float32.

Two identities make the networks cheap. Max-pooling over frequency follows ``conv -> ReLU -> BN``; ReLU is monotone
and BN is monotone per channel, so pooling can come first once the channels with a negative BN scale have their sign
turned (``max`` becomes ``min``). And every other BN is an affine map that the next layer or one Mul/Add takes over.

Weight decay has left most channels of the first layer without weights (of 561, 189 have an effect in MTT and 62 in
MSD): what such a channel says is a constant, which goes into the next layers' biases.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
_EPSILON = 1e-3
_FRAMES, _MELS = 187, 96
_LEAST_EFFECT = 1e-3  # of a channel of the first layer on any number of the second, for an image within -1 to 1
_DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}


# --- TensorFlow checkpoint (a leveldb table of protobufs beside a flat data file) -----------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return result, at


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    raw = data[offset : offset + size]
    end = len(raw) - 4 - 4 * struct.unpack("<I", raw[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = _varint(raw, at)
        own, at = _varint(raw, at)
        length, at = _varint(raw, at)
        key = key[:shared] + raw[at : at + own]
        at += own
        yield key, raw[at : at + length]
        at += length


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    at, out = 0, []
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(tag & 7)
            if length is None:
                length, at = _varint(data, at)
            value = data[at : at + length]
            at += length
        out.append((tag >> 3, value))
    return out


def read_checkpoint(prefix: Path) -> dict[str, NDArray[np.generic]]:
    """Every tensor of a TensorFlow V2 checkpoint by name; ``prefix`` is the folder of ``.index`` and ``.data-*``."""
    index = (prefix / ".index").read_bytes()
    data = (prefix / ".data-00000-of-00001").read_bytes()
    footer = index[-48:]
    _, at = _varint(footer, 0)
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    tensors: dict[str, NDArray[np.generic]] = {}
    for _, handle in _block(index, offset, size):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        for key, value in _block(index, start, length):
            if key:
                tensors[key.decode()] = _tensor(value, data)
    return tensors


def _tensor(entry: bytes, data: bytes) -> NDArray[np.generic]:
    numbers = {1: 1, 4: 0, 5: 0}
    shape = []
    for tag, value in _fields(entry):
        if tag == 2 and isinstance(value, bytes):
            shape = [
                int(dict(_fields(dim)).get(1, 0)) for t, dim in _fields(value) if t == 2 and isinstance(dim, bytes)
            ]
        elif isinstance(value, int):
            numbers[tag] = value
    dtype = np.dtype(_DTYPES[numbers[1]])
    return np.frombuffer(data, dtype, numbers[5] // dtype.itemsize, numbers[4]).reshape(shape)


# --- network --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Channels:
    """Some channels of a convolution over the image, their signs turned, with the BN that follows."""

    kernel: Array
    bias: Array
    sign: Array
    scale: Array
    shift: Array

    def some(self, which: NDArray[np.bool_]) -> _Channels:
        return _Channels(*(getattr(self, field)[which] for field in self.__dataclass_fields__))

    @property
    def rest(self) -> Array:
        """What each channel says of an image of zeros."""
        return np.maximum(self.bias * self.sign, 0) * self.scale + self.shift


class _Graph:
    """Collects nodes; ``weight`` stores float16 and casts, ``constant`` keeps float32."""

    def __init__(self, tensors: dict[str, NDArray[np.generic]]) -> None:
        self.tensors, self.nodes, self.initialisers = tensors, [], []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str, value: Array) -> str:
        self.constant(f"{name}_f16", value.astype(np.float16))
        return self.node("Cast", [f"{name}_f16"], name, to=TensorProto.FLOAT)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def affine(self, layer: int) -> tuple[Array, Array]:
        """Scale and shift of one batch normalisation."""
        prefix = "batch_normalization" + (f"_{layer}" if layer else "")
        gamma, beta, mean, variance = (
            np.asarray(self.tensors[f"{prefix}/{p}"], np.float32)
            for p in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        return scale, beta - mean * scale

    def scaled(self, x: str, name: str, scale: Array, shift: Array, shape: tuple[int, ...]) -> str:
        product = self.node("Mul", [x, self.constant(f"{name}_scale", scale.reshape(shape))], f"{name}_mul")
        return self.node("Add", [product, self.constant(f"{name}_shift", shift.reshape(shape))], name)

    def channels(self, layer: int) -> _Channels:
        """The channels of one convolution of the first layer, signs turned; those without an effect are ``dead``."""
        conv = f"conv2d_{layer - 1}" if layer > 1 else "conv2d"
        kernel = np.asarray(self.tensors[f"{conv}/kernel"], np.float32).transpose(3, 2, 0, 1)
        scale, shift = self.affine(layer)
        sign = np.where(scale < 0, -1.0, 1.0).astype(np.float32)
        bias = np.asarray(self.tensors[f"{conv}/bias"], np.float32)
        return _Channels(kernel * sign[:, None, None, None], bias * sign, sign, scale, shift)

    def front(self, x: str, layer: int, part: _Channels, pads: list[int]) -> str:
        """conv -> max over frequency -> ReLU -> BN, with signs turned; (B, channels, T)."""
        name = f"front{layer}"
        inputs = [x, self.weight(f"{name}_w", part.kernel), self.constant(f"{name}_b", part.bias)]
        y = self.node("Conv", inputs, f"{name}_conv", pads=pads, strides=[1, 1])
        y = self.node("MaxPool", [y], f"{name}_max", kernel_shape=[1, _MELS - part.kernel.shape[3] + 1], strides=[1, 1])
        y = self.node("Squeeze", [y, self.constant(f"{name}_axes", np.array([3]))], f"{name}_squeezed")
        y = self.node("Mul", [y, self.constant(f"{name}_sign", part.sign.reshape(-1, 1))], f"{name}_signed")
        y = self.node("Relu", [y], f"{name}_relu")
        return self.scaled(y, name, part.scale, part.shift, (-1, 1))

    def over_time(self, conv: str) -> Array:
        """Kernel of a convolution over time [shape=(64, channels, 7)]."""
        return np.asarray(self.tensors[f"{conv}/kernel"], np.float32)[:, :, 0, :].transpose(2, 1, 0)

    def middle(self, x: str, conv: str, bn: int, rest: Array | None = None, alive: Array | None = None) -> str:
        """conv -> ReLU -> BN over time; (B, 64, T). Channels that are not ``alive`` are constant at ``rest``."""
        name = f"middle{bn}"
        kernel, bias = self.over_time(conv), np.asarray(self.tensors[f"{conv}/bias"], np.float32)
        if rest is not None and alive is not None:
            dead = np.pad(np.repeat((rest * ~alive)[:, None], _FRAMES, axis=1), ((0, 0), (3, 3)))
            spans = np.lib.stride_tricks.sliding_window_view(dead, 7, axis=1)
            steady = np.einsum("ock,ctk->ot", kernel, spans) + bias[:, None]  # other where the padding begins
            conv_x = self.node("Conv", [x, self.weight(f"{name}_w", kernel[:, alive])], f"{name}_part", pads=[3, 3])
            y = self.node("Add", [conv_x, self.constant(f"{name}_b", steady.astype(np.float32))], f"{name}_conv")
        else:
            inputs = [x, self.weight(f"{name}_w", kernel), self.constant(f"{name}_b", bias)]
            y = self.node("Conv", inputs, f"{name}_conv", pads=[3, 3])
        y = self.node("Relu", [y], f"{name}_relu")
        return self.scaled(y, name, *self.affine(bn), (-1, 1))

    def dense(self, x: str, kernel: Array, bias: Array, name: str) -> str:
        return self.node("Gemm", [x, self.weight(f"{name}_w", kernel), self.constant(f"{name}_b", bias)], name)


def build(tensors: dict[str, NDArray[np.generic]], name: str) -> onnx.ModelProto:
    """The network: ``mel`` (B, 187, 96) to ``probs`` (B, 50) and ``penultimate`` (B, 200)."""
    g = _Graph(tensors)
    x = g.node("Unsqueeze", ["mel", g.constant("channel", np.array([1]))], "image")
    x = g.scaled(x, "bn0", *g.affine(0), (1, 1, 1, 1))
    parts, taps = [g.channels(layer) for layer in range(1, 6)], [7, 7, 128, 64, 32]
    rest, scale, shift = np.concatenate([part.rest for part in parts]), *(v.reshape(-1, 2) for v in g.affine(9))
    dense = [np.asarray(tensors[f"dense{end}"], np.float32) for end in ("/kernel", "/bias", "_1/kernel", "_1/bias")]
    after = dense[0].reshape(-1, 2, 200)  # for each channel, of its maximum and of its mean over time
    first = len(rest)
    reach = np.abs(after * scale[..., None])[:first].sum(axis=1).max(axis=1)
    reach = np.maximum(reach, np.abs(g.over_time("conv2d_5")).sum(axis=2).max(axis=0))
    effect = np.concatenate([np.abs(p.kernel).sum(axis=(1, 2, 3)) * np.abs(p.scale) for p in parts]) * reach
    alive = np.concatenate([effect > _LEAST_EFFECT, np.ones(len(scale) - first, bool)])
    each = np.split(alive[:first], np.cumsum([len(part.bias) for part in parts])[:-1])
    fronts = [
        g.front(x, i + 1, part.some(which), [(k - 1) // 2, 0, k // 2, 0])
        for i, (part, which, k) in enumerate(zip(parts, each, taps, strict=True))
    ]
    front = g.node("Concat", fronts, "front", axis=1)
    c1 = g.middle(front, "conv2d_5", 6, rest, alive[:first])
    c2 = g.node("Add", [g.middle(c1, "conv2d_6", 7), c1], "c2")
    c3 = g.node("Add", [g.middle(c2, "conv2d_7", 8), c2], "c3")
    every = g.node("Concat", [front, c1, c2, c3], "every", axis=1)
    top = g.node("ReduceMax", [every, g.constant("time", np.array([2]))], "top", keepdims=1)
    mean = g.node("ReduceMean", [every, "time"], "mean", keepdims=1)
    flat = g.node("Flatten", [g.node("Concat", [top, mean], "both", axis=2)], "flat")
    flat = g.scaled(flat, "bn9", scale[alive].ravel(), shift[alive].ravel(), (1, -1))
    dead = ~alive[:first]
    steady = np.einsum("ci,cio->o", rest[dead, None] * scale[:first][dead] + shift[:first][dead], after[:first][dead])
    hidden = g.dense(flat, after[alive].reshape(-1, 200), dense[1] + steady, "dense0")
    g.scaled(g.node("Relu", [hidden], "hidden"), "penultimate", *g.affine(10), (1, -1))
    g.node("Sigmoid", [g.dense("penultimate", dense[2], dense[3], "dense1")], "probs")
    graph = helper.make_graph(
        g.nodes,
        name,
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["B", _FRAMES, _MELS])],
        [
            helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["B", 50]),
            helper.make_tensor_value_info("penultimate", TensorProto.FLOAT, ["B", 200]),
        ],
        g.initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="solfa")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Convert both networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="folder of the unpacked musicnn wheel")
    parser.add_argument("out", type=Path, help="folder to write musicnn-mtt.onnx and musicnn-msd.onnx to")
    arguments = parser.parse_args()
    for net in ("MTT", "MSD"):
        tensors = read_checkpoint(arguments.wheel / "musicnn" / f"{net}_musicnn")
        target = arguments.out / f"musicnn-{net.lower()}.onnx"
        target.write_bytes(build(tensors, f"musicnn-{net.lower()}").SerializeToString())


if __name__ == "__main__":
    main()
