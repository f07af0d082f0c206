"""Lays the folder that infinity's ONNX engine reads.

Run in infinity's environment: python prepare.py MODEL TOKENIZER FOLDER

infinity pools token vectors itself, and our graph has pooled already. So the graph gives its embedding as the
only "token", and infinity is told to take the first (--pooling-method cls): less work, and the same vectors.
"""

import json
import shutil
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SPECIAL = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}


def prepare(model: Path, tokenizer: Path, folder: Path) -> None:
    graph = onnx.load(model)
    (embedding,) = (output for output in graph.graph.output if output.name == "embedding")
    width = embedding.type.tensor_type.shape.dim[1].dim_value or 1024
    graph.graph.initializer.append(helper.make_tensor("token_axis", TensorProto.INT64, [1], [1]))
    graph.graph.node.append(helper.make_node("Unsqueeze", ["embedding", "token_axis"], ["last_hidden_state"]))
    del graph.graph.output[:]
    graph.graph.output.append(
        helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", 1, width])
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, folder / "model.onnx")
    shutil.copy(tokenizer, folder / "tokenizer.json")
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 512}))


if __name__ == "__main__":
    prepare(*map(Path, sys.argv[1:]))
