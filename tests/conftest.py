"""Two virtual CPU devices, so that every test of training is one of sharding too."""

import jax

jax.config.update("jax_num_cpu_devices", 2)
