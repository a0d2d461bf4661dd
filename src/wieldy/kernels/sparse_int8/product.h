// The contract of sparse_int8: a product of a sparse matrix of bytes with shifted planes of bytes.
//
//   sum[c][t] = bias[c] + sum_i sum_b entry_i.b * in[offsets[i] + t].b        int32, exact; b = 0 to 3
//   y[c][t]   = float(sum) * scale[c] (+ float(residual - zero) * scale)      float32, every operation rounded;
//                                                                            a residual may be numbers, too
//   level     = rint(clamp(y, low, high)) + zero                              byte c % 4 of out[c / 4][t]
//   number    = clamp(y, low, high)                                           out[c][t], float32
//
// A word holds the levels (unsigned bytes) of four neighbouring channels at one position, so one instruction
// multiplies four of them by the signed bytes of an entry. Planes are those of sparse_conv with words for floats:
// a tap is a shift. A row of words is four output channels; each has a pattern of its own, or all share one.
// Whoever plans sees to it that no sum leaves int32 (and, for a variant that multiplies pairs in sixteen bits,
// no pair).
#pragma once

#include <cstdint>

#include "../sparse_conv/product.h"

namespace wieldy {

constexpr int kBytes = 4;  // channels of a word

struct LevelResidual {
    const std::uint8_t* at;  // words like the result's, or numbers; null if there is none
    std::int64_t stride;
    float scale;
    std::int32_t zero;
    bool numbers;
};

struct LevelProduct {
    const std::uint8_t* in;
    const std::int32_t* starts;   // by channel where patterns are their own, else by row of words
    const std::int32_t* offsets;  // words
    const std::int32_t* entries;  // four signed bytes; of a shared pattern, one after the other for each channel
    const std::int32_t* bias;
    const float* scale;
    LevelResidual residual;
    const std::uint8_t* mask;     // a bit per position that holds a pixel, or null: all do
    std::uint8_t* out;
    std::int64_t stride;          // words (or numbers) from one plane of the result to the next
    float low, high;
    std::int32_t zero;            // also what lies between pixels, in all four bytes; numbers have zeros there
    bool shared, numbers;
};

using LevelKernel = void (*)(const LevelProduct&, const Share&);  // rows of the share: of words

void levels_portable(const LevelProduct&, const Share&);
void levels_avx2(const LevelProduct&, const Share&);  // exact where no two entries of a pair exceed 128 together
void levels_avx_vnni(const LevelProduct&, const Share&);
void levels_avx512_vnni(const LevelProduct&, const Share&);

}  // namespace wieldy
