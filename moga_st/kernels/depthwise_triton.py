"""The Triton kernels of depthwise.py: it alone imports this file, where there is Triton and something to run it on.

Tensors are channels-last: an image of ``h w`` positions, ``STRIDE`` channels each, so that position ``p`` of the
flattened batch and channel ``c`` lie at ``p * STRIDE + c`` and a tap is a constant distance in memory.

What a product costs beside itself is to read x: the load, its test for the image's edge, the conversion to float32.
A kernel dilated by D has its taps D columns apart, so positions D columns apart share most of them.  A thread takes
a run of ``SPAN`` such positions of a row: for a row of K taps it reads K + SPAN - 1 columns for K SPAN products.
A program owns ``BLOCK_R`` consecutive runs (of any rows and images: no map wastes a part of a tile) and ``BLOCK_C``
consecutive channels.  Threads run along channels, 16 bytes each where the dtype and the alignment allow; the taps
of neighbouring runs are the same pieces of L1.  Sums are float32 (float64 for float64).

Channel counts are compile-time constants: with them the compiler knows every alignment.  A model has a handful.
Map and batch sizes are not, and are not specialised on either, so a new length of clip compiles nothing.

A *line* is a row of the whole batch, ``row`` its number within its image.

Taps are (k * k, channels), channels adjacent.
"""
# ruff: noqa: RUF005 (Triton knows a sum of tuples, not an unpacked one)
# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false
# (a literal is a constexpr to Triton's compiler, and a tuple grows, but not to their type hints)

import triton
import triton.language as tl

_SIZES = ["lines", "height", "width"]


@triton.jit
def _runs(width, SPAN: tl.constexpr, D: tl.constexpr):
    """Runs in a row: D for every SPAN D columns; the last ones may be short."""
    return width // (SPAN * D) * D + tl.minimum(width % (SPAN * D), D)


@triton.jit
def _column(run, SPAN: tl.constexpr, D: tl.constexpr):
    """Column of the first position of a row's run."""
    return run // D * (SPAN * D) + run % D


@triton.jit
def _reach(first, count, runs, height):
    """The lowest and highest row of an image among ``count`` runs from number ``first`` on."""
    top = first // runs % height
    bottom = top + (first % runs + count - 1) // runs
    wraps = bottom >= height  # into the next image
    return tl.where(wraps, 0, top), tl.where(wraps, height - 1, bottom)


@triton.jit
def _load(ptr, at, column, real, ours, width, STEPS: tl.constexpr, STRIDE: tl.constexpr):
    """What lies STEPS columns to the right, as the sums' dtype; zero outside the image."""
    inside = real & (column + STEPS >= 0) & (column + STEPS < width)
    x = tl.load(ptr + at + STEPS * STRIDE, mask=inside[:, None] & ours[None, :], other=0.0)
    return x.to(tl.float64 if ptr.dtype.element_ty == tl.float64 else tl.float32)


