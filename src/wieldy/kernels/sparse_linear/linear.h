// The contract of sparse_linear: a product of a sparse matrix with vectors.
//
//   out[n][r] = clamp(bias[r] + sum_i values[i] * in[n][columns[i]], low, high)
//
// A row block is 1, 4 or 8 outputs that share their columns; an entry has one value for each. Columns take two
// bytes where the inputs allow it: what limits this kernel is reading the weights. `bias` has room for whole row
// blocks; `out` is only touched below `outputs`.
#pragma once

#include <cstdint>

namespace wieldy {

struct Linear {
    const float* in;
    const std::int32_t* starts;  // row_blocks + 1
    const void* columns;         // uint16, or int32 where `wide`
    const float* values;
    const float* bias;
    float* out;
    std::int64_t inputs, outputs;
    float low, high;
    int examples, block;
    bool wide;
};

using LinearKernel = void (*)(const Linear&, int row_begin, int row_end);  // row blocks

void linear_portable(const Linear&, int, int);
void linear_avx2(const Linear&, int, int);

}  // namespace wieldy
