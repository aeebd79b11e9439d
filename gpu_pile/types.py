"""Types that many files name."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
"""A NumPy array of any shape and dtype; docstrings say which."""

DeviceArray = Any
"""A CuPy array on a GPU; a NumPy array where tests execute kernels on the CPU."""