@triton.jit
def _window(
    x_ptr, at, i, row, column, real, ours, height, width,
    STRIDE: tl.constexpr, K: tl.constexpr, D: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """The K + SPAN - 1 columns that row ``i`` of the taps sees from a run."""
    down = (i - K // 2) * D
    visible = real & (row + down >= 0) & (row + down < height)
    at += down * width * STRIDE
    window = ()
    for n in tl.static_range(K + SPAN - 1):
        window = window + (_load(x_ptr, at, column, visible, ours, width, (n - K // 2) * D, STRIDE),)
    return window


@triton.jit
def _convolve(
    x_ptr, taps_ptr, bias_ptr, y_ptr, pre_ptr, program, lines, height, width,
    STRIDE: tl.constexpr, OFFSET: tl.constexpr, CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
    FLIP: tl.constexpr, GELU: tl.constexpr, KEEP: tl.constexpr,
    SPAN: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One tile of a K x K convolution, dilated by D, of channels OFFSET to OFFSET + CHANNELS of x into those of y.

    FLIP turns it into the gradient with respect to its input: taps reversed, no bias.
    """
    blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    tile, block = program // blocks, program % blocks
    runs = _runs(width, SPAN, D)
    number = tile * BLOCK_R + tl.arange(0, BLOCK_R)
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    line, column = number // runs, _column(number % runs, SPAN, D)
    row, real, ours = line % height, line < lines, c < CHANNELS
    at = (line * width + column)[:, None] * STRIDE + (OFFSET + c)[None, :]
    dtype = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    totals = ()
    for _ in tl.static_range(SPAN):
        totals = totals + (tl.zeros([BLOCK_R, BLOCK_C], dtype),)
    # kernel rows that lie outside the image for the whole tile are left out: a third of 7x7 d3 on 16 rows
    top, bottom = _reach(tile * BLOCK_R, BLOCK_R, runs, height)
    lowest = tl.maximum(K // 2 - bottom // D, 0)
    highest = tl.minimum(K // 2 + (height - 1 - top) // D, K - 1)
    for i in range(lowest, highest + 1):
        window = _window(x_ptr, at, i, row, column, real, ours, height, width, STRIDE, K, D, SPAN)
        for j in tl.static_range(K):
            tap = K * K - 1 - (i * K + j) if FLIP else i * K + j
            weight = tl.load(taps_ptr + tap * CHANNELS + c, mask=ours, other=0.0).to(dtype)[None, :]
            sums = ()
            for n in tl.static_range(SPAN):
                sums = sums + (totals[n] + window[j + n] * weight,)
            totals = sums
    for n in tl.static_range(SPAN):
        total = totals[n]
        if not FLIP:
            total += tl.load(bias_ptr + c, mask=ours, other=0.0).to(dtype)[None, :]
        here = at + n * D * STRIDE
        owned = (real & (column + n * D < width))[:, None] & ours[None, :]
        if KEEP:
            tl.store(pre_ptr + here, total.to(pre_ptr.dtype.element_ty), mask=owned)
        if GELU:
            total = 0.5 * total * (1.0 + tl.math.erf(total * 0.7071067811865476))
        tl.store(y_ptr + here, total.to(y_ptr.dtype.element_ty), mask=owned)


@triton.jit(do_not_specialize=_SIZES)
def depthwise(
    x_ptr, taps_ptr, bias_ptr, y_ptr, pre_ptr, lines, height, width,
    CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr, FLIP: tl.constexpr, GELU: tl.constexpr,
    KEEP: tl.constexpr, SPAN: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y = conv(x), or its input gradient (FLIP); GELU of it, and with KEEP what went into the GELU to ``pre``."""
    _convolve(
        x_ptr, taps_ptr, bias_ptr, y_ptr, pre_ptr, tl.program_id(0), lines, height, width,
        CHANNELS, 0, CHANNELS, K, D, FLIP, GELU, KEEP, SPAN, BLOCK_R, BLOCK_C,
    )  # fmt: skip


@triton.jit(do_not_specialize=[*_SIZES, "high_programs", "middle_programs"])
def orders(
    x_ptr, middle_ptr, middle_bias_ptr, high_ptr, high_bias_ptr, y_ptr,
    high_programs, middle_programs, lines, height, width,
    LOW: tl.constexpr, MIDDLE: tl.constexpr, HIGH: tl.constexpr, K_MIDDLE: tl.constexpr, D_MIDDLE: tl.constexpr,
    K_HIGH: tl.constexpr, D_HIGH: tl.constexpr, FLIP: tl.constexpr,
    SPAN_MIDDLE: tl.constexpr, SPAN_HIGH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Channels in three ranges, untouched | one convolution | another, in one launch; or its input gradient.

    Copying the untouched eighth costs an eighth of a pass over the tensor; in exchange every kernel, forward and
    backward, reads one tensor and writes one.  The longest programs come first.
    """
    low: tl.constexpr = (LOW + BLOCK_C - 1) // BLOCK_C
    program = tl.program_id(0)
    if program < high_programs:
        _convolve(
            x_ptr, high_ptr, high_bias_ptr, y_ptr, y_ptr, program, lines, height, width,
            LOW + MIDDLE + HIGH, LOW + MIDDLE, HIGH, K_HIGH, D_HIGH, FLIP, False, False,
            SPAN_HIGH, BLOCK_R, BLOCK_C,
        )  # fmt: skip
    elif program < high_programs + middle_programs:
        _convolve(
            x_ptr, middle_ptr, middle_bias_ptr, y_ptr, y_ptr, program - high_programs, lines, height, width,
            LOW + MIDDLE + HIGH, LOW, MIDDLE, K_MIDDLE, D_MIDDLE, FLIP, False, False,
            SPAN_MIDDLE, BLOCK_R, BLOCK_C,
        )  # fmt: skip
    else:
        program -= high_programs + middle_programs
        p = program // low * (4 * BLOCK_R) + tl.arange(0, 4 * BLOCK_R)
        c = program % low * BLOCK_C + tl.arange(0, BLOCK_C)
        at = p[:, None] * (LOW + MIDDLE + HIGH) + c[None, :]
        owned = (p < lines * width)[:, None] & (c < LOW)[None, :]
        tl.store(y_ptr + at, tl.load(x_ptr + at, mask=owned), mask=owned)


@triton.jit
def _correlate(
    dy_ptr, x_ptr, part_ptr, program, chunk_length, lines, height, width,
    STRIDE: tl.constexpr, OFFSET: tl.constexpr, CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
    TAP_ROWS: tl.constexpr, SPAN: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One chunk's share of the gradient of TAP_ROWS rows of taps, to ``part`` (chunks, k * k + 1, channels), and of the
    bias, where the middle row is among them.

    Each thread sums its runs tap by tap in registers; threads meet once, at the end, which costs as much as a few
    tiles.  So a program has few taps and many runs: the rows of a large kernel go to different programs.

    In one piece, longer than our rule, because what the loop carries are tuples of registers, which a function of
    Triton's could only give back as a new tuple each time.
    """
    blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    shares: tl.constexpr = K // TAP_ROWS
    chunk, i, block = program // (blocks * shares), program // blocks % shares * TAP_ROWS, program % blocks
    dtype = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    TAPS: tl.constexpr = TAP_ROWS * K
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    ours = c < CHANNELS
    runs = _runs(width, SPAN, D)
    start = chunk * chunk_length
    number = start + tl.arange(0, BLOCK_R)
    end = tl.minimum(start + chunk_length, lines * runs)
    line, run = number // runs, number % runs
    row = line % height
    # a step of BLOCK_R runs, in lines and runs: a division a step would cost as much as a tap
    step_run, step_line = BLOCK_R % runs, BLOCK_R // runs
    step_row = step_line % height
    brings_bias = i == K // 2 // TAP_ROWS * TAP_ROWS
    bias = tl.zeros([BLOCK_R, BLOCK_C], dtype)
    sums = ()
    for _ in tl.static_range(TAPS):
        sums = sums + (bias,)
    # kernel rows outside the image for the whole chunk have no gradient
    top, bottom = _reach(start, chunk_length, runs, height)
    touches = (bottom + (i + TAP_ROWS - 1 - K // 2) * D >= 0) & (top + (i - K // 2) * D < height)
    for _ in range(tl.where(touches, tl.cdiv(chunk_length, BLOCK_R), 0)):
        real = number < end
        column = _column(run, SPAN, D)
        at = (line * width + column)[:, None] * STRIDE + (OFFSET + c)[None, :]
        dy = ()
        for n in tl.static_range(SPAN):
            dy = dy + (_load(dy_ptr, at, column, real, ours, width, n * D, STRIDE),)
        if brings_bias:
            for n in tl.static_range(SPAN):
                bias += dy[n]
        totals = ()
        for r in tl.static_range(TAP_ROWS):
            window = _window(x_ptr, at, i + r, row, column, real, ours, height, width, STRIDE, K, D, SPAN)
            for j in tl.static_range(K):
                total = sums[r * K + j]
                for n in tl.static_range(SPAN):
                    total += dy[n] * window[j + n]
                totals = totals + (total,)
        sums = totals
        number += BLOCK_R
        run += step_run
        wraps = tl.where(run >= runs, 1, 0)
        run -= wraps * runs
        line += step_line + wraps
        row += step_row + wraps
        row -= tl.where(row >= height, height, 0)
    out = part_ptr + (chunk * (K * K + 1) + i * K) * CHANNELS + c
    for j in tl.static_range(TAPS):
        tl.store(out + j * CHANNELS, tl.sum(sums[j], 0), mask=ours)
    if brings_bias:
        tl.store(part_ptr + (chunk * (K * K + 1) + K * K) * CHANNELS + c, tl.sum(bias, 0), mask=ours)


@triton.jit(do_not_specialize=[*_SIZES, "chunk_length"])
def depthwise_weights(
    dy_ptr, x_ptr, part_ptr, chunk_length, lines, height, width,
    CHANNELS: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
    TAP_ROWS: tl.constexpr, SPAN: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Each chunk's share of the gradient of taps and bias."""
    _correlate(
        dy_ptr, x_ptr, part_ptr, tl.program_id(0), chunk_length, lines, height, width,
        CHANNELS, 0, CHANNELS, K, D, TAP_ROWS, SPAN, BLOCK_R, BLOCK_C,
    )  # fmt: skip


@triton.jit(do_not_specialize=[*_SIZES, "high_length", "middle_length", "high_programs"])
def orders_weights(
    dy_ptr, x_ptr, middle_ptr, high_ptr, high_length, middle_length, high_programs, lines, height, width,
    LOW: tl.constexpr, MIDDLE: tl.constexpr, HIGH: tl.constexpr, K_MIDDLE: tl.constexpr, D_MIDDLE: tl.constexpr,
    K_HIGH: tl.constexpr, D_HIGH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
    TAP_ROWS_MIDDLE: tl.constexpr, SPAN_MIDDLE: tl.constexpr, TAP_ROWS_HIGH: tl.constexpr, SPAN_HIGH: tl.constexpr,
):  # fmt: skip
    """Each chunk's share of the gradients of both convolutions of ``orders``, in one launch."""
    program = tl.program_id(0)
    if program < high_programs:
        _correlate(
            dy_ptr, x_ptr, high_ptr, program, high_length, lines, height, width,
            LOW + MIDDLE + HIGH, LOW + MIDDLE, HIGH, K_HIGH, D_HIGH, TAP_ROWS_HIGH, SPAN_HIGH, BLOCK_R, BLOCK_C,
        )  # fmt: skip
    else:
        _correlate(
            dy_ptr, x_ptr, middle_ptr, program - high_programs, middle_length, lines, height, width,
            LOW + MIDDLE + HIGH, LOW, MIDDLE, K_MIDDLE, D_MIDDLE, TAP_ROWS_MIDDLE, SPAN_MIDDLE, BLOCK_R, BLOCK_C,
        )  # fmt: skip
