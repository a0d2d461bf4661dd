// AVX2 and FMA: eight positions in a register, up to 12 registers of sums: the other four hold what is
// multiplied. A block of 8 rows that share a pattern runs as two halves.
#include <immintrin.h>

#include "begin.h"

namespace wieldy {
namespace {

constexpr int kLanes = 8;
constexpr int kTapsFetched = 3;

// All bits of the positions from `position` on that hold pixels.
inline __m256 pixels(const Product& p, int position) {
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i kept = _mm256_and_si256(_mm256_set1_epi32(p.mask[position / kMaskPositions]), bits);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(kept, bits));
}

template <int V>
inline void start(__m256 (&sums)[V], const float* from) {
    for (int v = 0; v < V; ++v) sums[v] = from ? _mm256_loadu_ps(from + v * kLanes) : _mm256_setzero_ps();
}

// The second operand of a minimum is returned for a NaN, so a NaN goes through.
template <int V>
inline void finish(const Product& p, __m256 (&sums)[V], int channel, int position) {
    const __m256 bias = _mm256_set1_ps(p.bias[channel]);
    const __m256 low = _mm256_set1_ps(p.low), high = _mm256_set1_ps(p.high);
    const auto closed = [&](__m256 sum) { return _mm256_min_ps(high, _mm256_max_ps(low, _mm256_add_ps(bias, sum))); };
    if (p.mask)
        for (int v = 0; v < V; ++v) sums[v] = _mm256_and_ps(closed(sums[v]), pixels(p, position + v * kLanes));
    else
        for (int v = 0; v < V; ++v) sums[v] = closed(sums[v]);
}

template <int V>
inline void keep(const __m256 (&sums)[V], float* out) {
    for (int v = 0; v < V; ++v) _mm256_storeu_ps(out + v * kLanes, sums[v]);
}

template <int V>
inline void fetch_tile(const float* at) {
    for (int v = 0; v < V; v += 2) _mm_prefetch(reinterpret_cast<const char*>(at + v * kLanes), _MM_HINT_T0);
}

// Fetch what a row will read; neighbouring taps share their lines.
template <int V>
inline void fetch_taps(const Product& p, const float* in, int begin, int end) {
    for (int i = begin; i < end; i += kTapsFetched) fetch_tile<V>(in + p.offsets[i]);
}

// One row after the other: a value is broadcast once and used V times.
template <int V>
void rows(const Product& p, const Share& share, int part, int position) {
    const bool last = part == p.parts - 1;
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    const float* in = p.in + position;
    for (int row = share.row_begin; row < share.row_end; ++row) {
        float* out = p.out + row * p.stride + position;
        __m256 sums[V];
        start(sums, Begin(p, part, row, position).from);
        if (row + 1 < share.row_end) {
            fetch_tile<V>(out + p.stride);
            if (p.own_inputs) fetch_taps<V>(p, in, starts[row + 1], starts[row + 2]);
        }
        for (int i = starts[row]; i < starts[row + 1]; ++i) {
            const __m256 value = _mm256_set1_ps(p.values[i]);
            for (int v = 0; v < V; ++v)
                sums[v] = _mm256_fmadd_ps(value, _mm256_loadu_ps(in + p.offsets[i] + v * kLanes), sums[v]);
        }
        if (last) finish(p, sums, row, position);
        keep(sums, out);
    }
}

// V registers for four rows that share a pattern, from `row` of their block on.
template <int V>
void half(const Product& p, const Share& share, int part, int position, int row) {
    const bool last = part == p.parts - 1;
    const float* in = p.in + position;
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    for (int block = share.row_begin; block < share.row_end; ++block) {
        const int channel = block * p.block + row;
        float* out = p.out + channel * p.stride + position;
        __m256 sums[4][V];
        const Begin begin(p, part, channel, position);
        for (int b = 0; b < 4; ++b) start(sums[b], begin.of(b));
        if (block + 1 < share.row_end)
            for (int b = p.block; b < p.block + 4; ++b) fetch_tile<V>(out + b * p.stride);
        const float* values = p.values + static_cast<std::int64_t>(starts[block]) * p.block + row;
        for (int i = starts[block]; i < starts[block + 1]; ++i, values += p.block) {
            __m256 x[V];
            for (int v = 0; v < V; ++v) x[v] = _mm256_loadu_ps(in + p.offsets[i] + v * kLanes);
            for (int b = 0; b < 4; ++b) {
                const __m256 value = _mm256_broadcast_ss(values + b);
                for (int v = 0; v < V; ++v) sums[b][v] = _mm256_fmadd_ps(value, x[v], sums[b][v]);
            }
        }
        if (last)
            for (int b = 0; b < 4; ++b) finish(p, sums[b], channel + b, position);
        for (int b = 0; b < 4; ++b) keep(sums[b], out + b * p.stride);
    }
}

template <int V>
void blocks(const Product& p, const Share& share, int part, int position) {
    for (int row = 0; row < p.block; row += 4) half<V>(p, share, part, position, row);
}

using Tile = void (*)(const Product&, const Share&, int, int);

struct Widths {
    int widest;
    const Tile* tiles;  // by the number of registers, less one
};

constexpr Tile kRows[] = {rows<1>, rows<2>, rows<3>, rows<4>,  rows<5>,  rows<6>,
                          rows<7>, rows<8>, rows<9>, rows<10>, rows<11>, rows<12>};
constexpr Tile kBlock[] = {blocks<1>, blocks<2>, blocks<3>};
Widths widths(const Product& p) {
    if (p.block > 1) return {3, kBlock};
    return {12, kRows};
}

}  // namespace

void product_avx2(const Product& p, const Share& share) {
    const Widths known = widths(p);
    for (int part = 0; part < p.parts; ++part)
        for (int position = share.begin, width; position < share.end; position += width * kLanes) {
            // as few passes as can be, of about equal width
            const int left = (share.end - position) / kLanes, passes = (left + known.widest - 1) / known.widest;
            width = (left + passes - 1) / passes;
            known.tiles[width - 1](p, share, part, position);
        }
}

}  // namespace wieldy
