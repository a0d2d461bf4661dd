#include "levels.h"

#include <cmath>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace wieldy {
namespace {

std::uint8_t* bytes(float* words) { return reinterpret_cast<std::uint8_t*>(words); }

// What a scale says, as the arithmetic wants it.
struct Scaled {
    float scale, inverse, low, high;
    int zero;

    explicit Scaled(const Scale& of)
        : scale(as_float(of.scale)), inverse(1.0f / scale), low(static_cast<float>(of.least - of.zero)),
          high(static_cast<float>(of.largest - of.zero)), zero(of.zero) {}

    int level(float number) const {
        const float y = number * inverse;
        return static_cast<int>(std::nearbyint(y > high ? high : y > low ? y : low)) + zero;  // of a NaN: the least
    }
};

#if defined(__SSE2__)
struct Lanes {  // four floats at a time; the default of the rounding mode is to the nearest, ties to even
    __m128 inverse, low, high;
    __m128i zero;

    explicit Lanes(const Scaled& of)
        : inverse(_mm_set1_ps(of.inverse)), low(_mm_set1_ps(of.low)), high(_mm_set1_ps(of.high)),
          zero(_mm_set1_epi32(of.zero)) {}
    __m128i levels(const float* in) const {
        const __m128 y = _mm_mul_ps(_mm_loadu_ps(in), inverse);
        return _mm_add_epi32(_mm_cvtps_epi32(_mm_min_ps(_mm_max_ps(y, low), high)), zero);
    }
};
#endif

// Round `count` positions of four channels that lie in planes of their own; `far` floats from one to the next.
void round_planes(const Scaled& by, const float* in, std::int64_t far, int channels, std::uint8_t* out, int count) {
    int x = 0;
#if defined(__SSE2__)
    const Lanes lanes(by);
    for (; x + 4 <= count; x += 4) {
        __m128i word = _mm_setzero_si128();
        for (int q = 0; q < kBytes; ++q) {
            const __m128i level = q < channels ? lanes.levels(in + q * far + x) : lanes.zero;
            word = _mm_or_si128(word, _mm_slli_epi32(level, 8 * q));
        }
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x * kBytes), word);
    }
#endif
    for (; x < count; ++x)
        for (int q = 0; q < kBytes; ++q)
            out[x * kBytes + q] = static_cast<std::uint8_t>(q < channels ? by.level(in[q * far + x]) : by.zero);
}

// Round `channels` neighbouring numbers, at most four, into a word.
void round_word(const Scaled& by, const float* in, int channels, std::uint8_t* out) {
#if defined(__SSE2__)
    if (channels == kBytes) {
        const __m128i level = Lanes(by).levels(in), pairs = _mm_packs_epi32(level, level);
        const std::int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(pairs, pairs));
        std::memcpy(out, &word, sizeof word);
        return;
    }
#endif
    for (int q = 0; q < kBytes; ++q)
        out[q] = static_cast<std::uint8_t>(q < channels ? by.level(in[q]) : by.zero);
}

// Visit the rows of four channels of a part: the word plane, the channels it holds, and the row.
template <class Body>
void each_word_row(const Part& part, int channels, const Body& body) {
    for (int y = part.row_begin; y < part.row_end; ++y)
        for (int word = part.channel_begin; word < part.channel_end; ++word)
            body(word, std::min(kBytes, channels - word * kBytes), y);
}

}  // namespace

void quantize(const Run& run, const Quantize& step) {
    const Planes& to = step.to;
    const Scaled by(step.scale);
    const float* in = run.inputs[step.input];
    const std::int64_t plane = std::int64_t{to.height} * to.width;
    parallel_parts(run, to, [&](const Part& part) {
        each_word_row(part, step.channels, [&](int word, int channels, int y) {
            float* row = channel(run, to, word) + std::int64_t{y} * to.pitch;
            if (!step.channels_last) {
                const float* from = in + word * kBytes * plane + std::int64_t{y} * to.width;
                round_planes(by, from, plane, channels, bytes(row), to.width);
            } else {
                const float* from = in + std::int64_t{y} * to.width * step.channels + word * kBytes;
                for (int x = 0; x < to.width; ++x)
                    round_word(by, from + std::int64_t{x} * step.channels, channels, bytes(row + x));
            }
            clear_gap(row, to);
        });
        clear_around(run, to, part);
    });
}

