"""What Numba's Python cannot say, in LLVM's own words: sums that stay in vector registers, and threads that wait.

A product is computed in blocks of 8 rows by 1 column, or 4 by 4, whose sums never leave the registers: that is where
the speed is, twice that of the BLAS libraries at a language model's small sizes. Every sum is taken in the same order
whatever the block, so what a model answers does not depend on how many texts it reads at a time, nor on threads.
"""

import os
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from letterloom.runs.quantized import GROUP

INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # compiled code calls it, and nothing else
PAD = 16  # a multiple of every width below: how far rows and columns are filled up with zeros


def _vector_width() -> tuple[int, int]:
    """Floats in a register of this processor, and columns of a block whose sums fit its registers."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 4
    if features.get("avx2"):  # half as many registers
        return 8, 2
    return 4, 4


LANES, COLUMNS = _vector_width()


def block_product(rows: int, columns: int) -> Any:
    """An intrinsic: y[m + j, r + i] = bias[r + i] + sum over k < depth of w[r + i, k] * x[m + j, k], for a whole block.

    All arrays are C-contiguous float32, w (R, >= depth), x (M, >= depth), y (M, >= R), bias (R,); depth is a multiple
    of `PAD`. Or w is int8: in a row depth codes, then the float32 scale of each `GROUP` of them, bytes as they are. A
    code times its scale is exact, so the sums are bit for bit those of the float32 weights that are meant.
    """

    @intrinsic
    def block(_: Any, w: Any, bias: Any, x: Any, y: Any, r: Any, m: Any, depth: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = [
                context.make_array(t)(context, builder, a) for t, a in zip(signature.args, arguments[:4], strict=False)
            ]
            (w, bias, x, y), (r, m, depth) = arrays, arguments[4:]
            w_rows = [_row(builder, w, r, i) for i in range(rows)]
            x_rows = [_row(builder, x, m, j) for j in range(columns)]
            zero = ir.Constant(_vector(LANES), None)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(rows * columns)]  # become registers
            lanes = ir.Constant(depth.type, LANES)
            read_weights = _dequantize if signature.args[0].dtype == types.int8 else _read_floats
            with cgutils.for_range(builder, builder.udiv(depth, lanes)) as loop:
                k = builder.mul(loop.index, lanes)
                w_parts = [read_weights(builder, row, k, depth) for row in w_rows]
                x_parts = [_load(builder, builder.gep(row, [k]), LANES) for row in x_rows]
                for place, total in enumerate(sums):
                    term = builder.fmul(w_parts[place % rows], x_parts[place // rows], flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
            dots = _added_up(builder, [builder.load(total) for total in sums])
            offset = _load(builder, builder.gep(bias.data, [r]), rows)
            for j in range(columns):
                place, lane = divmod(j * rows, LANES)
                column = _lanes(builder, dots[place], dots[-1], range(lane, lane + rows))
                _store(builder, builder.fadd(column, offset), builder.gep(_row(builder, y, m, j), [r]))
            return context.get_dummy_value()

        return types.void(w, bias, x, y, r, m, depth), generate

    return block


@intrinsic
def arrive(_: Any, counter: Any) -> Any:
    """Add 1 to counter[0], an int64, as one step for all threads; the value before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "acq_rel")

    return types.int64(counter), generate


@intrinsic
def arrived(_: Any, counter: Any) -> Any:
    """counter[0] as other threads have left it, and with it all that they wrote before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(data, "acquire", 8)

    return types.int64(counter), generate


# Another thread may have this core; Windows has its own name for it.
give_way = types.ExternalFunction("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())


def _added_up(builder: Any, vectors: list[Any]) -> list[Any]:
    """The sums of the lanes of each vector, one after another in as few: halves are added to halves, two at a time."""
    group = LANES
    while group > 1:
        half = group // 2
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True)) if len(vectors) > 1 else [(vectors[0], vectors[0])]
        lower = [start + i for start in range(0, 2 * LANES, group) for i in range(half)]
        upper = [lane + half for lane in lower]
        vectors = [builder.fadd(_lanes(builder, a, b, lower), _lanes(builder, a, b, upper)) for a, b in pairs]
        group = half
    return vectors


def _read_floats(builder: Any, row: Any, k: Any, _: Any) -> Any:
    """`LANES` weights of a row, from place k on."""
    return _load(builder, builder.gep(row, [k]), LANES)


def _dequantize(builder: Any, row: Any, k: Any, depth: Any) -> Any:
    """`LANES` weights of a row, from place k on, of their codes and the scale of their group."""
    vector = ir.VectorType(ir.IntType(8), LANES)
    codes = builder.load(builder.bitcast(builder.gep(row, [k]), vector.as_pointer()))
    codes.align = 1
    scales = builder.bitcast(builder.gep(row, [depth]), ir.FloatType().as_pointer())
    scale = builder.load(builder.gep(scales, [builder.udiv(k, ir.Constant(k.type, GROUP))]))
    scale.align = 4
    one = builder.insert_element(ir.Constant(_vector(LANES), None), scale, ir.Constant(ir.IntType(32), 0))
    return builder.fmul(builder.sitofp(codes, _vector(LANES)), _lanes(builder, one, one, [0] * LANES))


def _vector(length: int) -> Any:
    return ir.VectorType(ir.FloatType(), length)


def _lanes(builder: Any, a: Any, b: Any, chosen: Any) -> Any:
    chosen = list(chosen)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen))


def _row(builder: Any, array: Any, index: Any, offset: int) -> Any:
    """Where row index + offset of a matrix begins."""
    length = cgutils.unpack_tuple(builder, array.shape)[1]
    return builder.gep(array.data, [builder.mul(builder.add(index, ir.Constant(index.type, offset)), length)])


def _load(builder: Any, pointer: Any, length: int) -> Any:
    value = builder.load(builder.bitcast(pointer, _vector(length).as_pointer()))
    value.align = 4
    return value


def _store(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4
