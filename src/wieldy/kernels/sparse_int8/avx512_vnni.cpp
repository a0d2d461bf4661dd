// AVX-512 with VNNI: sixteen positions in a register, one instruction for four products in each lane.
#include <immintrin.h>

#include "tile.h"

namespace wieldy {
namespace {

struct Simd {
    using Word = __m512i;
    using Number = __m512;
    static constexpr int kLanes = 16;

    static Word load(const std::uint8_t* at) { return _mm512_loadu_si512(at); }
    static void store(std::uint8_t* at, Word words) { _mm512_storeu_si512(at, words); }
    static Number numbers(const std::uint8_t* at) { return _mm512_loadu_ps(at); }
    static Word all(std::int32_t word) { return _mm512_set1_epi32(word); }
    static Number all(float number) { return _mm512_set1_ps(number); }
    static Word dot(Word sum, Word levels, Word entry) { return _mm512_dpbusd_epi32(sum, levels, entry); }
    static Number number(Word words) { return _mm512_cvtepi32_ps(words); }
    static Word bits(Number numbers) { return _mm512_castps_si512(numbers); }
    static Word rounded(Number numbers) { return _mm512_cvtps_epi32(numbers); }
    static Number times(Number a, Number b) { return _mm512_mul_ps(a, b); }
    static Number plus(Number a, Number b) { return _mm512_add_ps(a, b); }
    static Number larger(Number a, Number b) { return _mm512_max_ps(a, b); }
    static Number smaller(Number a, Number b) { return _mm512_min_ps(a, b); }
    static Word plus(Word a, Word b) { return _mm512_add_epi32(a, b); }
    static Word minus(Word a, Word b) { return _mm512_sub_epi32(a, b); }
    static Word byte(Word words, int q) {
        return _mm512_and_si512(_mm512_srli_epi32(words, 8 * q), _mm512_set1_epi32(0xff));
    }
    static Word with_byte(Word words, Word level, int q) {
        return _mm512_or_si512(words, _mm512_slli_epi32(level, 8 * q));
    }
    static __mmask16 pixels(const std::uint8_t* mask, int position) {
        const std::uint8_t* bits = mask ? mask + position / kMaskPositions : nullptr;
        return static_cast<__mmask16>(bits ? bits[0] | bits[1] << 8 : 0xffff);
    }
    static Word kept(__mmask16 pixels, Word words, Word others) {
        return _mm512_mask_blend_epi32(pixels, others, words);
    }
};

template <int V>
constexpr Tile kOwn = rows<Simd, V, false>;
template <int V>
constexpr Tile kShared = rows<Simd, V, true>;
constexpr Tile kOwnTiles[] = {kOwn<1>, kOwn<2>, kOwn<3>, kOwn<4>, kOwn<5>, kOwn<6>, kOwn<7>, kOwn<8>};
constexpr Tile kSharedTiles[] = {kShared<1>, kShared<2>, kShared<3>, kShared<4>};  // more spill registers

}  // namespace

void levels_avx512_vnni(const LevelProduct& p, const Share& share) {
    if (p.shared) in_tiles<Simd>(p, share, kSharedTiles, 4);
    else in_tiles<Simd>(p, share, kOwnTiles, 8);
}

}  // namespace wieldy
