"""The two logarithms that turn up everywhere."""

import math

LOG_2PI = math.log(2 * math.pi)
LN2 = math.log(2)  # nats in a bit