void dequantize(const Run& run, const Dequantize& step) {
    const Planes& from = step.from;
    const float scale = as_float(step.scale.scale);
    float* out = run.outputs[step.output];
    const std::int64_t plane = std::int64_t{from.height} * from.width;
    parallel_parts(run, from, [&](const Part& part) {
        each_word_row(part, step.channels, [&](int word, int channels, int y) {
            const std::uint8_t* row = bytes(channel(run, from, word) + std::int64_t{y} * from.pitch);
            const std::int64_t far = step.channels_last ? 1 : plane, next = step.channels_last ? step.channels : 1;
            float* to = out + word * kBytes * far + std::int64_t{y} * from.width * next;
            for (int q = 0; q < channels; ++q)
                for (int x = 0; x < from.width; ++x)
                    to[q * far + x * next] = static_cast<float>(row[x * kBytes + q] - step.scale.zero) * scale;
        });
    });
}

// The windows of a row of four channels, one place of the kernel after the other. What lies outside holds nothing.
void pool_words(const LevelPool& step, const float* plane, float* out, float* picked, int y) {
    const Planes& from = step.from;
    const auto ceil_over = [](int a, int b) { return a > 0 ? (a + b - 1) / b : 0; };
    std::memset(out, 0, step.to.width * sizeof(float));
    for (int i = 0; i < step.kernel_y; ++i) {
        const int v = y * step.stride_y - step.pad_y + i * step.dilation_y;
        if (v < 0 || v >= from.height) continue;
        for (int j = 0; j < step.kernel_x; ++j) {
            const int at = j * step.dilation_x - step.pad_x, begin = ceil_over(-at, step.stride_x);
            const int end = std::min(step.to.width, ceil_over(from.width - at, step.stride_x));
            if (begin >= end) continue;
            copy_every(step.stride_x, plane + v * from.pitch + begin * step.stride_x + at, picked, end - begin);
            std::uint8_t* largest = bytes(out + begin);
            const std::uint8_t* found = bytes(picked);
            for (int b = 0; b < (end - begin) * kBytes; ++b) largest[b] = std::max(largest[b], found[b]);
        }
    }
}

void level_pool(const Run& run, const LevelPool& step) {
    parallel_parts(run, step.to, [&](const Part& part) {
        std::vector<float> picked(step.to.width);
        for (int word = part.channel_begin; word < part.channel_end; ++word)
            for (int y = part.row_begin; y < part.row_end; ++y) {
                float* out = channel(run, step.to, word) + std::int64_t{y} * step.to.pitch;
                pool_words(step, channel(run, step.from, word), out, picked.data(), y);
                clear_gap(out, step.to);
            }
        clear_around(run, step.to, part);
    });
}

// Sums of levels are exact; the only roundings are those of the division, the conversion and the scale.
void level_mean(const Run& run, const LevelMean& step) {
    const Planes& from = step.from;
    const std::int64_t pixels = std::int64_t{from.height} * from.width;
    parallel_parts(run, step.to, [&](const Part& part) {
        for (int c = part.channel_begin; c < part.channel_end; ++c) {
            std::int64_t sum = 0;
            for (int y = 0; y < from.height; ++y) {
                const std::uint8_t* row = bytes(channel(run, from, c / kBytes) + std::int64_t{y} * from.pitch);
                for (int x = 0; x < from.width; ++x) sum += row[x * kBytes + c % kBytes];
            }
            const double mean = static_cast<double>(sum - pixels * step.zero) / static_cast<double>(pixels);
            float* out = channel(run, step.to, c);
            out[0] = static_cast<float>(mean) * as_float(step.scale);
            clear_gap(out, step.to);
        }
        clear_around(run, step.to, part);
    });
}

Int act_on_levels(const Run& run, const LevelProductStep& step, const Tile& tile) {
    const Int* indices = run.plan.indices;
    const auto place = [&](Int at, Local local) {
        return bytes((step.local & local ? tile.scratch : run.workspace) + at);
    };
    const LevelProduct product{
        place(step.from, kLocalFrom),
        indices + step.starts,
        indices + step.offsets,
        indices + step.entries,
        indices + step.bias,
        run.plan.values + step.scale,
        {step.residual < 0 ? nullptr : place(step.residual, kLocalResidual), step.residual_stride,
         as_float(step.residual_scale), step.residual_zero, step.residual_numbers != 0},
        step.mask < 0 ? nullptr : reinterpret_cast<const std::uint8_t*>(indices + step.mask),
        place(step.to.begin, kLocalTo),
        step.to.stride,
        as_float(step.low),
        as_float(step.high),
        step.zero,
        step.shared != 0,
        step.numbers != 0,
    };
    const Int* cuts = indices + step.cuts + tile.row;
    run.plan.levels(product, {tile.begin, tile.end, cuts[0], cuts[1]});
    if (tile.end >= positions_of(step.to)) {
        const int planes = step.numbers ? kBytes : 1;
        clear_around(run, step.to, std::min(cuts[0] * planes, step.to.channels),
                     std::min(cuts[1] * planes, step.to.channels));
    }
    return sizeof(LevelProductStep) / sizeof(Int);
}

}  // namespace wieldy
