"""Python imports it at its start: what is asked of the CUDA driver (gpu_pile.gpu.detect) has an answer."""

import ctypes


class Driver:
    """libcuda.so.1 of a machine with one device of compute capability 9.0 and 8 GiB."""

    def cuInit(self, flags):
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device, number):
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = b"Fake GPU"
        return 0

    def cuDeviceTotalMem_v2(self, size, device):
        size._obj.value = 8 << 30
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = 9 if attribute == 75 else 0
        return 0


class CDLL(ctypes.CDLL):
    """Any library, but for the driver the one above."""

    def __new__(cls, name=None, *arguments, **options):
        return Driver() if name == "libcuda.so.1" else super().__new__(cls)


ctypes.CDLL = CDLL
