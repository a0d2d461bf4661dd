// Plain C++, for any CPU: eight sums of a row side by side.
#include "linear.h"

namespace wieldy {
namespace {

constexpr int kLanes = 8;

inline float clamp(float value, float low, float high) {
    value = value < low ? low : value;  // a NaN compares false and stays
    return value > high ? high : value;
}

template <class Column>
void run(const Linear& p, int row_begin, int row_end) {
    const Column* columns = static_cast<const Column*>(p.columns);
    for (int row = row_begin; row < row_end; ++row)
        for (int n = 0; n < p.examples; ++n)
            for (int b = 0; b < p.block && row * p.block + b < p.outputs; ++b) {
                const float* in = p.in + n * p.inputs;
                float sums[kLanes] = {};
                for (int i = p.starts[row]; i < p.starts[row + 1]; ++i)
                    sums[(i - p.starts[row]) % kLanes] +=
                        p.values[static_cast<std::int64_t>(i) * p.block + b] * in[columns[i]];
                float sum = p.bias[row * p.block + b];
                for (const float part : sums) sum += part;
                p.out[n * p.outputs + row * p.block + b] = clamp(sum, p.low, p.high);
            }
}

}  // namespace

void linear_portable(const Linear& p, int row_begin, int row_end) {
    (p.wide ? run<std::int32_t> : run<std::uint16_t>)(p, row_begin, row_end);
}

}  // namespace wieldy
