"""Importing this module registers every component: each file of the packages below is one."""

import importlib
import pkgutil

from trainers import encoders, heads, labels, losses, pooling, regularizers

for _package in (pooling, encoders, heads, labels, losses, regularizers):
    for _module in pkgutil.iter_modules(_package.__path__, _package.__name__ + "."):
        importlib.import_module(_module.name)
