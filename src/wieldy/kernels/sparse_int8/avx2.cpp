// AVX2 alone: pairs of products are added in sixteen bits, which hold 255 * 128 but no more.
#include "ymm.h"

namespace wieldy {
namespace {

struct Simd : Ymm {
    static Word dot(Word sum, Word levels, Word entry) {
        const Word pairs = _mm256_maddubs_epi16(levels, entry);
        return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};

}  // namespace

void levels_avx2(const LevelProduct& p, const Share& share) { run_ymm<Simd>(p, share); }

}  // namespace wieldy
