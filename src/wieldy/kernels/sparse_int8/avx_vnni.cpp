// AVX-VNNI: one instruction for four products in each of eight lanes.
#include "ymm.h"

namespace wieldy {
namespace {

struct Simd : Ymm {
    static Word dot(Word sum, Word levels, Word entry) { return _mm256_dpbusd_avx_epi32(sum, levels, entry); }
};

}  // namespace

void levels_avx_vnni(const LevelProduct& p, const Share& share) { run_ymm<Simd>(p, share); }

}  // namespace wieldy
