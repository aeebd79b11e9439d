"""The CUDA side: detection, devices, kernel launches, and what the cuda functions of operations share."""
