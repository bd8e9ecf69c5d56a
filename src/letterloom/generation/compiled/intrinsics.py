"""What Numba's Python cannot say, in LLVM's own words: sums that stay in vector registers, and threads that wait.

A matrix lies in panels of `PAD` rows, column after column, so that a column of a panel is a vector: a product adds
columns times numbers to sums that never leave the registers, and nothing is added up across a vector (Goto and van de
Geijn 2008, section 4). Every sum is taken in the same order, whatever the block, so what a model answers does not
depend on how many texts it reads at a time, nor on threads.
"""

import os
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from letterloom.runs.quantized import GROUP

INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # compiled code calls it, and nothing else
PAD = 16  # rows of a panel, which are filled up with zeros: a register of AVX-512, two of AVX2
GROUP_BYTES = 4 * PAD + GROUP * PAD  # of a quantized panel: the scales of its rows, then codes, column after column
COLUMNS = 4  # of a block
PANELS = 4 if binding.get_host_cpu_features().get("avx512f") else 1  # of a block, whose sums have to fit the registers


def block_product(panels: int, columns: int) -> Any:
    """An intrinsic: y[m + j, r] = bias[r] + sum over k < depth of w[r, k] * x[m + j, k], for a block of j and r.

    The rows r are those of `panels` panels from panel p on. All arrays are C-contiguous float32, x (M, >= depth), y
    (M, >= R), bias (R,), and w (R / PAD, >= depth, PAD). Or w is int8, (R / PAD, groups, GROUP_BYTES): a code times
    its scale is exact, so the sums are bit for bit those of the float32 weights that are meant.
    """

    @intrinsic
    def block(_: Any, w: Any, bias: Any, x: Any, y: Any, p: Any, m: Any, depth: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = [
                context.make_array(t)(context, builder, a) for t, a in zip(signature.args, arguments[:4], strict=False)
            ]
            (w, bias, x, y), (p, m, depth) = arrays, arguments[4:]
            w_panels = [_row(builder, w, p, i) for i in range(panels)]
            x_rows = [_row(builder, x, m, j) for j in range(columns)]
            zero = ir.Constant(_FLOATS, None)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in w_panels] for _ in x_rows]  # become registers

            def add_column(k: Any, column: list[Any]) -> None:
                for row, totals in zip(x_rows, sums, strict=True):
                    number = _broadcast(builder, builder.load(builder.gep(row, [k])))
                    for weights, total in zip(column, totals, strict=True):
                        term = builder.fmul(weights, number, flags=("contract",))
                        builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)

            columns_of = _columns_of_codes if signature.args[0].dtype == types.int8 else _columns_of_floats
            columns_of(builder, w_panels, depth, add_column)
            first = builder.mul(p, ir.Constant(p.type, PAD))
            for i in range(panels):
                r = builder.add(first, ir.Constant(p.type, i * PAD))
                offset = _load(builder, builder.gep(bias.data, [r]), _FLOATS)
                for j, totals in enumerate(sums):
                    total = builder.fadd(builder.load(totals[i]), offset)
                    _store(builder, total, builder.gep(_row(builder, y, m, j), [r]))
            return context.get_dummy_value()

        return types.void(w, bias, x, y, p, m, depth), generate

    return block


@intrinsic
def float_of_bits(_: Any, bits: Any) -> Any:  # noqa: ARG001 (Numba gives its type, which is known)
    """The float32 of which these are the 32 bits."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


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

_FLOATS = ir.VectorType(ir.FloatType(), PAD)
_CODES = ir.VectorType(ir.IntType(8), PAD)


def _columns_of_floats(builder: Any, panels: list[Any], depth: Any, add_column: Any) -> None:
    """Call `add_column` with each k < depth and column k of each panel."""
    with cgutils.for_range(builder, depth) as loop:
        place = builder.mul(loop.index, ir.Constant(depth.type, PAD))
        add_column(loop.index, [_load(builder, builder.gep(panel, [place]), _FLOATS) for panel in panels])


def _columns_of_codes(builder: Any, panels: list[Any], depth: Any, add_column: Any) -> None:
    """The same, of codes times the scales of their group."""
    group = ir.Constant(depth.type, GROUP)
    groups = builder.udiv(builder.add(depth, ir.Constant(depth.type, GROUP - 1)), group)
    with cgutils.for_range(builder, groups) as outer:
        start = builder.mul(outer.index, ir.Constant(depth.type, GROUP_BYTES))
        here = [builder.gep(panel, [start]) for panel in panels]
        scales = [_load(builder, place, _FLOATS) for place in here]
        first = builder.mul(outer.index, group)
        left = builder.sub(depth, first)
        length = builder.select(builder.icmp_signed("<", left, group), left, group)
        with cgutils.for_range(builder, length) as inner:
            place = builder.add(
                builder.mul(inner.index, ir.Constant(depth.type, PAD)), ir.Constant(depth.type, 4 * PAD)
            )
            codes = [builder.sitofp(_load(builder, builder.gep(panel, [place]), _CODES), _FLOATS) for panel in here]
            column = [builder.fmul(code, scale) for code, scale in zip(codes, scales, strict=True)]
            add_column(builder.add(first, inner.index), column)


def _broadcast(builder: Any, number: Any) -> Any:
    one = builder.insert_element(ir.Constant(_FLOATS, None), number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), PAD), [0] * PAD))


def _row(builder: Any, array: Any, index: Any, offset: int) -> Any:
    """Where array[index + offset] begins."""
    length = index.type(1)
    for size in cgutils.unpack_tuple(builder, array.shape)[1:]:
        length = builder.mul(length, size)
    return builder.gep(array.data, [builder.mul(builder.add(index, ir.Constant(index.type, offset)), length)])


def _load(builder: Any, pointer: Any, vector: Any) -> Any:
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = 4
    return value


def _store(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4
