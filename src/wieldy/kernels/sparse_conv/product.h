// The contract of sparse_conv: a product of a sparse matrix with shifted planes.
//
//   out[c][t] = clamp(bias[c] (+ residual[c][t]) + sum_i values[i] * in[offsets[i] + t], low, high)
//
// Activations are padded planes of one pitch, so a tap of a convolution is a shift, and the planner turns
// kernel, stride, dilation, groups and padding into offsets. A row block is 1, 4 or 8 output channels that
// share their offsets; an entry has one value for each. Inputs are cut into parts whose tiles fit a core's
// first cache; the partial sums of a tile wait in `out`. Positions are computed in whole vectors, so `out` has
// room for whole tiles, and for channels up to whole row blocks.
#pragma once

#include <cstdint>

namespace wieldy {

constexpr int kRoom = 16;          // tiles begin and end at multiples of this
constexpr int kMaskPositions = 8;  // positions that one byte of the mask covers

struct Product {
    const float* in;
    const std::int32_t* starts;  // parts * row_blocks + 1: where the entries of (part, row block) begin
    const std::int32_t* offsets;
    const float* values;
    const float* bias;
    const float* residual;       // or null; may be `out`
    const std::uint8_t* mask;    // a bit per position that holds a pixel, or null: nothing need be cleared
    float* out;
    std::int64_t stride;         // floats from one output channel to the next
    std::int64_t residual_stride;
    float low, high;
    int block, parts, row_blocks;
    bool own_inputs;             // no row reads what another reads (depthwise): fetch it one row ahead
};

// What is computed at once, for all parts: a tile, whose ends are multiples of kRoom, of a range of row blocks.
struct Share {
    int begin, end, row_begin, row_end;
};

using ProductKernel = void (*)(const Product&, const Share&);

void product_portable(const Product&, const Share&);
void product_avx2(const Product&, const Share&);
void product_avx512(const Product&, const Share&);

}  // namespace wieldy
