"""Every metric and protocol of the field, pure and exact: arrays in, numbers out. Nothing here ships or trains a model.

=====================  ==============================================================================================
retrieval              `ranking` `similarity` `retrieval` `significance`
FIGMA                  `saturation` `perturbation`
blind systems          `blind`
FineLAP                `events` `psds` `openvocab`
tags                   `tagging`
GD-Retriever           `generative`
MIR                    `mir`
captions, judges       `text` `judges`
fine-grained search    `truth` `finegrained` `finequeries`
reports                `tasks` `reports` `interop`
=====================  ==============================================================================================

Guide: docs/evaluation.md.
"""

from solfa.core.errors import need

need("scipy", "evaluation", "pip install 'solfa[eval]'")
