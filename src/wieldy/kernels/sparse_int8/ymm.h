// AVX2: eight positions in a register. What multiplies four bytes differs between its variants.
#pragma once

#include <immintrin.h>

#include "tile.h"

namespace wieldy {
namespace {

struct Ymm {
    using Word = __m256i;
    using Number = __m256;
    static constexpr int kLanes = 8;

    static Word load(const std::uint8_t* at) { return _mm256_loadu_si256(reinterpret_cast<const Word*>(at)); }
    static void store(std::uint8_t* at, Word words) { _mm256_storeu_si256(reinterpret_cast<Word*>(at), words); }
    static Number numbers(const std::uint8_t* at) { return _mm256_loadu_ps(reinterpret_cast<const float*>(at)); }
    static Word all(std::int32_t word) { return _mm256_set1_epi32(word); }
    static Number all(float number) { return _mm256_set1_ps(number); }
    static Number number(Word words) { return _mm256_cvtepi32_ps(words); }
    static Word bits(Number numbers) { return _mm256_castps_si256(numbers); }
    static Word rounded(Number numbers) { return _mm256_cvtps_epi32(numbers); }
    static Number times(Number a, Number b) { return _mm256_mul_ps(a, b); }
    static Number plus(Number a, Number b) { return _mm256_add_ps(a, b); }
    static Number larger(Number a, Number b) { return _mm256_max_ps(a, b); }
    static Number smaller(Number a, Number b) { return _mm256_min_ps(a, b); }
    static Word plus(Word a, Word b) { return _mm256_add_epi32(a, b); }
    static Word minus(Word a, Word b) { return _mm256_sub_epi32(a, b); }
    static Word byte(Word words, int q) {
        return _mm256_and_si256(_mm256_srli_epi32(words, 8 * q), _mm256_set1_epi32(0xff));
    }
    static Word with_byte(Word words, Word level, int q) {
        return _mm256_or_si256(words, _mm256_slli_epi32(level, 8 * q));
    }
    static Word pixels(const std::uint8_t* mask, int position) {
        if (!mask) return _mm256_set1_epi32(-1);
        const Word bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask[position / kMaskPositions]), bits), bits);
    }
    static Word kept(Word pixels, Word words, Word others) { return _mm256_blendv_epi8(others, words, pixels); }
};

template <class Simd, int V>
constexpr Tile kOwn = rows<Simd, V, false>;
template <class Simd, int V>
constexpr Tile kShared = rows<Simd, V, true>;
template <class Simd>
constexpr Tile kOwnTiles[] = {kOwn<Simd, 1>, kOwn<Simd, 2>, kOwn<Simd, 3>, kOwn<Simd, 4>,
                              kOwn<Simd, 5>, kOwn<Simd, 6>, kOwn<Simd, 7>, kOwn<Simd, 8>};
template <class Simd>
constexpr Tile kSharedTiles[] = {kShared<Simd, 1>, kShared<Simd, 2>};

template <class Simd>
inline void run_ymm(const LevelProduct& p, const Share& share) {
    if (p.shared) in_tiles<Simd>(p, share, kSharedTiles<Simd>, 2);
    else in_tiles<Simd>(p, share, kOwnTiles<Simd>, 8);
}

}  // namespace
}  // namespace wieldy
