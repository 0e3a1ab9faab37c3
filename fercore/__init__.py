"""Pose-robust facial expression recognition: five papers, one package.

The map, in the order in which modules stand on each other (`tests/test_layers.py` holds them to it):

- ``recipe``     the frozen set of parameters behind a run, and the presets smoke, quick, paper
- ``heads``      rendered people: anatomy, FACS action units, people, scene, picture
- ``data``       labels, the prepared form, twins, real sets, protocols, checks
- ``backbones``  the networks that papers build on, files of weights, costs
- ``papers``     one module per paper and a toml file of what the book says of it; baselines; pre-training
- ``training``   batches, the loop, the test; recipe -> data -> stages -> training -> test -> record
- ``records``    what a run leaves behind; ``intervals``: how sure its numbers are
- ``published``  what the papers print; ``ledger``: claims beside records, a run beside its reference, unchanged code
- ``studies``    ablations, which records are wanted, twins beside photographs, speed, the audit of the papers
- ``figures``    arrays in, figures out
- ``notebook``, ``book``, ``predict``, ``cli``  pages and their execution, the book, your own pictures, the command line
"""

import warnings

# Libraries import tqdm's notebook form, which complains in every kernel that has no widgets. None are wanted here.
warnings.filterwarnings("ignore", message="IProgress not found")
