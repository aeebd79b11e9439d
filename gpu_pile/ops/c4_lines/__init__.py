"""c4_lines: contract.py says what is counted, reference.py is the definition, cpu.py and cuda.py the fast ways."""

from gpu_pile.ops.c4_lines import cpu, cuda, reference
from gpu_pile.ops.c4_lines.contract import C, c4_lines

__all__ = ["C", "c4_lines", "cpu", "cuda", "reference"]
