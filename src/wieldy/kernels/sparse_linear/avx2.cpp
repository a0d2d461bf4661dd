// AVX2 and FMA; CPUs with AVX-512 use it too, since their wider gathers measured slower. A row of its own: eight
// entries at a time, their inputs gathered. A block: its rows are the lanes of a register.
#include <immintrin.h>

#include "linear.h"

namespace wieldy {
namespace {

constexpr int kLanes = 8;

inline __m256 clamp(const Linear& p, __m256 sums) {
    // the second operand is returned for a NaN, so a NaN goes through
    return _mm256_min_ps(_mm256_set1_ps(p.high), _mm256_max_ps(_mm256_set1_ps(p.low), sums));
}

inline void keep(const Linear& p, __m256 sums, int n, int first, int count) {
    alignas(32) float found[kLanes];
    _mm256_store_ps(found, clamp(p, sums));
    for (int b = 0; b < count && first + b < p.outputs; ++b) p.out[n * p.outputs + first + b] = found[b];
}

inline __m256i eight(const std::uint16_t* columns) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(columns)));
}

inline __m256i eight(const std::int32_t* columns) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns));
}

inline float total(__m256 sums) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

template <class Column>
void rows(const Linear& p, int row_begin, int row_end) {
    const Column* columns = static_cast<const Column*>(p.columns);
    for (int row = row_begin; row < row_end; ++row)
        for (int n = 0; n < p.examples; ++n) {
            const float* in = p.in + n * p.inputs;
            __m256 first = _mm256_setzero_ps(), second = first;
            int i = p.starts[row];
            const int end = p.starts[row + 1];
            for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
                const __m256 x = _mm256_i32gather_ps(in, eight(columns + i), sizeof(float));
                const __m256 y = _mm256_i32gather_ps(in, eight(columns + i + kLanes), sizeof(float));
                first = _mm256_fmadd_ps(_mm256_loadu_ps(p.values + i), x, first);
                second = _mm256_fmadd_ps(_mm256_loadu_ps(p.values + i + kLanes), y, second);
            }
            float sum = p.bias[row] + total(_mm256_add_ps(first, second));
            for (; i < end; ++i) sum = __builtin_fmaf(p.values[i], in[columns[i]], sum);
            keep(p, _mm256_set1_ps(sum), n, row, 1);
        }
}

inline __m256 block_of(const float* values, int block) {
    return block == kLanes ? _mm256_loadu_ps(values) : _mm256_castps128_ps256(_mm_loadu_ps(values));
}

template <class Column, int B>
void blocks(const Linear& p, int row_begin, int row_end) {
    const Column* columns = static_cast<const Column*>(p.columns);
    for (int row = row_begin; row < row_end; ++row)
        for (int n = 0; n < p.examples; ++n) {
            const float* in = p.in + n * p.inputs;
            __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
            const float* values = p.values + static_cast<std::int64_t>(p.starts[row]) * B;
            int i = p.starts[row];
            const int end = p.starts[row + 1];
            for (; i + 4 <= end; i += 4, values += 4 * B)  // four sums hide the latency of a multiply-add
                for (int k = 0; k < 4; ++k)
                    sums[k] = _mm256_fmadd_ps(block_of(values + k * B, B), _mm256_set1_ps(in[columns[i + k]]), sums[k]);
            for (; i < end; ++i, values += B)
                sums[0] = _mm256_fmadd_ps(block_of(values, B), _mm256_set1_ps(in[columns[i]]), sums[0]);
            const __m256 sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
            keep(p, _mm256_add_ps(block_of(p.bias + row * B, B), sum), n, row * B, B);
        }
}

template <class Column>
void run(const Linear& p, int row_begin, int row_end) {
    (p.block == 1 ? rows<Column> : p.block == 4 ? blocks<Column, 4> : blocks<Column, 8>)(p, row_begin, row_end);
}

}  // namespace

void linear_avx2(const Linear& p, int row_begin, int row_end) {
    (p.wide ? run<std::int32_t> : run<std::uint16_t>)(p, row_begin, row_end);
}

}  // namespace wieldy
