"""The twins of `edge.vision` on an NVIDIA GPU: same names, same contracts, same algorithms.

NOT YET VERIFIED ON HARDWARE. Every kernel compiles for the supported architectures and gives, run
on a CPU by the tests, what its twin gives (bit for bit where the arithmetic allows). None of them
has run on a GPU so far, and none has been timed.

The kernels are plain CUDA (`*.cu`); what starts them in which order speaks only to the `Device`
Protocol, so the same code runs on the GPU (`pycuda_device`) and under the tests' emulation. pycuda
is imported by `pycuda_device` alone, and only when a device is opened.
"""
