"""The pipeline's parts on an NVIDIA GPU: observer, inputs, encoder, energies.

NOT YET VERIFIED ON HARDWARE: tested on the CPU emulation of the kernels and a stand-in of TensorRT.

A frame is uploaded once; flow, ring buffer, gate, gather into the engine's input, engine and
energies follow on one stream. What comes back: the energies, and what the host decides with before
it can go on (how many pixels moved per cell, the share of moving cells, a row of the Gram matrix,
the coarse flow where surprise is carried along it). No picture, patch or latent vector does.
"""
