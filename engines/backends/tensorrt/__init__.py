"""TensorRT 10.3 to 11.x and TensorRT-RTX: the library, building plans, reading and running them."""
