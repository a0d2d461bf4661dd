// AVX2 and FMA: eight positions in a register, up to 12 registers of sums: the other four hold what is
// multiplied. A block of 8 rows that share a pattern runs as two halves.
#include <immintrin.h>

#include "product.h"

namespace wieldy {
namespace {

constexpr int kLanes = 8;
constexpr int kTapsFetched = 3;

inline __m256 begin(const Product& p, int channel, int position) {
    const __m256 bias = _mm256_set1_ps(p.bias[channel]);
    return p.residual ? _mm256_add_ps(bias, _mm256_loadu_ps(p.residual + channel * p.stride + position)) : bias;
}

inline __m256 finish(const Product& p, __m256 sum, int position) {
    // the second operand is returned for a NaN, so a NaN goes through
    sum = _mm256_min_ps(_mm256_set1_ps(p.high), _mm256_max_ps(_mm256_set1_ps(p.low), sum));
    if (!p.mask) return sum;
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i kept = _mm256_and_si256(_mm256_set1_epi32(p.mask[position / kMaskPositions]), bits);
    return _mm256_and_ps(sum, _mm256_castsi256_ps(_mm256_cmpeq_epi32(kept, bits)));
}

template <int V>
inline void start(const Product& p, __m256 (&sums)[V], const float* out, int channel, int position, bool first) {
    for (int v = 0; v < V; ++v)
        sums[v] = first ? begin(p, channel, position + v * kLanes) : _mm256_loadu_ps(out + v * kLanes);
}

template <int V>
inline void keep(const Product& p, const __m256 (&sums)[V], float* out, int position, bool last) {
    for (int v = 0; v < V; ++v)
        _mm256_storeu_ps(out + v * kLanes, last ? finish(p, sums[v], position + v * kLanes) : sums[v]);
}

template <int V>
inline void fetch_tile(const float* at) {
    for (int v = 0; v < V; v += 2) _mm_prefetch(reinterpret_cast<const char*>(at + v * kLanes), _MM_HINT_T0);
}

// Fetch what a row will read and write; neighbouring taps share their lines.
template <int V>
inline void fetch(const Product& p, const float* in, const float* out, int begin, int end) {
    for (int i = begin; i < end; i += kTapsFetched) fetch_tile<V>(in + p.offsets[i]);
    fetch_tile<V>(out);
}

// One row after the other: a value is broadcast once and used V times.
template <int V>
void rows(const Product& p, const Share& share, int part, int position) {
    const bool first = part == 0, last = part == p.parts - 1;
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    const float* in = p.in + position;
    for (int row = share.row_begin; row < share.row_end; ++row) {
        float* out = p.out + row * p.stride + position;
        __m256 sums[V];
        start(p, sums, out, row, position, first);
        if (p.own_inputs && row + 1 < share.row_end) fetch<V>(p, in, out + p.stride, starts[row + 1], starts[row + 2]);
        for (int i = starts[row]; i < starts[row + 1]; ++i) {
            const __m256 value = _mm256_set1_ps(p.values[i]);
            for (int v = 0; v < V; ++v)
                sums[v] = _mm256_fmadd_ps(value, _mm256_loadu_ps(in + p.offsets[i] + v * kLanes), sums[v]);
        }
        keep(p, sums, out, position, last);
    }
}

// V registers for four rows that share a pattern, from `row` of their block on.
template <int V>
void half(const Product& p, const Share& share, int part, int position, int row) {
    const bool first = part == 0, last = part == p.parts - 1;
    const float* in = p.in + position;
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    for (int block = share.row_begin; block < share.row_end; ++block) {
        const int channel = block * p.block + row;
        float* out = p.out + channel * p.stride + position;
        __m256 sums[4][V];
        for (int b = 0; b < 4; ++b) start(p, sums[b], out + b * p.stride, channel + b, position, first);
        const float* values = p.values + static_cast<std::int64_t>(starts[block]) * p.block + row;
        for (int i = starts[block]; i < starts[block + 1]; ++i, values += p.block) {
            __m256 x[V];
            for (int v = 0; v < V; ++v) x[v] = _mm256_loadu_ps(in + p.offsets[i] + v * kLanes);
            for (int b = 0; b < 4; ++b) {
                const __m256 value = _mm256_broadcast_ss(values + b);
                for (int v = 0; v < V; ++v) sums[b][v] = _mm256_fmadd_ps(value, x[v], sums[b][v]);
            }
        }
        for (int b = 0; b < 4; ++b) keep(p, sums[b], out + b * p.stride, position, last);
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
    const int room = (p.positions + kRoom - 1) / kRoom * kRoom;
    for (int index = share.tile_begin; index < share.tile_end; ++index) {
        const int end = (index + 1) * p.tile < room ? (index + 1) * p.tile : room;
        for (int part = 0; part < p.parts; ++part)
            for (int position = index * p.tile, width; position < end; position += width * kLanes) {
                // as few passes as can be, of about equal width
                const int left = (end - position) / kLanes, passes = (left + known.widest - 1) / known.widest;
                width = (left + passes - 1) / passes;
                known.tiles[width - 1](p, share, part, position);
            }
    }
}

}  // namespace wieldy
