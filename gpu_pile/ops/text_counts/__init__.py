"""text_counts: contract.py says what is counted, reference.py is the definition, cpu.py and cuda.py the fast ways."""

from gpu_pile.ops.text_counts import cpu, cuda, reference
from gpu_pile.ops.text_counts.contract import C, text_counts

__all__ = ["C", "cpu", "cuda", "reference", "text_counts"]
