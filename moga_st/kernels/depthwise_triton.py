"""The Triton kernels of depthwise.py: it alone imports this file, where there is Triton and something to run it on.

Tensors are channels-last: an image of ``h w`` positions, ``STRIDE`` channels each, so that position ``p`` of the
flattened batch and channel ``c`` lie at ``p * STRIDE + c`` and a tap is a constant distance in memory.  A program
owns ``BLOCK_P`` consecutive positions (they may run over rows and images: no map wastes a part of a tile) and
``BLOCK_C`` consecutive channels.  Threads run along channels, 16 bytes each where the dtype and the alignment
allow; the taps of neighbouring positions are the same lines of L1.  Sums are float32 (float64 for float64).

Channel counts are compile-time constants: with them the compiler knows every alignment.  A model has a handful.
Map and batch sizes are not, and are not specialised on either, so a new length of clip compiles nothing.

Taps are (k * k, channels), channels adjacent.
"""
# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# (a literal is a constexpr to Triton's compiler, not to its type hints)

import triton
import triton.language as tl

_SIZES = ["positions", "height", "width"]


@triton.jit
def _reach(first, count, height, width):
    """The lowest and highest row of an image among ``count`` positions from ``first`` on."""
    top = first // width % height
    bottom = top + (first % width + count - 1) // width
    wraps = bottom >= height  # into the next image
    return tl.where(wraps, 0, top), tl.where(wraps, height - 1, bottom)


