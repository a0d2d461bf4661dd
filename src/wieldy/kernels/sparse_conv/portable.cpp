// Plain C++, for any CPU: eight positions at a time in an array that compilers keep in registers.
#include "product.h"

namespace wieldy {
namespace {

constexpr int kLanes = 8;

inline float clamp(float value, float low, float high) {
    value = value < low ? low : value;  // a NaN compares false and stays
    return value > high ? high : value;
}

// The sums of one channel at eight positions, from the first part to the last.
struct Sums {
    const Product& p;
    float* out;
    int channel, position;
    float at[kLanes];

    Sums(const Product& product, int of_channel, int at_position, bool first)
        : p(product), out(p.out + of_channel * p.stride + at_position), channel(of_channel), position(at_position) {
        const float* residual = p.residual ? p.residual + channel * p.residual_stride + position : nullptr;
        for (int j = 0; j < kLanes; ++j)
            at[j] = first ? p.bias[channel] + (residual ? residual[j] : 0.0f) : out[j];
    }

    void add(float value, int offset) {
        const float* in = p.in + offset + position;
        for (int j = 0; j < kLanes; ++j) at[j] += value * in[j];
    }

    void keep(bool last) {
        const unsigned kept = p.mask ? p.mask[position / kMaskPositions] : 0xFFu;
        for (int j = 0; j < kLanes; ++j)
            out[j] = !last ? at[j] : (kept >> j) & 1u ? clamp(at[j], p.low, p.high) : 0.0f;
    }
};

void row_block(const Product& p, int part, int row, int position) {
    const std::int32_t* starts = p.starts + part * p.row_blocks + row;
    for (int b = 0; b < p.block; ++b) {
        Sums sums(p, row * p.block + b, position, part == 0);
        for (int entry = starts[0]; entry < starts[1]; ++entry)
            sums.add(p.values[static_cast<std::int64_t>(entry) * p.block + b], p.offsets[entry]);
        sums.keep(part == p.parts - 1);
    }
}

}  // namespace

void product_portable(const Product& p, const Share& share) {
    for (int part = 0; part < p.parts; ++part)
        for (int position = share.begin; position < share.end; position += kLanes)
            for (int row = share.row_begin; row < share.row_end; ++row) row_block(p, part, row, position);
}

}  // namespace wieldy
