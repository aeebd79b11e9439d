"""One operation a file. gpu_pile.ops.op.load_all() finds them."""