@triton.jit
def _convolve(
    x_ptr, taps_ptr, bias_ptr, y_ptr, pre_ptr, tile, block, positions, height, width,
    STRIDE: tl.constexpr, OFFSET: tl.constexpr, CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
    FLIP: tl.constexpr, GELU: tl.constexpr, KEEP: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One tile of a K x K convolution, dilated by D, of channels OFFSET to OFFSET + CHANNELS of x into those of y.

    FLIP turns it into the gradient with respect to its input: taps reversed, no bias.
    """
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    row, column = p // width % height, p % width
    real, ours = p < positions, c < CHANNELS
    at = p[:, None] * STRIDE + (OFFSET + c)[None, :]
    dtype = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype)
    # kernel rows that lie outside the image for the whole tile are left out: a third of 7x7 d3 on 16 rows
    top, bottom = _reach(tile * BLOCK_P, BLOCK_P, height, width)
    lowest = tl.maximum(K // 2 - bottom // D, 0)
    highest = tl.minimum(K // 2 + (height - 1 - top) // D, K - 1)
    for i in range(lowest, highest + 1):
        down = (i - K // 2) * D
        row_inside = real & (row + down >= 0) & (row + down < height)
        for j in tl.static_range(K):
            right = (j - K // 2) * D
            inside = row_inside & (column + right >= 0) & (column + right < width)
            tap = K * K - 1 - (i * K + j) if FLIP else i * K + j
            weight = tl.load(taps_ptr + tap * CHANNELS + c, mask=ours, other=0.0).to(dtype)
            there = x_ptr + at + (down * width + right) * STRIDE
            x = tl.load(there, mask=inside[:, None] & ours[None, :], other=0.0).to(dtype)
            total += x * weight[None, :]
    if not FLIP:
        total += tl.load(bias_ptr + c, mask=ours, other=0.0).to(dtype)[None, :]
    owned = real[:, None] & ours[None, :]
    if KEEP:
        tl.store(pre_ptr + at, total.to(pre_ptr.dtype.element_ty), mask=owned)
    if GELU:
        total = 0.5 * total * (1.0 + tl.math.erf(total * 0.7071067811865476))
    tl.store(y_ptr + at, total.to(y_ptr.dtype.element_ty), mask=owned)


@triton.jit(do_not_specialize=_SIZES)
def depthwise(
    x_ptr, taps_ptr, bias_ptr, y_ptr, pre_ptr, positions, height, width,
    CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr, FLIP: tl.constexpr, GELU: tl.constexpr,
    KEEP: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y = conv(x), or its input gradient (FLIP); GELU of it, and with KEEP what went into the GELU to ``pre``."""
    blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    tile, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    _convolve(
        x_ptr, taps_ptr, bias_ptr, y_ptr, pre_ptr, tile, block, positions, height, width,
        CHANNELS, 0, CHANNELS, K, D, FLIP, GELU, KEEP, BLOCK_P, BLOCK_C,
    )  # fmt: skip


@triton.jit(do_not_specialize=_SIZES)
def orders(
    x_ptr, middle_ptr, middle_bias_ptr, high_ptr, high_bias_ptr, y_ptr, positions, height, width,
    LOW: tl.constexpr, MIDDLE: tl.constexpr, HIGH: tl.constexpr, K_MIDDLE: tl.constexpr, D_MIDDLE: tl.constexpr,
    K_HIGH: tl.constexpr, D_HIGH: tl.constexpr, FLIP: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Channels in three ranges, untouched | one convolution | another, in one launch; or its input gradient.

    Copying the untouched eighth costs an eighth of a pass over the tensor; in exchange every kernel, forward and
    backward, reads one tensor and writes one.
    """
    low: tl.constexpr = (LOW + BLOCK_C - 1) // BLOCK_C
    middle: tl.constexpr = (MIDDLE + BLOCK_C - 1) // BLOCK_C
    high: tl.constexpr = (HIGH + BLOCK_C - 1) // BLOCK_C
    blocks: tl.constexpr = low + middle + high
    tile, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    if block < high:  # the longest first
        _convolve(
            x_ptr, high_ptr, high_bias_ptr, y_ptr, y_ptr, tile, block, positions, height, width,
            LOW + MIDDLE + HIGH, LOW + MIDDLE, HIGH, K_HIGH, D_HIGH, FLIP, False, False, BLOCK_P, BLOCK_C,
        )  # fmt: skip
    elif block < high + middle:
        _convolve(
            x_ptr, middle_ptr, middle_bias_ptr, y_ptr, y_ptr, tile, block - high, positions, height, width,
            LOW + MIDDLE + HIGH, LOW, MIDDLE, K_MIDDLE, D_MIDDLE, FLIP, False, False, BLOCK_P, BLOCK_C,
        )  # fmt: skip
    else:
        p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
        c = (block - high - middle) * BLOCK_C + tl.arange(0, BLOCK_C)
        at = p[:, None] * (LOW + MIDDLE + HIGH) + c[None, :]
        owned = (p < positions)[:, None] & (c < LOW)[None, :]
        tl.store(y_ptr + at, tl.load(x_ptr + at, mask=owned), mask=owned)


@triton.jit
def _tap(
    x_ptr, at, row, column, real, ours, height, width, i,
    INDEX: tl.constexpr, STRIDE: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """The tile of x that tap INDEX sees, counted from the first tap of kernel row ``i``."""
    down = (i + INDEX // K - K // 2) * D
    right = (INDEX % K - K // 2) * D
    inside = real & (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
    x = tl.load(x_ptr + at + (down * width + right) * STRIDE, mask=inside[:, None] & ours[None, :], other=0.0)
    return x.to(tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32)


@triton.jit
def _correlate(
    dy_ptr, x_ptr, part_ptr, chunk, block, chunk_length, positions, height, width,
    STRIDE: tl.constexpr, OFFSET: tl.constexpr, CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One chunk's share of the gradient of taps and bias, to ``part`` (chunks, k * k + 1, channels).

    Each thread sums its positions tap by tap in registers; threads meet once, at the end.  A pass holds nine
    sums at most: all taps of a 3x3, one kernel row of a larger one, whose further passes find the chunk in cache.
    """
    dtype = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    ROWS: tl.constexpr = K if K * K <= 9 else 1
    TAPS: tl.constexpr = ROWS * K
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    ours = c < CHANNELS
    start = chunk * chunk_length
    end = tl.minimum(start + chunk_length, positions)
    # a step of BLOCK_P positions, in rows and columns: a division a step would cost as much as two taps
    step_column, step_row = BLOCK_P % width, BLOCK_P // width % height
    top, bottom = _reach(start, chunk_length, height, width)
    part_ptr += chunk * (K * K + 1) * CHANNELS + c
    for i in range(0, K, ROWS):
        zero = tl.zeros([BLOCK_P, BLOCK_C], dtype)
        bias, s0, s1, s2, s3, s4, s5, s6, s7, s8 = zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
        p = start + tl.arange(0, BLOCK_P)
        row, column = p // width % height, p % width
        # a kernel row outside the image for the whole chunk has no gradient; the first also serves the bias
        seen = (bottom + (i + ROWS - 1 - K // 2) * D >= 0) & (top + (i - K // 2) * D < height)
        for _ in range(tl.where(seen | (i == 0), tl.cdiv(chunk_length, BLOCK_P), 0)):
            real = p < end
            at = p[:, None] * STRIDE + (OFFSET + c)[None, :]
            dy = tl.load(dy_ptr + at, mask=real[:, None] & ours[None, :], other=0.0).to(dtype)
            bias += dy
            s0 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 0, STRIDE, K, D)
            s1 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 1, STRIDE, K, D)
            s2 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 2, STRIDE, K, D)
            if TAPS > 3:
                s3 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 3, STRIDE, K, D)
                s4 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 4, STRIDE, K, D)
            if TAPS > 5:
                s5 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 5, STRIDE, K, D)
                s6 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 6, STRIDE, K, D)
            if TAPS > 7:
                s7 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 7, STRIDE, K, D)
                s8 += dy * _tap(x_ptr, at, row, column, real, ours, height, width, i, 8, STRIDE, K, D)
            p += BLOCK_P
            column += step_column
            row += step_row + tl.where(column >= width, 1, 0)
            column -= tl.where(column >= width, width, 0)
            row -= tl.where(row >= height, height, 0)
        out = part_ptr + i * K * CHANNELS
        tl.store(out, tl.sum(s0, 0), mask=ours)
        tl.store(out + CHANNELS, tl.sum(s1, 0), mask=ours)
        tl.store(out + 2 * CHANNELS, tl.sum(s2, 0), mask=ours)
        if TAPS > 3:
            tl.store(out + 3 * CHANNELS, tl.sum(s3, 0), mask=ours)
            tl.store(out + 4 * CHANNELS, tl.sum(s4, 0), mask=ours)
        if TAPS > 5:
            tl.store(out + 5 * CHANNELS, tl.sum(s5, 0), mask=ours)
            tl.store(out + 6 * CHANNELS, tl.sum(s6, 0), mask=ours)
        if TAPS > 7:
            tl.store(out + 7 * CHANNELS, tl.sum(s7, 0), mask=ours)
            tl.store(out + 8 * CHANNELS, tl.sum(s8, 0), mask=ours)
        if i == 0:
            tl.store(part_ptr + K * K * CHANNELS, tl.sum(bias, 0), mask=ours)


