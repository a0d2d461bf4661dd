// Plain C++, for any CPU: one channel and one position after the other.
#include <cmath>
#include <cstring>

#include "product.h"

namespace wieldy {
namespace {

inline float clamp(float value, float low, float high) { return value < low ? low : value > high ? high : value; }

std::int32_t sum_of(const LevelProduct& p, int channel, int position) {
    const int row = p.shared ? channel / kBytes : channel, step = p.shared ? kBytes : 1;
    const std::int32_t* entries = p.entries + (p.shared ? channel % kBytes : 0);
    std::int32_t sum = p.bias[channel];
    for (int i = p.starts[row]; i < p.starts[row + 1]; ++i) {
        const std::uint8_t* levels = p.in + (std::int64_t{p.offsets[i]} + position) * kBytes;
        std::int8_t bytes[kBytes];
        std::memcpy(bytes, entries + std::int64_t{i} * step, kBytes);
        for (int b = 0; b < kBytes; ++b) sum += bytes[b] * levels[b];
    }
    return sum;
}

float residual_of(const LevelResidual& residual, int channel, int position) {
    if (residual.numbers) {
        float number;
        std::memcpy(&number, residual.at + (channel * residual.stride + position) * sizeof number, sizeof number);
        return number;
    }
    const std::int64_t word = channel / kBytes * residual.stride + position;
    return static_cast<float>(residual.at[word * kBytes + channel % kBytes] - residual.zero);
}

void write(const LevelProduct& p, int channel, int position) {
    const bool pixel = !p.mask || p.mask[position / kMaskPositions] >> position % kMaskPositions & 1;
    const int row = channel / kBytes, byte = channel % kBytes;
    float y = static_cast<float>(sum_of(p, channel, position)) * p.scale[channel];
    if (p.residual.at) y += residual_of(p.residual, channel, position) * p.residual.scale;
    y = clamp(y, p.low, p.high);
    if (p.numbers) {
        y = pixel ? y : 0.0f;
        std::memcpy(p.out + (channel * p.stride + position) * sizeof y, &y, sizeof y);
    } else {
        const auto level = static_cast<std::int32_t>(std::nearbyint(y)) + p.zero;
        p.out[(row * p.stride + position) * kBytes + byte] = static_cast<std::uint8_t>(pixel ? level : p.zero);
    }
}

}  // namespace

void levels_portable(const LevelProduct& p, const Share& share) {
    for (int channel = share.row_begin * kBytes; channel < share.row_end * kBytes; ++channel)
        for (int position = share.begin; position < share.end; ++position) write(p, channel, position);
}

}  // namespace wieldy
