"""Write musicnn's two networks as one ONNX file: ``python tools/convert_musicnn.py WHEEL_DIR OUT.onnx``.

``WHEEL_DIR`` is the unpacked wheel of musicnn 0.1.0 (ISC licence, Pons and Serra, ISMIR-LBD 2019). Reads the
TensorFlow checkpoints without TensorFlow. Large weights are stored as float16 behind a Cast; the arithmetic stays
float32.

Two identities make the networks cheap. Max-pooling over frequency follows ``conv -> ReLU -> BN``; ReLU is monotone
and BN is monotone per channel, so pooling can come first once the channels with a negative BN scale have their sign
turned (``max`` becomes ``min``). And every other BN is an affine map that the next layer or one Mul/Add takes over.

Weight decay has left most channels of the first layer without weights (of 561, 189 have an effect in MTT and 62 in
MSD): what such a channel says is a constant, which goes into the next layers' biases. Those of both networks are one
convolution of the log-mel image; the BN before it, which differs, moves all values of a channel at a time by the same
amount, so that it too can come after the pooling. Kernels that are wide in frequency are applied to the spectra of the
image's rows, where they cost a fifth.
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
    """Collects nodes of one network; ``weight`` stores float16 and casts, ``constant`` keeps float32."""

    def __init__(self, net: str, tensors: dict[str, NDArray[np.generic]]) -> None:
        self.net, self.tensors = net, tensors
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), f"{self.net}_{name}"))
        return f"{self.net}_{name}"

    def weight(self, name: str, value: Array) -> str:
        return self.node("Cast", [self.constant(f"{name}_f16", value.astype(np.float16))], name, to=TensorProto.FLOAT)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        output = f"{self.net}_{output}"
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

    def scaled(self, x: str, name: str, scale: Array, shift: Array, *, rows: bool = False) -> str:
        """An affine map of each channel (B, channels, T), or of each number of ``rows`` (B, numbers)."""
        scale, shift = (v.reshape((1, -1) if rows else (len(v), -1)).astype(np.float32) for v in (scale, shift))
        product = self.node("Mul", [x, self.constant(f"{name}_scale", scale)], f"{name}_mul")
        return self.node("Add", [product, self.constant(f"{name}_shift", shift)], name)

    def channels(self, layer: int) -> _Channels:
        """The channels of one convolution of the first layer, signs turned."""
        conv = f"conv2d_{layer - 1}" if layer > 1 else "conv2d"
        kernel = np.asarray(self.tensors[f"{conv}/kernel"], np.float32).transpose(3, 2, 0, 1)
        scale, shift = self.affine(layer)
        sign = np.where(scale < 0, -1.0, 1.0).astype(np.float32)
        bias = np.asarray(self.tensors[f"{conv}/bias"], np.float32)
        return _Channels(kernel * sign[:, None, None, None], bias * sign, sign, scale, shift)

    def front(self, pooled: str, layer: int, part: _Channels) -> str:
        """ReLU -> BN of what is left after pooling (B, channels, T) of a convolution over the image before its BN."""
        name, taps = f"front{layer}", part.kernel.shape[2]
        scale, shift = (float(v.item()) for v in self.affine(0))
        over = np.pad(np.ones(_FRAMES), ((taps - 1) // 2, taps // 2))  # where the kernel is over the image
        spans = np.lib.stride_tricks.sliding_window_view(over, taps)
        sums = part.kernel.astype(np.float16).astype(np.float64).sum(axis=(1, 3))
        moved = part.bias[:, None] + shift * sums @ spans.T
        y = self.scaled(pooled, f"{name}_moved", part.sign * scale, part.sign[:, None] * moved)
        return self.scaled(self.node("Relu", [y], f"{name}_relu"), name, part.scale, part.shift)

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
        return self.scaled(y, name, *self.affine(bn))

    def dense(self, x: str, kernel: Array, bias: Array, name: str) -> str:
        return self.node("Gemm", [x, self.weight(f"{name}_w", kernel), self.constant(f"{name}_b", bias)], name)


class _Network(_Graph):
    """One network; ``alive`` says which channels of each of its first convolutions have an effect."""

    def __init__(self, net: str, tensors: dict[str, NDArray[np.generic]]) -> None:
        super().__init__(net, tensors)
        self.parts = [self.channels(layer) for layer in range(1, 6)]
        self.dense0 = np.asarray(tensors["dense/kernel"], np.float32).reshape(-1, 2, 200)  # of a channel's top and mean
        self.scale9, self.shift9 = (v.reshape(-1, 2) for v in self.affine(9))
        first = sum(len(part.bias) for part in self.parts)
        reach = np.abs(self.dense0 * self.scale9[..., None])[:first].sum(axis=1).max(axis=1)
        reach = np.maximum(reach, np.abs(self.over_time("conv2d_5")).sum(axis=2).max(axis=0))
        effect = np.concatenate([np.abs(p.kernel).sum(axis=(1, 2, 3)) * np.abs(p.scale) for p in self.parts])
        ends = np.cumsum([len(part.bias) for part in self.parts])[:-1]
        self.alive = np.split(effect * reach > _LEAST_EFFECT, ends)

    def outputs(self, pooled: list[str]) -> None:
        """``probs`` (B, 50) and ``penultimate`` (B, 200), from what each first convolution says after its pooling."""
        alive, rest = np.concatenate(self.alive), np.concatenate([part.rest for part in self.parts])
        kept = [part.some(which) for part, which in zip(self.parts, self.alive, strict=True)]
        fronts = [self.front(x, i + 1, part) for i, (x, part) in enumerate(zip(pooled, kept, strict=True))]
        front = self.node("Concat", fronts, "front", axis=1)
        c1 = self.middle(front, "conv2d_5", 6, rest, alive)
        c2 = self.node("Add", [self.middle(c1, "conv2d_6", 7), c1], "c2")
        c3 = self.node("Add", [self.middle(c2, "conv2d_7", 8), c2], "c3")
        every = self.node("Concat", [front, c1, c2, c3], "every", axis=1)
        time = self.constant("time", np.array([2]))
        top = self.node("ReduceMax", [every, time], "top", keepdims=1)
        mean = self.node("ReduceMean", [every, time], "mean", keepdims=1)
        flat = self.node("Flatten", [self.node("Concat", [top, mean], "both", axis=2)], "flat")
        used = np.concatenate([alive, np.ones(len(self.dense0) - len(alive), bool)])
        flat = self.scaled(flat, "bn9", self.scale9[used].ravel(), self.shift9[used].ravel(), rows=True)
        idle = rest[:, None] * self.scale9[: len(rest)] + self.shift9[: len(rest)]
        steady = np.einsum("ci,cio->o", idle[~alive], self.dense0[: len(rest)][~alive])
        bias = np.asarray(self.tensors["dense/bias"], np.float32) + steady
        hidden = self.node("Relu", [self.dense(flat, self.dense0[used].reshape(-1, 200), bias, "dense0")], "hidden")
        last = self.scaled(hidden, "penultimate", *self.affine(10), rows=True)
        kernel, bias = (np.asarray(self.tensors[f"dense_1/{end}"], np.float32) for end in ("kernel", "bias"))
        self.node("Sigmoid", [self.dense(last, kernel, bias, "dense1")], "probs")


def _wide(g: _Graph, taps: str, name: str, kernel: Array) -> str:
    """Maximum over frequency (B, channels, T) of a convolution by a kernel [shape=(channels, 1, 7, K)].

    By the Fourier transform over the mel axis, as matrix products. It needs no padding, as the kernel never reaches
    over the edge: y[f0 + m] = sum over k of Re(Y[k]) cos(2 pi k m / N) - Im(Y[k]) sin(2 pi k m / N), with N bands and
    f0 the middle one. The greater of m and -m is the first sum plus the size of the second. All of it takes a fifth
    of the multiplications of the convolution.
    """
    channels, _, rows, width = kernel.shape
    bins, middle = np.arange(_MELS // 2 + 1), (_MELS - width) / 2
    share = np.where(bins % (_MELS // 2) == 0, 1, 2) / _MELS  # bins 0 and N / 2 are their own mirror images
    turn = 2 * np.pi / _MELS * np.outer(np.arange(width) + middle, bins)
    cos, sin = np.cos(turn) * share, np.sin(turn) * share
    flat = g.constant(f"{name}_flat", np.array([channels * rows, width]))
    w = g.node("Reshape", [g.weight(f"{name}_w", kernel), flat], f"{name}_rows")
    sums = []
    for part, (real, imag), wave in (("re", (cos, -sin), np.cos), ("im", (sin, cos), np.sin)):
        at = f"{name}_{part}"
        both = g.constant(f"{at}_turn", np.stack([real, imag], 2).reshape(width, -1).astype(np.float32))
        shape = g.constant(f"{at}_apart", np.array([channels, rows, len(bins), 2]))
        x = g.node("Reshape", [g.node("MatMul", [w, both], f"{at}_turned"), shape], f"{at}_by_tap")
        x = g.node("Transpose", [x], f"{at}_by_bin", perm=[2, 0, 1, 3])
        x = g.node("Reshape", [x, g.constant(f"{at}_taps", np.array([len(bins), channels, -1]))], f"{at}_w")
        x = g.node("MatMul", [x, taps], f"{at}_bins")
        x = g.node("Reshape", [x, g.constant(f"{at}_long", np.array([0, len(bins), -1]))], f"{at}_spectrum")
        away = np.arange(middle % 1, middle + 0.5)
        back = wave(2 * np.pi / _MELS * np.outer(away, bins)).astype(np.float32)
        sums.append(g.node("MatMul", [g.constant(f"{at}_back", back), x], f"{at}_sum"))
    y = g.node("Add", [sums[0], g.node("Abs", [sums[1]], f"{name}_size")], f"{name}_conv")
    y = g.node("ReduceMax", [y, g.constant(f"{name}_axes", np.array([1]))], f"{name}_top", keepdims=0)
    return g.node("Reshape", [y, g.constant(f"{name}_shape", np.array([0, channels, _FRAMES]))], f"{name}_squeezed")


def _taps(g: _Graph, rows: int) -> str:
    """Transform over the mel axis of each frame and its neighbours (B, bins, rows x real and imaginary, T)."""
    bins = _MELS // 2 + 1
    turn = 2 * np.pi / _MELS * np.outer(np.arange(bins), np.arange(_MELS))
    forward = np.stack([np.cos(turn), -np.sin(turn)], 1).reshape(-1, _MELS).astype(np.float32)
    x = g.node("Transpose", ["mel"], "columns", perm=[0, 2, 1])
    edges = g.constant("edges", np.array([0, 0, (rows - 1) // 2, 0, 0, rows // 2]))
    x = g.node("MatMul", [g.constant("forward", forward), g.node("Pad", [x, edges], "padded")], "transform")
    x = g.node("Reshape", [x, g.constant("apart", np.array([0, bins, 2, -1]))], "spectra")
    axis, parts = g.constant("time_axis", np.array([3])), []
    for row in range(rows):
        span = [g.constant(f"{end}{row}", np.array([at])) for end, at in (("from", row), ("to", row + _FRAMES))]
        parts.append(g.node("Slice", [x, *span, axis], f"tap{row}"))
    return g.node("Concat", parts, "taps", axis=2)


def build(nets: list[_Network]) -> onnx.ModelProto:
    """Both networks: ``mel`` (B, 187, 96) to ``NET_probs`` (B, 50) and ``NET_penultimate`` (B, 200) of each."""
    g = _Graph("both", {})
    x = g.node("Unsqueeze", ["mel", g.constant("channel", np.array([1]))], "image")
    wide = _taps(g, 7)
    pooled: dict[str, list[str]] = {net.net: [] for net in nets}
    for i in range(5):
        kernels = [net.parts[i].kernel[net.alive[i]] for net in nets]
        kernel, taps = np.concatenate(kernels), kernels[0].shape[2]
        if kernel.shape[3] > 1:
            y = _wide(g, wide, f"front{i}", kernel)
        else:
            pads = [(taps - 1) // 2, 0, taps // 2, 0]
            y = g.node("Conv", [x, g.weight(f"front{i}_w", kernel)], f"front{i}_conv", pads=pads, strides=[1, 1])
            y = g.node("ReduceMax", [y, g.constant(f"front{i}_axes", np.array([3]))], f"front{i}_squeezed", keepdims=0)
        sizes = g.constant(f"front{i}_sizes", np.array([len(kernel) for kernel in kernels]))
        parts = [f"{net.net}_pooled{i}" for net in nets]
        g.nodes.append(helper.make_node("Split", [y, sizes], parts, axis=1))
        for net, part in zip(nets, parts, strict=True):
            pooled[net.net].append(part)
    for net in nets:
        net.outputs(pooled[net.net])
    sizes = {"probs": 50, "penultimate": 200}
    graph = helper.make_graph(
        [node for part in (g, *nets) for node in part.nodes],
        "musicnn",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["B", _FRAMES, _MELS])],
        [
            helper.make_tensor_value_info(f"{net.net}_{name}", TensorProto.FLOAT, ["B", size])
            for net in nets
            for name, size in sizes.items()
        ],
        [tensor for part in (g, *nets) for tensor in part.initialisers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="solfa")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Convert both networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="folder of the unpacked musicnn wheel")
    parser.add_argument("out", type=Path, help="file to write, musicnn.onnx")
    arguments = parser.parse_args()
    folders = {net: arguments.wheel / "musicnn" / f"{net.upper()}_musicnn" for net in ("mtt", "msd")}
    model = build([_Network(net, read_checkpoint(folder)) for net, folder in folders.items()])
    arguments.out.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
