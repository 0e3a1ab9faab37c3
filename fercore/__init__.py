"""Pose-robust facial expression recognition: five papers, one package.

The map, in the order in which modules stand on each other:

- ``recipe``        the frozen set of parameters behind a run, and the presets smoke, quick, paper
- ``heads``         rendered people: anatomy, FACS action units, people, scene, picture
- ``data``          labels, the prepared form, twins, real sets, protocols, checks
- ``backbones``     ResNet-18
- ``papers``        one file a paper, in the paper's order: ``lan``; ``baselines``
- ``train``         the loop, resumable
- ``evaluate``      metrics, intervals, paired tests
- ``records``       what a run leaves behind; ``published``: what the papers print
- ``experiments``   recipe -> data -> training -> test -> record
- ``figures``       arrays in, figures out
- ``notebook``, ``execute``, ``book``, ``cli``  pages, their execution, the book, the command line
"""

import warnings

# Libraries import tqdm's notebook form, which complains in every kernel that has no widgets. None are wanted here.
warnings.filterwarnings("ignore", message="IProgress not found")
