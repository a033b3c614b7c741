"""Moved: the module is `declm.specs`, since `dm.spec` is the function. This file goes away before the commit."""

from declm.specs import Spec as Spec
from declm.specs import row_hash as row_hash
from declm.specs import spec as spec