@triton.jit(do_not_specialize=[*_SIZES, "chunk_length"])
def depthwise_weights(
    dy_ptr, x_ptr, part_ptr, chunk_length, positions, height, width,
    CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Each chunk's share of the gradient of taps and bias."""
    blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    chunk, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    _correlate(
        dy_ptr, x_ptr, part_ptr, chunk, block, chunk_length, positions, height, width,
        CHANNELS, 0, CHANNELS, K, D, BLOCK_P, BLOCK_C,
    )  # fmt: skip


@triton.jit(do_not_specialize=[*_SIZES, "chunk_length"])
def orders_weights(
    dy_ptr, x_ptr, middle_ptr, high_ptr, chunk_length, positions, height, width,
    LOW: tl.constexpr, MIDDLE: tl.constexpr, HIGH: tl.constexpr, K_MIDDLE: tl.constexpr, D_MIDDLE: tl.constexpr,
    K_HIGH: tl.constexpr, D_HIGH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Each chunk's share of the gradients of both convolutions of ``orders``, in one launch."""
    middle: tl.constexpr = (MIDDLE + BLOCK_C - 1) // BLOCK_C
    high: tl.constexpr = (HIGH + BLOCK_C - 1) // BLOCK_C
    blocks: tl.constexpr = middle + high
    chunk, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    if block < high:
        _correlate(
            dy_ptr, x_ptr, high_ptr, chunk, block, chunk_length, positions, height, width,
            LOW + MIDDLE + HIGH, LOW + MIDDLE, HIGH, K_HIGH, D_HIGH, BLOCK_P, BLOCK_C,
        )  # fmt: skip
    else:
        _correlate(
            dy_ptr, x_ptr, middle_ptr, chunk, block - high, chunk_length, positions, height, width,
            LOW + MIDDLE + HIGH, LOW, MIDDLE, K_MIDDLE, D_MIDDLE, BLOCK_P, BLOCK_C,
        )  # fmt: skip
