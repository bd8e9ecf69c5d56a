"""The judge: the same model in NumPy alone, to read, to copy from, and to hold the fast one against.

Read `layers`, then `attention`, `options`, `blocks`, `model`, `optimizers`, `weights`. Nothing here is shared with the
rest of the package, so that a mistake would have to be made twice, in two ways, to go unnoticed.
"""
